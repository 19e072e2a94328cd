"""The whole site: pages of the repository, generated pages, navigation, and the call of Zensical."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from docs.maker import cards, lists, methods, notebooks, pages, reference
from mmkd import METHODS
from mmkd.core.extras import how_to_install
from mmkd.data import find_cards

HERE = Path(__file__).parent
MARK = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.M)
"""A line of a page in whose place a generated list stands."""
SHORT = re.compile(r"<code>([^<]{1,28})</code>")
"""Code in a line of text that is never broken, such as a flag: it fits a line of a phone."""


def generated() -> dict[str, str]:
    """Path on the site -> text, of every page that is not in the repository."""
    return {**methods.pages(), **cards.pages(), **notebooks.pages(), "api.md": reference.page()}


def generated_list(what: str) -> str:
    """The list that a page asks for: methods, data sets, or any that `--list` knows."""
    own = {"methods": methods.overview, "datasets": cards.overview, "options": methods.shared_options}
    return own[what]() if what in own else lists.table(what)


def generated_names() -> list[str]:
    """The paths of the pages of `generated`, without making them."""
    files = sorted(notebooks.FOLDER.glob("*.py"))
    return [
        *map(methods.page_of, METHODS),
        *map(cards.page_of, find_cards()[0]),
        *map(notebooks.page_of, files),
        "api.md",
    ]


def all_pages() -> list[str]:
    """The paths of all pages on the site."""
    return [*pages.repository_pages().values(), *generated_names()]


def navigation() -> list[tuple[str, list[str]]]:
    """The parts of the site: title and paths.

    Raises:
        ValueError: nav.toml names a page that is not there, or leaves one out.
    """
    every = all_pages()
    parts = []
    for part in tomllib.loads((HERE / "nav.toml").read_text(encoding="utf-8"))["part"]:
        named: list[str] = []
        for page in part["pages"]:
            folder = page.removesuffix("*")
            found = sorted((p for p in every if p.startswith(folder)), key=lambda p: p.removesuffix(".md"))
            named += found if page.endswith("/*") else [page]
        parts.append((part["title"], named))
    listed = [page for _, named in parts for page in named]
    if missing := sorted(set(every) - set(listed)):
        raise ValueError(f"nav.toml leaves out {', '.join(missing)}")
    if unknown := sorted(set(listed) - set(every)):
        raise ValueError(f"nav.toml names {', '.join(unknown)}, which are no pages")
    return parts


def stage(folder: Path) -> None:
    """Write all pages and the settings of Zensical into an empty folder."""
    where = folder / "pages"
    pages.copy_pages(where)
    for page, text in generated().items():
        pages.write(where, page, text)
    for page in pages.repository_pages().values():
        text = (where / page).read_text(encoding="utf-8")
        pages.write(where, page, MARK.sub(lambda match: generated_list(match[1]), text))
    pages.write(where, "maker/site.css", (HERE / "site.css").read_text(encoding="utf-8"))
    settings = (HERE / "zensical.toml").read_text(encoding="utf-8")
    nav = [f"  {{ {json.dumps(title)} = {json.dumps(named)} }}," for title, named in navigation()]
    head, _, rest = settings.partition("[project]\n")
    written = f"{head}[project]\nnav = [\n" + "\n".join(nav) + f"\n]\n{rest}"
    written = written.replace('paths = ["../.."]', f"paths = [{json.dumps(str(pages.ROOT))}]")
    written = written.replace('"DOCTESTS"', json.dumps(str(HERE / "doctests.py")))
    (folder / "zensical.toml").write_text(written, encoding="utf-8")


def build(folder: Path) -> Path:
    """Make the site in `folder`, which is emptied first; returns the folder of its pages.

    Raises:
        SystemExit: Zensical found something wrong, such as a link without its page.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stage(folder)
    program = Path(sys.executable).parent / "zensical"
    if not program.exists():
        raise SystemExit(f"zensical is not installed: make docs, or {how_to_install('docs')}")
    done = subprocess.run(
        [program, "build", "--strict", "--clean"], cwd=folder, env={**os.environ, "NO_COLOR": "1"}, check=False
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    for path in (folder / "site").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        path.write_text(SHORT.sub(r'<code class="short">\1</code>', text), encoding="utf-8")
    return folder / "site"
