"""Options: one dataclass, read alike from the command line, from TOML and from Python."""

from dataclasses import FrozenInstanceError, asdict, dataclass
from typing import Literal, Optional

import numpy as np
import pytest

from mmkd import METHODS, MmkdError, Options, option
from mmkd.core.options import describe, older_options, recorded


@dataclass(frozen=True)
class Sample(Options):
    temperature: float = option(4.0, "softening", gt=0)
    kd_weight: float = option(0.5, "share", ge=0, le=1)
    count: int = option(3, "how many", ge=1, lt=10**18)
    mode: Literal["slow", "fast"] = option("slow", "speed")
    order: Literal[1, 2] = option(1, "order of the filter")
    side: int | None = option(None, "side, none: fitted", ge=2)
    low: Optional[float] = option(None, "low end")  # noqa: UP045  the older way to write it
    flip: bool = option(False, "turn it over")
    shares: str = option("equal", "shares")


@pytest.mark.parametrize(
    ("name", "texts", "value"),
    [
        ("temperature", ["2", "2.0", "2e0", " 2 ", 2, 2.0], 2.0),
        ("count", ["5", "5.0", "5e0", 5, 5.0], 5),
        ("count", ["9007199254740993", 9007199254740993], 2**53 + 1),
        ("mode", ["fast"], "fast"),
        ("order", ["2", 2], 2),
        ("side", ["none", "None", None], None),
        ("side", ["8", 8, "8.0"], 8),
        ("low", ["none", None], None),
        ("low", ["-1.5", -1.5], -1.5),
        ("flip", ["true", "True", "YES", "on", "1", True], True),
        ("flip", ["false", "no", "OFF", "0", False], False),
        ("shares", ["sig=0.5,gaf=0.5"], "sig=0.5,gaf=0.5"),
        ("kd_weight", ["0", 0, 0.0], 0.0),
        ("kd_weight", ["1", 1], 1.0),
    ],
)
def test_text_and_typed_values_give_the_same(name, texts, value):
    for text in texts:
        for spelling in (name, name.replace("_", "-")):
            found = getattr(Sample.parse({spelling: text}, "a sample"), name)
            assert found == value
            assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", 0, r"temperature = 0.0 must be > 0"),
        ("temperature", "-1", r"temperature = -1.0 must be > 0"),
        ("temperature", "nan", r"temperature = 'nan' is not a finite number"),
        ("temperature", float("nan"), "is not a finite number"),
        ("temperature", "inf", "is not a finite number"),
        ("temperature", float("-inf"), "is not a finite number"),
        ("temperature", "1e400", "is not a finite number"),
        ("temperature", "snan", "is not a"),
        ("temperature", "hot", "temperature = 'hot' is not a number"),
        ("temperature", "", "is not a number"),
        ("temperature", True, "temperature = True is not a number"),
        ("temperature", None, "temperature = None is not a number"),
        ("temperature", [1.0], "is not a number"),
        ("kd_weight", 1.5, r"kd-weight = 1.5 must be <= 1"),
        ("kd_weight", "-0.1", r"kd-weight = -0.1 must be >= 0"),
        ("count", "2.5", "count = '2.5' is not a whole number"),
        ("count", 0, "count = 0 must be >= 1"),
        ("count", 10**18, "must be < 1e"),
        ("count", 10**400, "is not a finite number"),
        ("count", "inf", "is not a finite number"),
        ("mode", "fst", "mode = 'fst' is not one of slow, fast; did you mean 'fast'"),
        ("mode", ["slow"], "is not one of slow, fast"),
        ("order", 3, "order = 3 is not one of 1, 2"),
        ("side", 1, "side = 1 must be >= 2"),
        ("side", "nothing", "side = 'nothing' is not a number"),
        ("flip", "maybe", "flip = 'maybe' is not true or false"),
        ("flip", 1, "flip = 1 is not true or false"),
        ("shares", 1, "shares = 1 is not a text"),
        ("shares", None, "shares = None is not a text"),
    ],
)
def test_wrong_values_are_refused_alike_from_everywhere(name, value, message):
    with pytest.raises(MmkdError, match=message):
        Sample(**{name: value})
    with pytest.raises(MmkdError, match=f"^a sample: .*{message}"):
        Sample.parse({name: value}, "a sample")


