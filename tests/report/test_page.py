"""The page: whole, closed to the outside, its numbers those of the records, whatever the records hold."""

import base64
import hashlib
import io
import json
import os
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from mmkd import compare
from mmkd.comparison import compare as comparison
from mmkd.comparison import ranking
from mmkd.comparison.robustness import robustness_curves
from mmkd.comparison.tested import ClassCounts, class_scores, count_classes
from mmkd.metrics import classes
from mmkd.report import page
from mmkd.report.columns import columns
from mmkd.report.output import FIGURES
from mmkd.report.page.album import Album
from mmkd.report.page.context import GroupContext
from mmkd.report.page.section import group_section
from mmkd.report.phrases import mean_and_deviation, name_seeds, row_name
from mmkd.report.reproducibility import reproducibility
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.store.records import Records

KD = UnitSpec(
    data=DataSpec("sines", "ab" * 32),
    seed=0,
    method="kd",
    options={"branch_weight": 0.5, "temperature": 4.0},
    views={"sig": {}, "gaf": {"size": 16}},
    teachers={"sig": "WRN16-1", "gaf": "WRN16-1"},
    teacher_training=Training(epochs=9),
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(epochs=5),
)
ALONE = replace(
    KD, method="student", options={"branch_weight": 0.5}, views={"sig": {}}, teachers={}, teacher_training=None
)
CLASSES, WINDOWS = 3, 60
KINDS = ("kd", "student")
LEVELS = {"noise": (0.06, 0.12), "dead-channel": ("acc_x", "acc_y")}


def write(runs, spec, right, measured=False, names=("a", "b", "c"), channels=("acc_x", "acc_y"), **more):
    """Write by hand the record of a unit or teacher with so many of 60 windows right."""
    true = np.arange(WINDOWS) % CLASSES
    predicted = np.where(np.arange(WINDOWS) < right, true, (true + 1) % CLASSES)
    p = np.full((WINDOWS, CLASSES), 0.1)
    p[np.arange(WINDOWS), predicted] = 0.8
    scores = {"accuracy": classes.accuracy(true, predicted), "macro_f1": classes.macro_f1(true, predicted)}
    scores |= {"nll": classes.log_loss(true, p), "ece": classes.reliability(true, p).error}
    student = isinstance(spec, UnitSpec)

    def fill(folder):
        np.savez(folder / "predictions.npz", window=np.arange(WINDOWS), true=true, predicted=predicted, probabilities=p)
        (folder / "history.csv").write_text("epoch,loss,val_macro_f1\n1,0.5,0.6\n2,0.4,0.8\n3,0.3,0.7\n")
        (folder / "student.safetensors").write_bytes(b"w" * 1000)
        return {
            "kind": "student" if student else "teacher",
            "key": spec.key,
            "spec": asdict(spec),
            "metrics": {"test": scores},
            "parameters": 1234 if student else 9876,
            "seconds": 10.0,
            "best_epoch": 2,
            "teachers": {name: spec.teacher(name).key for name in spec.teachers} if student else {},
            "data": {"classes": list(names), "channels": list(channels), "window": 32},
            "environment": {"threads": 1, "versions": {"mmkd": "0"}, "git": {"commit": "ef" * 20, "dirty": True}},
            **more,
        }

    records = Records(runs)
    record = records.write(spec.key, fill)
    if measured:
        records.add_measurements(record, measurements(spec, scores["macro_f1"]))
    return record


def measurements(spec, clean):
    """What is added to a record: costs, robustness, maps."""
    curves = [
        {"disturbance": kind, "level": level, "unit": f"unit of {kind}", "accuracy": 0.5, "macro_f1": clean / (n + 2)}
        for kind, levels in LEVELS.items()
        for n, level in enumerate(levels)
    ]
    cost = {"macs": 5000, "latency_ms": 1.5, "latency_p95_ms": 2.5, "views_ms": {"sig": 0.25}, "how": "by hand"}
    rng = np.random.default_rng(spec.seed)
    teachers = {f"similarity/teacher-{name}": rng.random((6, 6)) for name in spec.teachers}
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        window_label=1, window_index=7, similarity_labels=np.arange(6) // 2,
        **{"window/sig": rng.normal(size=(2, 32)), "window/gaf": rng.random((2, 16, 16)),
           "similarity/student": rng.random((6, 6)), "cam/student-sig": rng.random(32)}, **teachers,
    )  # fmt: skip
    robustness = {"clean": {"macro_f1": clean}, "curves": curves, "how": "disturbed by hand"}
    texts = {"deployment.json": json.dumps(cost), "robustness.json": json.dumps(robustness)}
    return {**{name: text.encode() for name, text in texts.items()}, "maps.npz": stream.getvalue()}


