"""The protocol of a frozen benchmark: its regimes, data sets and seeds, and the hash that says which one it is."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mmkd
from mmkd.core.errors import MmkdError, did_you_mean
from mmkd.core.text import LONGEST_PATH, shown
from mmkd.data.cards import read_toml
from mmkd.metrics.registry import METRICS
from mmkd.tasks import TASKS
from mmkd.units.request import Request, parse_seeds
from mmkd.units.suites import read_suites

FILE = "protocol.toml"
DECISIONS = "decisions.toml"
"""What the phase before decided: sets with room, and the best control of each regime."""
VERSION = "VERSION"
"""The file that holds the version and the hash of the protocol, such as `v1 3f2a...`."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}\Z")
"""Of a version, and of a regime."""
DIGITS = 12
"""Of the hash, in the column `protocol` of results."""


@dataclass(frozen=True)
class Regime:
    """One regime of a protocol: what students and teachers read, and which labels are there.

    Attributes:
        suites: the files of its units.
        datasets: the names of its data sets, as `--dataset` takes them, in order.
        metric: the metric that is compared.
        title, what: a few words, and a sentence, that say what it is.
    """

    name: str
    suites: tuple[Path, ...]
    datasets: tuple[str, ...]
    metric: str
    title: str = ""
    what: str = ""

    @cached_property
    def requests(self) -> list[Request]:
        """The parts of its suites, without the files of records that they name.

        Raises:
            MmkdError: a suite does not exist or is malformed.
        """
        return [request for suite in self.suites for request in read_suites(suite, records=())]

    def requests_of(self, dataset: str) -> list[Request]:
        """The parts of its suites that train on a data set.

        Raises:
            MmkdError: there is none, or a suite is malformed.
        """
        found = [request for request in self.requests if dataset in request.datasets]
        if not found:
            raise MmkdError(f"{self.suites[0]}: no part of it trains on {dataset}, which regime {self.name} has")
        return found

    @cached_property
    def has_several_nets(self) -> bool:
        """Whether its students have several networks, which then stand behind their modalities."""
        nets = [
            request.student_net or (TASKS.get(request.task).preset(request.preset).student_net,)
            for request in self.requests
        ]
        return len({net for own in nets for net in own}) > 1

    @cached_property
    def has_several_fusions(self) -> bool:
        """Whether its students have several fusions, which then stand behind their modalities."""
        return len({fusion for request in self.requests for fusion in request.fusion or ("",)}) > 1


