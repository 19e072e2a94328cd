"""`--fusion` of the dense task: the stages of the student's decoder, from the request to table and stored student."""

import json

import numpy as np
import pytest

import mmkd
from mmkd import MmkdError
from mmkd.bench import main
from mmkd.nets import build_dense
from mmkd.units.expansion import expand, student_alone
from mmkd.units.request import Request

DENSE = {"methods": ("kd",), "task": "segmentation", "teacher_nets": {"sig": "unet-small"}, "student_net": "unet-small"}


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Windows of which a part swings fast (class 1) and the rest slowly (class 0)."""
    rng = np.random.default_rng(0)
    y = (np.arange(48) // 16 % 2 ^ (np.arange(48)[:, None] % 2)).astype(np.int64)
    x = np.sin(np.cumsum(np.where(y == 1, 1.5, 0.3), axis=1))[:, None] + 0.1 * rng.normal(size=(48, 1, 48))
    path = tmp_path_factory.mktemp("dense") / "steps.npz"
    np.savez(path, x=x.astype(np.float32), y=y, subject=np.arange(48) // 6)
    return str(path)


def specs(steps, **fields):
    return [spec for spec, _ in expand(Request(**{**DENSE, "data": steps, **fields}))]


def test_the_fusion_is_the_decoders_and_part_of_the_key(steps):
    (plain,) = specs(steps)
    assert plain.fusion is None
    several = specs(steps, fusion=("freqfusion", "dwt"), student_net=("unet-small", "fast-scnn-small"))
    assert [(s.student_net, s.fusion) for s in several] == [
        (net, fusion) for net in ("unet-small", "fast-scnn-small") for fusion in ("freqfusion", "dwt")
    ]
    assert len({plain.key, *(s.key for s in several)}) == 5
    assert len({s.teacher("sig").key for s in (plain, *several)}) == 1  # teachers have none
    assert student_alone(several[0]).fusion == "freqfusion"
    with pytest.raises(MmkdError, match="'mamba' joins no"):  # before there is a unit
        specs(steps, fusion="dwt", student_net=("unet-small", "mamba"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--student-net", "mamba", "--fusion", "freqfusion"), ("'mamba' joins no", "fast-scnn-small", "unet-small")),
        (("--student-net", "unet-small,mamba", "--fusion", "sum"), ("'mamba' joins no",)),
        (("--student-net", "unet-small", "--fusion", "freqfuson"), ("did you mean 'freqfusion'",)),
        (("--fusion", "attention"), ("unknown stage fusion 'attention'", "freqfusion")),
        (("--fusion", "dwt", "--student", "pi"), ("no axis of time", "--student sig+pi")),
        (("--student-net", "unet-small", "--fusion", "sum:bands=3"), ("--fusion 'sum:bands=3'", "sum has no options")),
        (("--student-net", "unet-small", "--fusion", "dwt,freqfusion:bands=7"), ("bands = '7' is not one of 2, 3, 4",)),
    ],
)
def test_refusals_come_before_training(flags, words, steps, tmp_path, capsys):
    runs = tmp_path / "runs"
    code = main(["--method", "student", "--task", "segmentation", "--data", steps, *flags, "--runs", str(runs)])
    captured = capsys.readouterr()
    assert (code, captured.out, captured.err.count("\n")) == (2, "", 1), captured
    assert all(word in captured.err for word in words), captured.err
    assert not runs.exists()


def test_a_student_of_one_branch_still_has_nothing_to_fuse(sines):
    with pytest.raises(MmkdError, match="--fusion dwt: a student of one branch has nothing to fuse"):
        list(expand(Request(methods=("student",), data=str(sines), students=("sig",), fusion="dwt")))


@pytest.mark.parametrize(("net", "fusion"), [("unet-small", "freqfusion:bands=3"), ("fast-scnn-small", "sum")])
def test_from_the_command_to_the_stored_student(net, fusion, steps, tmp_path, capsys):
    runs = tmp_path / "runs"
    own = ["--task", "segmentation", "--data", steps, "--teacher-net", "sig=unet-small", "--epochs", "1", "--quiet"]
    code = main(["--method", "kd", *own, "--student-net", net, "--fusion", fusion, "--runs", str(runs)])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert f"student sig ({net}, {fusion})" in out
    (weights,) = runs.glob("*/student.safetensors")
    folder = weights.parent
    assert json.loads((folder / "result.json").read_text())["spec"]["fusion"] == fusion
    student = mmkd.load_student(folder)
    data = np.load(steps)
    with np.load(folder / "predictions.npz") as stored:
        found = student.predict_proba(data["x"][stored["window"]])
        np.testing.assert_allclose(found, stored["probabilities"], atol=2e-3)
    expected = build_dense(net, (1, 48), 2, fusion).state_dict()
    assert set(student.network.backbone.state_dict()) == set(expected)
    assert set(expected) != set(build_dense(net, (1, 48), 2).state_dict())


def test_none_is_the_networks_own_form(steps):
    wanted = {"methods": ("student",), "data": steps, "task": "segmentation", "student_net": ("unet-small",)}
    specs = [spec for spec, _ in expand(Request(**wanted, fusion=("none", "sum")))]
    assert [spec.fusion for spec in specs] == [None, "sum"]
    assert specs[0].key == next(expand(Request(**wanted)))[0].key


def test_two_spellings_of_a_fusion_are_one_unit(steps):
    spelled = ("freqfusion", "freqfusion:bands=2", "dwt:kernels=7-3-5", "dwt:kernels=3-5-7", "dwt:kernels=3-7")
    found = specs(steps, fusion=spelled)
    assert [spec.fusion for spec in found] == ["freqfusion", "dwt:kernels=3-5-7", "dwt:kernels=3-7"]
    (plain,) = specs(steps, fusion=("freqfusion",))
    assert found[0].key == plain.key


def test_stage_fusions_are_listed(capsys):
    assert main(["--list", "stage-fusions"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split(None, 1) for line in lines if not line.startswith(" ")]  # long texts go on below, indented
    assert {name for name, _ in rows} == {"none", *mmkd.nets.STAGE_FUSIONS}
    assert all(text for _, text in rows)
    options = [line.split()[1] for line in lines if line.startswith(" ") and "--fusion" in line]
    assert options == [
        f"{name}:OPTION=VALUE:" for name in ("freqfusion", "freqfusion-attention", "dwt", "dwt-attention", "dsconv")
    ]


def test_images_too(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 1, 32, 33)).astype(np.float32)
    path = tmp_path / "images.npz"
    np.savez(path, x=x, y=(x[:, 0] > 0).astype(np.int64), subject=np.arange(24) // 4)
    own = {"task": "segmentation", "student_net": "unet-small", "fusion": "dsconv", "epochs": 1, "preset": "quick"}
    record = mmkd.run("student", data=path, **own, runs=tmp_path / "runs")
    student = mmkd.load_student(record)
    assert student.predict(x[:2]).shape == (2, 32, 33)
    assert set(student.network.backbone.state_dict()) == set(
        build_dense("unet-small", (1, 32, 33), 2, "dsconv").state_dict()
    )
