"""Learning Deep Representations with Probabilistic Knowledge Transfer. Passalis and Tefas, ECCV 2018, https://arxiv.org/abs/1803.10837

Loss, with the cosine kernel: CE + w times the divergence sum of p_t log(p_t / p_s). p are the similarities (cos + 1) /
2 of all pairs of embeddings, in [0, 1], with each row divided by its sum. As in the authors' code, the sum is a mean
over all B^2 entries, including the pairs of a sample with itself. The weight 30000 for that form is from Tian et al.
2020 (arXiv:1910.10699), for batches of 64. A row's divergence does not depend on B, so that the mean shrinks as 1 / B;
here it is multiplied by B / 64, and has the published scale for every B. Embeddings are vectors, so that teachers of
any rank work; several have the shares `teacher_weights`. Where every time step has a label, embeddings are those of
windows and only the encoder is guided.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, Outputs, Range, batch_scale, option, paired_branch

EPS = 1e-7


@METHODS.register("pkt")
class PKT(Method):
    """Neighbourhood probabilities of the embeddings of a batch. Passalis and Tefas, ECCV 2018, arXiv:1803.10837.

    Use it when embeddings have different widths and only which windows are neighbours should be transferred; there is
    nothing to project and nothing to learn besides. Batches should be large enough to hold neighbours.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(30000.0, "weight of the mean over pairs", ge=0, tune=Range(1000, 100000, log=True))
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"embedding"})
    status = "classic"
    revision = 2

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        weight = c.weight * batch_scale(len(batch.index), growth=-1)
        for modality, share in self.weights(teachers).items():
            s = neighbours(paired_branch(student, modality, c.pairs).embedding)
            t = neighbours(teachers[modality].embedding)
            terms[f"pkt_{modality}"] = weight * share * (t * ((t + EPS) / (s + EPS)).log()).mean()
        return terms


def neighbours(x: Tensor) -> Tensor:
    """Probability that sample j is a neighbour of sample i: (B, D) to (B, B), rows sum to 1."""
    unit = F.normalize(x)
    similar = (unit @ unit.T + 1) / 2
    return similar / similar.sum(1, keepdim=True)
