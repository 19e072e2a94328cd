"""A page for each notebook of docs/notebooks/: its text, and its cells as blocks of Python."""

import re
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "notebooks"
CELL = re.compile(r"(?m)^# %%( \[markdown\])?\n")


def page_of(path: Path) -> str:
    """The path of a notebook's page on the site."""
    return f"notebooks/{path.stem.replace('_', '-')}.md"


def pages() -> dict[str, str]:
    """Path on the site -> text, of all notebooks."""
    return {page_of(path): page(path) for path in sorted(FOLDER.glob("*.py"))}


def page(path: Path) -> str:
    """The page of one notebook, a file of Python in the percent format."""
    _, *parts = CELL.split(path.read_text(encoding="utf-8"))
    made = []
    for mark, text in zip(parts[::2], parts[1::2], strict=True):
        prose = re.sub(r"(?m)^# ?", "", text).strip()
        made.append(prose if mark else f"```python\n{text.strip()}\n```")
    head, *rest = made
    title, _, more = head.partition("\n")
    where = f"As a file: `docs/notebooks/{path.name}`, which Jupyter (with jupytext), VS Code and plain Python run."
    return "\n\n".join([title, more.strip(), where, *rest]) + "\n"
