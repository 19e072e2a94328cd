"""The page of a comparison in a real browser: it loads alone, sorts, filters, is read by all, and is safe."""

import io
import itertools
import json
import re
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from mmkd import compare
from mmkd.core.text import shorten
from mmkd.metrics import classes
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.store.records import Records

pytestmark = pytest.mark.browser

KD = UnitSpec(
    data=DataSpec("sines", "ab" * 32),
    seed=0,
    method="kd",
    options={"temperature": 4.0},
    views={"sig": {}, "gaf": {"size": 16}},
    teachers={"sig": "WRN16-1", "gaf": "WRN16-1"},
    teacher_training=Training(epochs=9),
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(epochs=5),
)
ALONE = replace(KD, method="student", options={}, views={"sig": {}}, teachers={}, teacher_training=None)
WINDOWS = 60
HARMFUL = [
    "<script>document.title='taken'</script>",
    "</script><img src=x onerror=document.title='taken'>",
    "\"'><svg onload=document.title='taken'>",
    "a\"b'c`d & &amp; {{ 7*7 }} ${7*7}",
    "שלום עולם \u202eright to left\u202c مرحبا",
    "日本語 ± é 🙂",
    "x" * 150,
    "very long in many words " * 12,
    "../../etc/passwd #%20?a=b",
]
CLASSES = ["<i>walk</i>", 'sit & "stand"', "ל" * 30]


def write(runs, spec, right, seconds=10.0):
    """A record of a unit or teacher by hand: of 60 windows of three classes so many right."""
    true = np.arange(WINDOWS) % 3
    predicted = np.where(np.arange(WINDOWS) < right, true, (true + 1) % 3)
    probabilities = np.full((WINDOWS, 3), 0.1)
    probabilities[np.arange(WINDOWS), predicted] = 0.8
    scores = {
        "accuracy": classes.accuracy(true, predicted),
        "macro_f1": classes.macro_f1(true, predicted),
        "nll": classes.log_loss(true, probabilities),
        "ece": classes.reliability(true, probabilities).error,
    }
    kind = "student" if isinstance(spec, UnitSpec) else "teacher"

    def fill(folder):
        said = {"window": np.arange(WINDOWS), "true": true, "predicted": predicted}
        np.savez(folder / "predictions.npz", **said, probabilities=probabilities.astype(np.float32))
        rows = [f"{n},{1 / n},{1 / n},{1 - 1 / n},{1 - 1 / n}" for n in range(1, 6)]
        (folder / "history.csv").write_text("\n".join(["epoch,loss,loss/ce,val_accuracy,val_macro_f1", *rows, ""]))
        (folder / f"{kind}.safetensors").write_bytes(b"w" * 1000)
        return {
            "kind": kind,
            "key": spec.key,
            "spec": asdict(spec),
            "metrics": {"test": scores, "validation": {"accuracy": 1.0}},
            "parameters": 1234,
            "seconds": seconds,
            "best_epoch": 4,
            "process_peak_memory_mib": 1.0,
            "teachers": {n: spec.teacher(n).key for n in spec.teachers} if kind == "student" else {},
            "data": {"classes": CLASSES, "window": 32, "split": {"unit": "subject", "sha256": "cd" * 32}},
            "environment": {"device": "cpu", "threads": 1, "versions": {"mmkd": "0"}, "platform": HARMFUL[1]},
        }

    return Records(runs).write(spec.key, fill)


