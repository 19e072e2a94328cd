"""The status of methods: what is current, classic, from the notes or a control, and where it is shown."""

import json
import shutil

import pytest

from mmkd import METHODS, MmkdError
from mmkd.bench import main
from mmkd.core.options import recorded
from mmkd.methods.contract import STATUSES
from mmkd.report.columns import STATUSES as SORTED
from mmkd.units import methods
from mmkd.units.expansion import expand
from mmkd.units.methods import named_methods, own_statuses, status_line, status_of
from mmkd.units.request import Request

NOTES = {"camkd", "ebkd", "feature-kd", "freq-lh", "progressive"}
CLASSIC = {"kd", "full-kd", "eskd", "aver", "ae-kd", "ebkd-entropy", "fitnet", "at", "sp", "rkd", "crd", "vid", "pkt"}
CLASSIC |= {"nst", "cc"}


def test_every_method_has_a_status_that_is_read_without_torch_too():
    assert own_statuses() == {name: METHODS.get(name).status for name in METHODS}
    assert set(own_statuses().values()) <= set(STATUSES)
    assert tuple(STATUSES) == SORTED, "the report knows them without torch"


def test_the_status_of_one_method_reads_its_file_alone():
    methods._declared_in.cache_clear()
    assert [status_of(name, {}) for name in ("kd", "fam-1d", "fam")] == ["classic", *["current"] * 2]
    assert methods._declared_in.cache_info().misses == 2


def test_an_ablation_of_a_method_is_a_control():
    """`all-pass` is `freq-lh` without its bands: what it has in common with plain matching of features."""
    for name in METHODS:
        for option, values in METHODS.get(name).ablations.items():
            for value in values:
                config = METHODS.get(name).Config.parse({option: value}, name)
                assert status_of(name, {"spec": {"options": recorded(config)}}) == "control"
    assert status_of("freq-lh", {"spec": {"options": {"strategy": "low"}}}) == "notes"
    assert status_of("freq-lh", {"spec": {"options": {}}}) == "notes", "the default"
    with_ablations = {name for name in METHODS if METHODS.get(name).ablations}
    assert with_ablations == {"freq-lh", "freekd", "fd-cmkd", "figkd"}


def test_who_is_what():
    found = own_statuses()
    assert {name for name, status in found.items() if status == "classic"} == CLASSIC
    assert {name for name, status in found.items() if status == "notes"} == NOTES
    assert found["student"] == "control"
    assert {found[name] for name in ("rld", "ttm", "wttm", "abkd", "ofa", "wkd-f", "ikl", "gkl", "dkd")} == {"current"}


def test_current_is_a_word_for_methods():
    current = named_methods(("current",))
    assert "student" in current
    assert {METHODS.get(name).status for name in current} == {"current", "control"}
    assert not set(current) & (CLASSIC | NOTES)
    assert set(named_methods(("all",))) == {"student"} | {n for n in METHODS if METHODS.get(n).status != "control"}
    assert named_methods(("kd", "rld")) == ("kd", "rld")


@pytest.mark.parametrize("word", ["all", "current", "controls"])
def test_a_word_stands_alone(word, sines):
    with pytest.raises(MmkdError, match=f"'{word}' must be the only name"):
        Request(methods=(word, "kd"), data=str(sines))


def test_controls_beside_other_methods_are_pointed_to(sines):
    with pytest.raises(MmkdError, match="--with-controls adds them to other methods"):
        Request(methods=("controls", "kd"), data=str(sines))


def test_units_of_current_methods(sines):
    found = {spec.method for spec, _ in expand(Request(methods=("current",), data=str(sines), students=("sig",)))}
    assert found == set(named_methods(("current",)))


def test_current_leaves_out_what_does_not_fit(tiny, tmp_path, capsys):
    """`reverse-kd` is for anomalies; the message is that of `all`."""
    where = ["--runs", str(tmp_path), "--cache", str(tiny["cache"]), "--data", str(tiny["data"])]
    size = ["--student", "sig", "--epochs", "3", "--image-size", "16", "--dry-run"]
    assert main(["--method", "current", *where, *size]) == 0
    printed = capsys.readouterr()
    assert "reverse-kd" in printed.out + printed.err
    assert "dkd" in printed.out


