"""Every method goes on bit for bit after a training of a fixed number of steps was cut off inside a pass."""

import pytest
import torch

from mmkd import METHODS
from mmkd.tasks import presets
from mmkd.training import loop, state
from mmkd.training.preparation import prepare_unit
from mmkd.training.student import student_checkpoint, train_student
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand
from mmkd.units.request import Request

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")]
TRAINED = [name for name in METHODS if not METHODS.get(name).combines]
NAMES = [name for name in TRAINED if "classification" in METHODS.get(name).tasks]
FEW = {"labelled_subjects": 3, "augment": ("jitter:0.1", "mixup:0.2"), "augment_copies": 2, "class_weights": "balanced"}
STEPS = 6
"""In three parts of two; a pass has five."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records and cache of all tests here, so that each teacher is trained once."""
    return tmp_path_factory.mktemp("methods")


@pytest.mark.parametrize("name", NAMES)
def test_a_part_that_ends_inside_a_pass(name, sines, folder, monkeypatch):
    monkeypatch.setattr(presets, "STEPS_A_PART", 2)
    settings = {"image_size": 16, "fusion": ("attention",), "epoch_rule": "last", "batch_size": 12, "steps": STEPS}
    if not METHODS.get(name).supervised_by_labels:
        settings["class_weights"] = None
    if METHODS.get(name).distils:
        settings["teacher_steps"] = 2
    if name == "timedistill":  # lines alone
        settings["teachers"] = ("sig",)
    if name in ("shuffled-teacher", "noise-logits", "pseudo-label"):  # they refuse windows that are mixed
        settings["augment"] = ("jitter:0.1",)
    ((spec, data),) = expand(Request(methods=(name,), data=str(sines), **{**FEW, **settings}))
    assert spec.training.epochs == 3
    workspace = Workspace(folder / "runs", cache_folder=folder / "cache")
    unit = prepare_unit(spec, data, workspace)  # trains its teachers
    parts = unit.training.epochs
    checkpoint = student_checkpoint(spec, workspace)
    epochs = []
    kept = []
    real = loop.train_epoch

    def keep(*args, **more):
        if more["epoch"] == 2 and not kept:
            kept.append(checkpoint.path.read_bytes())
        epochs.append(more["epoch"])
        return real(*args, **more)

    monkeypatch.setattr(loop, "train_epoch", keep)
    monkeypatch.setattr(state, "SAVE_EVERY_S", 0.0)
    whole = train_student(unit, workspace)
    checkpoint.path.write_bytes(kept[0])
    other = prepare_unit(spec, data, workspace)
    again = train_student(other, workspace)
    assert epochs == [*range(parts), *range(2, parts)]
    for one, two in ((whole.last, again.last), (unit.method.state_dict(), other.method.state_dict())):
        assert one.keys() == two.keys()
        assert [key for key, value in one.items() if not torch.equal(value, two[key])] == []
    histories = [[{k: v for k, v in row.items() if k != "seconds"} for row in r.history] for r in (whole, again)]
    assert histories[0] == histories[1]