def suite(runs, seeds=(0, 1, 2), measured=True):
    for seed in seeds:
        kd, alone = replace(KD, seed=seed), replace(ALONE, seed=seed)
        write(runs, kd.teacher("sig"), 54 + seed)
        write(runs, kd.teacher("gaf"), 30)
        write(runs, alone, 42 + seed, measured)
        write(runs, kd, 48 + 2 * seed, measured)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Records, the comparison of them, and the files that the page makes of it."""
    runs = tmp_path_factory.mktemp("runs")
    suite(runs)
    Records(runs).write_failure("0123456789abcdef", "Traceback\nRuntimeError: it <b>broke</b>\n")
    return runs, *files(runs)


def files(runs, said=(), windows=True):
    records, left_out = comparison.read_records(Records(runs))
    found = comparison.compare(records, "student", left_out)
    facts = reproducibility(found, {"0123456789abcdef": "RuntimeError: it <b>broke</b>"})
    return found, page.page_files(found, ranking.rankings(found), facts, said, windows)


class Reader(HTMLParser):
    """Start tags with their attributes, and the texts within elements of a kind."""

    VOID = ("meta", "link", "input", "br")

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.stack = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if data.strip() and self.stack and self.stack[-1] not in ("script", "style"):
            self.texts.append(" ".join(data.split()))

    def of(self, tag, name=None):
        return [attributes for each, attributes in self.tags if each == tag and (name is None or name in attributes)]


@pytest.fixture(scope="module")
def html(made):
    return made[2]["report.html"]


@pytest.fixture(scope="module")
def reader(html):
    return Reader(html)


# Closed to the outside ------------------------------------------------------------------------------------------------


def test_the_page_is_whole(reader):
    assert reader.stack == []
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in reader.of("a")]
    assert links
    for link in links:
        assert link.startswith("#")
        assert link[1:] in ids


def test_nothing_is_asked_for(html, reader):
    for tag, attributes in reader.tags:
        assert tag not in ("iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "://" not in html.replace("http://www.w3.org/2000/svg", "")


def test_the_policy_names_style_and_script(html, reader):
    (policy,) = [m["content"] for m in reader.of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.S)
        named = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{named}'" in policy


def test_the_same_records_make_the_same_page(made):
    assert files(made[0])[1] == made[2]
    assert str(made[0]) not in made[2]["report.html"], "no path of this machine"


# Its numbers ----------------------------------------------------------------------------------------------------------


def cells(html):
    """Row name -> texts and sort values of its cells, of the first group's table."""
    (body,) = re.findall(r'<table data-table="1">.*?<tbody>(.*?)</tbody>', html, re.S)
    found = {}
    for line in re.findall(r"<tr.*?</tr>", body, re.S):
        (name,) = re.findall(r'<th scope="row" data-value="(.*?)">', line)
        found[name] = re.findall(r'<td data-value="(.*?)">(.*?)</td>', line)
    return found


def test_the_table_is_the_leaderboard(made, html):
    (group,) = made[1].groups
    shown = columns([group], "student")
    found = cells(html)
    assert list(found) == [row_name(row, group) for row in group.rows]
    for row in group.rows:
        texts = [text for _, text in found[row_name(row, group)]]
        assert texts == [column.text(row) for column in shown]
    heads = [column.head for column in shown]
    kd = dict(zip(heads, found["kd"], strict=True))
    (row,) = [row for row in group.rows if row.name == "kd"]
    assert float(kd["macro-F1"][0]) == np.mean(row.values("macro_f1"))
    assert float(kd["vs alone"][0]) == row.change.mean
    assert float(kd["MACs"][0]) == 5000
    student = dict(zip(heads, found["student"], strict=True))
    assert student["vs alone"] == ("", ""), "what is not known sorts as nothing"


def test_columns_sort_by_what_they_show(made):
    (group,) = made[1].groups
    for column in columns([group], "student"):
        for row in group.rows:
            assert (column.value(row) is None) == (column.text(row) == ""), (column.head, row.name)


