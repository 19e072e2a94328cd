"""Multi-Teacher Knowledge Distillation with Reinforcement Learning. Yang et al., AAAI 2025, https://arxiv.org/abs/2502.18510

Loss, as in the authors' training code: CE + a sum_k u_k T^2 KL(teacher_k || student) + b sum_k v_k MSE(r_k(F_s), F_k),
computed for each sample and averaged. An agent computes u and v from the state of each teacher: its embedding, its
logits, its CE, its KL to the student, and the cosine of the means of r_k(F_s) and F_k. In the first epoch all weights
are equal. The agent learns by policy gradient, with the decrease of the student's loss as reward. F are the last maps;
a 1, b 5, T 4.

Reconstructed: the agent, because the published one was not available. For each teacher it is a linear layer, ReLU and a
linear layer; u and v are softmax over teachers, so that they sum to 1. In the code, the reward is minus the loss of a
sample, standardised over the batch. It is the same for all teachers, so that no weight can move from a worse to a
better teacher. Here the reward of teacher k is the first-order decrease of the sample's CE when the student follows
only the k-th term: the dot product of the gradients of CE and of the term, at the student's logits for u and at its map
for v. The mean over teachers is subtracted, and the result is divided by the standard deviation over the batch. The
expectation over teachers is computed exactly, sum_k u_k R_k.

Different from the code: the agent is trained after every step (in the code, every thousand steps and after an epoch),
by Adam (in the code, by SGD with 0.1). r_k is a 1x1 convolution, BatchNorm and ReLU (no ReLU if the teacher's map has
negative values). Maps of the same rank are compared at the smaller size, a line and an image as vectors of means. The
method computes the weights itself, so that there is no option `teacher_weights`.
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
    """The agent, states of M teachers, (B, width_k) each, to the logarithms of the weights u and v, (2, B, M).

    Args:
        widths: width_k of each teacher.
        hidden: width of the hidden layers.
    """

    def __init__(self, widths: list[int], hidden: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 2)) for width in widths
        )

    def forward(self, states: list[Tensor]) -> Tensor:
        scores = [part(state) for part, state in zip(self.parts, states, strict=True)]
        return torch.stack(scores, 2).movedim(1, 0).log_softmax(2)


@METHODS.register("mtkd-rl")
class Reinforced(Method):
    """Teachers weighted by a rewarded agent. Yang et al. 2025 (agent reconstructed)."""

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        alpha: float = option(1.0, "weight a of the soft targets", ge=0)
        beta: float = option(5.0, "weight b of the maps", ge=0)
        temperature: float = option(4.0, "temperature T of teachers and student", gt=0)
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        agent_width: int = option(64, "width of the agent's hidden layers", ge=1)
        agent_lr: float = option(1e-3, "learning rate of the agent", gt=0)

    minimum_teachers = 2
    minimum_batch = 2
    needs = frozenset({"logits", "embedding", "features"})
    states: list[Tensor]  # with `rewards`, set by `losses` for `after_step`
    rewards: Tensor

    def maps(self, student: Outputs, modality: str, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """The last maps of student and teacher, (B, positions, C) each, with the same number of positions."""
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
        distances = []
        maps = []
        self.states = []
        log_student = F.log_softmax(student.logits / t, 1)
        for project, (modality, teacher) in zip(self.projections, teachers.items(), strict=True):
            log_teacher = F.log_softmax(teacher.logits / t, 1)
            soft.append(t**2 * (log_teacher.exp() * (log_teacher - log_student)).sum(1))
            s, target = self.maps(student, modality, teacher)
            projected = project(s.flatten(0, 1)).view(*s.shape[:2], -1)  # a 1x1 convolution, position by position
            distances.append((projected - target).square().mean((1, 2)))
            maps.append(paired_branch(student, modality, c.pairs).last_map)
            cross_entropy = F.cross_entropy(teacher.logits, batch.targets, reduction="none")
            similarity = F.cosine_similarity(projected.mean(1), target.mean(1))
            state = [teacher.embedding, teacher.logits, *(x[:, None] for x in (cross_entropy, soft[-1], similarity))]
            self.states.append(torch.cat(state, 1).detach())
        if student.logits.requires_grad:
            ce = F.cross_entropy(student.logits, batch.targets, reduction="sum")
            decreases = decrease(ce, soft, [student.logits] * len(soft)), decrease(ce, distances, maps)
            self.rewards = advantage(torch.stack(decreases))
        shares = self.agent(self.states).exp()
        if batch.epoch == 0:
            shares = torch.full_like(shares, 1 / shares.shape[2])
        kd, feature = (shares * torch.stack([torch.stack(soft, 1), torch.stack(distances, 1)])).sum(2).mean(1)
        return {**self.supervised(student, batch), "kd": c.alpha * kd, "feature": c.beta * feature}

    def after_step(self, step: Step) -> None:
        self.agent.lower(lambda: -(self.agent(self.states).exp() * self.rewards).sum(2).mean(1).sum())


def decrease(loss: Tensor, terms: list[Tensor], outputs: list[Tensor]) -> Tensor:
    """First-order decrease of each sample's loss when the student follows term k alone: (B, M).

    Args:
        loss: scalar, the sum over samples.
        terms: (B,) for each teacher.
        outputs: for each teacher, the student's output (B, ...) at which the gradients are compared.
    """
    decreases = []
    for term, output in zip(terms, outputs, strict=True):
        (loss_gradient,) = torch.autograd.grad(loss, output, retain_graph=True, allow_unused=True)
        (term_gradient,) = torch.autograd.grad(term.sum(), output, retain_graph=True)
        decreases.append(
            term.new_zeros(len(term)) if loss_gradient is None else (loss_gradient * term_gradient).flatten(1).sum(1)
        )
    return torch.stack(decreases, 1)


def advantage(rewards: Tensor) -> Tensor:
    """Subtract the mean over teachers from rewards (2, B, M), and divide by the standard deviation over the batch."""
    centred = rewards - rewards.mean(2, keepdim=True)
    spread = centred.square().mean((1, 2), keepdim=True).sqrt()
    return centred / spread.clamp_min(torch.finfo(centred.dtype).tiny)
