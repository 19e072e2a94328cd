"""Frequency Attention for Knowledge Distillation. Pham et al., WACV 2024, https://arxiv.org/abs/2403.05894

Loss: CE + w * ramp * sum over stages of the mean squared error between a predicted map and the teacher's map. The ramp
counts epochs from 1, so that it is never 0: min((epoch + 1) / (warmup * epochs), 1).

- Layer to layer (`fam`): student's map -> 1x1 convolution, BatchNorm, ReLU -> (local attention) -> nearest resize to
  the teacher's size -> frequency attention -> BatchNorm (-> ReLU if the teacher's map has no negative values).
- Knowledge review (`fam-review`): from the deepest feature, the embedding as a map of one position, to the shallow
  stages. The student's map and the residual of the deeper block are projected to a middle width (1x1 convolution,
  BatchNorm, ReLU, unless they have it already). The residual is resized to the map and is the query of local attention
  to the map. The result, resized to the teacher's size, is the next residual. Frequency attention, BatchNorm and ReLU
  predict the teacher's map from it.

Different from the paper:
- Each teacher guides the branch of its own modality (`pairs`) along its own path. Its sum over stages is multiplied by
  its share of `teacher_weights`; shares sum to 1, so that three equal teachers give the mean of three sums.
- `fam` and `fam-review` lift 1-D features of student and teacher to square maps, with the side that an image teacher
  has at that depth. `fam-1d` works along time, and averages a 2-D map over its rows to a line (B, C, W).
- Targets are divided by their root mean square over the batch (`target_scale=rms`; the paper: `none`). The Gram matrix
  of features from N(0, 3^2) has a mean square of 80 to 90, which would outweigh the cross-entropy at w = 1. After the
  division, a prediction of zeros costs 1 a stage for every teacher.
- The high-pass is `mask=symmetric`, which removes at least the mean of each channel at every size. The published one,
  `mask=reference`, removes nothing from maps below 20 samples a side, such as all those of `fam` and `fam-review` under
  the quick presets (there the paper's ablation "no high-pass" would be the same run twice).
- The filters start centred (`init=balanced`). Biases before a BatchNorm, which cancels them, are left out.
- For comparison, this project adds `transform=dct` or `haar`, `loss=reviewkd-hcl` (the loss of `reviewkd`),
  `loss_domain`, and the soft-target term.

The paper's ablations are one flag each: --local-branch false (global only), --global-branch false (local only), --mask
none (no high-pass), --logit-weight 1 (with soft targets).

Stages are matched from the deepest; surplus shallow stages of either network are not used. In networks that label every
time step, encoder stages are matched with encoder stages and decoder stages with decoder stages, from the last of each.
`fam-review` uses only the maps of the encoders.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from mmkd import (
    METHODS,
    WARMUP_RANGE,
    Batch,
    DistillConfig,
    Filtering,
    Method,
    MmkdError,
    Outputs,
    Range,
    Setup,
    matched_stages,
    option,
    paired_branch,
)
from mmkd.frequency import (
    FrequencyAttention,
    FrequencyPath,
    ReviewBlock,
    check_mask,
    half_spectrum,
    hierarchical_context,
    in_fourier,
    kept_energy,
    lift,
    map_distance,
    removed_share,
    response,
    scaled,
    warn_idle,
)

POOLED = ""  # stands for the embedding as a map of one position


class Route(NamedTuple):
    """A stage of the student that is compared with a stage of the teacher of `modality`.

    Attributes:
        modality: the teacher.
        student_stage: name of the student's stage.
        teacher_stage: name of the teacher's stage.
        key: name of the module for this pair.
        side: side of the maps that are compared, if the teacher's feature is a line.
    """

    modality: str
    student_stage: str
    teacher_stage: str
    key: str
    side: int

    @property
    def text(self) -> str:
        """The pair in words, for pictures."""
        own, other = (stage or "embedding" for stage in (self.student_stage, self.teacher_stage))
        return f"{self.modality}: {own} to {other}"


def feature(outputs: Outputs, stage: str) -> Tensor:
    """The map of a stage; for `POOLED` the embedding as a map (B, D, 1, 1)."""
    return outputs.embedding[..., None, None] if stage == POOLED else outputs.features[stage]


@METHODS.register("fam-1d")
class FAM1d(Method):
    """Frequency attention along time (1-D: ours). After Pham et al., WACV 2024, arXiv:2403.05894.

    Use it when the student reads a signal and you want the frequency attention of `fam` along time, without lifting
    lines to squares. The form along time is ours, so results of the paper say nothing about it.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        feature_weight: float = option(1.0, "weight w of the feature terms", ge=0, tune=Range(0.3, 30, log=True))
        warmup: float = option(
            1 / 12, "share of the epochs over which the feature terms ramp up", ge=0, le=1, tune=WARMUP_RANGE
        )
        logit_weight: float = option(0.0, "weight of a soft-target term; 0, the paper's value, leaves it out", ge=0)
        temperature: float = option(4.0, "temperature T of the soft targets", gt=0)
        stages: str = option("all", "student stages: all, deep (the last two), last, or names separated by commas")
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        width: int = option(0, "channels before the filter; 0 for the smaller of the student's and the teacher's", ge=0)
        mask: Literal["reference", "symmetric", "radial", "butterworth", "gaussian", "none"] = option(
            "symmetric",
            "high-pass mask; symmetric removes at least the mean; reference, the published one, nothing below 20 "
            "samples at cutoff 0.1",
        )
        cutoff: float = option(
            0.1, "cutoff of the mask, 1 is the Nyquist frequency; 0 removes nothing", ge=0, le=1, tune=Range(0.05, 0.4)
        )
        transform: Literal["fft", "dct", "haar"] = option(
            "fft", "basis of the filter; dct and haar are for comparison and have no mask reference"
        )
        init: Literal["balanced", "reference"] = option(
            "balanced", "start of the filters; reference is the published one"
        )
        global_branch: bool = option(True, "use the frequency branch; false for an ablation")
        local_branch: bool = option(True, "use the 1x1 convolution branch; false for an ablation")
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

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"features"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        for modality, teacher in setup.teachers.items():
            self.matched(setup.student, modality, teacher)

    def matched(self, student: Outputs, modality: str, teacher: Outputs) -> list[tuple[str, str]]:
        """Names of the stages (student, teacher) that are compared, the deepest first.

        Raises:
            MmkdError: A feature is not a map, or the student has no such stage.
        """
        name = type(self).__name__
        stages = self.config.stages
        branch = paired_branch(student, modality, self.config.pairs)
        features = branch.features
        if stages in ("all", "deep", "last"):
            pairs = matched_stages(branch, teacher, stages)
        else:
            pairs = matched_stages(branch, teacher)
            names = [stage.strip() for stage in stages.split(",")]
            known = [s for s, _ in reversed(pairs)]
            missing = [stage for stage in names if stage not in known]
            if missing:
                raise MmkdError(
                    f"{name}: no student stage {missing[0]!r} meets the {modality} teacher; use --stages all, deep, "
                    f"last, or some of {','.join(known)}"
                )
            pairs = [pair for pair in pairs if pair[0] in names]
        for s, t in pairs:
            for place, x in ((f"student's stage {s}", features[s]), (f"teacher's stage {t}", teacher.features[t])):
                if x.ndim not in (3, 4):
                    raise MmkdError(
                        f"{name} needs maps (B,C,T) or (B,C,H,W), and for {modality} the {place} is {tuple(x.shape)}; "
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
                key = f"{number}_{re.sub(r'[^0-9A-Za-z]', '_', modality)}_{depth}"  # module names have no dots
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
        """Options of the frequency attention, the same for all paths."""
        c = self.config
        # Without a global branch there is no filter, so that every mask is accepted.
        mask, transform = (c.mask, c.transform) if c.global_branch else ("none", "fft")
        branches = {"use_global": c.global_branch, "use_local": c.local_branch}
        return {"mask": mask, "cutoff": c.cutoff, "init": c.init, "transform": transform, **branches}

    def path(
        self, c_in: int, width: int, c_out: int, size: tuple[int, ...], deeper: int | None, **more: Any
    ) -> nn.Module:
        """Create the module from a student's stage to a teacher's stage.

        Args:
            c_in: channels of the student's map.
            width: channels in the middle.
            c_out: channels of the teacher's map.
            size: (T,) or (H, W) of the teacher's map.
            deeper: width of the deeper stage; None for the deepest.
            more: options of the path.
        """
        return FrequencyPath(c_in, width, c_out, size, **more)

    def side(self, teachers: Mapping[str, Outputs], teacher: Outputs, stage: str) -> int:
        """The side of the maps in which this stage of a teacher is compared; 0 for lines."""
        return 0

    def bring(self, student: Tensor, teacher: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Bring both features to lines (B, C, T); a map is averaged over its rows."""
        return (
            student if student.ndim == 3 else student.mean(dim=2),
            teacher if teacher.ndim == 3 else teacher.mean(dim=2),
        )

    def predict(self, key: str, source: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Predict the teacher's map.

        Args:
            key: name of the module.
            source: the student's feature.
            residual: from the deeper stage, if any.

        Returns:
            The predicted map, and the residual for the next shallower stage of the same teacher.
        """
        return self.paths[key](source), None

    def distance(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Distance of the predicted map from the teacher's, in float32, a scalar."""
        target = scaled(target.float(), self.config.target_scale)
        if self.config.loss == "reviewkd-hcl":
            return hierarchical_context(predicted.float(), target)
        return map_distance(predicted.float(), target, self.config.loss_domain)

    def predictions(self, student: Outputs, teachers: Mapping[str, Outputs]) -> Iterator[tuple[Route, Tensor, Tensor]]:
        """Each pair of stages, the predicted map and the teacher's, (B, C, *size)."""
        residuals: dict[str, Tensor | None] = {}
        for route in self.routes:
            modality = route.modality
            branch = paired_branch(student, modality, self.config.pairs)
            found = feature(teachers[modality], route.teacher_stage).detach()
            source, target = self.bring(feature(branch, route.student_stage), found, route.side)
            predicted, residuals[modality] = self.predict(route.key, source, residuals.get(modality))
            yield route, predicted, target

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        shares = self.weights(teachers)
        ramp = batch.ramp(c.warmup)
        terms = self.supervised(student, batch)
        for route, predicted, target in self.predictions(student, teachers):
            name = f"fam_{route.modality}"
            distance = self.distance(predicted, target)
            terms[name] = c.feature_weight * ramp * shares[route.modality] * distance + terms.get(name, 0)
        if c.logit_weight > 0:
            terms["kd"] = c.logit_weight * self.soft(student, teachers, c.temperature)
        return terms

    def spectra(self, student: Outputs, teachers: Mapping[str, Outputs]) -> dict[str, Filtering]:
        """The global branch of each path, with its gain: the map that it reads, what it puts out, and its response."""
        c = self.config
        if not c.global_branch:
            return {}
        read: dict[str, Tensor] = {}
        hooks = [self.attention(key).register_forward_pre_hook(partial(_keep, read, key)) for key in self.paths]
        try:
            routes = [route for route, *_ in self.predictions(student, teachers)]
        finally:
            for hook in hooks:
                hook.remove()
        return {route.text: self.filtering(route, student, read[route.key]) for route in routes}

    def attention(self, key: str) -> FrequencyAttention:
        """The frequency attention of a path."""
        attention = self.paths[key].attention
        assert isinstance(attention, FrequencyAttention)
        return attention

    def filtering(self, route: Route, student: Outputs, before: Tensor) -> Filtering:
        """What the global branch of a path does to the map `before`, (B, C, *size)."""
        c = self.config
        attention = self.attention(route.key)
        kept = kept_energy(attention.size, c.mask, c.cutoff, c.transform)
        gains = {"global": attention.rate_global, "local": attention.rate_local}
        branch = paired_branch(student, route.modality, c.pairs)
        return Filtering(
            before,
            (1.0 if attention.rate_global is None else attention.rate_global) * attention.global_branch(before),
            response(attention),
            half_spectrum(in_fourier(kept, c.transform)),
            removed_share(before, kept, c.transform),
            timed=before.ndim == 3 and feature(branch, route.student_stage).ndim == 3,
            facts={f"{name} gain": float(gain) for name, gain in gains.items() if gain is not None},
        )


def _keep(read: dict[str, Tensor], key: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """A hook that keeps what a module is given."""
    read[key] = inputs[0]


@dataclass(frozen=True)
class MapConfig(FAM1d.Config):
    """Options of the methods that compare maps of two axes."""

    lift: Literal["outer", "repeat", "hankel", "toeplitz"] = option("outer", "how a 1-D feature becomes a map")
    resize: Literal["pool", "linear", "spectral"] = option(
        "pool", "how a 1-D feature is resized to the side of the map before it is lifted"
    )
    side_limit: int = option(64, "largest side of a lifted map", ge=1)


@METHODS.register("fam")
class FAM(FAM1d):
    """Frequency attention on maps, lines lifted to 2-D. Pham et al., WACV 2024, arXiv:2403.05894.

    Use it when the teacher reads images, or both can be lifted to squares, and you ask which frequencies of its maps
    are worth following. Look at the spectra of the record: on maps of a few positions the mask has little to remove.
    """

    @dataclass(frozen=True)
    class Config(MapConfig):
        local_attention: bool = option(False, "use 3x3 self-attention before the filter")

    def path(
        self, c_in: int, width: int, c_out: int, size: tuple[int, ...], deeper: int | None, **more: Any
    ) -> nn.Module:
        return FrequencyPath(c_in, width, c_out, size, attend=self.config.local_attention, **more)

    def side(self, teachers: Mapping[str, Outputs], teacher: Outputs, stage: str) -> int:
        """The side of the teacher's map.

        If it is a line, the side of an image teacher's map at the same depth; without image teachers min(T,
        `side_limit`).
        """
        teacher_map = feature(teacher, stage)
        if teacher_map.ndim == 4:
            return int(max(teacher_map.shape[2:]))
        depth = list(reversed(list(teacher.features))).index(stage)
        same_depth = [list(t.features.values())[-1 - depth] for t in teachers.values() if len(t.features) > depth]
        sides = [max(x.shape[2:]) for x in same_depth if x.ndim == 4] or [teacher_map.shape[-1]]
        return int(min(sides[0], self.config.side_limit))

    def bring(self, student: Tensor, teacher: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Bring both features to maps; lines are lifted to `side`."""
        c = self.config
        if teacher.ndim == 3:
            teacher = lift(teacher, c.lift, side, c.resize)
        if student.ndim == 3:
            student = lift(student, c.lift, min(side, c.side_limit), c.resize)
        return student, teacher


@METHODS.register("fam-review")
class FAMReview(FAM):
    """Frequency attention, deep stages help shallow ones. Pham et al., WACV 2024, arXiv:2403.05894.

    Use it when you want the frequency attention of `fam` and deep stages should help shallow ones, as in `reviewkd`. It
    adds a block for each stage to the training, so compare its cost too.
    """

    @dataclass(frozen=True)
    class Config(MapConfig):
        pass

    needs = frozenset({"embedding", "features"})
    minimum_batch = 2  # for the BatchNorm of the pooled level

    def matched(self, student: Outputs, modality: str, teacher: Outputs) -> list[tuple[str, str]]:
        return [(POOLED, POOLED), *super().matched(student.encoder, modality, teacher.encoder)]

    def path(
        self, c_in: int, width: int, c_out: int, size: tuple[int, ...], deeper: int | None, **more: Any
    ) -> nn.Module:
        return ReviewBlock(c_in, width, c_out, size, deeper, **more)

    def predict(self, key: str, source: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor | None]:
        predicted, next_residual = self.paths[key](source, residual)
        return predicted, next_residual