def measured(runs, record, taught, number):
    """Cost, robustness and maps beside a record."""
    rng = np.random.default_rng(number)
    points = [("noise", level, "standard deviation") for level in (0.06, 0.09, 0.12)]
    points += [("dead-channel", name, "channel") for name in HARMFUL[:2]]
    curves = [
        {"disturbance": what, "level": level, "unit": unit, "accuracy": 0.5, "macro_f1": 0.8 - 0.1 * n}
        for n, (what, level, unit) in enumerate(points)
    ]
    clean = {"accuracy": 0.9, "macro_f1": 0.9}
    cost = {"macs": 10**6 * (1 + number), "latency_ms": 1.5 + number, "latency_p95_ms": 2.5 + number}
    cost |= {"views_ms": {"sig": 0.1}, "network_ms": 1.4 + number, "size_bytes": 1000, "how": HARMFUL[0]}
    maps = {"window/sig": rng.normal(size=(2, 32)), "window_label": 1, "window_index": 7}
    maps |= {"window_part": "validation", "similarity_labels": np.arange(12) // 4}
    for network in ("student", *(f"teacher-{name}" for name in taught)):
        maps[f"similarity/{network}"] = rng.uniform(-1, 1, (12, 12)).astype(np.float16)
    maps["cam/student-sig"] = rng.uniform(size=32)
    if taught:
        maps |= {"window/gaf": rng.uniform(-1, 1, (2, 16, 16)), "cam/teacher-sig": rng.uniform(size=32)}
        maps["cam/teacher-gaf"] = rng.uniform(size=(16, 16))
    packed = io.BytesIO()
    np.savez(packed, **maps)
    robust = {"seed": 0, "windows": WINDOWS, "clean": clean, "curves": curves, "how": HARMFUL[2]}
    files = {"deployment.json": json.dumps(cost).encode(), "robustness.json": json.dumps(robust).encode()}
    Records(runs).add_measurements(record, {**files, "maps.npz": packed.getvalue()})


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page of two data sets, one with a harmful name, with harmful methods, classes and options; and what it shows.

    `kd` has teachers, and so a change; a method without a partner of its seed has none, so that cells are empty.
    """
    folder = tmp_path_factory.mktemp("site")
    runs = folder / "runs"
    for seed, name in itertools.product((0, 1), ("sines", HARMFUL[0])):
        kd = replace(KD, seed=seed, data=DataSpec(name, "ab" * 32))
        alone = replace(ALONE, seed=seed, data=DataSpec(name, "ab" * 32))
        write(runs, kd.teacher("sig"), 55 + seed)
        write(runs, kd.teacher("gaf"), 30)
        measured(runs, write(runs, alone, 40 + seed), (), 0)
        measured(runs, write(runs, kd, 48 + seed, 15.0), ("sig", "gaf"), 1)
    for n, name in enumerate(HARMFUL):
        write(runs, replace(KD, method=name), 20 + 4 * n, 12.0)
    write(runs, replace(KD, method="late", seed=9), 35)
    Records(runs).write_failure("0123456789abcdef", f"Traceback\nRuntimeError: {HARMFUL[1]}\n")
    assert compare.main(["--runs", str(runs), "--out", str(folder / "out")]) == 0
    return SimpleNamespace(uri=(folder / "out" / "report.html").as_uri(), out=folder / "out")


@pytest.fixture
def visit(chromium, site):
    """Opens the page in a window of its own; the test fails if the page says or asks for anything unexpected."""
    contexts, said, asked = [], [], []

    def open_page(width=1280, height=900, **more):
        context = chromium.new_context(viewport={"width": width, "height": height}, **more)
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        page.goto(site.uri)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {site.uri}, "it asks for nothing but itself"


def column(page, table, number):
    """What a column of a table holds, of the rows that are shown: (value, text)."""
    return page.evaluate(
        """([table, n]) => [...document.querySelectorAll(`table[data-table="${table}"] tbody tr`)]
        .filter(row => row.getClientRects().length)
        .map(row => [row.cells[n].dataset.value, row.cells[n].innerText])""",
        [table, number],
    )


def heads(page, table):
    return page.locator(f'table[data-table="{table}"] thead th')


def in_order(values, down):
    """Whether numbers stand in order, with what is not known last."""
    known = [float(value) for value in values if value != ""]
    return [v != "" for v in values] == [True] * len(known) + [False] * (len(values) - len(known)) and known == sorted(
        known, reverse=down
    )


def test_it_loads_from_the_disk_with_nothing_to_say(visit, site):
    page = visit()
    assert page.title().startswith("Comparison on")
    assert page.evaluate("document.readyState") == "complete"
    assert page.locator("section.group").count() == 2
    assert page.locator("table[data-table]").count() == 2
    assert page.locator("script").count() == 1
    assert (site.out / "report.html").stat().st_size < 3e6


def test_the_watch_over_the_page_sees_what_it_should(chromium, site, tmp_path):
    """The fixture above can fail: a request is seen, and the page's own policy refuses another script."""
    page = chromium.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    text = (site.out / "report.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(
        text.replace("</main>", "<img src=other.png><script>document.title='taken'</script>")
    )
    page.goto((tmp_path / "page.html").as_uri())
    page.close()
    assert any("Content Security Policy" in line for line in said)
    policy = re.compile('<meta http-equiv="Content-Security-Policy"[^>]*>')
    page = chromium.new_page()
    page.on("request", lambda request: asked.append(request.url))
    assert len(policy.findall(text)) == 1
    (tmp_path / "page.html").write_text(policy.sub("", text).replace("</main>", "<img src=other.png>"))
    page.goto((tmp_path / "page.html").as_uri())
    page.close()
    assert asked[-1].endswith("other.png")


def test_a_click_on_a_head_sorts_by_its_column(visit):
    page = visit()
    empty = 0
    before = [value for value, _ in column(page, 1, 0)]
    for table in (1, 2):
        for number in range(1, heads(page, table).count()):
            head = heads(page, table).nth(number)
            best_first = head.get_attribute("data-better") != "lower"
            for down in (best_first, not best_first):
                head.get_by_role("button").click()
                values = [value for value, _ in column(page, table, number)]
                assert in_order(values, down), head.inner_text()
                assert head.get_attribute("aria-sort") == ("descending" if down else "ascending")
                sorted_by = [each.get_attribute("aria-sort") for each in heads(page, table).all()]
                assert len(sorted_by) - sorted_by.count("none") == 1
                empty += "" in values
        heads(page, table).nth(0).get_by_role("button").click()
        names = [value for value, _ in column(page, table, 0)]
        assert heads(page, table).nth(0).get_attribute("aria-sort") == "ascending"
        folded = [name.lower() for name in names if name.isascii() and name.replace(" ", "").isalnum()]
        assert folded == sorted(folded)
    assert empty > 4, "columns with empty cells were among them"
    assert sorted(value for value, _ in column(page, 1, 0)) == sorted(before), "no row is lost"


def test_a_column_sorts_by_its_numbers_and_not_by_their_text(visit):
    page = visit()
    for table in (1, 2):
        texts = [each.inner_text().split()[0] for each in heads(page, table).all()]
        for name in ("MACs", "macro-F1"):
            heads(page, table).nth(texts.index(name)).get_by_role("button").click()
            found = [
                text.split(" ")[0].replace(",", "") for value, text in column(page, table, texts.index(name)) if value
            ]
            assert len(found) > 1
            best_first = name == "macro-F1"  # of MACs the fewest are best
            assert [float(each) for each in found] == sorted(map(float, found), reverse=best_first)


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_keyboard_sorts_too(visit, key):
    page = visit()
    page.locator('input[data-filter="1"]').focus()
    for _ in range(8):  # to the heads, past the table itself, which scrolls
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('th')?.cellIndex") == 2:
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "it is seen which head has the keyboard"
    before = column(page, 1, 2)
    page.keyboard.press(key)
    page.keyboard.press(key)
    values = [value for value, _ in column(page, 1, 2)]
    assert in_order(values, False)
    assert values != [value for value, _ in before]


def test_the_filter_shows_some_rows_and_says_how_many(visit):
    page = visit()
    for table in (1, 2):
        every = column(page, table, 0)
        field, shown = page.locator(f'input[data-filter="{table}"]'), page.locator(f'output[data-shown="{table}"]')
        assert shown.inner_text() == f"{len(every)} of {len(every)} rows"
        for words in ("kd", "TEACHER", "teacher gaf", "nothing has this name", "<", '"'):
            field.fill(words)
            wanted = [each for each in every if all(word in each[0].lower() for word in words.lower().split())]
            assert column(page, table, 0) == wanted
            assert shown.inner_text() == f"{len(wanted)} of {len(every)} rows"
        field.fill("")
        assert column(page, table, 0) == every
        assert column(page, 3 - table, 0), "the other table is left alone"
    field.fill("kd")
    heads(page, 2).nth(1).get_by_role("button").click()
    assert column(page, 2, 0) == [each for each in every if "kd" in each[0]], "sorting keeps the filter"
    assert page.locator('output[data-shown="1"]').get_attribute("aria-live") == "polite"


def test_harmful_names_are_shown_as_text(visit):
    page = visit()
    assert page.title() != "taken"
    assert page.locator("main img, main script, main i, svg script, [onload], [onerror]").count() == 0
    names = {value for table in (1, 2) for value, _ in column(page, table, 0)}
    for name in HARMFUL:
        short = shorten(name)
        assert any(short in each for each in names), short
        assert page.get_by_role("link", name=short).first.inner_text().split() != []
    assert HARMFUL[0] in " ".join(page.locator("h2").all_inner_texts())
    body = page.locator("body").text_content()
    for text in (*CLASSES, HARMFUL[1]):
        assert shorten(text, 40)[:10] in body
    assert "{{ 7*7 }} ${7*7}" in body


def test_every_figure_is_there_and_has_a_name(visit):
    page = visit()
    for button in page.locator("button[data-open]").all():
        button.click()
    assert page.locator("details.method:not([open])").count() == 0
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect()).map(box => [box.width, box.height])"
    )
    assert len(sizes) > 30
    assert all(width > 100 and height > 40 for width, height in sizes)
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    pictures = [node for node in nodes if node.get("role", {}).get("value") in ("image", "img")]
    assert len([node for node in pictures if not node["ignored"]]) >= len(sizes)
    assert all(node["name"]["value"].strip() for node in pictures if not node["ignored"])
    titles = page.locator("figure svg[role=img] > title").all_text_contents()
    assert len(titles) == page.locator("figure svg[role=img]").count()
    drawn = page.evaluate(
        """[...document.querySelectorAll('figure svg[role=img]')].map(svg =>
        [...svg.querySelectorAll('path,rect,circle,line,polygon,polyline,image')]
        .filter(e => e.getBoundingClientRect().width + e.getBoundingClientRect().height > 0).length)"""
    )
    assert min(drawn) > 0, "no figure is empty"