def test_the_list_has_a_line_for_each_status(capsys):
    assert main(["--list", "methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [next(n for n, line in enumerate(lines) if line.startswith(f"{status} (")) for status in STATUSES]
    assert heads == sorted(heads)
    for name in METHODS:
        (number,) = [n for n, line in enumerate(lines) if line.startswith(f"{name} ")][:1]
        above = max(head for head in heads if head < number)
        assert lines[above].startswith(METHODS.get(name).status)
    assert main(["--list", "methods", "--json"]) == 0
    entries = {entry["name"]: entry["status"] for entry in json.loads(capsys.readouterr().out)["methods"]}
    assert entries == own_statuses()


def test_a_plugins_status_is_on_record(tiny, tmp_path, capsys):
    """And is checked; without one a method is current."""
    plugin = tmp_path / "theirs.py"
    text = "from mmkd import METHODS, Method\n\n@METHODS.register('theirs')\nclass Theirs(Method):\n"
    text += "    '''Theirs 2020.'''\n    distils = False\n    status = 'STATUS'\n"
    text += "    def losses(self, student, teachers, batch):\n        return self.supervised(student, batch)\n"
    where = ["--runs", str(tmp_path / "runs"), "--cache", str(tiny["cache"]), "--data", str(tiny["data"])]
    flags = ["--method", "theirs", "--plugin", str(plugin), "--student", "sig", "--epochs", "1", *where]
    plugin.write_text(text.replace("STATUS", "old"))
    assert main(["--list", "methods", "--plugin", str(plugin)]) == 0
    assert "old (not known):" in capsys.readouterr().out
    assert main(flags) == 2
    assert "theirs.status is 'old'; known: current, classic, notes, control" in capsys.readouterr().err
    ablations = "    ablations = {'OPTION': (0.5,)}\n"
    parts = text.replace("STATUS", "classic").partition("    def losses")
    plugin.write_text(parts[0] + ablations + parts[1] + parts[2])
    assert main(flags) == 2
    assert "theirs.ablations names 'OPTION', which is no option of it" in capsys.readouterr().err
    plugin.write_text((parts[0] + ablations + parts[1] + parts[2]).replace("OPTION", "label_smoothing"))
    assert main([*flags, "--label-smoothing", "0.5"]) == 0
    assert "controls: no methods" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs").glob("*/result.json")
    assert status_of("theirs", json.loads(folder.read_text())) == "control"
    shutil.rmtree(tmp_path / "runs")
    plugin.write_text(text.replace("STATUS", "classic"))
    assert main(flags) == 0
    assert "classic (of before 2021): theirs" in capsys.readouterr().out
    (result,) = (json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/result.json"))
    assert result["method_status"] == "classic"
    assert status_of("theirs", result) == "classic"


def test_tables_mark_what_is_not_current():
    assert status_of("kd", {}) == "classic"
    assert status_of("nobody", {}) == ""
    rows = [("kd T=2", "classic"), ("rld", "current"), ("at", "classic"), ("camkd", "notes"), ("student", "control")]
    line = status_line(rows)
    assert line.startswith("classic (of before 2021): kd T=2, at; notes (")
    assert line.endswith(": camkd")
    assert status_line(rows[1:2]) == ""


def test_the_comparison_has_a_column(tiny, tmp_path, capsys):
    from mmkd.compare import main as compare

    where = ["--runs", str(tmp_path), "--cache", str(tiny["cache"]), "--data", str(tiny["data"])]
    flags = ["--method", "student,kd,dkd", "--student", "sig", "--teachers", "sig", "--epochs", "1", *where]
    assert main(flags) == 0
    assert "classic (of before 2021): kd" in capsys.readouterr().out
    assert compare(["--runs", str(tmp_path)]) == 0
    assert "classic (of before 2021): kd" in capsys.readouterr().out
    table = (tmp_path / "comparison" / "tables.md").read_text()
    lines = [line for line in table.splitlines() if "|" in line]
    first = lines[: [line.split("|")[1].strip() for line in lines].index("", 1)]  # other tables come below
    cells = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in first}
    assert cells[""] == "status"
    assert {name: cells[name] for name in ("kd", "dkd", "student")} == {
        "kd": "classic",
        "dkd": "current",
        "student": "control",
    }
    assert "status" in (tmp_path / "comparison" / "leaderboard.csv").read_text().splitlines()[0]
