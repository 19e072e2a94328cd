"""Rows of controls: listed apart below the methods, never ranked, in every format."""

import csv
import io
import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from mmkd.comparison import compare as comparison
from mmkd.comparison.ranking import rankings
from mmkd.comparison.rows import Row
from mmkd.report.document import document
from mmkd.report.markup import latex_tables, markdown_tables
from mmkd.report.page import page_files
from mmkd.report.page.bands import control_band
from mmkd.report.phrases import CONTROLS
from mmkd.report.reproducibility import reproducibility
from mmkd.report.run_rows import rows as table_rows
from mmkd.report.spreadsheet import leaderboard_csv
from mmkd.report.table import print_tables
from mmkd.report.terminal import print_comparison
from mmkd.report.tsml import tsml_files
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.store.records import Records
from mmkd.units.methods import kind_of_row
from mmkd.units.result import UnitResult

N, K = 60, 3
TRUE = np.arange(N) % K
ALONE = UnitSpec(
    data=DataSpec("sines", "ab" * 32),
    seed=0,
    method="student",
    options={},
    views={"sig": {}},
    teachers={},
    teacher_training=None,
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(epochs=5),
)
SCORES = {"student": 40, "kd": 50, "dkd": 46, "zz-smooth": 54, "zz-shuffled": 43, "student-ensemble": 57}
"""How many of the windows of seed 0 each has right; a control is the best."""
OWN = {"zz-smooth": "control", "zz-shuffled": "control", "student-ensemble": "control"}


def write(runs, method, seed, right, dataset="sines", net="small"):
    spec = replace(ALONE, method=method, seed=seed, data=replace(ALONE.data, name=dataset), student_net=net)
    predicted = np.where(np.arange(N) < right, TRUE, (TRUE + 1 + seed) % K)
    scores = {"accuracy": float((predicted == TRUE).mean()), "nll": 1.0, "ece": 0.1}
    scores["macro_f1"] = scores["accuracy"]

    def fill(folder):
        p = np.full((N, K), 0.1, np.float32)
        p[np.arange(N), predicted] = 0.8
        np.savez(folder / "predictions.npz", window=np.arange(N), true=TRUE, predicted=predicted, probabilities=p)
        (folder / "history.csv").write_text("epoch,loss\n1,0.5\n")
        return {
            "kind": "student",
            "key": spec.key,
            "spec": asdict(spec),
            "metrics": {"test": scores, "validation": {"accuracy": 1.0}},
            "method_status": OWN.get(method, "current"),
            "parameters": (1000 if net == "small" else 300) * (5 if method == "student-ensemble" else 1),
            "seconds": 1.0,
            "process_peak_memory_mib": 1.0,
            "teachers": {},
            "data": {"classes": list("abc"), "window": 32, "split": {"unit": "subject", "sha256": "cd" * 32}},
            "environment": {},
        }

    record = Records(runs).write(spec.key, fill)
    curves = [
        {"disturbance": "noise", "level": level, "unit": "u", "accuracy": 0.5, "macro_f1": scores["macro_f1"] / (n + 2)}
        for n, level in enumerate((0.1, 0.2))
    ]
    robustness = {"clean": {"macro_f1": scores["macro_f1"]}, "curves": curves, "how": "disturbed by hand"}
    Records(runs).add_measurements(record, {"robustness.json": json.dumps(robustness).encode()})
    return record


def fill(runs, seeds=(0, 1), methods=tuple(SCORES), dataset="sines"):
    for seed in seeds:
        for number, method in enumerate(methods):
            write(runs, method, seed, SCORES[method] + seed + (seed * number) % 2, dataset)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls")
    fill(folder)
    return folder


def compared(runs, control="student"):
    records, left_out = comparison.read_records(Records(runs))
    return comparison.compare(records, control, left_out)


def pages(found):
    return page_files(found, rankings(found), reproducibility(found, {}), [])


