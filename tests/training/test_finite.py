"""A training whose loss, gradient or output is not finite ends with one line that names what was so first."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mmkd import METHODS, Method
from mmkd.core.errors import UnitFailed
from mmkd.core.progress import Progress
from mmkd.methods.configs import MethodConfig
from mmkd.nets import SingleView, build_teacher
from mmkd.specs.unit import Training
from mmkd.training import testing
from mmkd.training.data import TrainingData
from mmkd.training.finite import FiniteCheck
from mmkd.training.loop import TrainingResult, train
from mmkd.training.teacher_outputs import NoTeachers

RNG = np.random.default_rng(0)
SHAPE = (2, 16)


class Broken(Method):
    """Cross-entropy, and a term `odd` of the step and the logits."""

    Config = MethodConfig
    distils = False

    def losses(self, student, teachers, batch):
        self.steps = getattr(self, "steps", 0) + 1
        return self.supervised(student, batch) | {"odd": self.odd(student.logits)}

    def odd(self, logits):
        return logits.sum() * 0


@pytest.fixture
def windows():
    views = {"sig": RNG.normal(size=(48, *SHAPE)).astype(np.float32)}
    return TrainingData(views, np.arange(48) % 3, np.arange(32), np.arange(32, 48), "abc", torch.device("cpu"))


def run(method, windows, **options):
    torch.manual_seed(0)
    return train(
        build_teacher("small", "sig", SHAPE, 3),
        method,
        windows,
        NoTeachers(),
        training=Training(**{"epochs": 2, "batch_size": 8, **options}),
        seed=0,
        label="broken -> sig",
        progress=Progress(),
    )


class InfiniteOnce(Broken):
    def odd(self, logits):
        return logits.sum() * (math.inf if self.steps == 7 else 0)


class Overflowing(Broken):
    """The term becomes infinite, and the gradients of all terms with it; of the step after, all terms are NaN."""

    def odd(self, logits):
        return (logits * 1e3).exp().sum() if self.steps == 6 else logits.sum() * 0


class InfiniteSlope(Broken):
    """A finite term, whose gradient is not."""

    def odd(self, logits):
        return (logits * 0).abs().sqrt().sum() if self.steps >= 3 else logits.sum() * 0


@pytest.mark.parametrize(
    ("method", "line"),
    [
        (InfiniteOnce, r"loss term odd is (inf|-inf|nan) in epoch 2, step 3 of 4"),
        (Overflowing, "loss term odd is inf in epoch 2, step 2 of 4"),
        (InfiniteSlope, r"the gradient of loss term odd is not finite \(odd = 0\) in epoch 1, step 3 of 4"),
    ],
)
def test_the_first_term_that_is_not_finite_is_named(windows, method, line):
    with pytest.raises(UnitFailed, match=f"^broken -> sig: {line}; a lower learning rate may help") as error:
        run(method(), windows)
    assert "\n" not in str(error.value)


def test_a_learning_rate_that_is_far_too_high_names_epoch_and_step(windows):
    with pytest.raises(
        UnitFailed, match=r"broken -> sig: loss term ce is (nan|inf), and so is odd in epoch \d, step \d"
    ):
        run(Broken(), windows, lr=1e30, optimizer="sgd")


def test_values_that_are_kept_for_the_end_of_an_epoch_give_the_same_line():
    """As on a GPU: the first step that was not finite is named, not the last."""
    check = FiniteCheck("kd -> sig", epoch=1, steps=4, at_once=False)
    for step, (ce, kd) in enumerate([(1.0, 2.0), (1.0, math.inf), (math.nan, math.nan)]):
        check.check_terms(step, {"ce": torch.tensor(ce), "kd": torch.tensor(kd)})
    with pytest.raises(UnitFailed, match=r"^kd -> sig: loss term kd is inf in epoch 2, step 2 of 4; "):
        check.check_kept()


def test_large_values_are_finite():
    """Neither a sum that overflows nor large gradients end a training."""
    check = FiniteCheck("kd -> sig", epoch=0, steps=1, at_once=True)
    check.check_terms(0, {"ce": torch.tensor(3e38), "kd": torch.tensor(3e38)})
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.full((3,), 3e38)
    check.check_gradients(0, [parameter], lambda: pytest.fail("nothing is to be found"))
    kept = FiniteCheck("kd -> sig", epoch=0, steps=1, at_once=False)
    kept.check_terms(0, {"ce": torch.tensor(3e38), "kd": torch.tensor(3e38)})
    kept.check_kept()


class Exploding(SingleView):
    """Its outputs are NaN in evaluation mode, as after running statistics that overflowed."""

    def forward(self, views):
        outputs = super().forward(views)
        outputs.logits.mul_(1 if self.training or not self.armed else math.nan)
        return outputs


def test_outputs_that_are_not_finite_end_a_training(windows):
    """A class can be read off NaN, so that accuracy alone would not show it."""
    network = build_teacher("small", "sig", SHAPE, 3)
    network.__class__ = Exploding
    network.armed = False
    method = METHODS.get("student")()
    build = method.build
    method.build = lambda setup: (build(setup), setattr(network, "armed", True))
    with pytest.raises(UnitFailed, match="^broken: validation after epoch 1: the outputs for 16 of 16 windows are not"):
        train(
            network,
            method,
            windows,
            NoTeachers(),
            training=Training(epochs=2, batch_size=8),
            seed=0,
            label="broken",
            progress=Progress(),
        )
    state = network.state_dict()
    result = TrainingResult([], network, state, state, 0, 0.0, 0)
    with pytest.raises(UnitFailed, match="the outputs for 4 of 4 windows are not finite"):
        testing.evaluate_on_test(result, windows, np.arange(4), Training())
