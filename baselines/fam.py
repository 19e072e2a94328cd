"""Frequency Attention for Knowledge Distillation. Pham et al., WACV 2024, https://arxiv.org/abs/2403.05894

Followed: CE + w * ramp * sum over stages of the mean squared error of a predicted and the teacher's map. The ramp
counts epochs from 1, so that none is dead: min((epoch + 1) / (warmup * epochs), 1).
- Layer to layer (`fam`): student map -> 1x1 convolution, BatchNorm, ReLU -> (local attention) -> nearest resize to the
  teacher's size -> frequency attention -> BatchNorm (-> ReLU where the teacher's map has no negative value).
- Knowledge review (`fam-review`): from the deepest feature, the embedding as a map of one position, to the shallow
  ones. The student's map and the deeper block's residual come to a middle width (1x1 convolution, BatchNorm, ReLU where
  they have another), the residual to the map's size, and asks the map by local cross-attention; the result, resized to
  the teacher's size, is the next residual and goes through frequency attention, BatchNorm and ReLU as above.

Different from the paper:
- each teacher guides the branch of its own modality (`pairs`), along a path of its own; its sum over stages takes its
  share of `teacher_weights`, and shares sum to 1: three equal teachers give the mean of three sums, not their sum;
- `fam` and `fam-review` lift 1-D features, of student and teacher, to square maps of the side that an image teacher has
  at that depth; `fam-1d` works along time, and averages a 2-D map over its rows to a line (B, C, W);
- targets are divided by their root mean square over the batch (`target_scale=rms`; the paper: `none`). The Gram field
  of features N(0, 3^2) has a mean square of 80 to 90, which at w = 1 drowns the cross-entropy; after the division an
  output of zeros costs 1 a stage whatever the teacher's units;
- the filters start centred (`init=balanced`), and the bias before a BatchNorm, which undoes it, is left out;
- ours, for comparison: `transform=dct` or `haar`, `loss=reviewkd-hcl` (the loss of `reviewkd`), `loss_domain`, the
  soft-target term.
The paper's ablations, a flag each: --local-branch false (global only), --global-branch false (local only), --mask none
(no high-pass), --logit-weight 1 (with soft targets). The published mask is idle on maps below 20 samples a side; there
`--mask none` changes nothing unless the rest runs with another, e.g. --mask symmetric.
Stages are matched from the deepest; a surplus of shallow ones, on either side, has no partner. Of networks that label
every time step encoder meets encoder and decoder meets decoder, from the last of each; `fam-review` takes the encoders'
maps alone, which lie between its deepest level and the signal.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from mmkd import (
    METHODS,
    Batch,
    DistillConfig,
    Method,
    MmkdError,
    Outputs,
    Setup,
    matched_stages,
    option,
    paired_branch,
)
from mmkd.frequency import (
    FrequencyPath,
    ReviewBlock,
    check_mask,
    hierarchical_context,
    lift,
    map_distance,
    scaled,
    warn_idle,
)

POOLED = ""  # in the place of a stage's name: the embedding as a map of one position


class Route(NamedTuple):
    """A stage of the student that meets a stage of the teacher of `modality`; `key` names its module.

    `side` is that of the maps the two are compared as, where the teacher's feature is a line.
    """

    modality: str
    student_stage: str
    teacher_stage: str
    key: str
    side: int


def feature(outputs: Outputs, stage: str) -> Tensor:
    """The map of a stage; of `POOLED`, (B, D, 1, 1)."""
    return outputs.embedding[..., None, None] if stage == POOLED else outputs.features[stage]


@METHODS.register("fam-1d")
class FAM1d(Method):
    """Frequency attention along time (in 1-D: ours). After Pham et al., WACV 2024, arXiv:2403.05894."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        feature_weight: float = option(1.0, "weight w of the feature terms", ge=0)
        warmup: float = option(1 / 12, "share of the epochs over which the feature terms ramp up", ge=0, le=1)
        logit_weight: float = option(0.0, "weight of a soft-target term; 0, the paper's, leaves it out", ge=0)
        temperature: float = option(4.0, "softening in the soft-target term", gt=0)
        stages: str = option("all", "student stages: all, deep (the last two), last, or names with commas between")
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        width: int = option(0, "channels before the filter; 0: the smaller of student's and teacher's number", ge=0)
        mask: Literal["reference", "symmetric", "radial", "butterworth", "gaussian", "none"] = option(
            "reference", "high-pass mask; reference removes nothing below 20 samples at cutoff 0.1"
        )
        cutoff: float = option(0.1, "cutoff of the mask, 1 is the Nyquist frequency; 0 removes nothing", ge=0, le=1)
        transform: Literal["fft", "dct", "haar"] = option(
            "fft", "basis of the filter; dct and haar are for comparison and have no mask reference"
        )
        init: Literal["balanced", "reference"] = option(
            "balanced", "start of the filters; reference is the published one"
        )
        global_branch: bool = option(True, "the frequency branch; off for an ablation")
        local_branch: bool = option(True, "the 1x1 convolution beside it; off for an ablation")
        target_scale: Literal["rms", "channel", "none"] = option(
            "rms", "divide the teacher's map by its RMS, standardise its channels, or leave it (the paper)"
        )
        loss: Literal["mse", "reviewkd-hcl"] = option(
            "mse", "squared error of maps, or also of them pooled to 4, 2 and 1 (hierarchical context)"
        )
        loss_domain: Literal["space", "frequency", "amplitude"] = option(
            "space", "squared error of maps, of complex spectra (equal by Parseval), or of amplitudes"
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            if not self.global_branch and not self.local_branch:
                raise MmkdError("global-branch and local-branch are both off; leave one on, e.g. --global-branch true")
            if self.global_branch:
                check_mask(self.mask, self.transform)
            if self.loss == "reviewkd-hcl" and self.loss_domain != "space":
                raise MmkdError("loss reviewkd-hcl pools maps in space; leave --loss-domain out, or use --loss mse")

    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"features"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        for modality, teacher in setup.teachers.items():
            self.matched(setup.student, modality, teacher)

    def matched(self, student: Outputs, modality: str, teacher: Outputs) -> list[tuple[str, str]]:
        """Names of the stages that meet, student's and teacher's, deepest first.

        Raises:
            MmkdError: no maps, a feature that is none, or a stage that the student does not have.
        """
        name = type(self).__name__
        stages = self.config.stages
        branch = paired_branch(student, modality, self.config.pairs)
        own = branch.features
        if stages in ("all", "deep", "last"):
            pairs = matched_stages(branch, teacher, stages)
        else:
            pairs = matched_stages(branch, teacher)
            wanted = [stage.strip() for stage in stages.split(",")]
            known = [s for s, _ in reversed(pairs)]
            missing = [stage for stage in wanted if stage not in known]
            if missing:
                raise MmkdError(
                    f"{name}: no student stage {missing[0]!r} meets the {modality} teacher; use --stages all, deep, "
                    f"last, or some of {','.join(known)}"
                )
            pairs = [pair for pair in pairs if pair[0] in wanted]
        for s, t in pairs:
            for who, x in ((f"student's stage {s}", own[s]), (f"teacher's stage {t}", teacher.features[t])):
                if x.ndim not in (3, 4):
                    raise MmkdError(
                        f"{name} needs maps (B,C,T) or (B,C,H,W), and for {modality} the {who} is {tuple(x.shape)}; "
                        f"leave it out with --stages"
                    )
        return pairs

    def build(self, setup: Setup) -> None:
        c = self.config
        self.routes: list[Route] = []
        self.paths = nn.ModuleDict()
        sizes = []
        for number, (modality, teacher) in enumerate(setup.teachers.items()):
            branch = paired_branch(setup.student, modality, c.pairs)
            deeper = None
            for depth, (s, t) in enumerate(self.matched(setup.student, modality, teacher)):
                side = self.side(setup.teachers, teacher, t)
                source, target = self.bring(feature(branch, s), feature(teacher, t), side)
                key = f"{number}_{re.sub(r'[^0-9A-Za-z]', '_', modality)}_{depth}"  # modules' names hold no dots
                c_in = source.shape[1]
                c_out = target.shape[1]
                size = tuple(target.shape[2:])
                width = c.width or min(c_in, c_out)
                rectify = c.target_scale != "channel" and bool(target.min() >= 0)
                self.paths[key] = self.path(c_in, width, c_out, size, deeper, rectify=rectify, **self.filter())
                self.routes.append(Route(modality, s, t, key, side))
                sizes.append(size)
                deeper = width
        if c.global_branch:
            warn_idle(sizes, c.mask, c.cutoff, type(self).__name__, c.transform)

    def filter(self) -> dict[str, Any]:
        """What all paths give to the frequency attention."""
        c = self.config
        # without a global branch there is no filter, and no mask to refuse
        mask, transform = (c.mask, c.transform) if c.global_branch else ("none", "fft")
        branches = {"use_global": c.global_branch, "use_local": c.local_branch}
        return {"mask": mask, "cutoff": c.cutoff, "init": c.init, "transform": transform, **branches}

    def path(
        self, c_in: int, width: int, c_out: int, size: tuple[int, ...], deeper: int | None, **more: Any
    ) -> nn.Module:
        """The module from a student's stage to a teacher's; `deeper` is the width of the stage before, if any."""
        return FrequencyPath(c_in, width, c_out, size, **more)

    def side(self, teachers: Mapping[str, Outputs], teacher: Outputs, stage: str) -> int:
        """The side of the maps that this stage of a teacher is compared in; 0 for lines."""
        return 0

    def bring(self, student: Tensor, teacher: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Both features in the method's own dimension, (B, C, T): a map is averaged over its rows."""
        return (
            student if student.ndim == 3 else student.mean(dim=2),
            teacher if teacher.ndim == 3 else teacher.mean(dim=2),
        )

    def predict(self, key: str, source: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The predicted map, and what the next shallower stage of the same teacher is given."""
        return self.paths[key](source), None

    def distance(self, predicted: Tensor, target: Tensor) -> Tensor:
        """How far the predicted map is from the teacher's, in float32."""
        target = scaled(target.float(), self.config.target_scale)
        if self.config.loss == "reviewkd-hcl":
            return hierarchical_context(predicted.float(), target)
        return map_distance(predicted.float(), target, self.config.loss_domain)

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        shares = self.weights(teachers)
        ramp = batch.ramp(c.warmup)
        terms = self.supervised(student, batch)
        residuals: dict[str, Tensor | None] = {}
        for modality, s, t, key, side in self.routes:
            branch = paired_branch(student, modality, c.pairs)
            teacher = teachers[modality]
            source, target = self.bring(feature(branch, s), feature(teacher, t).detach(), side)
            predicted, residuals[modality] = self.predict(key, source, residuals.get(modality))
            name = f"fam_{modality}"
            distance = self.distance(predicted, target)
            terms[name] = c.feature_weight * ramp * shares[modality] * distance + terms.get(name, 0)
        if c.logit_weight > 0:
            terms["kd"] = c.logit_weight * self.soft(student, teachers, c.temperature)
        return terms


@dataclass(frozen=True)
class MapConfig(FAM1d.Config):
    """Options of the methods that compare maps."""

    lift: Literal["outer", "repeat", "hankel", "toeplitz"] = option("outer", "how a 1-D feature becomes a map")
    resize: Literal["pool", "linear", "spectral"] = option(
        "pool", "how a 1-D feature comes to the map's side before it is lifted"
    )
    side_limit: int = option(64, "largest side of a lifted map", ge=1)


@METHODS.register("fam")
class FAM(FAM1d):
    """Frequency attention on maps, lines lifted to 2-D. Pham et al., WACV 2024, arXiv:2403.05894."""

    @dataclass(frozen=True)
    class Config(MapConfig):
        local_attention: bool = option(False, "3x3 self-attention before the filter")

    def path(
        self, c_in: int, width: int, c_out: int, size: tuple[int, ...], deeper: int | None, **more: Any
    ) -> nn.Module:
        return FrequencyPath(c_in, width, c_out, size, attend=self.config.local_attention, **more)

    def side(self, teachers: Mapping[str, Outputs], teacher: Outputs, stage: str) -> int:
        """A map's own; a line's is that of an image teacher's map at its depth, without images min(T, limit)."""
        own = feature(teacher, stage)
        if own.ndim == 4:
            return int(max(own.shape[2:]))
        depth = list(reversed(list(teacher.features))).index(stage)
        same = [list(t.features.values())[-1 - depth] for t in teachers.values() if len(t.features) > depth]
        sides = [max(x.shape[2:]) for x in same if x.ndim == 4] or [own.shape[-1]]
        return int(min(sides[0], self.config.side_limit))

    def bring(self, student: Tensor, teacher: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Both features as maps: lines, the student's or both, are lifted to `side`."""
        c = self.config
        if teacher.ndim == 3:
            teacher = lift(teacher, c.lift, side, c.resize)
        if student.ndim == 3:
            student = lift(student, c.lift, min(side, c.side_limit), c.resize)
        return student, teacher


@METHODS.register("fam-review")
class FAMReview(FAM):
    """Frequency attention, deep stages help shallow ones. Pham et al., WACV 2024, arXiv:2403.05894."""

    @dataclass(frozen=True)
    class Config(MapConfig):
        pass

    needs = frozenset({"embedding", "features"})
    minimum_batch = 2  # the BatchNorm of the pooled level

    def matched(self, student: Outputs, modality: str, teacher: Outputs) -> list[tuple[str, str]]:
        return [(POOLED, POOLED), *super().matched(student.encoder, modality, teacher.encoder)]

    def path(
        self, c_in: int, width: int, c_out: int, size: tuple[int, ...], deeper: int | None, **more: Any
    ) -> nn.Module:
        return ReviewBlock(c_in, width, c_out, size, deeper, **more)

    def predict(self, key: str, source: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor | None]:
        predicted, handed_on = self.paths[key](source, residual)
        return predicted, handed_on
