"""Registries: names taken once, files that do not load, plugins, entry points."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import mmkd.baselines
import mmkd.core.registry
from mmkd import METHODS, MmkdError
from mmkd.core.errors import describe_error
from mmkd.core.plugins import load_plugin
from mmkd.core.registry import REGISTRIES, Registry, discover_methods

METHOD = """
from mmkd import METHODS, Method

@METHODS.register({name!r})
class Added(Method):
    "Added by a test."
"""


@pytest.fixture
def plugin(tmp_path):
    def write(text: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def module_with(path: Path) -> dict:
    """The names of a file that was run as a module of its own, so that its things know where they come from."""
    spec = importlib.util.spec_from_file_location(f"mmkd_plugin_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return vars(module)


def test_entries_are_found_by_name_in_order():
    things = Registry("thing")
    for name in ("b", "a", "c-1.0+x_y"):
        things.register(name)(name.upper())
    assert list(things) == ["a", "b", "c-1.0+x_y"]
    assert things.get("a") == "A"
    assert "a" in things
    assert "z" not in things
    assert len(things) == 3
    things.unregister("a")
    assert "a" not in things


def test_register_gives_the_thing_back():
    things = Registry("thing")

    @things.register("f")
    def f():
        return 7

    assert f() == 7


@pytest.mark.parametrize("name", ["", " kd", "k d", "-kd", "kd\n", "k/d", "../kd", "k=d", "k,d"])
def test_malformed_names_are_refused(name):
    with pytest.raises(MmkdError, match="thing name .*: use letters, digits"):
        Registry("thing").register(name)


def test_duplicate_names_both_files(plugin):
    things = Registry("thing")
    text = "class Thing: pass"
    one, two = plugin(text, "one.py"), plugin(text, "two.py")
    first = module_with(one)["Thing"]
    things.register("same")(first)
    with pytest.raises(MmkdError, match="thing 'same' is registered twice") as error:
        things.register("same")(module_with(two)["Thing"])
    assert str(one) in str(error.value)
    assert str(two) in str(error.value)
    assert things.get("same") is first


def test_unknown_name_gives_the_close_match_and_how_to_list():
    things = Registry("thing", "list them so")
    things.register("frequency")(1)
    with pytest.raises(MmkdError, match=r"unknown thing 'frequncy'; did you mean 'frequency'\? \(list them so\)"):
        things.get("frequncy")
    with pytest.raises(MmkdError) as error:
        things.get("zzz")
    assert "did you mean" not in str(error.value)


def test_discovery_runs_once_and_only_when_needed():
    calls = []
    things = Registry("thing", discover=lambda registry: calls.append(registry.register("a")(1)))
    assert calls == []
    assert "a" in things
    assert list(things) == ["a"]
    assert len(calls) == 1


def test_every_baseline_file_loads():
    assert METHODS.import_errors == {}
    assert {"student", "kd", "aver"} <= set(METHODS)


def test_attempt_undoes_half_made_entries():
    things = Registry("thing")
    things.register("kept")(1)

    def half():
        things.register("half")(2)
        raise ValueError("then\nit broke")

    assert not things.try_import("half.py", half)
    assert list(things) == ["kept"]
    assert things.import_errors == {"half.py": "ValueError: then it broke"}
    assert things.try_import("other.py", lambda: things.register("other")(3))
    assert list(things) == ["kept", "other"]


def test_files_that_do_not_load_are_listed_and_stop_nobody(tmp_path, monkeypatch):
    files = {
        "a_syntax.py": "def (:",
        "b_half.py": METHOD.format(name="b-half") + "raise RuntimeError('no such instrument')",
        "c_taken.py": METHOD.format(name="kd"),
        "d_missing.py": "import a_module_that_nobody_has",
        "e_exits.py": "import sys; sys.exit('this file runs only as a script')",
        "f_good.py": METHOD.format(name="f-good"),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    kd = METHODS.get("kd")
    monkeypatch.setattr(mmkd.baselines, "__path__", [str(tmp_path)])
    importlib.invalidate_caches()
    discover_methods(METHODS)

    assert METHODS.get("f-good").__doc__ == "Added by a test."
    assert "b-half" not in METHODS
    assert set(METHODS.import_errors) == {str(tmp_path / name) for name in files if name != "f_good.py"}
    reasons = {Path(source).name: why for source, why in METHODS.import_errors.items()}
    assert reasons["a_syntax.py"].startswith("SyntaxError")
    assert reasons["b_half.py"] == "RuntimeError: no such instrument"
    assert "'kd' is registered twice" in reasons["c_taken.py"]
    with pytest.raises(MmkdError, match="'kd' is registered twice"):
        METHODS.get("kd")  # neither of the two wins in silence
    METHODS.clear_import_error(str(tmp_path / "c_taken.py"))
    assert METHODS.get("kd") is kd
    assert "a_module_that_nobody_has" in reasons["d_missing.py"]
    assert "only as a script" in reasons["e_exits.py"]
    with pytest.raises(MmkdError, match=r"method 'b-half' could not be loaded from .*b_half.py: .*no such instrument"):
        METHODS.get("b-half")


@pytest.fixture
def undiscovered(tmp_path, monkeypatch):
    """The methods before any look-up, with files of these texts in place of `baselines/`; returns who writes them."""
    monkeypatch.setattr(METHODS, "_entries", {})
    monkeypatch.setattr(METHODS, "_found", set())
    monkeypatch.setattr(METHODS, "_discover", discover_methods)
    monkeypatch.setattr(mmkd.baselines, "__path__", [str(tmp_path)])

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()

    return write


def imported(*names):
    return [name for name in names if f"mmkd.baselines.{name}" in sys.modules]


def test_a_look_up_imports_the_file_of_its_method_alone(undiscovered):
    undiscovered(g_one=METHOD.format(name="g-named"), g_other=METHOD.format(name="g-other"), g_bad="def (:")
    assert METHODS.get("g-named").__doc__ == "Added by a test."
    assert METHODS.source_sha256("g-named") == ""
    assert imported("g_one", "g_other") == ["g_one"]
    assert METHODS.import_errors == {}
    assert {"g-named", "g-other"} <= set(METHODS)
    assert imported("g_one", "g_other") == ["g_one", "g_other"]
    assert [Path(source).name for source in METHODS.import_errors] == ["g_bad.py"]


def test_a_name_in_two_files_is_refused_whichever_is_asked_for(undiscovered):
    undiscovered(h_one=METHOD.format(name="h-same"), h_other=METHOD.format(name="h-same"))
    with pytest.raises(MmkdError, match="method 'h-same' is registered twice: in .*h_one.py and .*h_other.py"):
        METHODS.get("h-same")


def test_a_file_that_breaks_when_it_alone_is_imported_says_why(undiscovered):
    undiscovered(i_bad=METHOD.format(name="i-bad") + "raise RuntimeError('no such instrument')")
    with pytest.raises(MmkdError, match=r"method 'i-bad' could not be loaded from .*i_bad.py: .*no such instrument"):
        METHODS.get("i-bad")


def test_a_name_that_is_no_literal_is_found_too(undiscovered):
    undiscovered(j_one=METHOD.format(name="j-made").replace("'j-made'", "'-'.join(['j', 'made'])"))
    assert METHODS.get("j-made").__doc__ == "Added by a test."


def test_packages_are_asked_before_a_method_that_was_found(monkeypatch, undiscovered):
    undiscovered(k_one=METHOD.format(name="k-one"))
    asked = []
    monkeypatch.setattr(METHODS, "_loads_packages", True)
    monkeypatch.setattr(Registry, "_load_packages", lambda registry: asked.append(registry.kind))
    METHODS.get("k-one")
    assert asked == ["method"]


class Point:
    """An entry point as `importlib.metadata` gives it."""

    def __init__(self, name, load):
        self.name, self.value, self.load = name, f"their_wheel.{name}", load


@pytest.fixture
def registry():
    """Makes registries that are no longer listed after the test."""
    before = list(REGISTRIES)
    yield Registry
    REGISTRIES[:] = before


def test_entry_points_register_and_broken_ones_are_listed(monkeypatch, registry):
    things = registry("method", group="mmkd.methods")
    asked = []

    def raises():
        raise ImportError("their wheel is too old")

    def select(group):
        asked.append(group)
        return [Point("old", raises), Point("new", lambda: things.register("new")(1))]

    monkeypatch.setattr("mmkd.core.registry.installed_entry_points", lambda: SimpleNamespace(select=select))
    things.load()
    assert asked == ["mmkd.methods"]
    assert "new" in things
    source = "entry point old = their_wheel.old of mmkd.methods"
    assert things.import_errors == things.broken_packages == {source: "ImportError: their wheel is too old"}
    with pytest.raises(MmkdError, match="unknown method 'theirs' .*; entry point old .* their wheel is too old"):
        things.get("theirs")
    assert things.get("new") == 1


def test_plugin_registers_its_methods_and_loading_twice_is_harmless(plugin):
    path = plugin(METHOD.format(name="mine"))
    load_plugin(path)
    first = METHODS.get("mine")
    load_plugin(str(path))
    assert METHODS.get("mine") is first


def test_plugin_is_the_same_by_any_path(plugin, monkeypatch, tmp_path):
    path = plugin(METHOD.format(name="mine"))
    load_plugin(path)
    monkeypatch.chdir(tmp_path)
    load_plugin(path.name)
    load_plugin(tmp_path / "." / path.name)


@pytest.mark.parametrize("name", ["absent.py", "mine.txt", "folder.py"])
def test_plugin_that_is_no_python_file(plugin, tmp_path, name):
    plugin(METHOD.format(name="mine"), "mine.txt")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(MmkdError, match=rf"--plugin .*{name}: no such Python file"):
        load_plugin(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def (:", "SyntaxError"),
        ("x = 1", "registers nothing"),
        (METHOD.format(name="kd"), "method 'kd' is registered twice"),
        (METHOD.format(name="half") + "1 / 0", "ZeroDivisionError: division by zero"),
        (METHOD.format(name="half") + "raise SystemExit(3)", "SystemExit: 3"),
        (METHOD.format(name="not a name"), "use letters"),
    ],
)
def test_plugin_that_fails_leaves_nothing_behind(plugin, text, why):
    before, broken = set(METHODS), dict(METHODS.import_errors)
    path = plugin(text)
    for _ in range(2):  # the second time it is tried again, not taken for loaded
        with pytest.raises(MmkdError, match=why) as error:
            load_plugin(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    assert set(METHODS) == before
    assert METHODS.import_errors == broken
    assert "mmkd_plugin_mine" not in sys.modules
    path.write_text(METHOD.format(name="mended-now"))
    load_plugin(path)
    assert "mended-now" in METHODS


def test_two_plugins_with_one_file_name(plugin):
    one = plugin(METHOD.format(name="one"), "a/mine.py")
    two = plugin(METHOD.format(name="two"), "b/mine.py")
    load_plugin(one)
    with pytest.raises(MmkdError, match="same file name is loaded from .*rename one") as error:
        load_plugin(two)
    assert str(one) in str(error.value)
    assert str(two) in str(error.value)
    assert "two" not in METHODS


def test_reason_is_one_line():
    assert describe_error(ValueError("a\n  b")) == "ValueError: a b"
    assert describe_error(MmkdError("a\nb")) == "a b"


def test_a_plugin_that_only_imports_registers_nothing(tmp_path):
    path = tmp_path / "imports_alone.py"
    path.write_text("import mmkd.metrics.registry, mmkd.nets, mmkd.tasks, mmkd.views\n")
    with pytest.raises(MmkdError, match="it registers nothing"):
        load_plugin(path)
