"""The site of the documents in a real browser: no page is wider than a phone, empty, or without its pictures."""

import http.server
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from docs.maker import assemble

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[1]
LOOK = """() => {
  const article = document.querySelector("article");
  const width = document.documentElement.clientWidth;
  const scrolls = element => {
    for (let up = element.parentElement; up && up !== article.parentElement; up = up.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(up).overflowX)) return true;
    return false;
  };
  const beyond = [...article.querySelectorAll("*")].filter(
    element => element.getBoundingClientRect().right > width + 1 && !scrolls(element));
  return {
    overflow: document.documentElement.scrollWidth - width,
    beyond: beyond.slice(0, 3).map(element => `${element.tagName} ${element.textContent.slice(0, 40)}`),
    missing: [...article.querySelectorAll("img")].filter(image => !image.naturalWidth).map(image => image.src),
    unnamed: [...article.querySelectorAll("img")].filter(image => !image.alt).map(image => image.src),
    words: article.innerText.split(/\\s+/).length,
    titles: article.querySelectorAll("h1").length,
    ids: [...document.querySelectorAll("[id]")].map(element => element.id),
    links: [...article.querySelectorAll("a[href]")].map(link => link.href),
  };
}"""
"""What is seen of a page: also what reaches beyond its right edge outside of a box that scrolls."""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, without a line for each."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site: its folder, and the address of a server of Python that gives it out as `make docs` says."""
    pytest.importorskip("zensical", reason="zensical is not installed: make docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "docs.maker", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = folder / "site"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(made)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield SimpleNamespace(folder=made, address=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


def look(chromium, pages, width, scheme):
    """Open addresses one after the other; address -> what is seen, with what the page said and asked for elsewhere."""
    context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("response", lambda answer: said.append(f"missing: {answer.url}") if answer.status >= 400 else None)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    seen = {}
    for address in pages:
        said.clear()
        asked.clear()
        page.goto(address)
        facts = SimpleNamespace(**page.evaluate(LOOK))
        home = address.split("/")[2]
        away = [url for url in asked if url[:5] not in ("data:", "blob:") and url.split("/")[2] != home]
        facts.said = [*said, *(f"elsewhere: {url}" for url in away)]
        seen[address] = facts
    context.close()
    return seen


def faults(facts):
    """What is wrong with a page, in words."""
    found = [f"{facts.overflow} px wider than the window"] if facts.overflow > 0 else []
    found += [f"beyond the edge: {text}" for text in facts.beyond]
    found += [f"no picture: {source}" for source in facts.missing]
    found += [f"a picture without words: {source}" for source in facts.unnamed]
    found += ["empty"] if facts.words < 30 else []
    found += [] if facts.titles == 1 else [f"{facts.titles} titles"]
    return found + facts.said


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_every_page_fits_its_window_and_has_its_pictures(chromium, site, width, scheme):
    pages = [f"{site.address}/{page.replace('.md', '.html')}" for page in assemble.all_pages()]
    seen = look(chromium, pages, width, scheme)
    assert len(seen) > 100
    assert {address: faults(facts) for address, facts in seen.items() if faults(facts)} == {}
    anchors = [link.split("#") for facts in seen.values() for link in facts.links if "#" in link]
    assert len(anchors) > 100
    assert [(page, name) for page, name in anchors if page in seen and name and name not in seen[page].ids] == []


def test_the_look_at_a_page_sees_what_is_wrong(chromium, site):
    page = site.folder / "wrong.html"
    wrong = '<article><p style="width: 700px">wide</p><img src="none.png"><img src="http://[::1]:9/x.png"></article>'
    page.write_text(wrong, encoding="utf-8")
    (facts,) = look(chromium, [f"{site.address}/wrong.html"], 390, "light").values()
    page.unlink()
    found = faults(facts)
    assert found[0].endswith("px wider than the window")
    kinds = ("beyond the edge: P wide", "no picture: ", "a picture without words: ", "empty", "0 titles", "missing: ")
    for words in (*kinds, "elsewhere: http://[::1]:9/x.png"):
        assert any(line.startswith(words) for line in found), words


def test_search_finds_pages_and_the_scheme_follows_the_machine(chromium, site):
    context = chromium.new_context(viewport={"width": 1280, "height": 844}, color_scheme="dark")
    page = context.new_page()
    page.goto(f"{site.address}/index.html")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="light")
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    page.get_by_role("button", name="Search").first.click()
    page.keyboard.type("quantisation-aware")
    page.get_by_text(re.compile(r"^[1-9]\d* results$")).wait_for()
    context.close()
