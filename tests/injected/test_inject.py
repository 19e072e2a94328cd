"""The tables of injected faults fit the present source and tests, and the script tells what comes of a fault."""

import ast
import importlib.util
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _module():
    """The script as a module; it lies in no package."""
    spec = importlib.util.spec_from_file_location("injected_faults", Path(__file__).with_name("inject.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


inject = _module()
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
FAULTS = inject.read_faults()


@cache
def source(file):
    return (ROOT / file).read_text(encoding="utf-8")


@cache
def functions(file):
    return {node.name for node in ast.parse(source(file)).body if isinstance(node, ast.FunctionDef)}


def test_there_are_many_and_no_two_are_one():
    assert len(FAULTS) > 200
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len({(fault.file, fault.old, fault.new) for fault in FAULTS}) == len(FAULTS)
    assert len({fault.kind for fault in FAULTS}) > 30


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_still_applies(fault):
    """If this fails the code has changed: find the place again, or take the fault out where it makes no sense now."""
    assert fault.broken(source(fault.file))
    assert fault.tests
    for test in fault.tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).is_file(), f"{file} is no file of tests"
        assert not name or name.partition("[")[0] in functions(file), f"{file} has no {name}"


@pytest.fixture
def project(tmp_path):
    """A project of one function and two tests, of which one looks at the sign."""
    (tmp_path / "twice.py").write_text("def twice(x):\n    return 2 * x\n")
    tests = "from twice import twice\n\n\ndef test_size():\n    assert abs(twice(3)) == 6\n"
    (tmp_path / "test_twice.py").write_text(f"{tests}\n\ndef test_sign():\n    assert twice(3) > 0\n")
    return tmp_path


@pytest.mark.parametrize(
    ("new", "test", "outcome"),
    [
        ("-2 * x", "test_twice.py::test_sign", "killed"),
        ("-2 * x", "test_twice.py::test_size", "survived"),
        ("-2 * x", "test_twice.py", "killed"),
        ("-2 * x", "test_twice.py::test_gone", "broken"),
        ("2 * x\nimport nothing_of_this_name", "test_twice.py", "broken"),
    ],
)
def test_what_comes_of_a_fault(project, new, test, outcome):
    before = (project / "twice.py").read_text(), (project / "twice.py").stat().st_mtime_ns
    fault = inject.Fault("signs", "the other sign", "twice.py", "2 * x", new, (test,))
    result = inject.try_fault(fault, project)
    assert result.outcome == outcome
    assert str(result).startswith(outcome)
    assert "signs: the other sign (twice.py)" in str(result)
    assert ((project / "twice.py").read_text(), (project / "twice.py").stat().st_mtime_ns) == before


def test_all_are_tried_in_a_copy_and_survivors_are_named(project, capfd):
    faults = [
        inject.Fault("signs", "the other sign", "twice.py", "2 * x", "-2 * x", ("test_twice.py::test_size",)),
        inject.Fault("sizes", "three times", "twice.py", "2 * x", "3 * x", ("test_twice.py::test_size",)),
    ]
    assert inject.try_faults(faults, project) == 1
    said = capfd.readouterr().out
    assert "2 faults: signs 1, sizes 1" in said
    assert "1 killed, 1 survived, 0 broken" in said
    assert said.splitlines()[-2].startswith("survived")
    assert inject.try_faults(faults[1:], project) == 0
    (project / "test_twice.py").write_text("def test_size():\n    assert False\n")
    assert inject.try_faults(faults, project) == 2


@pytest.mark.parametrize(("old", "new"), [("3 * x", "2 * x"), ("x", "y"), ("2 * x", "2 * x")])
def test_a_text_that_is_not_there_once_is_no_fault(project, old, new):
    with pytest.raises(ValueError, match=r"twice.py|nothing is changed"):
        inject.Fault("signs", "name", "twice.py", old, new, ()).broken((project / "twice.py").read_text())
