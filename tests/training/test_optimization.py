"""What an optimizer does with a gradient, step by step, and the learning rate that each step has."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from mmkd import Method, MethodConfig
from mmkd.core.progress import Progress
from mmkd.nets import build_student
from mmkd.specs.unit import Training
from mmkd.training.data import TrainingData
from mmkd.training.loop import train
from mmkd.training.optimization import learning_rate, make_optimizer, set_learning_rate
from mmkd.training.teacher_outputs import NoTeachers

SLOPES = (0.5, -2.0, 1.5)


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2, 32)).astype(np.float32)
    return TrainingData({"sig": x}, np.arange(40) % 3, np.arange(30), np.arange(30, 40), "abc", torch.device("cpu"))


def places(training):
    """Where a parameter that begins at 3 is after each step on `SLOPES`."""
    parameter = nn.Parameter(torch.tensor([3.0]))
    optimizer = make_optimizer([parameter], training)
    found = []
    for slope in SLOPES:
        parameter.grad = torch.tensor([slope])
        optimizer.step()
        found.append(parameter.item())
    return found


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_sgd_has_momentum_and_weight_decay(decay):
    place, speed, wanted = 3.0, 0.0, []
    for slope in SLOPES:
        speed = 0.9 * speed + slope + decay * place
        place -= 0.1 * speed
        wanted.append(place)
    assert places(Training(optimizer="sgd", lr=0.1, weight_decay=decay)) == pytest.approx(wanted)


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_adamw_decays_beside_the_gradient(decay):
    """Loshchilov and Hutter, arXiv:1711.05101: the decay is not divided by the root of the second moment."""
    place, first, second, wanted = 3.0, 0.0, 0.0, []
    for step, slope in enumerate(SLOPES, 1):
        place *= 1 - 0.1 * decay
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        place -= 0.1 * first / (1 - 0.9**step) / (math.sqrt(second / (1 - 0.999**step)) + 1e-8)
        wanted.append(place)
    assert places(Training(optimizer="adamw", lr=0.1, weight_decay=decay)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_adam_decays_by_the_gradient(decay):
    """Kingma and Ba, arXiv:1412.6980, with an L2 penalty as part of the loss."""
    place, first, second, wanted = 3.0, 0.0, 0.0, []
    for step, slope in enumerate(SLOPES, 1):
        whole = slope + decay * place
        first = 0.9 * first + 0.1 * whole
        second = 0.999 * second + 0.001 * whole**2
        place -= 0.1 * first / (1 - 0.9**step) / (math.sqrt(second / (1 - 0.999**step)) + 1e-8)
        wanted.append(place)
    assert places(Training(optimizer="adam", lr=0.1, weight_decay=decay)) == pytest.approx(wanted, rel=1e-5)


class Slope(Method):
    """A parameter of its own whose loss rises by 1 with it. Test 2026."""

    Config = MethodConfig
    distils = False

    def build(self, setup):
        self.own = nn.Parameter(torch.zeros(()))

    def losses(self, student, teachers, batch):
        return {**self.supervised(student, batch), "own": self.own}


def watched_training(windows, training):
    """The learning rates, and the gradient of the method's parameter, at each step; and the history."""
    torch.manual_seed(0)
    network, method, seen = build_student("small", {"sig": (2, 32)}, 3), Slope(), []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: seen.append(({group["lr"] for group in optimizer.param_groups}, method.own.grad.item()))
    )
    try:
        result = train(network, method, windows, NoTeachers(), training=training, seed=0, label="", progress=Progress())
    finally:
        hook.remove()
    return seen, result.history


@pytest.mark.parametrize("schedule", ["cosine", "steps"])
def test_the_learning_rate_moves_with_each_step(windows, schedule):
    training = Training(epochs=3, batch_size=8, schedule=schedule, lr=0.01)
    seen, history = watched_training(windows, training)
    wanted = [learning_rate(training, (epoch + step / 4) / 3) for epoch in range(3) for step in range(4)]
    assert [rates for rates, _ in seen] == [{rate} for rate in wanted]
    assert [row["lr"] for row in history] == wanted[3::4]
    assert len(set(wanted)) == (12 if schedule == "cosine" else 4)


def test_each_group_of_parameters_has_its_factor_on_the_learning_rate():
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(3)]
    optimizer = make_optimizer(
        parameters[:1], Training(lr=0.1), method=parameters[1:2], method_factor=20.0, teachers=parameters[2:]
    )
    for lr in (0.1, 0.03):
        set_learning_rate(optimizer, lr)
        found = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        assert [found[id(p)] for p in parameters] == pytest.approx([lr, 20 * lr, lr])


def test_a_step_has_the_gradient_of_its_batch_alone(windows):
    seen, _ = watched_training(windows, Training(epochs=2, batch_size=8))
    assert [slope for _, slope in seen] == [1.0] * 8


def test_steps_come_after_1_18_1_3_and_2_3_of_the_epochs():
    training = Training(lr=0.05, schedule="steps")
    for border, before, after in ((1 / 18, 0.05, 0.01), (1 / 3, 0.01, 0.001), (2 / 3, 0.001, 0.0001)):
        found = learning_rate(training, border - 1e-6), learning_rate(training, border + 1e-6)
        assert found == pytest.approx((before, after))
