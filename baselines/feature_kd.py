"""Hidden vectors of a signal teacher (the project's notes, item 5), after FitNets, Romero et al. 2015, https://arxiv.org/abs/1412.6550

Loss: CE + w MSE between the student's embedding, after a linear projection if the widths differ, and that of the signal
teacher. The option `followed` names another teacher, or `all`, who then have the shares `teacher_weights`. The
student's embedding is the input of its classifier ("fused", the default), or that of a branch (`pairs`).

Not published under this name; the weight is our choice. Where every time step has a label, embeddings are those of
windows and only the encoder is guided.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, MmkdError, Outputs, Range, Setup, option, paired_branch


@METHODS.register("feature-kd")
class FeatureKD(Method):
    """Embedding of the signal teacher, or of all teachers (the notes); after FitNets 2015.

    Use it when you want the simplest match of features: the student's embedding follows that of one teacher, by default
    the signal's. There is one weight to tune, and widths that differ get a linear projection.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(1.0, "weight of the squared error of embeddings", ge=0, tune=Range(0.5, 100, log=True))
        followed: str = option("sig", "the teacher whose embedding is followed, or all")
        pairs: Literal["fused", "same", "all"] = option(
            "fused", "which of the student's embeddings is compared with a teacher's"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation", "anomaly"})
    needs = frozenset({"embedding"})
    status = "notes"

    def check(self, setup: Setup) -> None:
        super().check(setup)
        name = self.config.followed
        if name != "all" and name not in setup.teachers:
            raise MmkdError(
                f"feature-kd follows the teacher {name!r}, and the teachers are {', '.join(setup.teachers)}; add it to "
                f"--teachers, or use --followed all"
            )
        if sum(self.shares(setup.teachers).values()) == 0:
            raise MmkdError(f"feature-kd follows {name!r}, whose share in --teacher-weights is 0; give it some")

    def shares(self, teachers: Mapping[str, Outputs]) -> dict[str, float]:
        """The shares of the followed teachers, which sum to 1."""
        used = {m: w for m, w in self.weights(teachers).items() if self.config.followed in ("all", m)}
        return {m: w / (sum(used.values()) or 1) for m, w in used.items()}

    def hidden(self, student: Outputs, modality: str) -> Tensor:
        """The student's embedding that is compared with this teacher's, (B, D)."""
        return paired_branch(student, modality, self.config.pairs).embedding

    def build(self, setup: Setup) -> None:
        self.projections = nn.ModuleList()
        for modality in self.shares(setup.teachers):
            own = self.hidden(setup.student, modality).shape[1]
            other = setup.teachers[modality].embedding.shape[1]
            self.projections.append(nn.Identity() if own == other else nn.Linear(own, other))

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        terms = self.supervised(student, batch)
        for project, (modality, share) in zip(self.projections, self.shares(teachers).items(), strict=True):
            distance = F.mse_loss(project(self.hidden(student, modality)), teachers[modality].embedding)
            terms[f"feature_{modality}"] = self.config.weight * share * distance
        return terms
