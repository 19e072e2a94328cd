"""C2KD: Bridging the Modality Gap for Cross-Modal Knowledge Distillation. Huo et al., CVPR 2024, https://openaccess.thecvf.com/content/CVPR2024/html/Huo_C2KD_Bridging_the_Modality_Gap_for_Cross-Modal_Knowledge_Distillation_CVPR_2024_paper.html

Following the paper and the authors' code, teacher and student are both trained, and each has a proxy classifier: on the
mean of its last map but one, a 1x1 convolution without bias, BatchNorm, LeakyReLU (0.1) and a linear layer. Loss of
each of the two networks: CE, KL(net || proxy) and KL(proxy || net), with detached targets. The proxies of student and
teacher are compared in both directions, with detached targets, by KL over the classes other than the true one. Only
those samples count for which the two proxies rank the classes alike, that is Kendall's tau is above a threshold; the
sum over them is divided by the batch size. There are no weights; the temperature is 1 and the threshold 0. The teacher
is a copy, trained in training mode at the student's learning rate.

Two classes are refused: only one class is not the true one, so that proxies would exchange nothing.

Different from the code: the true class is left out of both softmaxes, as the paper writes (the code sets its logit to 0
and keeps it). The paper has one teacher. With several, each has a pair of proxies, on the branch that it guides. The
student's terms use the shares `teacher_weights`, the teachers' terms do not. In a network with one map, that map is
used.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, Range, Setup, option, paired_branch


@METHODS.register("c2kd")
class C2KD(Method):
    """Trained teachers, connected with the student by proxies. Huo et al., CVPR 2024.

    Use it when the teacher reads another modality than the student and may change for it: both are trained, and only
    windows on which their rankings agree count. It costs a training of copies of the teachers within each unit, so no
    output can be read from the cache.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        threshold: float = option(0.0, "Kendall's tau above which a sample is used", ge=-1, le=1, tune=Range(-0.6, 0.6))
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")

    unlabelled = "teacher"
    minimum_batch = 2
    minimum_classes = 3
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
        for own_proxy, other_proxy, (modality, teacher) in zip(self.own, self.others, teachers.items(), strict=True):
            branch = paired_branch(student, modality, self.config.pairs)
            student_proxy = own_proxy(middle(branch))
            teacher_proxy = other_proxy(middle(teacher))
            used = rank_correlation(student_proxy.detach(), teacher_proxy.detach()) > self.config.threshold
            to_student = both_ways(branch.logits, student_proxy) + others_divergence(
                student_proxy, teacher_proxy.detach(), batch.targets, used
            )
            to_teacher = both_ways(teacher.logits, teacher_proxy) + others_divergence(
                teacher_proxy, student_proxy.detach(), batch.targets, used
            )
            terms[f"c2kd_{modality}"] = shares[modality] * to_student
            terms[f"teacher_{modality}"] = F.cross_entropy(teacher.logits, batch.targets) + to_teacher
        return terms


def middle(outputs: Outputs) -> Tensor:
    """Mean over positions of the last map but one, or of the only map: (B, C)."""
    stages = list(outputs.features)
    return outputs.features[stages[max(len(stages) - 2, 0)]].flatten(2).mean(2)


def proxy(width: int, classes: int) -> nn.Module:
    """Create a proxy classifier, (B, width) to logits (B, classes)."""
    layers = [nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def both_ways(one: Tensor, other: Tensor) -> Tensor:
    """KL in both directions, with detached targets, of logits (B, K) and (B, K); mean over the batch."""
    a = F.log_softmax(one, 1)
    b = F.log_softmax(other, 1)
    to_other = F.kl_div(a, b.detach(), reduction="batchmean", log_target=True)
    return to_other + F.kl_div(b, a.detach(), reduction="batchmean", log_target=True)


def others_divergence(moving: Tensor, fixed: Tensor, targets: Tensor, used: Tensor) -> Tensor:
    """KL(fixed || moving) over the classes other than the target, summed over the samples used and divided by B.

    Args:
        moving: (B, K) logits.
        fixed: (B, K) logits.
        targets: (B,) class numbers.
        used: (B,) bool, the samples that count.
    """
    others = ~F.one_hot(targets, moving.shape[1]).bool()
    a, b = (F.log_softmax(z[others].view(len(z), -1), 1) for z in (moving, fixed))
    return ((b.exp() * (b - a)).sum(1) * used).mean()


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Kendall's tau-b between the rows of a and b, (B, K) each: (B,). NaN where all entries of a row are equal."""
    first, second = ((x[:, :, None] - x[:, None, :]).sign().flatten(1) for x in (a, b))
    return (first * second).sum(1) / (first.square().sum(1) * second.square().sum(1)).sqrt()
