"""Adaptive Multi-Teacher Knowledge Distillation with Meta-Learning (MMKD). Zhang, Chen, Wang, ICME 2023, https://arxiv.org/abs/2306.06634

Loss, as in the authors' code: CE + a sum_k u_k T^2 KL(teacher_k || student) + b sum_k v_k MSE(r_k(F_s), F_k), computed
for each sample and averaged. u and v are the outputs of two small networks (linear with half the width, ReLU, linear,
softmax over teachers). F are the last maps, and r_k is a 1x1, a 3x3 and a 1x1 convolution with BatchNorm and ReLU and
half the channels in the middle. a 1, b 100, T 4; with this b the features' gradient on the student is 15 to 30 times
that of cross-entropy, see experiments/results/method-scale.md.

The two networks are trained after every fifth step by Adam (1e-3, weight decay 1e-4), on windows from a buffer of 256
that holds mainly hard ones. A copy of the student and of r_k takes two gradient descent steps on the distillation terms
and one on CE. The CE after these steps is minimised, with gradients through the steps. The buffer accepts every window
until it is full. Then windows that the student classifies wrongly replace random ones.

Different from the code: the second network reads the embeddings of teachers and student instead of rows of the
similarity matrices of the batch, which would fix the batch size; the steps of the copy have neither momentum nor weight
decay. Maps of the same rank are compared at the smaller size, a line and an image as vectors of means. r_k has no last
ReLU if the teacher's map has negative values. The method computes the weights itself, so that there is no option
`teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
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

Weights = dict[str, Tensor]


class Weigh(nn.Module):
    """The two networks that weigh the teachers.

    Args:
        logits: length L of the concatenated logits of student and teachers.
        embeddings: length D of their concatenated embeddings.
        count: number of teachers M.
    """

    def __init__(self, logits: int, embeddings: int, count: int) -> None:
        super().__init__()
        self.by_logits = half(logits, count)
        self.by_embeddings = half(embeddings, count)

    def forward(self, logits: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Map logits (B, L) and embeddings (B, D) to u and v, (B, M) each, whose rows sum to 1."""
        return self.by_logits(logits).softmax(1), self.by_embeddings(embeddings).softmax(1)


