"""Adaptive Multi-Teacher Knowledge Distillation with Meta-Learning (MMKD). Zhang, Chen, Wang, ICME 2023, https://arxiv.org/abs/2306.06634

Followed, with the authors' code: CE + a sum_k u_k T^2 KL(teacher_k || student) + b sum_k v_k MSE(r_k(F_s), F_k), all
per sample, then the mean; u and v from two small networks (linear, half as wide, ReLU, linear, softmax over teachers);
F the last maps, r_k 1x1, 3x3 and 1x1 convolutions with BatchNorm and ReLU, half as many channels in the middle; a 1, b
100, T 4. The networks learn after every fifth step, by Adam (1e-3, weight decay 1e-4): on windows from a buffer of 256,
most of them hard, a copy of student and r_k takes two steps of gradient descent on the distillation terms and one on
CE; what is lowered is CE after them, through these steps. The buffer takes every window until it is full, then those
that the student gets wrong, at random places.

Different from the code: the second network reads the embeddings of teachers and student where theirs reads rows of the
similarity matrices of the batch, which fixes its size; the copy's steps have neither momentum nor weight decay. Maps of
one rank meet at the smaller size, a line and an image as vectors of means, and r_k has no last ReLU where the teacher's
map has negative values. The weights are the method's own, so that it has no `teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from mmkd import METHODS, Batch, Method, Outer, Outputs, Setup, Step, TaughtConfig, option, paired_branch
from mmkd.frequency import meet

Weights = dict[str, Tensor]


class Weigh(nn.Module):
    """The two networks: of logits (B, L) and embeddings (B, D) to u and v, (B, M) each."""

    def __init__(self, logits: int, embeddings: int, count: int) -> None:
        super().__init__()
        self.by_logits = half(logits, count)
        self.by_embeddings = half(embeddings, count)

    def forward(self, logits: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        return self.by_logits(logits).softmax(1), self.by_embeddings(embeddings).softmax(1)


@METHODS.register("meta-mkd")
class MetaWeights(Method):
    """Teachers weighted by what helps the student next. MMKD, Zhang et al., ICME 2023."""

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        alpha: float = option(1.0, "weight a of the soft targets", ge=0)
        beta: float = option(100.0, "weight b of the maps", ge=0)
        temperature: float = option(4.0, "softening of teachers and student", gt=0)
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        meta_every: int = option(5, "steps of the student between two of the weights", ge=1)
        meta_lr: float = option(1e-3, "learning rate of the networks that weigh", gt=0)
        look_ahead: int = option(2, "steps on the distillation terms that the weights look ahead", ge=1)
        buffer: int = option(256, "windows that the weights learn from", ge=1)

    minimum_teachers = 2
    minimum_batch = 2
    needs = frozenset({"logits", "embedding", "features"})
    kept: Tensor
    filled: Tensor
    steps: Tensor
    hard: Tensor  # of the batch, from `losses` to `after_step`

    def build(self, setup: Setup) -> None:
        student = setup.student
        teachers = setup.teachers
        count = len(setup.teachers)
        widths = [x.embedding.shape[1] for x in (student, *teachers.values())]
        weigh = Weigh((count + 1) * setup.classes, sum(widths), count)
        self.weigh = Outer(weigh, self.config.meta_lr, weight_decay=1e-4)
        self.projections = nn.ModuleList()
        for modality, teacher in teachers.items():
            own, other = self.maps(student, modality, teacher)
            self.projections.append(projection(own, other))
        self.register_buffer("kept", torch.zeros(self.config.buffer, dtype=torch.long))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def maps(self, student: Outputs, modality: str, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """The last maps, (B, C, *size) each, of one rank and size; vectors have one position."""
        branch = paired_branch(student, modality, self.config.pairs)
        both = meet(branch.last_map, teacher.last_map, "pool")
        own, other = (x if x.ndim > 2 else x[..., None] for x in both)
        return own, other

    def shares(self, student: Outputs, teachers: Mapping[str, Outputs]) -> tuple[Tensor, Tensor]:
        """(B, M) each, rows that sum to 1: of the soft targets and of the maps."""
        both = student, *teachers.values()
        logits = [x.logits.detach() for x in both]
        embeddings = [x.embedding.detach() for x in both]
        u, v = self.weigh(torch.cat(logits, 1), torch.cat(embeddings, 1))
        return u, v

    def distances(
        self, student: Outputs, teachers: Mapping[str, Outputs], own: Weights | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, M) each: T^2 KL of each teacher, and the squared error of its map.

        Args:
            own: weights in the place of those of `projections`.
        """
        t = self.config.temperature
        soft = []
        far = []
        log_student = F.log_softmax(student.logits / t, 1)
        for number, (modality, teacher) in enumerate(teachers.items()):
            log_teacher = F.log_softmax(teacher.logits / t, 1)
            soft.append(t**2 * (log_teacher.exp() * (log_teacher - log_student)).sum(1))
            x, target = self.maps(student, modality, teacher)
            part = self.projections[number]
            projected = part(x) if own is None else functional_call(part, _below(own, f"{number}."), (x,))
            far.append((projected - target).square().flatten(1).mean(1))
        return torch.stack(soft, 1), torch.stack(far, 1)

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        self.hard = batch.index[student.logits.argmax(1) != batch.targets]
        kd, feature = self.distilled(student, teachers, self.distances(student, teachers))
        return {**self.supervised(student, batch), "kd": kd, "feature": feature}

    def distilled(
        self, student: Outputs, teachers: Mapping[str, Outputs], distances: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Both terms."""
        (u, v) = self.shares(student, teachers)
        (soft, far) = distances
        return self.config.alpha * (u * soft).sum(1).mean(), self.config.beta * (v * far).sum(1).mean()

    def after_step(self, step: Step) -> None:
        self.remember(step.batch.index)
        self.steps += 1
        if (self.steps - 1) % self.config.meta_every:
            return
        size = min(len(step.batch.index), int(self.filled))
        chosen = torch.randperm(int(self.filled), device=self.kept.device)[:size]
        given = step.read(self.kept[chosen])
        self.weigh.lower(lambda: self.later(step, *given))

    def remember(self, index: Tensor) -> None:
        """Enter the batch's windows into the buffer; once it is full only those that the student got wrong."""
        filled = int(self.filled)
        size = len(self.kept)
        if filled < size:
            new = index[: size - filled]
            self.kept[filled : filled + len(new)] = new
            self.filled += len(new)
        else:
            new = self.hard[:size]
            self.kept[torch.randperm(size, device=index.device)[: len(new)]] = new

    def later(self, step: Step, views: Mapping[str, Tensor], teachers: Mapping[str, Outputs], batch: Batch) -> Tensor:
        """The student's cross-entropy after the steps that it would take, as a function of the weights."""
        networks: dict[str, nn.Module] = {"student": step.student, "projections": self.projections}
        held = {
            f"{part}.{name}": parameter.detach().requires_grad_()
            for part, network in networks.items()
            for name, parameter in network.named_parameters()
        }
        fixed = {
            f"{part}.{name}": value for part, net in networks.items() for name, value in _copied_buffers(net).items()
        }

        def says() -> Outputs:
            outputs: Outputs = functional_call(step.student, _below(held | fixed, "student."), (views,))
            return outputs

        for number in range(self.config.look_ahead + 1):
            student = says()
            if number < self.config.look_ahead:
                distances = self.distances(student, teachers, _below(held | fixed, "projections."))
                loss = torch.stack(self.distilled(student, teachers, distances)).sum()
            else:
                loss = F.cross_entropy(student.logits, batch.targets)
            slopes = torch.autograd.grad(loss, list(held.values()), create_graph=True, allow_unused=True)
            held = {
                name: value if slope is None else value - step.rate * slope
                for (name, value), slope in zip(held.items(), slopes, strict=True)
            }
        return F.cross_entropy(says().logits, batch.targets)


def half(size: int, count: int) -> nn.Module:
    """From `size` numbers to `count`, through half as many."""
    return nn.Sequential(nn.Linear(size, size // 2), nn.ReLU(), nn.Linear(size // 2, count))


def projection(own: Tensor, other: Tensor) -> nn.Module:
    """r_k, from maps like `own` to maps like `other`, which have one rank and size."""
    images = own.ndim == 4
    middle = max(own.shape[1] // 2, 1)
    side = 1 if own[0, 0].numel() == 1 else 3
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if images else (nn.Conv1d, nn.BatchNorm1d)
    layers: list[nn.Module] = [conv(own.shape[1], middle, 1), norm(middle), nn.ReLU()]
    layers += [conv(middle, middle, side, padding=side // 2), norm(middle), nn.ReLU()]
    layers += [conv(middle, other.shape[1], 1), norm(other.shape[1]), *([nn.ReLU()] if other.min() >= 0 else [])]
    return nn.Sequential(*layers)


def _below(values: Weights, prefix: str) -> Weights:
    """The values whose names begin so, without it."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _copied_buffers(network: nn.Module) -> Weights:
    """Copies, so that a forward pass in training mode leaves the running averages alone."""
    return {name: value.clone() for name, value in network.named_buffers()}
