"""Records compared from Python: the frame of units, the leaderboard, the page; and how a record shows itself."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import mmkd
from mmkd import MmkdError
from mmkd.report.frames import compare_records
from mmkd.store.record import Record


@pytest.fixture(scope="module")
def runs(sines, shared_cache, tmp_path_factory):
    """Two methods under two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    settings = {"data": sines, "student": "sig", "teachers": "sig", "epochs": 2, "image_size": 16, "runs": folder}
    for seed in (0, 1):
        mmkd.run("student", seed=seed, **settings, cache=shared_cache)
        mmkd.run("kd", seed=seed, temperature=2.5, **settings, cache=shared_cache)
    return folder


def units(runs):
    every = [mmkd.store.records.open_record(path.parent) for path in runs.glob("[!.]*/result.json")]
    return [record for record in every if record.kind == "student"]


def test_the_frame_has_a_row_a_unit(runs):
    frame = mmkd.compare_records(runs).frame
    assert len(frame) == 4
    assert sorted(zip(frame["method"], frame["seed"], strict=True)) == [
        ("kd", 0),
        ("kd", 1),
        ("student", 0),
        ("student", 1),
    ]
    by_key = frame.set_index("key")
    for record in units(runs):
        row = by_key.loc[record.key]
        for name, score in record.metrics.test.items():
            assert row[name] == score
        assert (row["data"], row["student"], row["student_net"]) == ("sines", "sig", "small")
        assert (row["parameters"], row["seconds"]) == (record.parameters, record.seconds)
        assert row["teachers"] == ("sig=WRN16-1" if record.unit.method == "kd" else "")
        assert row["folder"] == str(record.folder)
        assert json.loads((record.folder / "result.json").read_text())["key"] == record.key
    assert frame["options"][frame["method"] == "kd"].str.contains(r"\btemperature=2.5\b").all()


def test_the_leaderboard_is_that_of_the_file_with_the_best_first(runs, tmp_path):
    from mmkd.compare import main

    assert main(["--runs", str(runs), "--out", str(tmp_path)]) == 0
    board = mmkd.compare_records(str(runs)).leaderboard()
    file = pd.read_csv(tmp_path / "leaderboard.csv")
    assert sorted(board["row"]) == sorted(file["row"])
    for name in ("macro_f1_mean", "accuracy_sd", "change_mean", "n"):
        merged = board.set_index("row")[name].astype(float)
        np.testing.assert_allclose(merged[file["row"]], file[name].astype(float), rtol=1e-12)
    for _, group in board.groupby("group"):
        scores = group["macro_f1_mean"].dropna().tolist()
        assert scores == sorted(scores, reverse=True)


def test_the_page_is_one_text_and_a_file(runs, tmp_path):
    compared = mmkd.compare_records(runs)
    text = compared.to_html(tmp_path / "page.html")
    assert text == (tmp_path / "page.html").read_text()
    assert text.lstrip().lower().startswith("<!doctype html")
    assert {"kd", "student"} <= set(re.findall(r"\w+", text))
    with pytest.raises(MmkdError, match="to_html .*: No such file or directory"):
        compared.to_html(tmp_path / "no" / "page.html")


def test_a_list_of_records_brings_its_teachers(runs):
    compared = compare_records(iter(units(runs)))
    assert {record.kind for record in compared.records} == {"student", "teacher"}
    assert "teacher" in set(compared.leaderboard()["kind"])
    assert len(compare_records(units(runs)[0])) == len(compare_records([units(runs)[0].folder])) == 1
    assert repr(compared) in ("ComparedRecords(4 units: kd, student)", "ComparedRecords(4 units: student, kd)")
    assert compared._repr_html_().count("<tr") == 5


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nowhere", "there is no such folder of records"),
        ([], "the list is empty"),
        (5, "5 is no folder of records"),
        ([5], "5 is no record"),
        (["nowhere"], "is no record of a unit"),
        ("x" * 5000, "there is no such folder"),
    ],
)
def test_what_is_no_record_is_refused_in_one_line(what, message):
    with pytest.raises(MmkdError, match=message) as caught:
        compare_records(what)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_and_an_odd_control_are_refused(runs, tmp_path):
    with pytest.raises(MmkdError, match="holds no record"):
        compare_records(tmp_path)
    with pytest.raises(MmkdError, match="control 5 is no name"):
        compare_records(runs, control=5)
    with pytest.raises(MmkdError, match="unknown method 'famm'"):
        compare_records(runs, control="famm").leaderboard()


def test_a_record_shows_itself_in_a_line_and_in_a_table(runs):
    record = next(record for record in units(runs) if record.unit.method == "kd")
    line = repr(record)
    accuracy = f"{record.metrics.test['accuracy']:.3f}"
    assert line.startswith(
        f"Record(kd on sines, student sig (small), seed {record.unit.seed}: accuracy {accuracy}, macro_f1 "
    )
    assert line.endswith(f"; {record.folder})")
    html = record._repr_html_()
    assert html.startswith("<table>")
    assert f"<tr><th>test accuracy</th><td>{accuracy}</td></tr>" in html
    assert "temperature=2.5" in html
    teacher = mmkd.store.records.open_record(record.folder.parent / record.teachers["sig"])
    assert repr(teacher).startswith("Record(teacher sig (WRN16-1) on sines, seed ")


def test_an_edited_record_shows_what_is_left_and_escapes_it(tmp_path):
    assert (
        repr(Record(tmp_path, {"key": "k", "kind": "student"}))
        == f"Record(student k, which cannot be read; {tmp_path})"
    )
    assert Record(tmp_path / "<b>", {})._repr_html_().count("<b>") == 0
