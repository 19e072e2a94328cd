"""What a call from Python shows of its progress: bars in a notebook that can draw them, else lines or nothing."""

import io
import sys
from types import SimpleNamespace

import pytest

import mmkd
from mmkd.core import progress
from mmkd.core.progress import Bars, Lines, Progress, in_notebook, python_progress


@pytest.fixture
def notebook(monkeypatch):
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_a_kernel_is_known_by_its_shell(notebook, monkeypatch):
    assert in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))  # plain Python with IPython
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


@pytest.mark.parametrize(("widgets", "kind"), [(True, Bars), (False, Lines)])
def test_a_notebook_has_bars_if_it_can_draw_them(notebook, monkeypatch, widgets, kind):
    monkeypatch.setattr(progress, "find_spec", lambda name: widgets or None)
    assert type(python_progress()) is kind


def test_elsewhere_bars_are_for_terminals(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(python_progress()) is Lines
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert type(python_progress()) is Bars


def test_a_run_is_silent_but_in_notebooks(sines, tmp_path, monkeypatch):
    made = []

    def workspace(request, progress, **settings):
        made.append(type(progress))
        raise mmkd.MmkdError("far enough")

    monkeypatch.setattr("mmkd.api.Workspace.for_request", workspace)

    def run(**how):
        with pytest.raises(mmkd.MmkdError, match="far enough"):
            mmkd.run("student", data=sines, runs=tmp_path, **how)

    run()
    run(progress=True)
    run(progress=False)
    monkeypatch.setattr("mmkd.api.in_notebook", lambda: True)
    run()
    assert made[0] is made[2] is Progress
    assert made[1] is made[3]
    assert made[1] in (Bars, Lines)