def test_every_row_has_a_line_with_its_own_values(made):
    (group,) = made[1].groups
    shown = columns([group], "student")
    lines = group_section(GroupContext(1, group, "student", Album(), True))["rows"]
    assert [line["name"] for line in lines] == [row_name(row, group) for row in group.rows]
    for line, row in zip(lines, group.rows, strict=True):
        assert [cell["text"] for cell in line["cells"]] == [column.text(row) for column in shown]
        values = [column.value(row) for column in shown]
        assert [cell["value"] for cell in line["cells"]] == ["" if v is None else repr(float(v)) for v in values]
        at = [column.head for column in shown].index("macro-F1")
        assert float(line["cells"][at]["value"]) == pytest.approx(np.mean(row.values("macro_f1")))


def test_the_lead_names_the_best_student_and_the_student_alone(made, reader):
    best, alone = ([row.values("macro_f1") for row in made[1].groups[0].rows if row.name == name] for name in KINDS)
    said = " ".join(reader.texts)
    assert np.mean(best[0]) > np.mean(alone[0])
    assert f"The highest mean macro-F1 of a student is {mean_and_deviation(best[0])} (kd)" in said
    assert f"the student alone has {mean_and_deviation(alone[0])}." in said


def test_what_is_left_out_is_told(tmp_path):
    suite(tmp_path, seeds=(0, 1), measured=False)
    damaged = tmp_path / replace(KD, seed=1).key / "predictions.npz"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    found, given = files(tmp_path)
    (line,) = [line for line in found.left_out if damaged.parent.name in line]
    assert "is damaged" in line
    left_out = given["report.html"].partition('id="left-out"')[2].partition("</section>")[0]
    assert damaged.parent.name in left_out
    assert "predictions.npz has" in left_out


def test_hooks(reader):
    assert [t["data-table"] for t in reader.of("table", "data-table")] == ["1"]
    assert [i["data-filter"] for i in reader.of("input", "data-filter")] == ["1"]
    assert {h["aria-sort"] for h in reader.of("th", "aria-sort")} == {"none"}
    of_rows = reader.of("details", "id")  # "How to read" has none
    names = [d["id"] for d in of_rows]
    assert {"method-1-kd", "method-1-student"} <= set(names)
    assert sum(name.startswith("teacher-1-") for name in names) == 2
    assert all(d["data-group"] == "1" for d in of_rows)
    drawn = reader.of("svg")
    assert len(drawn) == len(reader.of("figure")) > 10
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawn)


def test_what_the_page_tells(html, reader):
    said = " ".join(reader.texts)
    assert "6 students on record, trained by 2 methods under seeds 0-2" in said
    assert "failed: 0123456789abcdef: RuntimeError: it <b>broke</b>" in said
    assert "<b>broke" not in html
    assert f"commit {'ef' * 20}, with changes not committed" in said
    assert "tests, matrix and ranks need 6" in said, "why no test is shown"
    assert "disturbed by hand" in said
    assert {"temperature", "to make the view sig", "0.25 ms", "by hand"} <= set(reader.texts)
    kd = next(t for t in reader.texts if t.startswith(replace(KD, seed=1).key))
    assert kd.endswith(f"{classes.macro_f1(np.arange(60) % 3, predicted(50)):.4f}")


def predicted(right):
    true = np.arange(WINDOWS) % CLASSES
    return np.where(np.arange(WINDOWS) < right, true, (true + 1) % CLASSES)


def test_what_was_understood_stands_under_the_heading(tmp_path):
    """And the last section has nothing that is empty or not set."""
    warned = {"understood": "60 windows of 2 channels; 3 classes", "warnings": []}
    facts = {"classes": list("abc"), "channels": ["x", "y"], "window": 32, **warned}
    rate = replace(KD.data, rate=25.0)
    for spec in (KD, ALONE, replace(KD, data=rate), replace(ALONE, data=rate)):
        write(tmp_path, spec, 50, data=facts)
    html = files(tmp_path)[1]["report.html"]
    first = html[html.index('id="group-1"') :].partition("<table")[0]
    assert "Data as understood: 60 windows of 2 channels; 3 classes." in first
    last = Reader(html[html.index('<section id="reproducibility"') :].partition("</main>")[0]).texts
    assert not {"test_subjects", "by_name", "warnings", "data.by_name", "training.label_smoothing"} & set(last)
    assert last.count("data.rate") == last.count("rate") == 1, "only where the data was resampled"
    assert "Data: sines at 25 Hz" in last
    assert {"data.validation", "training.epochs"} <= set(last), "what is set stays"