def test_texts_of_figures_are_not_cut_off(visit):
    page = visit()
    for button in page.locator("button[data-open]").all():
        button.click()
    outside = page.evaluate(
        """[...document.querySelectorAll('figure svg[role=img] text')].filter(t => t.textContent.trim()).filter(t => {
        const a = t.getBoundingClientRect(), b = t.ownerSVGElement.getBoundingClientRect();
        return a.left < b.left - 1.5 || a.right > b.right + 1.5 || a.top < b.top - 1.5 || a.bottom > b.bottom + 1.5;
        }).map(t => t.textContent)"""
    )
    assert outside == []


@pytest.mark.parametrize("width", [390, 1280])
def test_texts_of_all_figures_have_one_size(visit, width):
    page = visit(width, 844)
    for button in page.locator("button[data-open]").all():
        button.click()
    scales = page.evaluate(
        "[...document.querySelectorAll('svg.chart')].map(s => [s.getScreenCTM().a, s.getScreenCTM().d])"
    )
    assert len(scales) > 30
    assert np.allclose(scales, 1, atol=0.01)
    boxes = "[...document.querySelectorAll('.plot, .scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    hidden = page.evaluate(
        f"{boxes}.map(e => [getComputedStyle(e).overflowX, getComputedStyle(e).backgroundAttachment])"
    )
    assert hidden
    assert {tuple(each) for each in hidden} == {("auto", "local, local, scroll, scroll")}, (
        "an edge shows that it goes on"
    )


