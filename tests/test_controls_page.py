"""The page of the suite of controls says what its files say."""

import csv
import importlib.util
from pathlib import Path

from mmkd.units.suites import read_suites

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
_SPEC = importlib.util.spec_from_file_location("controls_page", ROOT / "experiments" / "controls.py")
controls = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(controls)
ROWS = list(csv.DictReader((RESULTS / "controls" / "leaderboard.csv").read_text(encoding="utf-8").splitlines()))


def test_the_table_of_the_page_is_that_of_its_file():
    assert controls.table(ROWS) in (RESULTS / "controls.md").read_text(encoding="utf-8")


def test_every_part_of_the_suite_is_a_column():
    parts = [request.name.removeprefix("controls ") for request in read_suites(ROOT / "experiments" / "controls.toml")]
    assert parts == list(controls.PARTS)
    assert set(controls.PARTS.values()) == {row["group"] for row in ROWS}