def test_a_row_is_a_control_by_the_status_of_its_method():
    assert kind_of_row("student", "label-smoothing", "control") == "control"
    assert kind_of_row("student", "student", "control") == "student"
    assert kind_of_row("student", "kd", "classic") == "student"
    assert kind_of_row("reference", "random-forest", "control") == "reference"


def test_controls_stand_below_the_methods_and_have_their_numbers(runs):
    (group,) = compared(runs).groups
    assert [(row.kind, row.name) for row in group.rows] == [
        *(("student", name) for name in ("student", "kd", "dkd")),
        *(("control", name) for name in ("student-ensemble", "zz-smooth", "zz-shuffled")),
    ]
    smooth = next(row for row in group.rows if row.name == "zz-smooth")
    assert smooth.change.mean == pytest.approx((54 - 40 + 0.5) / N, abs=1e-9)
    assert smooth.time is not None, "it is told, or why not"


def test_the_tables_have_a_heading_for_them(runs):
    found = compared(runs)
    ranked = rankings(found)
    stream = io.StringIO()
    print_comparison(found, ranked, stream)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    number = lines.index(CONTROLS)
    assert [line.split()[0] for line in lines[number - 3 : number]] == ["student", "kd", "dkd"]
    below = [line.split()[0] for line in lines[number + 1 : number + 4]]
    assert below == ["student-ensemble", "zz-smooth", "zz-shuffled"]
    starts = {line.index("0.") for line in (*lines[number - 3 : number], *lines[number + 1 : number + 4])}
    assert len(starts) == 1, "in the columns of the others"
    assert any("student-ensemble: several students alone, averaged" in line for line in lines)
    text = markdown_tables(found, ranked)
    assert text.index("| kd |") < text.index(f"*{CONTROLS}*") < text.index("| zz-smooth |".replace("_", "\\_"))
    assert CONTROLS in latex_tables(found).replace("{-}", "-")


def test_the_page_has_them_in_a_part_that_stays_below(runs):
    text = pages(compared(runs))["report.html"]
    table = text[text.index("<table data-table") : text.index("</table>")]
    methods, controls = table.split('<tbody class="controls">')
    assert "zz-smooth" not in methods
    assert CONTROLS in controls
    assert [name for name in SCORES if f">{name}</a>" in controls] == ["zz-smooth", "zz-shuffled", "student-ensemble"]
    assert "trained by 3 methods and 3 controls" in text
    lead = re.search(r"The highest mean [^<]*", text).group()
    assert "(kd)" in lead, "no control is the best student"


def test_no_control_is_ranked_or_tested(tmp_path):
    for number in range(10):
        fill(tmp_path, seeds=(number,), dataset=f"set{number}")
    (ranking,) = rankings(compared(tmp_path))
    assert {test.first for test in ranking.tests} == {"kd", "dkd"}
    assert {name for pair in ranking.pairs for name in (pair.first, pair.second)} == {"student", "kd", "dkd"}
    assert set(ranking.diagram.ranks) == {"student", "kd", "dkd"}
    assert "controls, neither tested nor ranked: student-ensemble, zz-smooth, zz-shuffled" in ranking.notes
    (against,) = rankings(compared(tmp_path, "zz-smooth"))
    assert against.control == "zz-smooth", "methods may be held against one"
    assert {test.first for test in against.tests} == {"student", "kd", "dkd"}


def test_files_name_the_kind(runs):
    found = compared(runs)
    kinds = {line["row"]: line["kind"] for line in csv.DictReader(io.StringIO(leaderboard_csv(found)))}
    assert kinds == {name: OWN.get(name, "student") for name in SCORES}
    told = json.loads(json.dumps(document(found, [])))
    assert {row["row"]: row["kind"] for row in told["groups"][0]["rows"]} == kinds
    folders = {path.split("/")[1] for path in tsml_files(found, [])}
    assert sum(name.startswith("control-") for name in folders) == 3


def test_only_controls_on_record(tmp_path):
    fill(tmp_path, methods=("zz-smooth", "zz-shuffled"))
    found = compared(tmp_path)
    assert [row.kind for row in found.groups[0].rows] == ["control", "control"]
    assert "trained by 0 methods and 2 controls" in pages(found)["report.html"]