def test_a_telephone_shows_the_winners_and_how_to_read_them(visit):
    page = visit(390, 844)
    table = page.locator('table[data-table="1"]')
    assert table.locator(".badge.best").count() == 1
    best = table.locator("tr", has=page.locator(".badge.best")).locator("th").get_attribute("data-value")
    score = next(head for head in heads(page, 1).all() if "macro-F1" in head.inner_text())
    assert score.get_attribute("data-better") == "higher"
    for figure in page.locator("figure[id$='-change'], figure[id$='-robustness'], #cost figure").all():
        if figure.is_visible():
            box = figure.locator("svg").bounding_box()
            assert box["x"] + box["width"] <= 390, "its right part is in view"
    how = page.locator("#group-1 details.how")
    how.locator("summary").click()
    said = how.inner_text()
    assert "best: the highest mean" in said
    assert "share closed of the gap" in said, "what the columns are stands at the table"
    assert best


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_scrolls_sideways(visit, width):
    page = visit(width, 844)
    measure = "[document.documentElement.scrollWidth, document.body.scrollWidth]"
    assert page.evaluate(measure) <= [width, width]
    for button in page.locator("button[data-open]").all():
        button.click()
    assert page.evaluate(measure) <= [width, width]
    page.mouse.wheel(500, 0)
    assert page.evaluate("scrollX") == 0
    assert page.evaluate("document.querySelector('table[data-table]').getBoundingClientRect().width") > 300


