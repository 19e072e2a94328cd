"""C2KD: Bridging the Modality Gap for Cross-Modal Knowledge Distillation. Huo et al., CVPR 2024, https://openaccess.thecvf.com/content/CVPR2024/html/Huo_C2KD_Bridging_the_Modality_Gap_for_Cross-Modal_Knowledge_Distillation_CVPR_2024_paper.html

Followed, with the authors' code: teacher and student both train, each with a proxy: on the mean of its map before the
last one a 1x1 convolution without bias, BatchNorm, LeakyReLU (0.1) and a linear layer. For each of the two: CE, KL(net
|| proxy) and KL(proxy || net), targets detached. Between the proxies, in both directions, targets detached: KL over the
classes other than the true one, of the samples whose rankings of classes by the two proxies agree, Kendall's tau above
a threshold; the sum over these, divided by the size of the batch. No weights, temperature 1, threshold 0. The teacher
is a copy, trained at the student's learning rate and in training mode.

Different from the code: the true class is left out of both softmaxes, as the paper writes it (there its logit becomes
0 and stays). Several teachers (the paper has one) have a pair of proxies each, on the branch that they guide; what
concerns the student takes the shares `teacher_weights`, what trains a teacher does not. A network of one map has its
proxy on that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, Setup, option, paired_branch


@METHODS.register("c2kd")
class C2KD(Method):
    """Teachers that move too, and proxies between. Huo et al., CVPR 2024."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        threshold: float = option(0.0, "Kendall's tau above which a sample is used", ge=-1, le=1)
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")

    minimum_batch = 2
    needs = frozenset({"logits", "features"})

    def build(self, setup: Setup) -> None:
        self.own = nn.ModuleList()
        self.others = nn.ModuleList()
        for modality, teacher in setup.teachers.items():
            student = paired_branch(setup.student, modality, self.config.pairs)
            for proxies, net in ((self.own, student), (self.others, teacher)):
                proxies.append(proxy(middle(net).shape[1], setup.classes))

    def teacher_parameters(self, teachers: Mapping[str, nn.Module]) -> Iterable[nn.Parameter]:
        return [parameter for network in teachers.values() for parameter in network.parameters()]

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        terms = self.supervised(student, batch)
        shares = self.weights(teachers)
        for here, there, (modality, teacher) in zip(self.own, self.others, teachers.items(), strict=True):
            own = paired_branch(student, modality, self.config.pairs)
            near = here(middle(own))
            far = there(middle(teacher))
            used = rank_correlation(near.detach(), far.detach()) > self.config.threshold
            to_student = both_ways(own.logits, near) + others_divergence(near, far.detach(), batch.targets, used)
            to_teacher = both_ways(teacher.logits, far) + others_divergence(far, near.detach(), batch.targets, used)
            terms[f"c2kd_{modality}"] = shares[modality] * to_student
            terms[f"teacher_{modality}"] = F.cross_entropy(teacher.logits, batch.targets) + to_teacher
        return terms


def middle(outputs: Outputs) -> Tensor:
    """(B, C): the mean of the map before the last one, or of the only one."""
    stages = list(outputs.features)
    return outputs.features[stages[max(len(stages) - 2, 0)]].flatten(2).mean(2)


def proxy(width: int, classes: int) -> nn.Module:
    """(B, width) to logits (B, classes)."""
    layers = [nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def both_ways(one: Tensor, other: Tensor) -> Tensor:
    """KL of each to the other, detached; mean over the batch."""
    a = F.log_softmax(one, 1)
    b = F.log_softmax(other, 1)
    to_other = F.kl_div(a, b.detach(), reduction="batchmean", log_target=True)
    return to_other + F.kl_div(b, a.detach(), reduction="batchmean", log_target=True)


def others_divergence(moving: Tensor, fixed: Tensor, targets: Tensor, used: Tensor) -> Tensor:
    """KL(fixed || moving) over the classes other than the target, summed over the samples used, divided by B.

    Args:
        moving, fixed: (B, K) logits. used: (B,) bool.
    """
    others = ~F.one_hot(targets, moving.shape[1]).bool()
    a, b = (F.log_softmax(z[others].view(len(z), -1), 1) for z in (moving, fixed))
    return ((b.exp() * (b - a)).sum(1) * used).mean()


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """(B,) Kendall's tau-b between the rows of a and b, (B, K); not a number where all of a row are equal."""
    first, second = ((x[:, :, None] - x[:, None, :]).sign().flatten(1) for x in (a, b))
    return (first * second).sum(1) / (first.square().sum(1) * second.square().sum(1)).sqrt()