@pytest.mark.parametrize("part", ["validation", "train"])
def test_a_window_is_named_by_its_number_in_the_data_set(tmp_path, part):
    suite(tmp_path, (0,), measured=False)
    with np.load(io.BytesIO(measurements(KD, 0.5)["maps.npz"])) as z:
        arrays = {**z, "window_index": np.array(216), "window_part": np.array(part)}
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    (record,) = [record for record in Records(tmp_path) if record.key == KD.key]
    Records(tmp_path).add_measurements(record, {"maps.npz": stream.getvalue()})
    html = files(tmp_path)[1]["report.html"]
    name = {"validation": "validation", "train": "training"}[part]
    assert f"window 216 of the data set (in its {name} part)" in html
    assert f"{name} windows, sorted by class" in html


def test_one_seed_is_not_told_as_many(tmp_path):
    suite(tmp_path, seeds=(0,), measured=False)
    _, given = files(tmp_path)
    assert "under seed 0, in" in given["report.html"]
    assert "<p>Seed 0. The" in given["report.html"]
    assert "eeds 0" not in given["report.html"].split("</section>")[0]
    assert name_seeds([0]) == "seed 0"
    assert name_seeds([0, 1, 2, 5]) == "seeds 0-2, 5"


def test_the_unit_of_noise_is_told(made):
    index = json.loads(made[2][FIGURES])
    captions = [each["caption"] for path, each in index.items() if path.endswith("robustness.svg")]
    assert len(captions) == 3, "of the group and of two students"
    assert all("whole range in training" in caption for caption in captions)


def test_a_class_and_its_scores(made):
    (row,) = [row for row in made[1].groups[0].rows if row.name == "kd"]
    tested = count_classes(row, [])
    assert tested.counts.shape == (3, 3, 3)
    assert tested.counts.sum() == 180
    true = np.arange(WINDOWS) % CLASSES
    each = [class_scores(tested)[k] for k in range(3)]
    for k in range(3):
        seeds = [predicted(right) for right in (48, 50, 52)]
        assert each[k].precision == pytest.approx(np.mean([(true[p == k] == k).mean() for p in seeds]))
        assert each[k].recall == pytest.approx(np.mean([(p[true == k] == k).mean() for p in seeds]))
        assert each[k].support == 20
    assert np.mean([score.f1 for score in each]) == pytest.approx(np.mean(row.values("macro_f1")))


def test_reliability_is_of_all_seeds_together(made):
    (row,) = [row for row in made[1].groups[0].rows if row.name == "kd"]
    tested = count_classes(row, [])
    assert max(tested.reliability.share) == pytest.approx(1)
    hits = (48 + 50 + 52) / 180
    assert tested.reliability.error == pytest.approx(abs(hits - 0.8))


def test_scores_of_a_class_that_is_not_there():
    counts = np.array([[[2, 1, 0], [0, 3, 0], [0, 0, 0]]])
    none = class_scores(ClassCounts(("a", "b", "c"), counts, None))[2]
    assert (none.precision, none.recall, none.f1, none.support) == (None, None, None, 0)


def test_robustness_curves(made):
    rows = {row.name: row for row in made[1].groups[0].rows}
    noise, dead = robustness_curves(rows["kd"], [])
    clean = rows["kd"].values("macro_f1")
    assert (noise.disturbance, noise.levels, noise.named) == ("noise", (0, 0.06, 0.12), False)
    assert noise.scores == pytest.approx(np.array([[s, s / 2, s / 3] for s in clean]))
    assert (dead.levels, dead.named) == (("none", "acc_x", "acc_y"), True)
    mean, low, high = noise.interval()
    assert mean == pytest.approx([np.mean(clean), np.mean(clean) / 2, np.mean(clean) / 3])
    assert (low[0], high[0]) == pytest.approx((min(clean), max(clean))), "of three seeds their range"
    assert robustness_curves(rows["sig WRN16-1"], []) == []


def test_the_robustness_table(html, made):
    (row,) = [row for row in made[1].groups[0].rows if row.name == "kd"]
    (body,) = re.findall(r"<caption><span>Robustness.*?<tbody>(.*?)</tbody>", html, re.S)
    (line,) = [line for line in re.findall(r"<tr>(.*?)</tr>", body, re.S) if ">kd<" in line]
    first, second, *_ = re.findall(r"<td>(.*?)</td>", line)
    assert first == mean_and_deviation(row.values("macro_f1"))
    assert second == mean_and_deviation([value / 2 for value in row.values("macro_f1")])


