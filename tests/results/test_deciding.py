"""`python -m mmkd.results decide`: sets with room, and the best control, by the rules of the protocol."""

import tomllib
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from mmkd.cli.results import main
from mmkd.core.errors import MmkdError
from mmkd.results.deciding import decide
from mmkd.results.protocol import read_protocol, version_line
from mmkd.specs.unit import TeacherSpec
from mmkd.units.expansion import student_alone
from mmkd.units.selection import in_fold
from mmkd.units.suites import read_suites
from tests.results.made_up import HEAD, dataset, record, units, write_protocol, write_records

PHASE = """
[selection]
folds = 3
seeds = [0, 1]
development = { A = "A-dev" }
"""
GAPS = {"hapt6": [3, 4, 5, 3, 4, 5], "ucr-uea.ECG200": [9, -6, 9, -6, 9, -6]}
"""Points of each pair of seed and fold; the mean of both is below 2 or uncertain, but for the first."""


@pytest.fixture
def protocol(tmp_path):
    made = write_protocol(tmp_path / "v")
    path = made.folder / "protocol.toml"
    path.write_text(path.read_text() + PHASE)
    suite = HEAD.format(controls="true").replace("[0, 1, 2]", "[100, 101]") + 'datasets = ["natops"]\n'
    (made.folder / "A-dev.toml").write_text(suite)
    few = made.folder / "A.toml"  # three folds need three labelled subjects
    few.write_text(few.read_text().replace("labelled_subjects = 2", "labelled_subjects = 3"))
    made = read_protocol(made.folder)
    (made.folder / "VERSION").write_text(version_line(made) + "\n")
    return made


def selection_records(protocol, gaps=GAPS):
    """Teachers and students alone of regime A in three folds under two seeds."""
    found = {}
    for name, points in gaps.items():
        for request in protocol.regimes["A"].requests_of(name):
            for spec, data in units(replace(request, seeds=(0, 1), methods=("kd",), with_controls=False), name):
                if spec.method != "kd":
                    continue
                for number in (1, 2, 3):
                    inner = in_fold(spec, number, 3)
                    gap = points[3 * spec.seed + number - 1] / 100
                    alone = student_alone(inner)
                    found[alone.key] = record(alone, data, 0.6)
                    teacher = inner.teacher("sig")
                    found[teacher.key] = record(teacher, data, 0.6 + gap)
    return list(found.values())


def development_records(protocol, change):
    """Units of the development suite; `change` maps a method to its change against the student."""
    (request,) = read_suites(protocol.folder / "A-dev.toml", records=())
    found = {}
    for spec, data in units(request, "natops"):
        found[spec.key] = record(spec, data, 0.5 + 0.01 * (spec.seed - 100) + change.get(spec.method, -0.1))
        for modality in spec.teachers:
            teacher = spec.teacher(modality)
            found[teacher.key] = record(teacher, dataset("natops"), 0.9)
    return list(found.values())


def test_sets_with_room_and_the_best_control_follow_from_records(protocol, capsys):
    write_records(protocol.records / "A-select.jsonl", selection_records(protocol))
    change = {"student": 0.0, "student-ensemble": 0.3, "longer": 0.05, "label-smoothing": 0.04, "kd": 0.2}
    write_records(protocol.records / "A-dev.jsonl", development_records(protocol, change))
    assert main(["decide", "--folder", str(protocol.folder)]) == 0
    text = (protocol.folder / "decisions.toml").read_text()
    table = tomllib.loads(text)
    own = table["regimes"]["A"]
    assert table["protocol"] == protocol.title == read_protocol(protocol.folder).title  # it is not in the hash
    assert own["teachable"] == ["hapt6"]
    assert own["best_control"] == "longer"  # the ensemble is a bound, kd no control
    assert "student-ensemble" not in own["controls"]
    assert own["controls"]["label-smoothing"] == pytest.approx(0.04)
    for short, name in (("hapt6", "hapt6"), ("ECG200", "ucr-uea.ECG200")):
        x = np.array(GAPS[name]) / 100
        half = t.ppf(0.95, 5) * x.std(ddof=1) / np.sqrt(6)
        assert own["gaps"][short] == {
            "mean": pytest.approx(x.mean(), abs=1e-6),
            "low": pytest.approx(x.mean() - half, abs=1e-6),
            "high": pytest.approx(x.mean() + half, abs=1e-6),
            "n": 6,
        }
    assert "C" not in table["regimes"]
    assert "A: 1 of 2 sets with room, best control longer" in capsys.readouterr().out


def test_what_is_incomplete_is_said_and_not_decided(protocol, capsys):
    records = selection_records(protocol)
    lacking = next(i for i, one in enumerate(records) if isinstance(one.spec, TeacherSpec))
    name = records[lacking].spec.data.name
    write_records(protocol.records / "A-select.jsonl", records[:lacking] + records[lacking + 1 :])
    own = development_records(protocol, {"longer": 0.1})
    without = [
        one for one in own if isinstance(one.spec, TeacherSpec) or (one.unit.method, one.unit.seed) != ("longer", 101)
    ]
    write_records(protocol.records / "A-dev.jsonl", without)
    (one,) = (one for one in decide(protocol) if one.regime == "A")
    assert protocol.datasets[name]["short"] not in one.gaps
    assert len(one.gaps) == 1
    assert one.best_control == ""
    assert "longer" not in one.changes
    assert main(["decide", "--folder", str(protocol.folder)]) == 0
    said = capsys.readouterr().err
    assert "5 of 6 pairs of seed and fold" in said
    assert "longer on development sets: 1 of 2" in said
    assert "best_control" not in (protocol.folder / "decisions.toml").read_text()


def test_a_control_that_never_ran_on_development_sets_leaves_the_best_one_open(protocol):
    own = development_records(protocol, {"longer": 0.1})
    kept = [one for one in own if isinstance(one.spec, TeacherSpec) or one.unit.method != "label-smoothing"]
    write_records(protocol.records / "A-dev.jsonl", kept)
    (one,) = (one for one in decide(protocol) if one.regime == "A")
    assert one.best_control == ""
    assert one.changes["longer"] > 0.1
    assert "label-smoothing on development sets: 0 of 2 pairs of set and seed" in one.notes


def test_records_of_other_seeds_or_with_fewer_folds_decide_nothing(protocol):
    path = protocol.folder / "protocol.toml"
    write_records(protocol.records / "A-select.jsonl", selection_records(protocol))
    assert decide(protocol)[0].gaps.keys() == {"hapt6", "ECG200"}
    path.write_text(path.read_text().replace("folds = 3", "folds = 2"))
    assert not decide(read_protocol(protocol.folder))[0].gaps
    path.write_text(
        path.read_text().replace("folds = 2", "folds = 3").replace("seeds = [0, 1]\ndev", "seeds = [2]\ndev")
    )
    assert not decide(read_protocol(protocol.folder))[0].gaps


def test_without_a_phase_or_records_there_is_nothing_to_decide(protocol, tmp_path, capsys):
    assert main(["decide", "--folder", str(protocol.folder)]) == 2
    assert "no records of the phase" in capsys.readouterr().err
    assert not (protocol.folder / "decisions.toml").exists()
    plain = write_protocol(tmp_path / "plain")
    with pytest.raises(MmkdError, match="no .selection."):
        decide(plain)
