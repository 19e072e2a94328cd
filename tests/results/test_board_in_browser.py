"""The board in a real browser: it loads alone, has tabs, sorts the best on top, fits a telephone in both schemes."""

import re
from dataclasses import replace

import pytest

from mmkd.results.board import board_files
from mmkd.results.board.decisions import Decisions
from mmkd.results.board.regime import Plan
from tests.results.board_lines import SETS, made_lines

pytestmark = pytest.mark.browser
SEEDS = (0, 1, 2, 3, 4)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    plans = [Plan(name, "a title", "what it is", "macro_f1", SETS, SEEDS) for name in ("A", "C", "<b>later</b>")]
    lines = [*made_lines(), *made_lines("C", SETS[:3])]
    files = board_files("mmkd-bench v1", plans, lines, {"A": Decisions(frozenset(SETS[:10]), "label-smoothing")})
    path = tmp_path_factory.mktemp("board") / "index.html"
    path.write_text(files["index.html"], encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def visit(chromium, address):
    """Opens the board; the test fails where it asks for anything or has an error."""
    contexts, said = [], []

    def open_page(width=1280, scheme="light", part="", **more):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith("data:") else None)
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.goto(address + part)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert {text.partition("#")[0] for text in said} == {address}, "nothing but itself"


def names(table, body=0):
    return (
        table.locator("tbody")
        .nth(body)
        .locator("tr:not(.heading) > th")
        .evaluate_all("heads => heads.map(head => head.dataset.value)")
    )


def test_tabs_show_one_regime_each_by_pointer_and_by_keys(visit):
    page = visit()
    tabs = page.get_by_role("tab")
    assert tabs.all_inner_texts() == ["A: a title", "C: a title", "<b>later</b>: a title"]
    panels = page.locator("section.regime")

    def shown():
        return [panel.is_visible() for panel in panels.all()]

    assert shown() == [True, False, False]
    tabs.nth(1).click()
    assert shown() == [False, True, False]
    assert page.url.endswith("#regime-2")
    page.keyboard.press("ArrowRight")
    assert shown() == [False, False, True]
    assert tabs.nth(2).get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowRight")
    assert shown() == [True, False, False]
    assert page.evaluate("document.activeElement.id") == "tab-regime-1"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('#regime-1 *')"), "the keyboard goes on in the panel"


def test_an_address_opens_its_regime_and_without_script_all_stand_there(visit):
    page = visit(part="#regime-2")
    assert page.locator("#regime-2").is_visible()
    assert not page.locator("#regime-1").is_visible()
    plain = visit(java_script_enabled=False)
    assert [panel.is_visible() for panel in plain.locator("section.regime").all()] == [True] * 3
    assert plain.locator(".plain-tabs a").count() == 3


def test_a_row_of_the_first_table_opens_its_regime(visit):
    page = visit()
    page.locator("table[data-table=overview] a", has_text="C: a title").click()
    page.locator("#regime-2").wait_for()
    assert [panel.is_visible() for panel in page.locator("section.regime").all()] == [False, True, False]
    assert page.locator("#tab-regime-2").get_attribute("aria-selected") == "true"
    assert page.evaluate("document.activeElement.id") == "regime-2", "the keyboard goes on there"
    page.locator("#tab-regime-3").click()
    page.locator("table[data-table=overview] a", has_text="C: a title").click()
    page.locator("#regime-2").wait_for()
    assert not page.locator("#regime-3").is_visible()


def test_the_way_back_shows_what_the_address_says(visit):
    page = visit()
    page.locator("table[data-table=overview] a", has_text="C: a title").click()
    page.locator("#regime-2").wait_for()
    page.go_back()
    page.wait_for_function("!document.querySelector('#regime-1').hidden")
    assert not page.locator("#regime-2").is_visible()
    page.go_forward()
    page.wait_for_function("!document.querySelector('#regime-2').hidden")


def test_the_first_click_on_a_metric_puts_its_best_on_top(visit):
    page = visit()
    table = page.locator("table[data-table='A-room']")
    heads = table.locator("thead th")
    assert names(table)[0] == "good"
    for number in range(1, heads.count()):
        head = heads.nth(number)
        values = [float(v) for v in table.locator("tbody").first.locator(f"td:nth-child({number + 1})").evaluate_all(
            "cells => cells.map(cell => cell.dataset.value)") if v]  # fmt: skip
        if head.get_attribute("aria-sort") != "none":
            heads.nth(0).get_by_role("button").click()
        head.get_by_role("button").click()
        top = table.locator("tbody").first.locator("tr").first.locator("td").nth(number - 1).get_attribute("data-value")
        best = {"higher": max, "lower": min}[head.get_attribute("data-better")]
        assert float(top) == best(values), head.inner_text()
    rank = next(head for head in heads.all() if head.inner_text().startswith("rank"))
    rank.get_by_role("button").click()
    assert names(table)[0] == "good"
    rank.get_by_role("button").click()
    assert names(table)[0] == "bad"
    assert names(table, 1) == ["label-smoothing"], "controls stay below"


