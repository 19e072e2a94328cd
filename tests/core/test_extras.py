"""Messages and pages name the extras that there are, and one way to install them."""

import re
import tomllib
from pathlib import Path

from mmkd.core.extras import how_to_install

ROOT = Path(__file__).parents[2]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"])


def test_the_command_is_one_of_a_clone():
    assert how_to_install("tsai").endswith("python -m pip install -c constraints.txt -e '.[tsai]'")
    assert how_to_install("aeon", constrained=False).endswith("python -m pip install -e '.[aeon]'")


def test_every_extra_that_code_or_a_page_names_is_one():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "mmkd").rglob("*.py"))
    assert set(re.findall(r"""how_to_install\(["'](\w+)["']""", code)) <= EXTRAS
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"'\.\[([\w,]+)\]'", text)) <= EXTRAS, path.name
        assert not re.search(r"pip install ['\"]?mmkd", text), f"{path.name}: mmkd is on no index"
