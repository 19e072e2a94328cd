"""aeon is optional: `mmkd.aeon` says in one line what to install. What it does with aeon: `aeon_checks.py`."""

import importlib
import sys

import pytest

from mmkd import MmkdError


def test_without_aeon_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "aeon", None)
    monkeypatch.delitem(sys.modules, "mmkd.aeon", raising=False)
    with pytest.raises(ImportError, match=r"mmkd.aeon needs aeon .* install the extra mmkd\[aeon\]") as caught:
        importlib.import_module("mmkd.aeon")
    assert isinstance(caught.value, MmkdError)
    assert "\n" not in str(caught.value)
