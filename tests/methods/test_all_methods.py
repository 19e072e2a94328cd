"""`--method all` on the bundled data: every method that fits ends, moves the student, and trains its own parameters."""

import json

import pytest
import torch
from safetensors.torch import load_file

from mmkd import METHODS, Method
from mmkd.bench import main
from mmkd.training import student as unit
from mmkd.units.methods import named_methods

pytestmark = pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")
COMMON = ("--image-size", "16", "--epochs", "3", "--teacher-epochs", "1", "--json")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def bench(tmp_path, capsys, cache, monkeypatch):
    """The command, without what other tests look at: measurements of the students, and MLflow."""
    monkeypatch.setattr("mmkd.cli.bench.measurements_of", lambda *_: ())
    monkeypatch.setattr("mmkd.report.mlflow.publish", lambda *_, **__: None)

    def call(*args):
        code = main([*args, *COMMON, "--runs", str(tmp_path / "runs"), "--cache", str(cache)])
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if code != 2 else [], captured.err

    return call


def moved(before, after):
    """Whether a parameter has moved by more than rounding."""
    return bool((after - before).abs().max() > 1e-5 * before.abs().max().clamp_min(1e-3))


@pytest.mark.slow
def test_all_that_fit_are_done_and_move_the_student(bench, monkeypatch):
    """On basic-motions, with the fusion that gives the student attention, so that every method fits."""
    still = {}
    real = unit.train

    def spy(network, method, *args, **kwargs):
        built = {}
        build = method.build

        def remember(setup):
            build(setup)
            built.update({n: p.detach().clone() for n, p in method.named_parameters()})

        method.build = remember
        trained = real(network, method, *args, **kwargs)
        after = dict(method.named_parameters())
        still[type(method)] = [n for n, p in built.items() if not moved(p, after[n])]
        return trained

    monkeypatch.setattr(unit, "train", spy)
    code, units, err = bench("--method", "all", "--fusion", "attention")
    assert code == 0, err
    named = set(named_methods(("all",)))
    assert {u["method"] for u in units} == named
    fitting = {name for name in named if "classification" in METHODS.get(name).tasks} - {"timedistill"}
    assert "--images rows" in next(u["error"] for u in units if u["method"] == "timedistill")
    assert {u["method"] for u in units if u["status"] == "done"} == fitting
    assert {u["status"] for u in units if u["method"] not in fitting} <= {"refused"}
    units = [u for u in units if u["method"] in fitting]
    assert {cls: names for cls, names in still.items() if names} == {}, "own parameters that never trained"
    weights = {u["method"]: load_file(u["paths"]["student"]) for u in units}
    for name in fitting - {"student"}:
        pairs = [(weights[name].get(key), value) for key, value in weights["student"].items() if "weight" in key]
        assert not all(a is not None and torch.equal(a, b) for a, b in pairs), f"{name} does not move the student"


def test_what_does_not_fit_is_left_out_with_its_reason(bench):
    few = {"student", "kd", "fam", "crd", "simkd", "camkd", "ebkd", "progressive", "ca-mkd", "ebkd-entropy"}
    for name in set(METHODS) - few:
        METHODS.unregister(name)
    code, units, err = bench("--method", "all", "--student", "sig", "--teachers", "sig")
    assert code == 0, err
    left = {u["method"]: u["error"] for u in units if u["status"] == "refused"}
    assert {u["status"] for u in units} == {"done", "refused"}
    assert set(left) == {"camkd", "ebkd", "progressive", "ca-mkd", "ebkd-entropy"}
    for name, why in left.items():
        assert "--" in why, f"{name} is refused without a flag that helps: {why}"
        assert err.count(f"left out: {name}: {why}\n") == 1
    assert all("metrics" not in u and "log" not in u for u in units if u["status"] == "refused")


def test_a_method_named_alone_is_refused(bench):
    code, _, err = bench("--method", "kd,camkd", "--student", "sig")
    assert code == 2
    assert err.count("\n") == 1
    assert "--student sig+gaf" in err


def test_what_no_method_could_read_is_refused_as_a_whole(bench):
    code, _, err = bench("--method", "all", "--teacher-net", "gaf=FCN")
    assert code == 2
    assert err.count("\n") == 1


def test_a_broken_method_fails_and_the_others_go_on(bench):
    @METHODS.register("zz-broken")
    class Broken(Method):
        """Raises, 2026."""

        def losses(self, student, teachers, batch):
            raise RuntimeError("no")

    for name in set(METHODS) - {"student", "kd", "zz-broken"}:
        METHODS.unregister(name)
    code, units, err = bench("--method", "all")
    assert code == 1
    assert {u["method"]: u["status"] for u in units} == {"student": "done", "kd": "done", "zz-broken": "failed"}
    assert "RuntimeError: no" in err
