"""Options that do nothing in any unit of a command are refused before anything is trained."""

import pytest

import mmkd
from mmkd import METHODS, MmkdError
from mmkd.bench import main
from mmkd.engines import execution
from mmkd.training import loop

NOTHING = r"--{} changes nothing with this student, these teachers and these options; leave it out"


@pytest.fixture
def refusal(sines, tmp_path, monkeypatch):
    """The message with which one unit is refused."""

    def of(method, **settings):
        monkeypatch.setattr(loop, "train_epoch", lambda *_, **__: pytest.fail("something was trained"))
        with pytest.raises(MmkdError) as caught:
            mmkd.run(method, data=sines, image_size=16, runs=tmp_path / "runs", **settings)
        assert not (tmp_path / "runs").exists()
        return str(caught.value)

    return of


@pytest.mark.parametrize(
    ("method", "option", "value", "more"),
    [
        ("cc", "temperature_schedule", "linear:9,9", {}),  # its soft targets have no weight by default
        ("cc", "temperature", 8.0, {}),
        ("fam", "temperature_schedule", "linear:8,2", {}),
        ("kd", "weight_schedule", "linear:1,0", {"kd_weight": 0.0}),
        ("kd", "weight_schedule", "linear:1,1", {}),
        ("kd", "branch_weight", 1.0, {"student": "sig"}),
        ("simkd", "branch_weight", 1.0, {}),
        ("kd", "teacher_weights", "sig=2", {"teachers": "sig"}),
        ("kd", "teacher_weights", "search", {"teachers": "sig", "epoch_rule": "val-best"}),
        ("feature-kd", "teacher_weights", "sig=2,gaf=1", {"teachers": "sig,gaf"}),
        ("dkd", "pairs", "all", {"student": "sig"}),
        ("at", "mixed", "repeat", {"student": "sig", "teachers": "sig"}),
        ("figkd", "wavelet", "db2", {"bands": "all-pass"}),
        ("freekd", "tokens", 3, {}),
        ("freekd", "prompt_steps", 3, {"prompts": "energy"}),
        ("freekd", "prompt_steps", 3, {"prompts": "trained", "weight": 0.0}),
    ],
)
def test_an_option_that_changes_no_term_is_refused(refusal, method, option, value, more):
    found = refusal(method, **{option: value}, **more)
    assert found == f"{method}: " + NOTHING.format(option.replace("_", "-"))


def test_an_option_of_own_parameters_needs_some(refusal):
    assert refusal("kd", method_lr_factor=3.0) == (
        "kd has no parameters of its own that train along; leave --method-lr-factor out"
    )


def test_the_same_options_are_taken_where_they_do_something(sines, tmp_path, monkeypatch):
    """One unit of a command that an option acts on is enough."""
    monkeypatch.setattr(execution, "run_units", lambda *_: [])
    monkeypatch.setattr(execution, "_outcome", lambda units, *_: execution.Outcome(units, []))
    fixed = {"data": str(sines), "image_size": 16, "epoch_rule": "val-best"}

    def units(method, **settings):
        request = mmkd.units.request.Request((method,), **fixed, **settings)
        workspace = mmkd.training.workspace.Workspace(runs=tmp_path / "runs")
        return len(execution.execute(request, workspace).results)

    assert units("cc", options={"cc": {"logit_weight": 1.0, "temperature": 8.0}}) == 1
    assert units("kd", students=("sig", "sig+gaf"), options={"kd": {"branch_weight": 1.0}}) == 2
    assert units("kd", teachers=("sig", "sig,gaf"), options={"kd": {"teacher_weights": "search"}}) == 2
    assert units("kd", options={"kd": {"weight_schedule": "step:1,0,0.5"}}) == 1
    assert units("fitnet", options={"fitnet": {"method_lr_factor": 3.0}}) == 1
    assert units("freekd", options={"freekd": {"prompts": "trained", "tokens": 3}}) == 1
    assert units("freekd", options={"freekd": {"prompts": "trained", "prompt_steps": 5}}) == 1
    assert units("figkd", options={"figkd": {"wavelet": "db2"}}) == 1


def test_two_classes_are_refused_where_a_loss_says_nothing_of_the_teacher(windows_file, tmp_path, capsys):
    path = str(windows_file(tmp_path / "two.npz", classes=2))
    rest = ["--data", path, "--image-size", "16", "--epochs", "1", "--runs", str(tmp_path / "runs")]
    for name in ("ls-kd", "c2kd"):
        assert main(["--method", name, *rest]) == 2
        assert (
            f"{name} needs 3 or more classes: with 2 its loss says nothing of the teachers" in capsys.readouterr().err
        )
    assert not (tmp_path / "runs").exists()
    for name in set(METHODS) - {"student", "ls-kd", "c2kd"}:
        METHODS.unregister(name)
    assert main(["--method", "all", "--student", "sig", *rest]) == 0
    assert "ls-kd needs 3 or more classes" in capsys.readouterr().err
