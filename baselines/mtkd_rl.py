"""Multi-Teacher Knowledge Distillation with Reinforcement Learning. Yang et al., AAAI 2025, https://arxiv.org/abs/2502.18510

Followed, with the authors' training code: CE + a sum_k u_k T^2 KL(teacher_k || student) + b sum_k v_k MSE(r_k(F_s),
F_k), all per sample, then the mean. An agent sets u and v from the state of each teacher: its embedding, its logits,
its CE, its KL to the student, and the cosine of the means of r_k(F_s) and F_k. In the first epoch all weights are
equal. The agent learns by policy gradient; its reward is the fall of the student's loss. F the last maps, a 1, b 5, T
4.

Reconstructed: the agent is, for each teacher, a linear layer, ReLU and a linear layer; u and v are softmax over
teachers, so that they sum to 1 (the form of the published agent was not to be had). In the code the reward, minus the
loss of a sample, scaled over the batch, is one for all its teachers, and no weight can move from a worse to a better
one. Here the reward of teacher k is how far the sample's CE falls, to first order, where the student follows the k-th
term alone: the product of the slopes of CE and term, at its logits for u, at its map for v; less the mean over
teachers, divided by the standard deviation in the batch. The expectation over teachers is taken exactly, sum_k u_k R_k.
The agent learns after every step (there every thousand steps and at the end of an epoch), by Adam (there by SGD, 0.1).
r_k is a 1x1 convolution, BatchNorm and ReLU (none where the teacher's map has negative values). Maps of one rank meet
at the smaller size, a line and an image as vectors of means. The weights are the method's own, so that it has no
`teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, Method, Outer, Outputs, Setup, Step, TaughtConfig, option, paired_branch
from mmkd.frequency import meet


class Agent(nn.Module):
    """States of M teachers, (B, width_k) each, to the logarithms of the weights u and v, (2, B, M)."""

    def __init__(self, widths: list[int], hidden: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 2)) for width in widths
        )

    def forward(self, states: list[Tensor]) -> Tensor:
        said = [part(state) for part, state in zip(self.parts, states, strict=True)]
        return torch.stack(said, 2).movedim(1, 0).log_softmax(2)


@METHODS.register("mtkd-rl")
class Reinforced(Method):
    """Teachers weighted by a rewarded agent. Yang et al. 2025 (agent reconstructed)."""

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        alpha: float = option(1.0, "weight a of the soft targets", ge=0)
        beta: float = option(5.0, "weight b of the maps", ge=0)
        temperature: float = option(4.0, "softening of teachers and student", gt=0)
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        agent_width: int = option(64, "width of the agent's hidden layers", ge=1)
        agent_lr: float = option(1e-3, "learning rate of the agent", gt=0)

    minimum_teachers = 2
    minimum_batch = 2
    needs = frozenset({"logits", "embedding", "features"})
    states: list[Tensor]  # and rewards of the batch, from `losses` to `after_step`
    rewards: Tensor

    def maps(self, student: Outputs, modality: str, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """The last maps, (B, positions, C) each, as many positions."""
        branch = paired_branch(student, modality, self.config.pairs)
        s, t = meet(branch.last_map, teacher.last_map, "pool")
        return s.reshape(*s.shape[:2], -1).transpose(1, 2), t.reshape(*t.shape[:2], -1).transpose(1, 2)

    def build(self, setup: Setup) -> None:
        self.projections = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            s, t = self.maps(setup.student, modality, teacher)
            layers = [nn.Linear(s.shape[2], t.shape[2], bias=False), nn.BatchNorm1d(t.shape[2])]
            self.projections.append(nn.Sequential(*layers, *([nn.ReLU()] if t.min() >= 0 else [])))
        widths = [teacher.embedding.shape[1] + setup.classes + 3 for teacher in setup.teachers.values()]
        self.agent = Outer(Agent(widths, self.config.agent_width), self.config.agent_lr)

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        t = self.config.temperature
        soft = []
        far = []
        maps = []
        self.states = []
        log_student = F.log_softmax(student.logits / t, 1)
        for project, (modality, teacher) in zip(self.projections, teachers.items(), strict=True):
            log_teacher = F.log_softmax(teacher.logits / t, 1)
            soft.append(t**2 * (log_teacher.exp() * (log_teacher - log_student)).sum(1))
            s, target = self.maps(student, modality, teacher)
            projected = project(s.flatten(0, 1)).view(*s.shape[:2], -1)  # a 1x1 convolution, position by position
            far.append((projected - target).square().mean((1, 2)))
            maps.append(paired_branch(student, modality, c.pairs).last_map)
            wrong = F.cross_entropy(teacher.logits, batch.targets, reduction="none")
            alike = F.cosine_similarity(projected.mean(1), target.mean(1))
            state = [teacher.embedding, teacher.logits, *(x[:, None] for x in (wrong, soft[-1], alike))]
            self.states.append(torch.cat(state, 1).detach())
        if student.logits.requires_grad:
            ce = F.cross_entropy(student.logits, batch.targets, reduction="sum")
            falls = fall(ce, soft, [student.logits] * len(soft)), fall(ce, far, maps)
            self.rewards = advantage(torch.stack(falls))
        shares = self.agent(self.states).exp()
        if batch.epoch == 0:
            shares = torch.full_like(shares, 1 / shares.shape[2])
        kd, feature = (shares * torch.stack([torch.stack(soft, 1), torch.stack(far, 1)])).sum(2).mean(1)
        return {**self.supervised(student, batch), "kd": c.alpha * kd, "feature": c.beta * feature}

    def after_step(self, step: Step) -> None:
        self.agent.lower(lambda: -(self.agent(self.states).exp() * self.rewards).sum(2).mean(1).sum())


def fall(loss: Tensor, terms: list[Tensor], places: list[Tensor]) -> Tensor:
    """(B, M): how far the loss of each sample falls, to first order, where term k, (B,), is followed at its place.

    Args:
        loss: summed over samples. places: (B, ...) each, of the student.
    """
    found = []
    for term, place in zip(terms, places, strict=True):
        (slope,) = torch.autograd.grad(loss, place, retain_graph=True, allow_unused=True)
        (pull,) = torch.autograd.grad(term.sum(), place, retain_graph=True)
        found.append(term.new_zeros(len(term)) if slope is None else (slope * pull).flatten(1).sum(1))
    return torch.stack(found, 1)


def advantage(rewards: Tensor) -> Tensor:
    """(2, B, M) rewards, less their mean over teachers, divided by what is left's standard deviation in the batch."""
    left = rewards - rewards.mean(2, keepdim=True)
    spread = left.square().mean((1, 2), keepdim=True).sqrt()
    return left / spread.clamp_min(torch.finfo(left.dtype).tiny)