def test_rows_can_be_looked_for_by_their_kind_and_marks(visit):
    page = visit()
    for words, found in (("control", ["label-smoothing"]), ("peer", ["random-forest"]), ("best", ["good"])):
        page.fill("input[data-filter='A-room']", words)
        rows = page.locator("table[data-table='A-room'] tbody tr:not(.heading)")
        assert [row.locator("th").get_attribute("data-value") for row in rows.all() if row.is_visible()] == found


def test_figures_take_the_width_and_the_answers_little_of_a_telephone(visit):
    page = visit(1280)
    assert page.locator("#figure-regime-1-change svg:visible").bounding_box()["width"] > 500
    details = page.locator("#regime-1 .answers details")
    assert all(each.get_attribute("open") is not None for each in details.all())
    page = visit(390)
    assert page.locator("#figure-regime-1-change svg:visible").bounding_box()["width"] <= 366
    opened = [each.get_attribute("open") is not None for each in page.locator("#regime-1 .answers details").all()]
    assert opened[:2] == [True, True]
    assert not any(opened[2:])
    rows = page.locator("table[data-table='A-all'] tbody tr:not(.heading)")
    heights = [row.bounding_box()["height"] for row in rows.all()]
    assert max(heights) < 1.5 * min(heights), "a mark is no second line"


def test_rows_can_be_looked_for_and_and_the_words_are_near(visit):
    page = visit()
    page.fill("input[data-filter='A-room']", "smooth")
    table = page.locator("table[data-table='A-room']")
    assert [row.is_visible() for row in table.locator("tbody tr").all()].count(True) == 3
    how = page.locator("table[data-table='A-room'] >> xpath=../following-sibling::details[1]")
    assert not how.locator("li").first.is_visible()
    how.locator("summary").click()
    assert "marked" in how.locator("li").first.inner_text()
    assert page.locator("h1").inner_text() == page.title() == "mmkd-bench v1: board"
    for chart in page.locator("svg[role=img]").all():
        assert len(chart.get_attribute("aria-label")) > 30


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_can_be_read_in_both_schemes(visit, width, scheme):
    page = visit(width, scheme)
    for tab in page.get_by_role("tab").all():
        tab.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_by_role("tab", name="A: a title", exact=True).count() == 1
    assert len({tab.bounding_box()["y"] for tab in page.get_by_role("tab").all()}) == 1, "one line"
    page.get_by_role("tab").first.click()
    for number in range(page.locator("details.how").count()):
        page.locator("details.how").nth(number).evaluate("each => { each.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    low = page.evaluate(CONTRAST)
    assert low == [], "contrast of text below 4.5"
    ranks = page.locator("#figure-regime-1-ranks svg:visible").bounding_box()
    assert ranks["x"] + ranks["width"] <= width, "the best rows are seen without scrolling sideways"


CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const part = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll("section:not([hidden]) *, header *, footer *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.getClientRects().length || element.closest("svg, .unseen, .skip")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push(`${element.className} ${element.textContent.slice(0, 30)}`);
  }
  return low.slice(0, 5);
}"""
"""Texts of which the contrast against what is painted behind them is below 4.5."""


NAMES = {SETS[0]: "SyntheticControl", SETS[1]: "MedicalImages", SETS[2]: "Strawberry", SETS[3]: "japanese-vowels"}
BROKEN = """() => {
  const broken = [];
  for (const head of document.querySelectorAll("tbody th:not([colspan])")) {
    if (!head.getClientRects().length) continue;
    for (const word of head.firstChild.data.matchAll(/[^\\s-]+/g)) {
      const range = document.createRange();
      range.setStart(head.firstChild, word.index);
      range.setEnd(head.firstChild, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((box) => box.top)).size > 1) broken.push(word[0]);
    }
  }
  return broken;
}"""
"""Words in names of rows that stand on two lines."""


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_names_break_between_words_only(chromium, tmp_path, width):
    lines = [replace(line, dataset=NAMES.get(line.dataset, line.dataset)) for line in made_lines()]
    longest = {"equal": "a" * 80}
    lines = [replace(line, row=longest.get(line.row, line.row)) for line in lines]
    plan = Plan("A", "a title", "what it is", "macro_f1", tuple(NAMES.get(name, name) for name in SETS), SEEDS)
    path = tmp_path / "index.html"
    path.write_text(board_files("mmkd-bench v1", [plan], lines, {})["index.html"], encoding="utf-8")
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto(path.as_uri())
    assert set(page.evaluate(BROKEN)) == {"a" * 80}, "what is longer than the column breaks, and nothing else"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    name = page.locator("tbody th").filter(has_text="a" * 80).first.bounding_box()
    assert name["width"] <= 0.6 * width
    page.close()


def test_the_measure_of_contrast_can_fail(visit):
    page = visit()
    page.evaluate("document.querySelector('.answers').style.setProperty('color', '#888')")
    assert page.evaluate(CONTRAST)


def test_names_of_regimes_are_escaped(visit):
    page = visit()
    assert page.locator("b").count() == 0
    assert re.search("later", page.get_by_role("tab").nth(2).inner_text())
