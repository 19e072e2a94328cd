"""The protocol of a frozen benchmark, and its hash."""

import hashlib
import os
from pathlib import Path

import pytest

from mmkd import MmkdError
from mmkd.bench import main as bench
from mmkd.cli.results import main
from mmkd.data.cards import read_toml
from mmkd.results.protocol import changed_since, find_protocol, read_protocol, version_line
from mmkd.store.travelling import read_travelling
from tests.results.made_up import PROTOCOL, SUITES, write_protocol

ROOT = Path(__file__).parents[2]
CARRIED = sorted(path.parent for path in (ROOT / "experiments").glob("*/protocol.toml"))
NO_SUITE = ("protocol.toml", "decisions.toml")


@pytest.fixture
def folder(tmp_path):
    write_protocol(tmp_path / "v")
    return tmp_path / "v"


@pytest.mark.parametrize("carried", CARRIED, ids=lambda path: path.name)
def test_a_frozen_protocol_is_as_it_was_frozen(carried):
    assert changed_since(read_protocol(carried)) == ""
    assert read_protocol(carried).version == carried.name


@pytest.mark.parametrize("carried", CARRIED, ids=lambda path: path.name)
def test_every_data_set_of_a_regime_has_a_part_of_its_suites(carried):
    protocol = read_protocol(carried)
    for regime in protocol.regimes.values():
        for dataset in regime.datasets:
            for request in regime.requests_of(dataset):
                assert set(request.seeds) == set(protocol.seeds), (regime.name, dataset)


@pytest.mark.parametrize("carried", CARRIED, ids=lambda path: path.name)
def test_its_records_are_read_together_without_a_warning(carried):
    """As its suites read them: no unit is on file twice with two results, no line is left out."""
    assert read_travelling([carried / "records"])


@pytest.mark.parametrize(
    "path", [f for own in CARRIED for f in sorted(own.glob("records/*.jsonl"))], ids=lambda f: f.stem
)
def test_its_records_have_the_teachers_of_their_students(path):
    """A regime's table reads its own files: a teacher that two regimes share has its line in both."""
    records = read_travelling([path])
    taught = {key for record in records.values() for key in (record.result.get("teachers") or {}).values()}
    if path.stem.endswith("-select"):  # students alone and teachers, which no student on record was taught by
        assert {record.kind for record in records.values()} == {"student", "teacher"}
    else:
        assert taught
    assert taught <= set(records)


SUITES_CARRIED = [path for own in CARRIED for path in sorted(own.glob("*.toml")) if path.name not in NO_SUITE]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("suite", SUITES_CARRIED, ids=lambda path: path.stem)
def test_every_suite_can_be_run(suite, tmp_path, monkeypatch, capsys):
    if not os.environ.get("MMKD_DATA"):
        pytest.skip("MMKD_DATA is not set")
    values = read_toml(suite, "suite")
    monkeypatch.chdir(tmp_path)
    arguments = ["--dry-run", "--cache", str(tmp_path / "cache"), "--data-root", os.environ["MMKD_DATA"]]
    status = bench(["--suite", str(suite), "--seeds", str(values["seeds"][0]), *arguments])
    printed = capsys.readouterr()
    if values.get("tuned") and not (suite.parent / values["tuned"]).is_dir():  # nothing of this regime is tuned yet
        assert status == 2, printed.err
        assert " units, " not in printed.out
        assert "there is no such folder; --tune N --freeze" in printed.err
        return
    assert status == 0, printed.err
    assert " units, " in printed.out


def test_the_hash_is_that_of_all_texts(folder):
    names = sorted(["protocol.toml", *(f"{name}.toml" for name in SUITES)])
    texts = {"protocol.toml": PROTOCOL, **{f"{name}.toml": text for name, text in SUITES.items()}}
    lines = [f"{hashlib.sha256(texts[name].encode()).hexdigest()}  {name}\n" for name in names]
    protocol = read_protocol(folder)
    assert protocol.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert protocol.title == f"v1-{protocol.sha256[:12]}"