def test_unknown_option_gives_the_close_match_and_all_names():
    with pytest.raises(MmkdError, match=r"a sample has no option 'temprature'; did you mean 'temperature'\?") as error:
        Sample.parse({"temprature": 1}, "a sample")
    assert "kd-weight" in str(error.value)


def test_option_given_twice():
    with pytest.raises(MmkdError, match=r"'kd_weight' is given twice"):
        Sample.parse({"kd-weight": 0.1, "kd_weight": 0.2}, "a sample")


def test_numbers_of_numpy_are_numbers():
    sample = Sample(temperature=np.float32(2), count=np.int64(5), side=np.uint8(8))
    assert sample == Sample(temperature=2.0, count=5, side=8)
    assert [type(value) for value in (sample.temperature, sample.count, sample.side)] == [float, int, int]
    with pytest.raises(MmkdError, match="temperature = .* is not a number"):
        Sample(temperature=np.bool_(True))


def test_frozen():
    with pytest.raises(FrozenInstanceError):
        Sample().temperature = 1.0


def test_defaults_are_checked_too():
    @dataclass(frozen=True)
    class Wrong(Options):
        share: float = option(2.0, "a default out of its range", le=1)

    with pytest.raises(MmkdError, match="share = 2.0 must be <= 1"):
        Wrong()


def test_asdict_round_trip():
    sample = Sample(temperature="2", side="8", mode="fast", flip="yes")
    assert Sample.parse(asdict(sample), "a sample") == sample
    assert Sample.parse({k: str(v) for k, v in asdict(sample).items()}, "a sample") == sample
    assert hash(sample) == hash(Sample(**asdict(sample)))


def test_a_subclass_keeps_its_base_options():
    @dataclass(frozen=True)
    class More(Sample):
        beta: float = option(1.0, "more", ge=0)

    more = More.parse({"beta": "2", "kd-weight": "0.25"}, "more")
    assert (more.beta, more.kd_weight, more.temperature) == (2.0, 0.25, 4.0)


def test_an_option_whose_default_is_not_what_older_records_did():
    @dataclass(frozen=True)
    class Later(Options):
        rate: float = option(1.0, "since the first format")
        epoch: str = option("last", "older records took the best one", since=3, before="best")
        smoothing: float = option(0.0, "older records had none", since=3)

    assert recorded(Later()) == {"rate": 1.0, "epoch": "last"}
    assert recorded(Later(epoch="best")) == {"rate": 1.0}
    assert Later(**older_options(Later, {"rate": 2.0})) == Later(rate=2.0, epoch="best", smoothing=0.0)
    for options in (Later(), Later(epoch="best", smoothing=0.1)):
        assert Later(**older_options(Later, recorded(options))) == options


def test_a_type_that_options_cannot_have_is_the_authors_fault():
    @dataclass(frozen=True)
    class Odd(Options):
        values: list = option((), "a list")

    with pytest.raises(TypeError, match="values"):
        Odd()


def test_describe():
    rows = {flag: (words, default, text) for flag, words, default, text in describe(Sample)}
    assert rows["kd-weight"] == ("float", 0.5, "share")
    assert rows["mode"][0] == "slow|fast"
    assert rows["order"][0] == "1|2"
    assert rows["side"][:2] == ("int|none", None)
    assert rows["low"][0] == "float|none"
    assert [row[0] for row in describe(Sample)][:2] == ["temperature", "kd-weight"]


def test_options_of_every_method_have_help_and_survive_text():
    for name in METHODS:
        config = METHODS.get(name).Config
        assert all(text for _, _, _, text in describe(config)), name
        shown = {flag: str(default) for flag, _, default, _ in describe(config)}
        assert config.parse(shown, name) == config(), name
