"""A training that was cut off goes on after its last whole epoch, to the same numbers bit for bit."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mmkd
from mmkd import METHODS
from mmkd.bench import main
from mmkd.core.errors import DamageWarning, UnitFailed
from mmkd.training import loop as train
from mmkd.training import state
from mmkd.training.checkpoint import Checkpoint
from mmkd.units.methods import named_methods

pytestmark = pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")


class Cut(Exception):
    """Stands for a kill."""


@pytest.fixture
def epochs(monkeypatch):
    """Epochs that were trained, as (method, number from 0); `epochs.cut` names those that are cut off half-way.

    Every one writes a checkpoint.
    """

    class Epochs(list):
        cut = ()

    seen, real = Epochs(), train.train_epoch

    def epoch(network, method, windows, teachers, **settings):
        name = METHODS.name_of(type(method))
        number = settings["epoch"]
        row = real(network, method, windows, teachers, **settings)
        if (name, number) in seen.cut:
            raise Cut
        seen.append((name, number))
        return row

    monkeypatch.setattr(train, "train_epoch", epoch)
    monkeypatch.setattr(state, "SAVE_EVERY_S", 0.0)
    return seen


def history(record):
    """The rows without their times."""
    header, *rows = (record.folder / "history.csv").read_text().splitlines()
    at = header.split(",").index("seconds")
    return [header, *(",".join(v for i, v in enumerate(row.split(",")) if i != at) for row in rows)]


def same(a, b):
    """Whether two records hold the same student, predictions and history."""
    one, other = (load_file(r.folder / "student.safetensors") for r in (a, b))
    said = [dict(np.load(r.folder / "predictions.npz")) for r in (a, b)]
    return (
        one.keys() == other.keys()
        and all(torch.equal(one[k], other[k]) for k in one)
        and all(np.array_equal(said[0][k], said[1][k]) for k in said[0])
        and history(a) == history(b)
        and a.result["best_epoch"] == b.result["best_epoch"]
    )


@pytest.mark.parametrize(
    ("method", "cuts"),
    [*((name, (0, 1, 2)) for name in ("fam", "crd", "ctkd", "simkd")), ("c2kd", (1,)), ("meta-mkd", (1,))],
)
def test_a_student_goes_on(tiny, tmp_path, epochs, method, cuts):
    """Cut off in one epoch after the other, and each time begun anew."""
    whole = mmkd.run(method, runs=tmp_path / "whole", **tiny)
    first = 0
    for cut in cuts:
        epochs.cut = ((method, cut),)
        epochs.clear()
        with pytest.raises(UnitFailed, match="Cut"):
            mmkd.run(method, runs=tmp_path / "cut", **tiny)
        assert [number for name, number in epochs if name == method] == list(range(first, cut))
        assert not list((tmp_path / "cut").glob(f"{whole.key}/result.json"))
        first = cut
    epochs.cut = ()
    epochs.clear()
    again = mmkd.run(method, runs=tmp_path / "cut", **tiny)
    assert again.key == whole.key
    assert [number for name, number in epochs if name == method] == list(range(first, 3))
    assert same(whole, again)
    assert not list((tiny["cache"] / "checkpoints").glob(f"*{again.key}*"))


@pytest.mark.parametrize("options", [{}, {"qat": 0.5}])
def test_a_fixed_number_of_steps_goes_on(tiny, tmp_path, epochs, options):
    """The stream of batches begins where it ended; so does rounding to int8, which has no state."""
    settings = {name: value for name, value in tiny.items() if name != "epochs"} | {"steps": 251, **options}
    whole = mmkd.run("student", student="sig", runs=tmp_path / "whole", **settings)
    epochs.clear()
    epochs.cut = (("student", 1),)
    with pytest.raises(UnitFailed, match="Cut"):
        mmkd.run("student", student="sig", runs=tmp_path / "cut", **settings)
    epochs.cut = ()
    again = mmkd.run("student", student="sig", runs=tmp_path / "cut", **settings)
    assert [number for _, number in epochs] == [0, 1, 2][: whole.unit.training.epochs]
    assert same(whole, again)


def test_a_teacher_goes_on(tiny, tmp_path, epochs):
    own = {**tiny, "cache": tmp_path / "cache"}
    epochs.cut = (("student", 1),)
    with pytest.raises(UnitFailed, match="Cut"):
        mmkd.run("kd", runs=tmp_path / "cut", student="sig", teachers="sig", **own)
    assert epochs == [("student", 0)]
    epochs.cut = ()
    record = mmkd.run("kd", runs=tmp_path / "cut", student="sig", teachers="sig", **own)
    assert [number for name, number in epochs if name == "student"] == [0, 1, 2]
    whole = mmkd.run("kd", runs=tmp_path / "whole", student="sig", teachers="sig", **tiny)
    assert same(whole, record)
    assert not list((tmp_path / "cache" / "checkpoints").iterdir())


def test_after_the_last_epoch_nothing_is_trained_again(tiny, tmp_path, epochs, monkeypatch):
    from mmkd.training import student as unit

    with monkeypatch.context() as patch:
        patch.setattr(unit, "evaluate_on_test", lambda *_: 1 / 0)
        with pytest.raises(UnitFailed, match="ZeroDivisionError"):
            mmkd.run("student", runs=tmp_path, student="sig", **tiny)
    before = len(epochs)
    assert before == 3
    record = mmkd.run("student", runs=tmp_path, student="sig", **tiny)
    assert len(epochs) == before
    assert record.result["seconds"] > 0


def test_short_epochs_share_a_checkpoint():
    """One a second, and one at the end."""

    class Kept:
        at = ()

        def save(self, tensors, values):
            self.at += (values["seconds"],)

    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    training = state.TrainingState(net, METHODS.get("student")(), {}, optimizer, torch.device("cpu"))
    kept = Kept()
    for training.seconds in (0.5, 0.9, 1.1, 2.0, 2.2, 2.3):
        training.save(kept, at_end=training.seconds == 2.3)
    assert kept.at == (1.1, 2.2, 2.3)


def test_a_checkpoint_of_other_code_is_none(tmp_path, monkeypatch):
    from mmkd.training import checkpoint

    kept = Checkpoint(tmp_path / "a" / "b")
    kept.save({"x": torch.arange(3.0)}, {"history": [{"loss": 0.1}]})
    tensors, facts = kept.load()
    assert torch.equal(tensors["x"], torch.arange(3.0))
    assert facts == {"history": [{"loss": 0.1}]}
    monkeypatch.setattr(checkpoint, "code_hash", lambda: "another")
    assert kept.load() is None


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text", "folder", "absent"])
def test_a_damaged_checkpoint_is_none(tmp_path, damage):
    kept = Checkpoint(tmp_path / "kept")
    kept.save({"x": torch.randn(100), "n": torch.arange(4)}, {"seconds": 1.5})
    content = kept.path.read_bytes()
    middle = len(content) // 2
    kept.path.unlink()
    if damage == "folder":
        kept.path.mkdir()
    elif damage != "absent":
        kept.path.write_bytes(
            {
                "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
                "cut": content[:middle],
                "empty": b"",
                "text": b"nothing of ours" * 9,
            }[damage]
        )
    assert kept.load() is None


def saved_state(checkpoint, steps=2):
    """A `TrainingState` of a small network after some steps, saved."""
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    kept = state.TrainingState(net, METHODS.get("student")(), {}, optimizer, torch.device("cpu"))
    for step in range(steps):
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        kept.history.append({"loss": float(step)})
    kept.best = state.snapshot(net)
    kept.save(checkpoint, at_end=True)
    return kept


def crafted(checkpoint, change):
    """Write the checkpoint anew, with the right checksum, after a change of its tensors and values."""
    tensors, values = checkpoint.load()
    change(tensors, values)
    checkpoint.save(tensors, values)


CRAFTED = {
    "history": lambda tensors, values: values.pop("history"),
    "best_rank": lambda tensors, values: values.pop("best_rank"),
    "one rank": lambda tensors, values: values.update(best_rank=[1.0]),
    "best_epoch": lambda tensors, values: values.update(best_epoch=7),
    "seconds": lambda tensors, values: values.update(seconds="long"),
    "more epochs": lambda tensors, values: values.update(history=values["history"] * 9),
    "text": lambda tensors, values: values.update(history="ab"),
    "random": lambda tensors, values: tensors.pop("random/cpu"),
    "odd random": lambda tensors, values: tensors.update({"random/cpu": torch.zeros(3)}),
    "best": lambda tensors, values: tensors.pop("best/bias"),
    "weights": lambda tensors, values: tensors.pop("network/bias"),
    "shape": lambda tensors, values: tensors.update({"network/weight": torch.zeros(3, 3)}),
    "moment": lambda tensors, values: tensors.pop("optimizer/0/exp_avg"),
    "odd moment": lambda tensors, values: tensors.update({"optimizer/0/exp_avg": torch.zeros(7)}),
    "no parameter": lambda tensors, values: tensors.update({"optimizer/9/exp_avg": torch.zeros(1)}),
}


@pytest.mark.parametrize("change", CRAFTED.values(), ids=CRAFTED)
def test_a_checkpoint_that_lacks_something_is_said_and_changes_nothing(tmp_path, change):
    kept = Checkpoint(tmp_path / "kept")
    saved_state(kept)
    crafted(kept, change)
    training = saved_state(None, steps=0)
    before, random = state.snapshot(training.modules["network"]), torch.get_rng_state()
    with pytest.warns(DamageWarning, match="checkpoint .*kept cannot be used .*; its training starts again") as found:
        training.resume(kept, training.modules["network"], epochs=4)
    assert len(found) == 1
    assert training.history == []
    assert training.optimizer.state_dict()["state"] == {}
    assert torch.equal(random, torch.get_rng_state())
    after = training.modules["network"].state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_checkpoint_without_its_values_is_none(tmp_path, monkeypatch):
    kept = Checkpoint(tmp_path / "kept")
    monkeypatch.setattr("mmkd.training.checkpoint._pack", lambda tensors: ({"x": torch.ones(2)}, ["x"]))
    kept.save({}, {})
    with pytest.warns(DamageWarning, match="cannot be used"):
        assert kept.load() is None


def test_a_unit_with_a_crafted_checkpoint_is_trained_again(tiny, tmp_path, epochs):
    epochs.cut = (("student", 1),)
    with pytest.raises(UnitFailed, match="Cut"):
        mmkd.run("student", student="sig", runs=tmp_path, **tiny)
    (path,) = (tiny["cache"] / "checkpoints").glob("student-*")
    crafted(Checkpoint(path), lambda tensors, values: values.pop("best_rank"))
    epochs.cut = ()
    epochs.clear()
    with pytest.warns(DamageWarning, match="it lacks 'best_rank'"):
        mmkd.run("student", student="sig", runs=tmp_path, **tiny)
    assert [number for _, number in epochs] == [0, 1, 2]


def test_values_are_kept_to_the_last_digit(tmp_path):
    kept = Checkpoint(tmp_path / "kept")
    numbers = {"a": math.pi, "b": 1 / 3, "c": 5e-324, "d": 1.7976931348623157e308}
    tensors = {"half": torch.randn(3).bfloat16(), "state": torch.get_rng_state(), "turned": torch.randn(2, 3).T}
    kept.save(tensors, numbers)
    found, facts = kept.load()
    assert facts == numbers
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_without_room_the_training_goes_on(tmp_path):
    (tmp_path / "file").write_text("no folder")
    kept = Checkpoint(tmp_path / "file" / "kept")
    with pytest.warns(DamageWarning, match="a training that is killed starts again"):
        kept.save({"x": torch.zeros(1)}, {})
    assert kept.load() is None
    kept.remove()


def test_what_a_kill_left_half_written_is_removed_too(tmp_path):
    kept = Checkpoint(tmp_path / "kept")
    kept.save({"x": torch.zeros(3)}, {})
    kept.temporary.write_bytes(b"half of it")
    assert kept.load() is not None
    kept.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_every_method_goes_on(tmp_path, capsys, epochs):
    """`--method all`, cut off in the second of three epochs: the second call ends with the students of a whole one."""
    common = ["--method", "all", "--fusion", "attention", "--image-size", "16", "--epochs", "3", "--quiet", "--json"]
    cache = ["--cache", str(tmp_path / "cache")]
    found = {}
    for runs, cut in (("whole", False), ("cut", True), ("cut", False)):
        epochs.cut = tuple((name, 1) for name in METHODS if name != "student") if cut else ()
        epochs.clear()
        code = main([*common, *cache, "--runs", str(tmp_path / runs)])
        units = json.loads(capsys.readouterr().out)
        assert code == int(cut)
        if not cut:
            done = [unit for unit in units if unit["status"] != "refused"]
            found[runs] = {unit["method"]: load_file(unit["paths"]["student"]) for unit in done}
    fitting = {name for name in named_methods(["all"]) if "classification" in METHODS.get(name).tasks}
    assert set(found["whole"]) == fitting - {"timedistill"}, "which needs lines"
    assert {number for name, number in epochs if name != "student"} == {1, 2}
    for name, weights in found["whole"].items():
        other = found["cut"][name]
        assert all(torch.equal(weights[key], other[key]) for key in weights), f"{name} does not go on where it was"
