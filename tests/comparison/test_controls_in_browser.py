"""The page with controls in a real browser: they stay below the methods however the table is sorted or filtered."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from mmkd import compare
from mmkd.report.phrases import CONTROLS
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.store.records import Records

pytestmark = pytest.mark.browser

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
METHODS = {"student": 40, "kd": 50, "dkd": 46}
CONTROL = {"label-smoothing": 54, "longer": 43, "born-again": 30, "noise-logits": 20, "student-ensemble": 57}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    runs = tmp_path_factory.mktemp("controls") / "runs"
    true = np.arange(60) % 3
    for seed in (0, 1, 2):
        for number, (method, right) in enumerate({**METHODS, **CONTROL}.items()):
            spec = replace(ALONE, method=method, seed=seed)
            said = np.where(np.arange(60) < right + (seed * number) % 3, true, (true + 1) % 3)
            score = float((said == true).mean())

            def fill(folder, spec=spec, said=said, score=score, method=method):
                np.savez(folder / "predictions.npz", window=np.arange(60), true=true, predicted=said)
                (folder / "history.csv").write_text("epoch,loss\n1,0.5\n")
                scores = {"accuracy": score, "macro_f1": score, "nll": 1.0, "ece": 0.1}
                return {
                    "kind": "student",
                    "key": spec.key,
                    "spec": json.loads(json.dumps(asdict(spec))),
                    "metrics": {"test": scores, "validation": {"accuracy": 1.0}},
                    "method_status": "control" if method in CONTROL else "current",
                    "parameters": 10,
                    "seconds": 1.0,
                    "process_peak_memory_mib": 1.0,
                    "teachers": {},
                    "data": {"classes": list("abc"), "window": 32, "split": {"unit": "subject", "sha256": "cd" * 32}},
                    "environment": {},
                }

            Records(runs).write(spec.key, fill)
    assert compare.main(["--runs", str(runs), "--out", str(runs.parent / "out")]) == 0
    return (runs.parent / "out" / "report.html").as_uri()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_controls_stay_below_the_methods(chromium, address, width, scheme):
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(address)
    table = page.locator("table[data-table='1']")

    def names():
        texts = table.locator("tbody tr > th").evaluate_all("each => each.map(th => th.dataset.value ?? th.innerText)")
        return [text for text in texts if text]

    for column, click in ((2, 1), (2, 2), (0, 1), (0, 2)):
        table.locator("thead button").nth(column).click()
        found = names()
        assert set(found[: len(METHODS)]) == set(METHODS), (column, click)
        assert found[len(METHODS)] == CONTROLS
        assert set(found[len(METHODS) + 1 :]) == set(CONTROL)
    heading = table.locator("tr.heading")
    page.fill("input[data-filter='1']", "dkd")
    assert not heading.is_visible(), "no row of it is shown"
    assert page.locator("output[data-shown='1']").inner_text() == "1 of 8 rows"
    page.fill("input[data-filter='1']", "longer")
    assert heading.is_visible()
    page.fill("input[data-filter='1']", "")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page itself does not scroll sideways"
    page.close()


def test_the_answers_of_a_method_fit_a_small_screen(chromium, address):
    page = chromium.new_page(viewport={"width": 390, "height": 900})
    page.goto(address)
    details = page.locator("details", has=page.locator("summary span", has_text="dkd")).first
    details.locator("summary").click()
    answers = details.locator("dl").first
    assert answers.locator("dt").all_inner_texts()[:2] == ["the student alone", "label smoothing"]
    assert "not run" in answers.locator("dt").all_inner_texts()
    box = answers.bounding_box()
    assert box["x"] + box["width"] <= 390
    assert box["height"] < 900, "one screen"
    page.close()