# Figures --------------------------------------------------------------------------------------------------------------


def test_every_figure_is_a_file_too(made, reader):
    index = json.loads(made[2][FIGURES])
    drawn = {name: text for name, text in made[2].items() if name.endswith(".svg")}
    assert set(index) == set(drawn)
    assert len(drawn) == len(reader.of("svg"))
    for name, text in drawn.items():
        root = ET.fromstring(text)
        assert index[name]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
        assert root.find("{http://www.w3.org/2000/svg}title").text == index[name]["title"]
    names = {name.split("/")[-1] for name in drawn}
    wanted = {"change", "robustness", "views", "similarity", "cam-sig", "parameters"}
    wanted |= {f"method-kd-{each}" for each in ("learning", "confusion", "reliability", "robustness")}
    assert {f"{name}.svg" for name in wanted} <= names


def figure(made, name):
    (text,) = [text for path, text in made[2].items() if path.endswith(f"/{name}.svg")]
    return ET.fromstring(text)


def tips(made, name):
    """What is said when the pointer rests on the marks of a figure."""
    return [each.text for each in list(figure(made, name).iter("{http://www.w3.org/2000/svg}title"))[1:]]


def words(root):
    return [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]


def test_maps_are_of_teachers_and_students(made):
    assert {"teacher sig", "teacher gaf", "student", "kd"} <= set(words(figure(made, "similarity")))
    assert {"student", "kd"} <= set(words(figure(made, "cam-sig")))
    assert {"acc_x", "acc_y", "sig", "gaf"} <= set(words(figure(made, "views")))


GROUPS = replace(
    KD,
    views={
        "sig@acc": {"channels": [0, 1]},
        "sig@gyro": {"channels": [2]},
        "pi@gyro": {"channels": [2], "size": 16},
        "pi@acc": {"channels": [0, 1], "size": 16},
    },
    teachers={"sig@acc": "WRN16-1", "sig@gyro": "WRN16-1", "pi@gyro": "WRN16-1"},
    student=("sig@acc", "pi@acc"),
    fusion="concat",
)


def write_groups(runs, **views):
    """A record of a unit with channel groups, and its maps; a pi image and its map have one bright place."""
    spec = replace(GROUPS, views={**GROUPS.views, **views})
    record = write(runs, spec, 40, channels=("acc_x", "acc_y", "gyro_z"))
    rng = np.random.default_rng(0)
    image = np.zeros((16, 16))
    image[12, 3] = 1  # birth 12, persistence 3
    stream = io.BytesIO()
    np.savez(
        stream,
        window_label=1, window_index=7, similarity_labels=np.arange(6) // 2,
        **{"window/sig@acc": rng.normal(size=(2, 32)), "window/sig@gyro": rng.normal(size=(1, 32)),
           "window/pi@acc": np.stack([image, image]), "window/pi@gyro": image[None], "cam/student-pi@acc": image},
    )  # fmt: skip
    Records(runs).add_measurements(record, {"maps.npz": stream.getvalue()})
    return (runs, *files(runs))


def bright(element):
    """Row and column of the brightest pixel of an image."""
    data = element.get("href").partition(",")[2]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).sum(2)
    return np.unravel_index(pixels.argmax(), pixels.shape)


def test_channel_groups_have_a_panel_and_a_heading_each(tmp_path):
    made = write_groups(tmp_path)
    chart = figure(made, "views")
    assert {"sig@acc", "sig@gyro", "pi@acc", "pi@gyro"} <= set(words(chart))
    assert [words(chart).count(name) for name in ("acc_x", "acc_y", "gyro_z")] == [1, 1, 1], "rows of their own"
    frames = [*chart.iter("{http://www.w3.org/2000/svg}image")]
    frames += [e for e in chart.iter("{http://www.w3.org/2000/svg}rect") if e.get("width") != "100%"]
    boxes = [[float(e.get(key)) for key in ("x", "y", "width", "height")] for e in frames]
    assert len(boxes) == 3 + 3
    for n, (x, y, width, height) in enumerate(boxes):
        for left, top, wide, high in boxes[n + 1 :]:
            assert x + width <= left or left + wide <= x or y + height <= top or top + high <= y, "no overlap"