@METHODS.register("meta-mkd")
class MetaWeights(Method):
    """Teachers weighted by what helps the student next. MMKD, Zhang et al., ICME 2023.

    Use it when you have several teachers and want their weights from what helps the student next: two small networks
    learn them along with it. They are trained after every fifth step, which costs more than the others, and the whole
    in one process.
    """

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        alpha: float = option(1.0, "weight a of the soft targets", ge=0, tune=Range(0.1, 10, log=True))
        beta: float = option(100.0, "weight b of the maps", ge=0, tune=Range(1, 200, log=True))
        temperature: float = option(4.0, "temperature T of teachers and student", gt=0, tune=TEMPERATURE_RANGE)
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        meta_every: int = option(5, "steps of the student between two steps of the weighing networks", ge=1)
        meta_lr: float = option(1e-3, "learning rate of the weighing networks", gt=0)
        look_ahead: int = option(2, "look-ahead steps on the distillation terms", ge=1)
        buffer: int = option(256, "size of the buffer of windows that the weighing networks learn from", ge=1)

    unlabelled = "teacher"
    minimum_teachers = 2
    minimum_batch = 2
    needs = frozenset({"logits", "embedding", "features"})
    kept: Tensor
    filled: Tensor
    steps: Tensor
    hard: Tensor  # positions of wrongly classified windows, set by `losses` for `after_step`

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
        """The last maps of student and teacher, (B, C, *size) each, of one rank and size; vectors have one position."""
        branch = paired_branch(student, modality, self.config.pairs)
        both = meet(branch.last_map, teacher.last_map, "pool")
        own, other = (x if x.ndim > 2 else x[..., None] for x in both)
        return own, other

    def shares(self, student: Outputs, teachers: Mapping[str, Outputs]) -> tuple[Tensor, Tensor]:
        """The weights u of the soft targets and v of the maps, (B, M) each, whose rows sum to 1."""
        networks = student, *teachers.values()
        logits = [x.logits.detach() for x in networks]
        embeddings = [x.embedding.detach() for x in networks]
        u, v = self.weigh(torch.cat(logits, 1), torch.cat(embeddings, 1))
        return u, v

    def distances(
        self, student: Outputs, teachers: Mapping[str, Outputs], parameters: Weights | None = None
    ) -> tuple[Tensor, Tensor]:
        """T^2 KL to each teacher, and the squared error of its map, (B, M) each.

        Args:
            student: outputs of the student.
            teachers: modality -> outputs of that teacher.
            parameters: name -> tensor, used in place of those of `projections`.
        """
        t = self.config.temperature
        soft = []
        distances = []
        log_student = F.log_softmax(student.logits / t, 1)
        for number, (modality, teacher) in enumerate(teachers.items()):
            log_teacher = F.log_softmax(teacher.logits / t, 1)
            soft.append(t**2 * (log_teacher.exp() * (log_teacher - log_student)).sum(1))
            x, target = self.maps(student, modality, teacher)
            projection_k = self.projections[number]
            projected = (
                projection_k(x)
                if parameters is None
                else functional_call(projection_k, _below(parameters, f"{number}."), (x,))
            )
            distances.append((projected - target).square().flatten(1).mean(1))
        return torch.stack(soft, 1), torch.stack(distances, 1)

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        self.hard = batch.index[student.logits.argmax(1) != batch.targets]
        kd, feature = self.distilled(student, teachers, self.distances(student, teachers))
        return {**self.supervised(student, batch), "kd": kd, "feature": feature}

    def distilled(
        self, student: Outputs, teachers: Mapping[str, Outputs], distances: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The weighted terms of soft targets and maps, two scalars."""
        (u, v) = self.shares(student, teachers)
        (soft, map_distances) = distances
        return self.config.alpha * (u * soft).sum(1).mean(), self.config.beta * (v * map_distances).sum(1).mean()

    def after_step(self, step: Step) -> None:
        self.remember(step.batch.index)
        self.steps += 1
        if (self.steps - 1) % self.config.meta_every:
            return
        size = min(len(step.batch.index), int(self.filled))
        chosen = torch.randperm(int(self.filled), device=self.kept.device)[:size]
        data = step.read(self.kept[chosen])
        self.weigh.lower(lambda: self.later(step, *data))

    def remember(self, index: Tensor) -> None:
        """Add the windows of the batch to the buffer; once it is full, only those that the student got wrong."""
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
        """The student's cross-entropy after the look-ahead steps, as a function of the weights u and v."""
        networks: dict[str, nn.Module] = {"student": step.student, "projections": self.projections}
        parameters = {
            f"{part}.{name}": value.detach().requires_grad_()
            for part, network in networks.items()
            for name, value in network.named_parameters()
        }
        buffers = {
            f"{part}.{name}": value for part, net in networks.items() for name, value in _copied_buffers(net).items()
        }

        def outputs_now() -> Outputs:
            outputs: Outputs = functional_call(step.student, _below(parameters | buffers, "student."), (views,))
            return outputs

        for number in range(self.config.look_ahead + 1):
            student = outputs_now()
            if number < self.config.look_ahead:
                distances = self.distances(student, teachers, _below(parameters | buffers, "projections."))
                loss = torch.stack(self.distilled(student, teachers, distances)).sum()
            else:
                loss = F.cross_entropy(student.logits, batch.targets)
            gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True, allow_unused=True)
            parameters = {
                name: value if gradient is None else value - step.rate * gradient
                for (name, value), gradient in zip(parameters.items(), gradients, strict=True)
            }
        return F.cross_entropy(outputs_now().logits, batch.targets)


def half(size: int, count: int) -> nn.Module:
    """Create a network from `size` to `count` numbers with a hidden layer of half the size."""
    return nn.Sequential(nn.Linear(size, size // 2), nn.ReLU(), nn.Linear(size // 2, count))


def projection(own: Tensor, other: Tensor) -> nn.Module:
    """Create r_k, from maps like `own` to maps like `other` of the same rank and size."""
    images = own.ndim == 4
    middle = max(own.shape[1] // 2, 1)
    side = 1 if own[0, 0].numel() == 1 else 3
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if images else (nn.Conv1d, nn.BatchNorm1d)
    layers: list[nn.Module] = [conv(own.shape[1], middle, 1), norm(middle), nn.ReLU()]
    layers += [conv(middle, middle, side, padding=side // 2), norm(middle), nn.ReLU()]
    layers += [conv(middle, other.shape[1], 1), norm(other.shape[1]), *([nn.ReLU()] if other.min() >= 0 else [])]
    return nn.Sequential(*layers)


def _below(values: Weights, prefix: str) -> Weights:
    """The entries whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _copied_buffers(network: nn.Module) -> Weights:
    """Copies of the buffers, so that a forward pass in training mode does not change the running averages."""
    return {name: value.clone() for name, value in network.named_buffers()}