@dataclass(frozen=True)
class Protocol:
    """The protocol of a folder.

    Attributes:
        sha256: hash of protocol.toml and the suites beside it.
        datasets: name, as `--dataset` takes it -> what protocol.toml says of it; its short name there is `short`.
        table: all that protocol.toml says.
    """

    folder: Path
    version: str
    sha256: str
    seeds: tuple[int, ...]
    datasets: Mapping[str, Mapping[str, Any]]
    regimes: Mapping[str, Regime]
    table: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The version and the first digits of the hash, such as `v1-3f2a9c01d2e4`."""
        return f"{self.version}-{self.sha256[:DIGITS]}"

    @property
    def subject_sets(self) -> frozenset[str]:
        """The names of the data sets that are split by subject: other people in test than in training windows."""
        return frozenset(name for name, own in self.datasets.items() if own.get("units") == "subjects")

    @property
    def results(self) -> Path:
        """The folder of its results."""
        return self.folder / "results"

    @property
    def records(self) -> Path:
        """The folder of its records."""
        return self.folder / "records"

    @property
    def submissions(self) -> Path:
        """The folder of results that others sent in: `NAME/FILE.csv`, beside the files of their methods."""
        return self.folder.resolve().parent / "submissions"


def find_protocol(name: str | Path) -> Path:
    """The folder of a protocol: a folder with a `protocol.toml`, or the name of a version that mmkd carries.

    In a checkout `v1` is `experiments/v1`, else it is in the wheel.

    Raises:
        MmkdError: there is none.
    """
    text = str(name)
    if not text or "\0" in text or len(text) > LONGEST_PATH:
        raise MmkdError(f"protocol {shown(text)}: name a version, such as v1, or a folder with {FILE}")
    if (Path(name) / FILE).is_file():
        return Path(name)
    package = Path(mmkd.__path__[0]).resolve()
    checkout = package.parent / "experiments"
    inside = checkout if (package.parent / "pyproject.toml").is_file() and checkout.is_dir() else package
    if NAME.match(text) and (inside / text / FILE).is_file():
        return inside / text
    known = sorted(path.parent.name for path in inside.glob(f"*/{FILE}"))
    listing = f"known: {', '.join(known)}" if known else "none is carried here"
    raise MmkdError(
        f"protocol {shown(text)}: there is no such folder with {FILE}{did_you_mean(text, known)} ({listing})"
    )


def read_protocol(name: str | Path) -> Protocol:
    """The protocol of a folder, or of a version that mmkd carries.

    Raises:
        MmkdError: there is none, or its protocol.toml is malformed.
    """
    folder = find_protocol(name)
    path = folder / FILE
    table = read_toml(path, "protocol")
    version = table.get("version")
    version = f"v{version}" if isinstance(version, int) and not isinstance(version, bool) else version
    if not isinstance(version, str) or not NAME.match(version):
        raise MmkdError(f"{path}: version = {shown(version)} is no name, such as v1")
    sets, regimes = (_tables(table, name, path) for name in ("datasets", "regimes"))
    names = {short: str(own.get("name", short)) for short, own in sets.items()}
    return Protocol(
        folder=folder,
        version=version,
        sha256=protocol_sha256(folder),
        seeds=_seeds(table.get("seeds"), path),
        datasets={names[short]: {**own, "short": short} for short, own in sets.items()},
        regimes={
            name: _regime(name, {"metric": table.get("metric"), **own}, names, path) for name, own in regimes.items()
        },
        table=table,
    )


def _tables(table: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Mapping[str, Any]]:
    tables = table.get(name)
    if not isinstance(tables, dict) or not tables or not all(isinstance(own, dict) for own in tables.values()):
        raise MmkdError(f"{path}: it has no tables [{name}.NAME]")
    return tables


def _seeds(value: Any, path: Path) -> tuple[int, ...]:
    if isinstance(value, str):
        return parse_seeds(value)
    if isinstance(value, list) and value and all(type(seed) is int and seed >= 0 for seed in value):
        return tuple(value)
    raise MmkdError(f"{path}: seeds = {shown(value)} is no list of whole numbers")


def _regime(name: str, table: Mapping[str, Any], names: Mapping[str, str], path: Path) -> Regime:
    """The regime of a table.

    Args:
        names: short name of a data set -> its name.
    """
    what = f"{path}, regime {shown(name)}"
    if not NAME.match(name):
        raise MmkdError(f"{what}: its name has other characters than letters, digits, dots and dashes")
    own = _texts(table, "datasets", list(names), what)
    if unknown := [short for short in own if short not in names]:
        raise MmkdError(f"{what}: data set {shown(unknown[0])} has no table [datasets.{unknown[0]}]")
    suites = _texts(table, "suites", [name], what)
    if wrong := [suite for suite in suites if Path(suite).name != suite]:
        raise MmkdError(f"{what}: suites: {shown(wrong[0])} is no file beside {FILE}")
    metric = table.get("metric")
    if not isinstance(metric, str) or metric not in METRICS:
        raise MmkdError(f"{what}: metric = {shown(metric)} is none (known: {', '.join(METRICS)})")
    files = tuple(path.parent / f"{suite.removesuffix('.toml')}.toml" for suite in suites)
    title, sentence = (str(table.get(key, "")) for key in ("title", "what"))
    return Regime(name, files, tuple(names[short] for short in own), metric, title, sentence)


def _texts(table: Mapping[str, Any], name: str, usual: list[str], what: str) -> list[str]:
    """A list of texts, each once."""
    value = table.get(name, usual)
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise MmkdError(f"{what}: {name} = {shown(value)} is no list of names")
    return list(dict.fromkeys(value))


# The hash -------------------------------------------------------------------------------------------------------------


def protocol_sha256(folder: Path) -> str:
    """The hash of `protocol.toml` and of all suites beside it, whatever their line ends are; `decisions.toml`, which is
    computed by the rules of the protocol, is not in it.

    It is the SHA-256 of one line a file, in order of their names: the SHA-256 of its text with line ends "\\n", two
    spaces, its name.

    Raises:
        MmkdError: a file cannot be read.
    """
    lines = []
    for path in sorted(folder.glob("*.toml"), key=lambda path: path.name):
        if path.name == DECISIONS:
            continue
        try:
            content = path.read_bytes()
        except OSError as error:
            raise MmkdError(f"{path}: {error.strerror or error}") from None
        text = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines.append(f"{hashlib.sha256(text).hexdigest()}  {path.name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def version_line(protocol: Protocol) -> str:
    """What `VERSION` holds."""
    return f"{protocol.version} {protocol.sha256}"


def changed_since(protocol: Protocol) -> str:
    """Why `VERSION` is not that of these files, in a sentence; empty if it is."""
    path = protocol.folder / VERSION
    try:
        stated = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return f"{path} is missing or no text; python -m mmkd.results hash --folder {protocol.folder} prints its line"
    if stated == version_line(protocol):
        return ""
    return (
        f"{FILE} or a suite of {protocol.folder} changed after it was frozen: {VERSION} has {shown(stated)[1:-1]}, and "
        f"the files are {version_line(protocol)}; make a new version, in a folder of its own"
    )
