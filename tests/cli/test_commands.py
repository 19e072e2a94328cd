"""`python -m mmkd`."""

import re
from pathlib import Path

import mmkd
from mmkd.cli.commands import find_commands, main
from tests.test_structure import DOORS


def test_it_prints_the_version_and_every_command(capsys):
    assert main() == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith(f"mmkd {mmkd.__version__}: ")
    doors = {door.removesuffix(".py").removesuffix("/__main__") for door in DOORS - {"__main__.py"}}
    assert {line.split()[2].removeprefix("mmkd.") for line in rest if line.startswith("  python -m")} == doors


def test_a_command_is_found_by_its_guard_and_told_by_its_docstring(tmp_path):
    (tmp_path / "go.py").write_text(
        '"""`python -m p.go`: walk a while. More."""\n\nif __name__ == "__main__":\n    pass\n'
    )
    (tmp_path / "quiet.py").write_text('"""No command."""\n')
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "__main__.py").write_text('"""`python -m p.deep`: dive."""\n')
    (tmp_path / "__main__.py").write_text('"""`python -m p`: this list."""\n')
    assert find_commands(tmp_path) == {"deep": "dive", "go": "walk a while"}


def test_the_version_is_the_same_everywhere():
    root = Path(__file__).parents[2]
    assert f"\nversion: {mmkd.__version__}\n" in (root / "CITATION.cff").read_text(encoding="utf-8")
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(mmkd.__version__)}\] - \d{{4}}-\d\d-\d\d$", changes, re.M)
    assert changes.index("## [Unreleased]") < changes.index(f"## [{mmkd.__version__}]")
