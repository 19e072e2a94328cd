"""Multi-Teacher Knowledge Distillation with Reinforcement Learning. Yang et al., AAAI 2025, https://arxiv.org/abs/2502.18510

Loss, as in the authors' code: CE + a sum_k u_k T^2 KL(teacher_k || student) + b sum_k v_k MSE(r_k(F_s), F_k), computed
for each sample and averaged; a 1, b 5, T 4. F are the last maps. In the first epoch all u and v are 1; then they sum to
1 for each sample.

An agent gives u and v. Its state holds, of each teacher, the cosine of the means of r_k(F_s) and F_k, T^2 KL to the
student, CE, embedding and logits. A linear layer to 128, ReLU and a linear layer with softmax for each of u and v make
learned weights. u is the mean of these, of the confidences (1 - softmax of the teachers' CE) / (M - 1), and of the
softmax of the teachers' KL; v is the mean of its learned weights, the confidences, and the softmax of the cosines. With
`mix=learned` (the code's `--dynamic`), the three have trained shares instead of a third each.

The reward of a sample is minus its whole loss, standardised over the batch and clipped to [0, 1]. The agent minimises
minus the mean of reward times log weight, over samples and teachers, for u and v, by gradient descent with the rate
0.1: a step for each batch of an epoch at its end, and after every thousand batches. As published, the reward is the
same for all teachers of a sample, so that the agent learns which samples to weigh evenly, not which teacher is better.

Different from the code: r_k is a 1x1 convolution, BatchNorm and ReLU, but without ReLU if the teacher's map has
negative values. Maps of the same rank are compared at the smaller size (in the code, the student's map takes the
teacher's size), a line and an image as vectors of means. The method computes the weights itself, so that there is no
option `teacher_weights`. The published teachers have one modality.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import (
    METHODS,
    TEMPERATURE_RANGE,
    Batch,
    Method,
    Outer,
    Outputs,
    Range,
    Setup,
    Step,
    TaughtConfig,
    option,
    paired_branch,
)
from mmkd.frequency import meet


@dataclass(frozen=True)
class State:
    """What the agent sees of B samples and M teachers.

    Attributes:
        everything: (B, sum of widths), of each teacher cosine, divergence, cross-entropy, embedding and logits.
        cross_entropy, divergence, cosine: (B, M).
    """

    everything: Tensor
    cross_entropy: Tensor
    divergence: Tensor
    cosine: Tensor


class Agent(nn.Module):
    """The agent, a `State` to the weights u and v, (2, B, M).

    Args:
        width: of `State.everything`.
        teachers: M.
        hidden: width of the hidden layer.
        mixes: whether the three parts of the weights have trained shares instead of a third each.
    """

    def __init__(self, width: int, teachers: int, hidden: int, mixes: bool) -> None:
        super().__init__()
        self.stem = nn.Linear(width, hidden, bias=False)
        self.heads = nn.ModuleList(nn.Linear(hidden, teachers) for _ in range(2))
        self.mix = nn.Parameter(torch.ones(2, 3)) if mixes else None

    def forward(self, state: State) -> Tensor:
        hidden = self.stem(state.everything).relu()
        learned = torch.stack([head(hidden).softmax(1) for head in self.heads])
        confidence = (1 - state.cross_entropy.softmax(1)) / (state.cross_entropy.shape[1] - 1)
        distance = torch.stack([state.divergence.softmax(1), state.cosine.softmax(1)])
        parts = torch.stack([learned, confidence.expand_as(learned), distance], 1)
        if self.mix is None:
            return parts.mean(1)
        return (self.mix.softmax(1)[..., None, None] * parts).sum(1)


@METHODS.register("mtkd-rl")
class Reinforced(Method):
    """Teachers weighted by a rewarded agent. Yang et al., AAAI 2025, arXiv:2502.18510.

    Use it when you have several teachers and want their weights from many facts of each window, learned by what they
    earn. An agent is trained besides, one more thing that may not be ready after a short training.
    """

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        alpha: float = option(1.0, "weight a of the soft targets", ge=0, tune=Range(0.1, 10, log=True))
        beta: float = option(5.0, "weight b of the maps", ge=0, tune=Range(0.5, 50, log=True))
        temperature: float = option(4.0, "temperature T of teachers and student", gt=0, tune=TEMPERATURE_RANGE)
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mix: Literal["mean", "learned"] = option(
            "mean", "a third each, or trained shares, of learned weights, confidences and distances", since=3
        )
        agent_width: int = option(128, "width of the agent's hidden layer", ge=1)
        agent_lr: float = option(0.1, "learning rate of the agent", gt=0)

    unlabelled = "teacher"
    minimum_teachers = 2
    minimum_batch = 2
    needs = frozenset({"logits", "embedding", "features"})
    revision = 2
    last: tuple[State, Tensor]  # state and reward of a batch, set by `losses` for `after_step`

    def maps(self, student: Outputs, modality: str, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """The last maps of student and teacher, (B, positions, C) each, with the same number of positions."""
        branch = paired_branch(student, modality, self.config.pairs)
        s, t = meet(branch.last_map, teacher.last_map, "pool")
        return s.reshape(*s.shape[:2], -1).transpose(1, 2), t.reshape(*t.shape[:2], -1).transpose(1, 2)

    def build(self, setup: Setup) -> None:
        c = self.config
        self.projections = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            s, t = self.maps(setup.student, modality, teacher)
            layers = [nn.Linear(s.shape[2], t.shape[2], bias=False), nn.BatchNorm1d(t.shape[2])]
            self.projections.append(nn.Sequential(*layers, *([nn.ReLU()] if t.min() >= 0 else [])))
        width = sum(teacher.embedding.shape[1] + setup.classes + 3 for teacher in setup.teachers.values())
        agent = Agent(width, len(setup.teachers), c.agent_width, c.mix == "learned")
        self.agent = Outer(agent, c.agent_lr, optimizer="sgd")
        self.batches: list[tuple[State, Tensor]] = []  # empty at the end of an epoch, when a checkpoint is written

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        t = self.config.temperature
        soft, distances, cosines, cross_entropies, everything = [], [], [], [], []
        log_student = F.log_softmax(student.logits / t, 1)
        for project, (modality, teacher) in zip(self.projections, teachers.items(), strict=True):
            log_teacher = F.log_softmax(teacher.logits / t, 1)
            soft.append(t**2 * (log_teacher.exp() * (log_teacher - log_student)).sum(1))
            s, target = self.maps(student, modality, teacher)
            projected = project(s.flatten(0, 1)).view(*s.shape[:2], -1)  # a 1x1 convolution, position by position
            distances.append((projected - target).square().mean((1, 2)))
            cosines.append(F.cosine_similarity(projected.mean(1), target.mean(1)))
            cross_entropies.append(F.cross_entropy(teacher.logits, batch.targets, reduction="none"))
            numbers = torch.stack([cosines[-1], soft[-1], cross_entropies[-1]], 1)
            everything += [numbers, teacher.embedding, teacher.logits]
        parts = (torch.cat(everything, 1), *(torch.stack(x, 1) for x in (cross_entropies, soft, cosines)))
        state = State(*(x.detach() for x in parts))
        weights = self.agent(state)
        if batch.epoch == 0:
            weights = torch.ones_like(weights)
        kd, feature = (weights * torch.stack([torch.stack(soft, 1), torch.stack(distances, 1)])).sum(2)
        ce = F.cross_entropy(student.logits, batch.targets, reduction="none")
        self.last = state, reward(ce + c.alpha * kd + c.beta * feature)
        return {**self.supervised(student, batch), "kd": c.alpha * kd.mean(), "feature": c.beta * feature.mean()}

    def after_step(self, step: Step) -> None:
        self.batches.append(self.last)
        if step.ends_epoch or len(self.batches) == BATCHES:
            for kept in self.batches:
                self.agent.lower(partial(self.regret, *kept))
            self.batches = []

    def regret(self, state: State, rewards: Tensor) -> Tensor:
        """What the agent minimises: the cross-entropy of its weights with 1, weighted by the rewards (B,)."""
        loss: Tensor = -(rewards[:, None] * self.agent(state).log()).mean((1, 2)).sum()
        return loss


BATCHES = 1000
"""Batches after which the agent is trained, if an epoch has more."""


def reward(losses: Tensor) -> Tensor:
    """Minus the losses of the samples (B,), standardised over the batch, without what is outside [0, 1]."""
    centred = losses.mean() - losses.detach()
    return (centred / losses.std().clamp_min(torch.finfo(losses.dtype).tiny)).clamp(0, 1).detach()