def test_the_table_of_a_run_has_them_below_too(tmp_path, monkeypatch):
    from mmkd import METHODS

    for name in OWN:
        if name not in METHODS:
            METHODS.register(name)(type(name, (METHODS.get("student"),), {"status": "control"}))
    results = []
    for method in ("zz-smooth", "student", "kd"):
        record = write(tmp_path, method, 0, SCORES[method])
        results.append(UnitResult(record.spec, "done", record))
    found = table_rows(results, (), {result.spec.key: results[1].record for result in results})
    assert [row.kind for row in found] == ["control", "student", "student"]
    stream = io.StringIO()
    print_tables(found, stream)
    lines = [line.split(" ")[0] for line in stream.getvalue().splitlines()]
    assert lines.index("student") < lines.index("kd") < lines.index("controls:") < lines.index("zz-smooth")


def test_the_band_leaves_out_controls_that_are_blind_for_the_class():
    rows = {
        "label-smoothing": ({}, 54.0),
        "random-teacher": ({}, 1.0),
        "noise-logits": ({}, 2.0),
        "shuffled-teacher scope=any": ({"scope": "any"}, 3.0),
        "shuffled-teacher scope=class": ({"scope": "class"}, 43.0),
        "student-ensemble": ({}, 57.0),
    }
    made = [Row("control", name.split()[0], name, settings, {}) for name, (settings, _) in rows.items()]
    band = control_band(made, lambda row: rows[row.name][1])
    assert band.means == [("label-smoothing", 54.0), ("shuffled-teacher scope=class", 43.0)]
    assert band.bounds == [("student-ensemble", 57.0)]


def test_figures_draw_the_controls_as_a_band(tmp_path):
    fill(tmp_path)
    for seed in (0, 1):
        write(tmp_path, "kd", seed, 38, net="tiny")
        write(tmp_path, "student", seed, 36, net="tiny")
    files = pages(compared(tmp_path))
    changes = next(text for name, text in files.items() if name.endswith("change.svg") and "<polygon" in text)
    names = re.findall(r"<text[^>]*>([^<]*)<", changes)
    assert {"kd", "dkd", "controls, lowest to highest mean", "student-ensemble, a bound for averaging"} <= set(names)
    assert not {"zz-smooth", "zz-shuffled"} & set(names), "they are the band"
    assert "controls: zz-smooth" in changes
    costs = next(text for name, text in files.items() if "cost-1" in name and name.endswith("parameters.svg"))
    assert "controls, student sig (small)" in costs
    assert "7 networks" not in costs
    page = files["report.html"]
    assert "The band reaches from the lowest to the highest mean of the controls whose targets" in page
    parts = page.split(f'<p class="notes">{CONTROLS}</p>')
    assert len(parts) == 2, "one of the two groups has controls"
    assert "<span>dkd</span>" in parts[0]
    assert "<span>zz-smooth</span>" in parts[1]
    assert "<span>zz-smooth</span>" not in parts[0]


def test_the_curves_of_robustness_have_the_range_of_the_controls(runs):
    files = pages(compared(runs))
    (chart,) = [text for name, text in files.items() if name.endswith("/robustness.svg")]
    names = re.findall(r"<text[^>]*>([^<]*)<", chart)
    assert {"kd", "dkd", "student", "controls, lowest to highest mean"} <= set(names)
    assert not {"zz-smooth", "student-ensemble"} & set(names)
    (polygon,) = re.findall(r"<polygon [^>]*fill-opacity[^>]*", chart)
    points = [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]*)"', polygon)[1].split()]
    assert len(points) == 6, "undisturbed and two levels, there and back"
    heights = [high[1] - low[1] for low, high in zip(points[:3], points[:2:-1], strict=True)]
    ratio = [abs(height) / abs(heights[0]) for height in heights]
    assert ratio == pytest.approx([1, 1 / 2, 1 / 3], abs=0.05), "as the scores by hand fall"
