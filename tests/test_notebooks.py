"""The notebooks of docs/notebooks/: each runs from its first cell to its last, in a folder of its own."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_text_between_its_cells(path):
    text = path.read_text(encoding="utf-8")
    compile(text, str(path), "exec")
    assert re.match(r"# %% \[markdown\]\n# # \w", text)
    assert text.count("# %%\n") >= 3
    assert text.count("# %% [markdown]\n") >= 3


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    if path.stem == "student_to_c" and not (shutil.which("cc") and shutil.which("make")):
        pytest.skip("there is no C compiler here")
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) > 3