@pytest.mark.parametrize("name", ["protocol.toml", "A.toml", "A-dev.toml"])
def test_a_changed_file_asks_for_a_new_version(folder, name):
    assert changed_since(read_protocol(folder)) == ""
    (folder / name).write_text((folder / name).read_text() + "# a comment\n")
    assert "make a new version" in changed_since(read_protocol(folder))


def test_a_new_suite_asks_for_a_new_version_and_line_ends_do_not(folder):
    for path in folder.glob("*.toml"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert changed_since(read_protocol(folder)) == ""
    (folder / "more.toml").write_text('methods = ["student"]\n')
    assert "make a new version" in changed_since(read_protocol(folder))


def test_without_a_version_it_says_how_to_make_one(folder, capsys):
    (folder / "VERSION").unlink()
    assert main(["hash", "--folder", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert out == version_line(read_protocol(folder)) + "\n"
    assert "VERSION is missing" in err
    (folder / "VERSION").write_text(out)
    assert main(["hash", "--folder", str(folder)]) == 0
    assert capsys.readouterr() == (out, "")


def test_names_and_regimes(folder):
    protocol = read_protocol(folder)
    assert protocol.regimes["A"].datasets == ("hapt6", "ucr-uea.ECG200")
    assert protocol.datasets["ucr-uea.ECG200"]["short"] == "ECG200"
    assert {name: regime.metric for name, regime in protocol.regimes.items()} == {"A": "macro_f1", "C": "accuracy"}
    assert protocol.regimes["C"].has_several_nets
    assert not protocol.regimes["A"].has_several_nets
    assert [request.student_net for request in protocol.regimes["C"].requests_of("basic-motions")] == [
        ("micro",),
        ("small",),
    ]
    assert find_protocol(folder) == folder


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('version = "v1"', "", "version = None is no name"),
        ('version = "v1"', 'version = "a b"', "is no name"),
        ("seeds = [0, 1, 2]", "", "seeds = None is no list"),
        ("seeds = [0, 1, 2]", "seeds = [0, -1]", "is no list of whole numbers"),
        ("[regimes.A]", "[regimes.'../A']", "its name has other characters"),
        ('metric = "macro_f1"', 'metric = "speed"', "metric = 'speed' is none"),
        ('datasets = ["hapt6", "ECG200"]', 'datasets = ["mnist"]', "'mnist' has no table"),
        ('suites = ["C", "C-wide"]', 'suites = ["../C"]', "is no file beside protocol.toml"),
        ('suites = ["C", "C-wide"]', "suites = []", "suites = [] is no list of names"),
        (PROTOCOL, 'version = "v1"\nseeds = [0]', "it has no tables [datasets.NAME]"),
        (PROTOCOL, "version = ", "not a TOML file"),
    ],
)
def test_a_malformed_protocol_is_one_line(folder, capsys, old, new, message):
    assert PROTOCOL.count(old) == 1
    (folder / "protocol.toml").write_text(PROTOCOL.replace(old, new))
    assert main(["hash", "--folder", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["v77", "", "nowhere/v1", "a\0b", "x" * 5000])
def test_there_is_no_such_protocol(name):
    with pytest.raises(MmkdError, match="protocol"):
        read_protocol(name)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mak"], "did you mean 'make'"),
        (["make", "more"], "make takes no 'more'"),
        (["hash", "--foldr", "x"], "--foldr"),
        (["make", "--folder", "nowhere"], "there is no such folder"),
    ],
)
def test_bad_arguments_are_one_line(argv, message, capsys):
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "make" in capsys.readouterr().out
    assert main([]) == 2


def test_the_sets_that_are_split_by_subject_are_known_by_the_names_of_results():
    found = read_protocol("v1")
    assert {"hapt6", "motionsense", "dsads", "mitbih12"} <= found.subject_sets
    assert "ucr-uea.ECG200" not in found.subject_sets
    assert found.subject_sets <= set(found.datasets)
