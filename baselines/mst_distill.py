"""MST-Distill: Mixture of Specialized Teachers for Cross-Modal Knowledge Distillation. Li et al., ACM MM 2025, https://arxiv.org/abs/2507.07015

As in the authors' code, there are three stages, of 1 epoch, 1 epoch and the rest. 1: student and teachers are trained
together, with the CE of each and T^2 KL of each to every other, with gradients on both sides. 2: student and teachers
are frozen, and a mask network for each teacher minimises T^2 KL(student || masked teacher). The mask scales the
teacher's features by numbers between 0 and 1. It is a linear layer to a vector for each feature, attention of h heads
between these vectors, a linear layer to one number each, and a sigmoid. 3: a router (two linear layers) reads the
student's logits and selects k masked teachers for each sample. Loss: CE + T^2 KL to the selected teachers, mean over k
and the batch, + the balance KL(uniform || mean of the router's probabilities) / M. All weights 1, T 4, k 1, h 3.

Reconstructed: the training of the router. In the code its selection has no gradient, so that only the balance trains
it. Here it also minimises the mean of sum_m p_m CE_m, the expected cross-entropy of a teacher drawn with its
probabilities p, where CE_m is that of masked teacher m. This term trains only the router.

The first release of the code had 100 epochs for each stage; its present defaults are 1, 1 and 100. A training without
an epoch for stage 3 is refused: its student would learn nothing from masked teachers.

Different from the code: the teachers have one modality each, are trained before, and have one mask each, at the
embedding (the code has a multimodal and a cross-modal teacher with two masked layers each). A network that is trained
runs in training mode throughout. The input of the router is detached. Weights do not decrease over the epochs; use
`--weight-schedule` for that. With `co_training` off, the teachers are frozen in stage 1 too and are read from the
cache.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import (
    METHODS,
    TEMPERATURE_RANGE,
    Batch,
    Method,
    MmkdError,
    Outputs,
    Range,
    Setup,
    TaughtConfig,
    option,
    soft_targets,
)


class Mask(nn.Module):
    """A mask network, features (B, D) to numbers (B, D) in (0, 1).

    Args:
        width: D.
        heads: number of attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.size = max(width // (2 * heads), 1) * heads
        self.embed = nn.Linear(width, self.size * width)
        self.attend = nn.MultiheadAttention(self.size, heads, batch_first=True)
        self.score = nn.Linear(self.size, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).view(*x.shape, self.size)
        mixed, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        mask: Tensor = self.score(mixed).squeeze(2).sigmoid()
        return mask


@METHODS.register("mst-distill")
class MixtureOfTeachers(Method):
    """Masked teachers, selected by a router. Li et al. 2025 (router reconstructed).

    Use it when several teachers of different modalities each fit some windows and not others: their features are
    masked, and a router chooses among them. It has three stages and trains the teachers too, so ask what it costs
    before you compare it.
    """

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        temperature: float = option(4.0, "temperature T of teachers and student", gt=0, tune=TEMPERATURE_RANGE)
        kd_weight: float = option(
            1.0, "weight of the soft targets of the chosen teachers", ge=0, tune=Range(0.3, 30, log=True)
        )
        balance_weight: float = option(
            1.0, "weight of the balance between teachers", ge=0, tune=Range(0.1, 10, log=True)
        )
        chosen: int = option(1, "number k of teachers selected for each sample", ge=1)
        heads: int = option(3, "attention heads h of a mask network", ge=1)
        co_training: bool = option(True, "whether teachers train with the student in stage 1")
        first_epochs: int = option(1, "epochs of stage 1", ge=0, since=3)
        second_epochs: int = option(1, "epochs of stage 2", ge=1, since=3)

    unlabelled = "teacher"
    minimum_teachers = 2
    revision = 2
    needs = frozenset({"logits", "embedding", "cam"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        if self.config.chosen > len(setup.teachers):
            raise MmkdError(
                f"chosen {self.config.chosen}: there are {len(setup.teachers)} teachers; use a lower --chosen"
            )
        before = self.config.first_epochs + self.config.second_epochs
        if setup.epochs <= before:
            raise MmkdError(
                f"mst-distill: its first two stages take {before} epochs, and there are {setup.epochs}, so that the "
                f"student would learn nothing from masked teachers; use --epochs {before + 1} or more"
            )

    def build(self, setup: Setup) -> None:
        widths = [teacher.embedding.shape[1] for teacher in setup.teachers.values()]
        self.masks = nn.ModuleList(Mask(width, self.config.heads) for width in widths)
        k = setup.classes
        self.router = nn.Sequential(nn.Linear(k, 2 * k), nn.Linear(2 * k, len(widths)))

    def teacher_parameters(self, teachers: Mapping[str, nn.Module]) -> Iterable[nn.Parameter]:
        if not self.config.co_training:
            return ()
        return [parameter for network in teachers.values() for parameter in network.parameters()]

    def stage(self, batch: Batch) -> int:
        """The stage of the current epoch: 1, 2 or 3."""
        c = self.config
        return 1 + int(batch.epoch >= c.first_epochs) + int(batch.epoch >= c.first_epochs + c.second_epochs)

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        stage = self.stage(batch)
        zero = student.logits.new_zeros(())
        terms = self.supervised(student, batch)
        if stage == 2:
            terms = {name: term.detach() for name, term in terms.items()}
        names = ("teachers_ce", "mutual", "masks", "kd", "router", "balance")
        stage_terms = (self.together, self.specialised, self.routed)[stage - 1](student, list(teachers.values()), batch)
        return terms | dict.fromkeys(names, zero) | stage_terms

    def together(self, student: Outputs, teachers: list[Outputs], batch: Batch) -> dict[str, Tensor]:
        """Stage 1: each network learns from the labels and from every other network."""
        logits = [student.logits, *(teacher.logits for teacher in teachers)]
        cross_entropies = [F.cross_entropy(z, batch.targets) for z in logits[1:]]
        divergences = [soft_targets(own, other, self.config.temperature) for own, other in permutations(logits, 2)]
        return {"teachers_ce": torch.stack(cross_entropies).sum(), "mutual": torch.stack(divergences).sum()}

    def specialised(self, student: Outputs, teachers: list[Outputs], batch: Batch) -> dict[str, Tensor]:
        """Stage 2: the masked teachers learn from the student, which is frozen."""
        target = student.logits.detach()
        divergences = [soft_targets(z, target, self.config.temperature) for z in self.masked(teachers)]
        return {"masks": torch.stack(divergences).sum()}

    def routed(self, student: Outputs, teachers: list[Outputs], batch: Batch) -> dict[str, Tensor]:
        """Stage 3: the student learns from the masked teachers that the router selects."""
        c = self.config
        t = self.config.temperature
        log_student = F.log_softmax(student.logits / t, 1)
        logits = torch.stack(self.masked(teachers), 1).detach()
        log_teachers = F.log_softmax(logits / t, 2)
        divergences = t**2 * (log_teachers.exp() * (log_teachers - log_student[:, None])).sum(2)
        p = self.shares(student)
        selected = divergences.gather(1, p.topk(c.chosen, dim=1).indices)
        cross_entropies = F.cross_entropy(logits.movedim(2, 1), batch.targets[:, None].expand_as(p), reduction="none")
        return {
            "kd": c.kd_weight * selected.mean(),
            "router": (p * cross_entropies).sum(1).mean(),
            "balance": c.balance_weight * unevenness(p),
        }

    def masked(self, teachers: list[Outputs]) -> list[Tensor]:
        """The logits (B, K) of each teacher when its embedding is masked."""
        logits = []
        for mask, teacher in zip(self.masks, teachers, strict=True):
            assert teacher.classifier is not None
            embedding = teacher.embedding.detach()
            removed = embedding * (1 - mask(embedding))  # the teacher's classifier is linear
            logits.append(teacher.logits.detach() - removed @ teacher.classifier.detach().T)
        return logits

    def shares(self, student: Outputs) -> Tensor:
        """The router's probabilities (B, M); rows sum to 1."""
        p: Tensor = self.router(student.logits.detach()).softmax(1)
        return p


def unevenness(p: Tensor) -> Tensor:
    """KL(uniform || mean over the batch) of probabilities (B, M), divided by M."""
    mean = p.mean(0)
    return -(mean.log() + torch.tensor(float(len(mean)), device=p.device).log()).mean() / len(mean)
