"""The options of a unit: a control has those of its method; `--method controls` and `--with-controls` add controls."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import pytest

import mmkd
from mmkd import METHODS, Method, MmkdError, option
from mmkd.bench import main
from mmkd.cli.flags import make_parser, make_requests
from mmkd.tasks.classification import PRESETS
from mmkd.units.expansion import expand, student_alone
from mmkd.units.methods import may_be_left_out, named_methods
from mmkd.units.request import Request
from mmkd.units.suites import read_suite

OWN = {"zz-like", "zz-bare", "zz-series"}


@pytest.fixture
def controls():
    """Three controls, and no other but the student: one like `kd`, one without teachers, one for other tasks."""
    for name in [name for name in METHODS if METHODS.get(name).status == "control" and name != "student"]:
        METHODS.unregister(name)
    kd, student = METHODS.get("kd"), METHODS.get("student")

    @METHODS.register("zz-like")
    class Like(kd):
        """Like kd."""

        @dataclass(frozen=True)
        class Config(kd.Config):
            scope: Literal["class", "any"] = option("class", "what is exchanged")

        status = "control"
        options_like = "kd"
        control_options: ClassVar[Mapping[str, tuple[str, ...]]] = {"scope": ("class", "any")}

    @METHODS.register("zz-bare")
    class Bare(student):
        """Without teachers."""

        status = "control"
        options_like = "kd"

    @METHODS.register("zz-series")
    class Series(student):
        """For series."""

        status = "control"
        tasks = frozenset({"anomaly"})


@pytest.fixture
def specs(sines, controls):
    def found(**values):
        request = Request(**{"data": str(sines), "students": ("sig",), "teachers": ("sig",), **values})
        return [spec for spec, _ in expand(request)]

    return found


def of(found, method, *names):
    return [tuple(spec.options[name] for name in names) for spec in found if spec.method == method]


def test_a_control_has_the_options_of_its_method(specs, monkeypatch):
    plain = specs(methods=("kd", "zz-like"))
    assert of(plain, "zz-like", "temperature", "kd_weight", "scope") == [(4.0, 0.7, "class")]
    given = specs(methods=("kd", "zz-like"), options={"kd": {"temperature": 2, "kd-weight": 0.5}})
    assert of(given, "zz-like", "temperature", "kd_weight") == of(given, "kd", "temperature", "kd_weight") == [(2, 0.5)]
    lists = specs(methods=("kd", "zz-like", "zz-bare"), options={"kd": {"temperature": [1, 2]}})
    assert of(lists, "zz-like", "temperature") == [(1,), (2,)]
    assert len(of(lists, "zz-bare")) == 1, "it has no temperature"
    monkeypatch.setitem(PRESETS["quick"].options, "kd", {"temperature": 3.0})
    assert of(specs(methods=("zz-like",)), "zz-like", "temperature") == [(3,)]


def test_what_is_given_for_the_control_itself_comes_first(specs):
    found = specs(
        methods=("kd", "zz-like"), options={"kd": {"temperature": 2, "pairs": "same"}, "zz-like": {"temperature": 8}}
    )
    assert of(found, "zz-like", "temperature", "pairs") == [(8, "same")]
    shared = specs(methods=("kd", "zz-bare"), options={"kd": {"label_smoothing": 0.2}}, label_smoothing=0.3)
    assert of(shared, "kd", "label_smoothing") == of(shared, "zz-bare", "label_smoothing") == [(0.2,)]
    assert of(specs(methods=("zz-bare",), label_smoothing=0.3), "zz-bare", "label_smoothing") == [(0.3,)]


def test_variants_of_the_method_are_not_those_of_the_control(specs):
    variants = ({"method": "kd", "temperature": 2}, {"method": "zz-like", "temperature": 9})
    found = specs(methods=("kd", "zz-like"), options={"kd": {"kd_weight": 0.5}}, variants=variants)
    assert of(found, "kd", "temperature", "kd_weight") == [(4, 0.5), (2, 0.5)]
    assert of(found, "zz-like", "temperature", "kd_weight") == [(4, 0.5), (9, 0.5)]


def test_who_is_named(controls):
    assert set(named_methods(("controls",))) == OWN | {"student"}
    assert set(named_methods(("all",))) == set(METHODS) - OWN
    assert set(named_methods(("all",), with_controls=True)) == set(METHODS)
    assert named_methods(("kd", "zz-bare"), with_controls=True)[:3] == ("student", "kd", "zz-bare")
    assert named_methods(("kd", "student"), with_controls=True)[:2] == ("kd", "student")
    assert sorted(named_methods(("kd",), with_controls=True)) == ["kd", "student", *sorted(OWN)]
    assert all(map(may_be_left_out(("controls",)), OWN))
    added = may_be_left_out(("kd", "zz-bare"), with_controls=True)
    assert [added(name) for name in ("kd", "zz-bare", "zz-like", "student")] == [False, False, True, True]
    assert not may_be_left_out(("kd",))("kd")


def test_where_all_controls_are_asked_for_each_has_all_its_forms(specs):
    assert of(specs(methods=("zz-like",)), "zz-like", "scope") == [("class",)]
    for values in ({"methods": ("controls",)}, {"methods": ("kd",), "with_controls": True}):
        assert of(specs(**values), "zz-like", "scope") == [("class",), ("any",)]
    chosen = specs(methods=("controls",), options={"zz-like": {"scope": "any"}})
    assert of(chosen, "zz-like", "scope") == [("any",)]


def test_controls_that_do_not_fit_are_left_out_and_named_ones_are_not(controls, tiny, tmp_path, capsys):
    where = ["--runs", str(tmp_path / "runs"), "--cache", str(tiny["cache"]), "--data", str(tiny["data"])]
    flags = [*where, "--student", "sig", "--teachers", "sig", "--epochs", "1", "--json"]
    assert main(["--method", "kd", "--with-controls", "--temperature", "2", *flags]) == 0
    printed = capsys.readouterr()
    found = {(u["method"], u["options"].get("scope")): u for u in json.loads(printed.out)}
    assert {name: unit["status"] for name, unit in found.items()} == {
        ("kd", None): "done",
        ("student", None): "done",
        ("zz-like", "class"): "done",
        ("zz-like", "any"): "done",
        ("zz-bare", None): "done",
        ("zz-series", None): "refused",
    }
    assert found["zz-like", "any"]["options"]["temperature"] == 2
    assert "left out: zz-series: zz-series is not defined for --task classification" in printed.err
    assert main(["--method", "controls", "--existing", "only", *flags]) == 1, "at another temperature"
    states = {u["method"]: u["status"] for u in json.loads(capsys.readouterr().out)}
    assert states == {"student": "cached", "zz-like": "missing", "zz-bare": "cached", "zz-series": "refused"}
    assert main(["--method", "kd,zz-series", "--with-controls", *flags]) == 2
    assert "zz-series is not defined for --task classification" in capsys.readouterr().err


def test_a_suite_has_them_too_and_the_flag_adds_to_a_suite(controls, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('methods = ["kd"]\nwith-controls = true\n[options.zz-like]\nscope = "any"\n')
    assert read_suite(path).with_controls
    path.write_text('methods = ["kd"]\n')
    assert read_suite(path, with_controls=True) == Request(methods=("kd",), with_controls=True, name="mine")
    path.write_text('methods = ["kd"]\nwith-controls = "maybe"\n')
    with pytest.raises(MmkdError, match="with.controls"):
        read_suite(path)


@pytest.mark.parametrize("name", ["with_controls", "strict"])
def test_a_flag_replaces_what_a_suite_says_of_a_yes_or_no(tmp_path, name):
    path = tmp_path / "mine.toml"
    path.write_text(f'methods = ["kd"]\n{name} = true\n')
    flag = f"--{name.replace('_', '-')}"

    def value(*flags):
        parser = make_parser()
        args, rest = parser.parse_known_args(["--suite", str(path), *flags])
        (request,) = make_requests(args, rest, parser)
        return getattr(request, name)

    assert value() is value(flag) is value(flag, "true") is True
    assert value(flag, "false") is value(f"{flag}=False") is False
    path.write_text('methods = ["kd"]\n')
    assert value() is False
    assert value(flag, "--quiet") is True
    with pytest.raises(MmkdError, match=f"{flag} 'kd' is not true or false"):
        value(flag, "kd")


def test_help_has_the_options_of_added_controls(controls, capsys):
    assert main(["--method", "controls", "--help"]) == 0
    assert "options of zz-like: Like kd." in capsys.readouterr().out
    assert main(["--method", "dkd", "--with-controls", "--help"]) == 0
    text = capsys.readouterr().out
    assert "options of dkd" in text
    assert "--scope class|any" in text
    assert main(["--method", "dkd", "--help"]) == 0
    assert "--scope" not in capsys.readouterr().out


def test_from_python_the_record_is_that_of_the_method(controls, tiny, tmp_path):
    settings = {**tiny, "epochs": 1, "student": "sig", "teachers": "sig"}
    record = mmkd.run("kd", runs=tmp_path, with_controls=True, **settings)
    assert record.spec.method == "kd"
    specs = [json.loads(path.read_text())["spec"] for path in tmp_path.glob("*/result.json")]
    assert sorted(spec["method"] for spec in specs if "method" in spec).count("zz-like") == 2
    with pytest.raises(MmkdError, match="one unit"):
        mmkd.run("controls", runs=tmp_path, **settings)


def test_label_smoothing_is_compared_with_the_student_without_it(sines):
    request = Request(methods=("student", "label-smoothing", "kd"), data=str(sines), students=("sig",))
    alone, smooth, kd = (spec for spec, _ in expand(request))
    assert smooth.options["label_smoothing"] == 0.1
    assert student_alone(smooth).key == student_alone(kd).key == alone.key
    smoothed = replace(request, methods=("kd",), label_smoothing=0.1)
    assert [student_alone(spec).options["label_smoothing"] for spec, _ in expand(smoothed)] == [0.1], "a method's"


def test_the_contract_has_neither_by_default():
    assert Method.options_like == ""
    assert not Method.control_options


def test_a_flag_may_name_the_method(controls, tiny, tmp_path, capsys):
    where = ["--data", str(tiny["data"]), "--student", "sig", "--teachers", "sig", "--runs", str(tmp_path)]
    flags = ["--method", "kd,zz-like,dkd", *where]
    parser = make_parser()

    def options(*more):
        args, rest = parser.parse_known_args([*flags, *more])
        (request,) = make_requests(args, rest, parser)
        return {spec.method: spec.options["temperature"] for spec, _ in expand(request)}

    assert options("--kd.temperature", "2") == {"kd": 2, "zz-like": 2, "dkd": 4}
    assert options("--kd.temperature=3", "--temperature", "2") == {"kd": 3, "zz-like": 2, "dkd": 2}
    assert options("--zz-like.temperature", "5", "--kd.temperature", "2") == {"kd": 2, "zz-like": 5, "dkd": 4}
    for flag, message in (
        ("--kd.temprature", "--kd.temprature: kd has no such option; did you mean 'temperature'"),
        ("--fitnet.weight", "fitnet"),
        ("--nobody.temperature", "unknown option --nobody.temperature"),
    ):
        assert main([*flags, flag, "2"]) == 2
        assert message in capsys.readouterr().err