CONTRAST = """() => {
const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
const over = ([r, g, b, a = 1], under) => [r, g, b].map((v, n) => a * v + (1 - a) * under[n]);
const linear = v => v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
const style = (e, name) => getComputedStyle(e)[name];
const parents = e => e ? [...parents(e.parentElement), e] : [];
const opacity = e => parents(e).reduce((o, each) => o * style(each, 'opacity'), 1);
const ground = e => parents(e).map(each => rgb(style(each, 'backgroundColor')))
  .reduce((under, c) => c.length ? over(c, under) : under, [255, 255, 255]);
const fill = s => [...rgb(style(s, 'fill')).slice(0, 3),
  (rgb(style(s, 'fill'))[3] ?? 1) * style(s, 'fillOpacity') * opacity(s)];
const covers = (svg, s, x, y) => style(s, 'fill') !== 'none' && s.isPointInFill(
  Object.assign(svg.createSVGPoint(), {x, y}).matrixTransform(s.getScreenCTM().inverse()));
const below = (svg, e, x, y) => [...svg.querySelectorAll('rect,path,circle,polygon')]
  .filter(s => s.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING && covers(svg, s, x, y))
  .reduce((under, s) => over(fill(s), under), ground(svg));
const found = [];
for (const e of document.body.querySelectorAll('*:not(script,style,title,desc)')) {
  const box = e.getBoundingClientRect(), svg = e.ownerSVGElement;
  const said = [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim());
  if (!said || !box.width || box.right < 0 || style(e, 'visibility') !== 'visible') continue;
  const under = svg ? below(svg, e, box.x + box.width / 2, box.y + box.height / 2) : ground(e);
  const [r, g, b, a = 1] = rgb(style(e, svg ? 'fill' : 'color'));
  found.push([ratio(over([r, g, b, a * opacity(e)], under), under), e.tagName, e.textContent.trim().slice(0, 40)]);
}
return found.sort((p, q) => p[0] - q[0]);
}"""


def test_text_can_be_read_in_light_and_in_dark(visit):
    grounds = {}
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme)
        for button in page.locator("button[data-open]").all():
            button.click()
        found = page.evaluate(CONTRAST)
        assert len(found) > 300
        assert {"text", "TD", "H2"} <= {tag for _, tag, _ in found}
        assert found[0][0] >= 4.5, (scheme, found[:5])
        grounds[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light, dark = (sum(map(int, re.findall(r"\d+", grounds[scheme])[:3])) for scheme in ("light", "dark"))
    assert light > 600
    assert dark < 150


def test_contrast_is_measured_right(chromium):
    """Black on white has 21, #777 on white 4.48, half-transparent black 3.98; a text on a shape has the shape's."""
    page = chromium.new_page()
    page.set_content(
        "<p>black</p><p style='color:#777'>grey</p><p style='opacity:.5'>half</p>"
        "<svg width=100 height=40><rect width=100 height=40 fill='#000'/><text y=20 fill='#777'>shape</text></svg>"
    )
    found = {text: value for value, _, text in page.evaluate(CONTRAST)}
    page.close()
    assert found["black"] == pytest.approx(21)
    assert found["grey"] == pytest.approx(4.48, abs=0.01)
    assert found["half"] == pytest.approx(3.98, abs=0.05)
    assert found["shape"] == pytest.approx(21 / 4.48, abs=0.01)


def test_it_prints(visit):
    page = visit(718, 1000, color_scheme="dark")  # the width of A4 between its margins
    page.locator("details.method").nth(1).locator("summary").click()
    printed = page.pdf(format="A4", print_background=True)
    assert printed.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) < 60
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "paper is light"
    assert page.locator("nav").is_hidden()
    assert page.locator('input[data-filter="1"]').is_hidden()
    assert page.locator('table[data-table="1"]').is_visible()
    assert page.evaluate(CONTRAST)[0][0] >= 4.5
    assert page.evaluate("document.documentElement.scrollWidth") <= 718, "no column is cut off"


