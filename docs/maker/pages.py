"""The pages of the site as they lie in the repository, with links that work there.

A page of `docs/` links files of the repository relative to itself, so that it can be read without the site. Copies of
such files have other places on the site, and files that are no pages are only named there.
"""

import posixpath
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from docs.maker import notebooks

ROOT = Path(__file__).parents[2]
TOP = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Documents of the top folder, and their pages."""
RESULTS = "experiments/results"
FROZEN = r"experiments/v\d+/results/[\w-]+\.svg"
"""The figures of frozen benchmarks."""
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
CARDS = "datasets/README.md"
SPREAD = re.compile(r"[\d.]+ ± [\d.]+|[(\[][-+]?[\d.]+(?: to |, )[-+]?[\d.]+[)\]]")
"""A mean with its deviation, or an interval."""


def repository_pages() -> dict[str, str]:
    """Path in the repository -> path on the site, of every page that is not generated."""
    pages = {name: page for name, page in TOP.items() if (ROOT / name).exists()}
    for path in sorted((ROOT / "docs").glob("*.md")):
        pages[f"docs/{path.name}"] = path.name
    for path in sorted((ROOT / RESULTS).rglob("*.md")):
        name = path.relative_to(ROOT / RESULTS).as_posix()
        pages[f"{RESULTS}/{name}"] = f"measured/{name}"
    return pages


def site_path(target: str) -> str:
    """Where a file of the repository, or a generated page named as if it lay in `docs/`, is on the site; else empty."""
    known = repository_pages()
    if target in known:
        return known[target]
    if target in (files := {f"docs/notebooks/{path.name}": path for path in notebooks.FOLDER.glob("*.py")}):
        return notebooks.page_of(files[target])
    if target == CARDS:
        return "datasets.md"
    if target.startswith(f"{RESULTS}/") and (ROOT / target).is_file():
        return f"measured/{target.removeprefix(RESULTS + '/')}"
    if re.fullmatch(FROZEN, target) and (ROOT / target).is_file():
        return target.removeprefix("experiments/")
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return ""


def for_site(text: str, source: str, page: str) -> tuple[str, set[str]]:
    """The text of a page with the links of the site.

    Args:
        text: Markdown as it stands in the repository.
        source: its path there.
        page: its path on the site.

    Returns:
        The text, and the files of the repository that it shows or links and that are no pages.
    """
    files: set[str] = set()

    def link(match: re.Match[str]) -> str:
        whole = match[2]
        if re.match(r"[a-z]+:|#", whole):
            return match[0]
        path, mark, anchor = whole.partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        place = site_path(target)
        if not place:
            return "](@file)" if (ROOT / target).exists() else match[0]
        if not place.endswith(".md") and (ROOT / target).is_file():
            files.add(target)
        return f"]({posixpath.relpath(place, posixpath.dirname(page) or '.')}{mark}{anchor})"

    parts, last = [], 0
    for fence in FENCE.finditer(text):
        parts += [_rewritten(text[last : fence.start()], link), fence[0]]
        last = fence.end()
    parts.append(_rewritten(text[last:], link))
    return "".join(parts), files


def _rewritten(prose: str, link: Callable[["re.Match[str]"], str]) -> str:
    """Prose with other links, and lists as Python-Markdown wants them."""
    prose = LINK.sub(link, prose)
    if lost := re.search(r"!\[([^\]]*)\]\(@file\)", prose):
        raise ValueError(f"a picture has no place on the site: {lost[1][:80]}")
    prose = re.sub(r"\[([^\]]+)\]\(@file\)", r"\1", prose)  # a file that is no page is named, not linked
    lines: list[str] = []
    for line in prose.split("\n"):
        item = re.match(r"( *)(- |\d+\. )", line)
        before = lines[-1] if lines else ""
        if item and before and not re.match(r" *(- |\d+\. )|  ", before):
            lines.append("")
        lines.append("  " + line if item and item[1] == "  " else line)
    return "\n".join(lines)


def write(folder: Path, page: str, text: str) -> None:
    """Write one page below `folder`; a number and its spread stay on one line."""
    path = folder / page
    text = SPREAD.sub(lambda match: match[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def copy_pages(folder: Path) -> None:
    """Copy all pages that are not generated, and the files that they show, below `folder`."""
    files: set[str] = set()
    for source, page in repository_pages().items():
        text, more = for_site((ROOT / source).read_text(encoding="utf-8"), source, page)
        if page.endswith("/tables.md"):  # all of them have the title that `mmkd.compare` writes
            text = re.sub(r"\A# .*", f"# {posixpath.basename(posixpath.dirname(page))}: all tables", text)
        write(folder, page, text)
        files |= more
    for source in files:
        place = folder / site_path(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, place)