def test_pi_of_a_channel_group_is_drawn_like_pi(tmp_path):
    made = write_groups(tmp_path)
    images = list(figure(made, "views").iter("{http://www.w3.org/2000/svg}image"))
    assert [bright(image) for image in images] == [(12, 12)] * 3, "birth to the right, persistence up from the bottom"
    (name,) = (Path(path).stem for path in made[2] if "cam-pi-acc" in path)
    assert bright(next(figure(made, name).iter("{http://www.w3.org/2000/svg}image"))) == (12, 12)
    assert "In pi, birth goes to the right" in made[2]["report.html"]


@pytest.mark.parametrize("channels", [None, "ab", [], [0, "x"], [-1], [0, 99], {}])
def test_a_group_whose_channels_are_not_known_is_still_drawn(tmp_path, channels):
    made = write_groups(tmp_path, **{"sig@acc": {"channels": channels}})
    assert "sig@acc" in words(figure(made, "views"))


def test_no_measured_value_where_windows_are_not_to_be_shown(made, tmp_path):
    _, whole = files(made[0])
    _, kept = files(made[0], windows=False)
    gone = {Path(path).name for path in set(whole) - set(kept)}
    assert gone == {"views.svg"}
    (strips,) = (path for path in kept if path.endswith("/cam-sig.svg"))
    assert "signal" in words(ET.fromstring(whole[strips]))
    assert "signal" not in words(ET.fromstring(kept[strips]))
    curves = [len(ET.fromstring(text).findall(".//{*}path")) for text in (whole[strips], kept[strips])]
    assert curves[0] > curves[1] == 0
    assert "One window in" in whole["report.html"]
    assert "One window in" not in kept["report.html"]


def test_curves_are_those_of_the_seeds(made):
    found = words(figure(made, "method-kd-learning"))
    assert {"seed 0", "seed 1", "seed 2", "loss", "macro-F1"} <= set(found)
    assert tips(made, "method-kd-learning") == [f"seed {n}: {value}" for value in (0.4, 0.8) for n in range(3)]


def test_the_confusion_matrix_is_of_all_seeds(made):
    counts = [int(word) for word in words(figure(made, "method-kd-confusion")) if word.isdigit()]
    assert sum(counts) == 3 * WINDOWS
    assert counts == count_classes(next(r for r in made[1].groups[0].rows if r.name == "kd"), []).counts.sum(0)[
        [0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 0, 2]
    ].tolist()  # fmt: skip


def test_changes_are_those_of_the_table(made):
    (row,) = [row for row in made[1].groups[0].rows if row.name == "kd"]
    points = [100 * value for value in (row.change.mean, row.change.low, row.change.high)]
    assert tips(made, "change") == ["kd: {:+.2f} [{:+.2f}, {:+.2f}]".format(*points)]


def test_another_window_is_not_put_beside(tmp_path):
    suite(tmp_path, (0,))
    other = measurements(replace(KD, seed=1), 0.5)
    with np.load(io.BytesIO(other["maps.npz"])) as z:
        arrays = {**z, "window_index": np.array(8), "similarity_labels": np.zeros(6, int)}
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    record = write(tmp_path, replace(KD, method="fam"), 50)
    Records(tmp_path).add_measurements(record, {"maps.npz": stream.getvalue()})
    made = (tmp_path, *files(tmp_path))
    assert "kd" in words(figure(made, "similarity"))
    assert "fam" not in words(figure(made, "similarity"))
    assert "fam" not in words(figure(made, "cam-sig"))


def test_cost_is_of_all_groups_of_a_data_set(tmp_path):
    suite(tmp_path, (0, 1), measured=False)
    for seed in (0, 1):
        write(tmp_path, replace(ALONE, seed=seed, student_net="WRN16-1"), 55, parameters=5000)
    made = (tmp_path, *files(tmp_path))
    names = words(figure(made, "parameters"))
    assert {"student sig (small)", "student sig (WRN16-1)", "teachers"} <= set(names)
    assert not [name for name in made[2] if name.endswith("/latency_ms.svg")], "not measured"


