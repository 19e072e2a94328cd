"""MST-Distill: Mixture of Specialized Teachers for Cross-Modal Knowledge Distillation. Li et al., ACM MM 2025, https://arxiv.org/abs/2507.07015

Followed, with the authors' code, in three stages of equally many epochs. 1: student and teachers train together, the CE
of each and T^2 KL of each to each other, with gradients on both sides. 2: student and teachers rest; a mask network a
teacher, which scales the teacher's features by numbers between 0 and 1, lowers T^2 KL(student || masked teacher). It is
a linear layer to a vector for each feature, attention of h heads between these, a linear layer to one number each, and
a sigmoid. 3: a router (two linear layers) reads the student's logits and chooses k of the masked teachers a sample: CE
+ T^2 KL of the chosen ones, mean over k and batch, + the balance KL(uniform || mean of the router's probabilities) / M.
All weights 1, T 4, k 1, h 3.

Reconstructed: the router. In the code its choice has no gradient, and nothing but the balance trains it; here it also
lowers the mean of sum_m p_m CE_m, p its probabilities and CE_m the cross-entropy of masked teacher m, which is that to
be expected of a teacher drawn by p; this trains the router alone. Different from the code: the teachers are those of
the house, of one modality each and trained before, and have one masked form each, at the embedding (there a multimodal
and a cross-modal teacher with two masked layers each); whoever trains does so in training mode throughout; the router's
input is detached; weights do not fall over the epochs, for which there is `--weight-schedule`. With `co_training` off
the teachers rest in stage 1 too, and are read from the cache.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, Method, MmkdError, Outputs, Setup, TaughtConfig, option, soft_targets


class Mask(nn.Module):
    """(B, D) features to numbers in (0, 1), (B, D)."""

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
    """Masked teachers, chosen by a router. Li et al. 2025 (router reconstructed)."""

    @dataclass(frozen=True)
    class Config(TaughtConfig):
        temperature: float = option(4.0, "softening of teachers and student", gt=0)
        kd_weight: float = option(1.0, "weight of the soft targets of the chosen teachers", ge=0)
        balance_weight: float = option(1.0, "weight of the balance between teachers", ge=0)
        chosen: int = option(1, "teachers k that are chosen a sample", ge=1)
        heads: int = option(3, "attention heads h of a mask network", ge=1)
        co_training: bool = option(True, "whether teachers train with the student in stage 1")
        first_border: float = option(1 / 3, "share of the epochs at which stage 1 ends", ge=0, lt=1)
        second_border: float = option(2 / 3, "share of the epochs at which stage 2 ends", gt=0, lt=1)

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.first_border >= self.second_border:
                raise MmkdError(
                    f"first-border {self.first_border:g} is not before second-border {self.second_border:g}; stage 1 "
                    f"ends before stage 2"
                )

    minimum_teachers = 2
    needs = frozenset({"logits", "embedding", "cam"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        if self.config.chosen > len(setup.teachers):
            raise MmkdError(
                f"chosen {self.config.chosen}: there are {len(setup.teachers)} teachers; use a lower --chosen"
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
        """1, 2 or 3."""
        share = (batch.epoch + 1) / batch.epochs
        return 1 + int(share > self.config.first_border) + int(share > self.config.second_border)

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        stage = self.stage(batch)
        none = student.logits.new_zeros(())
        terms = self.supervised(student, batch)
        if stage == 2:
            terms = {name: term.detach() for name, term in terms.items()}
        names = ("teachers_ce", "mutual", "masks", "kd", "router", "balance")
        own = (self.together, self.specialised, self.routed)[stage - 1](student, list(teachers.values()), batch)
        return terms | dict.fromkeys(names, none) | own

    def together(self, student: Outputs, teachers: list[Outputs], batch: Batch) -> dict[str, Tensor]:
        """Stage 1: each network follows the labels and every other network."""
        logits = [student.logits, *(teacher.logits for teacher in teachers)]
        wrong = [F.cross_entropy(z, batch.targets) for z in logits[1:]]
        far = [soft_targets(own, other, self.config.temperature) for own, other in permutations(logits, 2)]
        return {"teachers_ce": torch.stack(wrong).sum(), "mutual": torch.stack(far).sum()}

    def specialised(self, student: Outputs, teachers: list[Outputs], batch: Batch) -> dict[str, Tensor]:
        """Stage 2: masked teachers come near the student, which rests."""
        target = student.logits.detach()
        far = [soft_targets(z, target, self.config.temperature) for z in self.masked(teachers)]
        return {"masks": torch.stack(far).sum()}

    def routed(self, student: Outputs, teachers: list[Outputs], batch: Batch) -> dict[str, Tensor]:
        """Stage 3: the student follows the masked teachers that the router chooses."""
        c = self.config
        t = self.config.temperature
        log_student = F.log_softmax(student.logits / t, 1)
        logits = torch.stack(self.masked(teachers), 1).detach()
        log_teachers = F.log_softmax(logits / t, 2)
        far = t**2 * (log_teachers.exp() * (log_teachers - log_student[:, None])).sum(2)
        p = self.shares(student)
        kept = far.gather(1, p.topk(c.chosen, dim=1).indices)
        wrong = F.cross_entropy(logits.movedim(2, 1), batch.targets[:, None].expand_as(p), reduction="none")
        return {
            "kd": c.kd_weight * kept.mean(),
            "router": (p * wrong).sum(1).mean(),
            "balance": c.balance_weight * unevenness(p),
        }

    def masked(self, teachers: list[Outputs]) -> list[Tensor]:
        """The logits (B, K) of each resting teacher, its embedding masked."""
        found = []
        for mask, teacher in zip(self.masks, teachers, strict=True):
            assert teacher.classifier is not None
            embedding = teacher.embedding.detach()
            lost = embedding * (1 - mask(embedding))  # the classifier is linear
            found.append(teacher.logits.detach() - lost @ teacher.classifier.detach().T)
        return found

    def shares(self, student: Outputs) -> Tensor:
        """(B, M) the router's probabilities; rows sum to 1."""
        p: Tensor = self.router(student.logits.detach()).softmax(1)
        return p


def unevenness(p: Tensor) -> Tensor:
    """KL from the mean of (B, M) probabilities to equal ones, divided by M."""
    mean = p.mean(0)
    return -(mean.log() + torch.tensor(float(len(mean)), device=p.device).log()).mean() / len(mean)
