"""The tables of frequency.md, fam-side.md and segnext.md are those of their files, and their arithmetic is right."""

import csv
import importlib.util

import numpy as np
import pytest
from scipy import stats

from tests.test_controls_page import RESULTS, ROOT

_SPEC = importlib.util.spec_from_file_location("result_tables", ROOT / "experiments" / "tables.py")
tables = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tables)
ROWS = [("student", "student"), ("student", "fam"), ("student", "fam mask=none"), ("teacher", "sig")]
SCORES = (0.6, 0.7, 0.68, 0.9)


@pytest.mark.parametrize("page", tables.PAGES)
def test_the_tables_of_a_page_are_those_of_its_file(page):
    text = (RESULTS / f"{page}.md").read_text(encoding="utf-8")
    for heading, table in tables.tables(page).items():
        assert f"{heading}\n" in text or f"{heading}**" in text
        assert table in text


@pytest.mark.parametrize("page", tables.PAGES)
def test_every_group_of_the_file_is_in_a_table(page):
    with (RESULTS / page / "results.csv").open(encoding="utf-8") as lines:
        groups = {line["group"] for line in csv.DictReader(lines)}
    assert groups == {group for table in tables.PAGES[page].values() for group in table.groups}


def test_a_change_is_paired_by_seed_with_the_interval_of_student():
    own, other = {0: 0.7, 1: 0.8, 2: 0.65, 7: 0.1}, {0: 0.6, 1: 0.75, 2: 0.7, 5: 0.9}
    gaps = [10.0, 5.0, -5.0]
    low, high = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert tables.change(own, other, 3) == f"{np.mean(gaps):+.1f} ({low:+.1f} to {high:+.1f})"
    assert tables.change(own, other, 5).endswith(", n 3")
    assert tables.change({0: 0.7}, {0: 0.6}, 1) == "+10.0"
    assert tables.change({0: 0.7}, {1: 0.6}, 1) == ""


def test_kept_lines_are_those_of_the_metrics(tmp_path):
    source = tmp_path / "results.csv"
    head = "task,dataset,student,group,kind,row,seed,key,metric,value\n"
    lines = ['t,d,s,"g, h",student,kd,0,k,macro_f1,0.12345678\n', 't,d,s,"g, h",student,kd,0,k,nll,1.5\n']
    source.write_text(head + "".join(lines), encoding="utf-8")
    tables.keep(source, tmp_path / "page" / "results.csv")
    scores, rows = tables.read(tmp_path / "page" / "results.csv")
    assert scores == {("g, h", "kd", "macro_f1"): {0: 0.123457}}
    assert rows == [("g, h", "student", "kd")]


def test_a_table_compares_with_the_student_and_with_the_row_without_its_filter():
    rows = [tables.Row("g", kind, name) for kind, name in ROWS]
    scores = {("g", name, "macro_f1"): {0: x, 1: x + 0.01} for (_, name), x in zip(ROWS, SCORES, strict=True)}
    table = tables.Table(("g",), references={"fam": "fam mask=none"})
    lines = tables.markdown(table, scores, rows).splitlines()
    assert lines[2].startswith("| teacher `sig` | 0.905 ± 0.007 |  |")
    assert lines[3] == "| `student` | 0.605 ± 0.007 |  |  |"
    assert lines[4] == "| `fam` | 0.705 ± 0.007 | +10.0 (+10.0 to +10.0) | +2.0 (+2.0 to +2.0) |"
    assert lines[5] == "| `fam mask=none` | 0.685 ± 0.007 | +8.0 (+8.0 to +8.0) |  |"