def test_a_critical_difference_diagram_where_ten_sets_carry_it(tmp_path):
    for n in range(10):
        data = DataSpec(f"set {n}", f"{n}" * 64)
        for method, right in (("student", 30 + n), ("kd", 40 + n), ("fam", 35 + n)):
            base = ALONE if method == "student" else KD
            write(tmp_path, replace(base, data=data, method=method), right)
    found, made = files(tmp_path)
    (root,) = [ET.fromstring(text) for name, text in made.items() if name.endswith("critical-difference.svg")]
    (said,) = ranking.rankings(found)
    assert {f"{name} {rank:.2f}" for name, rank in said.diagram.ranks.items()} <= set(words(root))
    (pair,) = [each for each in said.pairs if {each.first, each.second} == {"kd", "fam"}]
    text = f"{100 * pair.mean:+.1f}, {pair.wins}/{pair.ties}/{pair.losses}, p {pair.p_holm:.3g}"
    assert text in Reader(made["report.html"]).texts


# What records may hold ------------------------------------------------------------------------------------------------

HOSTILE = ["<script>alert(1)</script>", "</style><img src=x onerror=alert(1)>", "a\"b'c`d", "{{ 7 * 7 }}", "x" * 900,
           "../../etc/passwd", "line\nbreak\x00\x1b[31m", "日本 ± é"]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names(tmp_path, name):
    data = DataSpec(name, "ab" * 32)
    names = {"names": [name, f"{name}2", "c"], "channels": [name, "b"]}
    write(tmp_path, replace(ALONE, data=data, method="student"), 30, True, **names)
    write(tmp_path, replace(KD, data=data, method=f"kd {name}", student_net="small"), 40, True, **names)
    write(tmp_path, replace(KD, data=data, options={**KD.options, name: name}), 40, True, **names)
    _, made = files(tmp_path, [name])
    html = made["report.html"]
    reader = Reader(html)
    assert reader.stack == []
    assert len(reader.of("script")) == len(reader.of("style")) == 1
    assert not reader.of("img")
    assert "49" not in reader.texts
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", html)
    for path, text in made.items():
        assert ".." not in path.split("/")
        assert len(path) < 250
        if path.endswith(".svg"):
            ET.fromstring(text)
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not [i for i in ids if re.search(r"\s", i)]


DAMAGE = {
    "robustness.json": [b'{"clean": {}, "curves": 3}', b'{"clean": {"macro_f1": 1}, "curves": [{"level": true}]}',
                        b'{"clean": {"macro_f1": 1}, "curves": [{"disturbance": "n", "level": 1, "macro_f1": "x"}]}'],
    "maps.npz": [b"no", b""],
}  # fmt: skip


@pytest.mark.parametrize(("name", "content"), [(name, c) for name, all_of in DAMAGE.items() for c in all_of])
def test_a_measurement_that_cannot_be_read_is_told(tmp_path, name, content):
    record = write(tmp_path, KD, 50)
    Records(tmp_path).add_measurements(record, {name: content})
    html = files(tmp_path)[1]["report.html"]
    assert f"{name} of {KD.key} cannot be read" in html


@pytest.mark.parametrize(
    "bad", [{"window/sig": np.array(["a"])}, {"cam/student": np.zeros((1, 2, 3))}, {"window_index": "x"}]
)
def test_maps_of_wrong_shapes_are_told(tmp_path, bad):
    record = write(tmp_path, KD, 50)
    good = {"window_label": 1, "window_index": 7, "window/sig": np.zeros((2, 8)), "similarity_labels": np.zeros(3)}
    stream = io.BytesIO()
    np.savez(stream, **{**good, **bad})
    Records(tmp_path).add_measurements(record, {"maps.npz": stream.getvalue()})
    assert f"maps.npz of {KD.key} cannot be read" in files(tmp_path)[1]["report.html"]


def test_a_record_without_curves_and_predictions_still_has_its_row(tmp_path):
    write(tmp_path, ALONE, 40)
    scores = {"accuracy": 1.0, "macro_f1": 1.0}
    spec = {**asdict(replace(KD, seed=0)), "task": "classification"}
    said = {"kind": "student", "key": "old", "spec": spec, "metrics": {"test": scores}, "parameters": 1, "seconds": 1}
    Records(tmp_path).write("old", lambda folder: said)
    html = files(tmp_path)[1]["report.html"]
    assert 'id="method-1-kd"' in html
    assert "no learning curve" in html