def test_details_open_by_keyboard(visit):
    page = visit()
    first = page.locator("details.method").first
    first.locator("summary").focus()
    page.keyboard.press("Enter")
    assert first.evaluate("e => e.open")
    page.keyboard.press("Space")
    assert not first.evaluate("e => e.open")
    link = page.locator('table[data-table="1"] tbody a').last
    wanted = link.get_attribute("href")
    link.focus()
    page.keyboard.press("Enter")
    opened = page.locator("details[open]")
    opened.wait_for()
    assert "#" + opened.get_attribute("id") == wanted
    assert opened.locator("svg").first.is_visible()
    assert opened.bounding_box()["y"] < 900
    button = page.locator('button[data-open="1"]')
    button.focus()
    page.keyboard.press("Enter")
    assert page.locator('details[data-group="1"]:not([open])').count() == 0
    page.keyboard.press("Enter")
    assert page.locator('details[data-group="1"][open]').count() == 0


def test_every_link_within_leads_somewhere(visit):
    page = visit()
    broken = page.evaluate(
        """[...document.querySelectorAll('a')].filter(a => !document.getElementById(
        decodeURIComponent(a.getAttribute('href').slice(1)))).map(a => a.getAttribute('href'))"""
    )
    assert broken == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_it_can_be_read_without_its_script(chromium, site):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.uri)
    assert page.locator('table[data-table="1"] tbody tr').count() > 5
    page.locator("details.method summary").first.click()
    assert page.locator("details[open] svg").first.is_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_budget_curves_fit_and_their_names_stand_apart(chromium, tmp_path, width, scheme):
    """On a telephone too the names at the ends of the curves are in view, and none covers another."""
    fold = replace(KD.data, inner_fold=(1, 3))
    for n, method in enumerate(("kd", "dkd", "at", "sp", "fitnet", "a-method-with-a-long-name")):
        for number in range(6):
            options = {"temperature": 4.0 + number}
            tuning = {"table": f"{n:02d}" * 16, "number": number}
            spec = replace(KD, data=fold, seed=10_000, method=method, options=options, tuning=tuning)
            write(tmp_path, spec, 30 + (7 * n + 5 * number) % 23)
    write(tmp_path, KD, 40)
    assert compare.main(["--runs", str(tmp_path)]) == 0
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto((tmp_path / "comparison" / "report.html").as_uri())
    assert page.locator("#tuning figure").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for chart in page.locator("#tuning svg").all():
        box = chart.bounding_box()
        assert box["x"] + box["width"] <= width
        boxes = [name.bounding_box() for name in chart.locator("text.small").all()]
        boxes = [each for each in boxes if each["x"] > box["x"] + 0.6 * box["width"]]
        assert len(boxes) == 6
        assert all(each["x"] + each["width"] <= box["x"] + box["width"] + 1 for each in boxes)
        tops = sorted(each["y"] for each in boxes)
        assert all(later - earlier >= 14 for earlier, later in itertools.pairwise(tops))
        colours = {each.evaluate("e => getComputedStyle(e).stroke") for each in chart.locator("path.line").all()}
        assert len(colours) == 6
    page.close()