def test_one_epoch_many_epochs(tmp_path):
    write(tmp_path, ALONE, 40)
    record = Records(tmp_path).get(ALONE.key)
    for epochs, most in ((1, 1), (1000, 153)):
        lines = "".join(f"{n},{1 / n},{n / 1000}\n" for n in range(1, epochs + 1))

        def fill(folder, text=lines, source=record):
            (folder / "history.csv").write_text("epoch,loss,val_macro_f1\n" + text)
            (folder / "predictions.npz").write_bytes(source.file("predictions.npz").read_bytes())
            return {k: v for k, v in source.result.items() if k not in ("sha256", "files")} | {"best_epoch": 1}

        Records(tmp_path).write(ALONE.key, fill)
        made = (tmp_path, *files(tmp_path))
        root = figure(made, "method-student-learning")
        drawn = [e for e in root.iter("{http://www.w3.org/2000/svg}path") if e.get("d").count("L") > 20]
        assert len(drawn) == (2 if epochs > 1 else 0)
        assert all(e.get("d").count("L") < most for e in drawn)
        assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) >= 3, "the kept epoch and the legend"


def test_steps_with_labels(tmp_path):
    """Where every step has a label there is a confusion matrix of steps and no reliability."""
    rng = np.random.default_rng(0)
    true = rng.integers(-1, 3, (5, 32))
    said = np.where(rng.random((5, 32)) < 0.7, np.maximum(true, 0), 0)
    record = write(tmp_path, replace(ALONE, task="segmentation"), 40)

    def fill(folder):
        np.savez(folder / "predictions.npz", window=np.arange(5), true=true, predicted=said)
        (folder / "history.csv").write_bytes(record.file("history.csv").read_bytes())
        return {k: v for k, v in record.result.items() if k not in ("sha256", "files")}

    Records(tmp_path).write(record.key, fill)
    found, made = files(tmp_path)
    tested = count_classes(found.groups[0].rows[-1], [])
    assert tested.counts.sum() == (true >= 0).sum()
    assert tested.counts[0, 1, 1] == ((true == 1) & (said == 1)).sum()
    assert tested.reliability is None
    assert not [name for name in made if name.endswith("reliability.svg")]
    assert "labelled steps" in made["report.html"]


# The command ----------------------------------------------------------------------------------------------------------


def test_figures_of_before_go_unless_somebody_changed_them(tmp_path, capsys):
    runs, out = tmp_path / "runs", tmp_path / "out"
    suite(runs, (0, 1))
    write(runs, replace(KD, method="fam"), 50)
    command = ["--runs", str(runs), "--out", str(out)]
    assert compare.main(command) == 0
    first, second = sorted(out.glob("figures/*/method-fam-*.svg"))[:2]
    first.write_text("<svg>mine</svg>")
    other = out / "figures" / "mine.svg"
    other.write_text("mine")
    for record in Records(runs):
        if record.result["spec"].get("method") == "fam":
            os.rename(record.folder, tmp_path / "gone")
    assert compare.main(command) == 0
    assert first.read_text() == "<svg>mine</svg>"
    assert not second.exists()
    assert other.exists()
    assert (out / "report.html").read_text().count("method-1-fam") == 0
    assert f"files: {out} (report.html is the page)" in capsys.readouterr().out


def test_an_index_that_names_other_files_removes_nothing(tmp_path, capsys):
    runs, out = tmp_path / "runs", tmp_path / "out"
    suite(runs, (0,), measured=False)
    (out / "figures" / "a").mkdir(parents=True)
    mine = {"figures/../mine.svg": out / "mine.svg", "../mine.svg": tmp_path / "mine.svg", "figures/a/b.svg": out / "c"}
    for path in mine.values():
        path.write_text("mine")
    digest = hashlib.sha256(b"mine").hexdigest()
    (out / FIGURES).write_text(json.dumps({name: {"sha256": digest} for name in mine} | {"x": 3}))
    assert compare.main(["--runs", str(runs), "--out", str(out)]) == 0
    assert all(path.read_text() == "mine" for path in mine.values())


def test_a_large_suite_stays_small(tmp_path):
    """Twelve methods and three seeds of one student are under half of the 2 MiB that two students may take."""
    suite(tmp_path)
    for n in range(10):
        for seed in range(3):
            write(tmp_path, replace(KD, method=f"method-{n}", seed=seed), 44 + n - seed, measured=True)
    html = files(tmp_path)[1]["report.html"]
    assert len(html.encode()) < 1 << 20
    assert html.count("<details id=") == 14
