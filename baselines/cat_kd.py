"""Class Attention Transfer Based Knowledge Distillation. Guo et al., CVPR 2023, https://arxiv.org/abs/2304.12777

Loss: CE + w times the mean squared error of the class activation maps of all classes. A map is the last feature map
through the classifier's weight, without bias, pooled to r x r by adaptive averages and divided by its Euclidean norm
over positions. r 2; w 15 is the authors' value for normalised maps at r = 2 (they choose w, r and the normalisation for
each pair of networks). The gradient on the student is then 10 to 25 times that of cross-entropy, see
experiments/results/method-scale.md.

Maps of signals are pooled to r positions. A line is compared with an image through a lift to r x r, the option `mixed`;
the default `repeat` keeps the sign. Each branch's maps are those of its own head. Where every time step has a label,
the maps are the logits before their bias, at the resolution of the last map. Several teachers have the shares
`teacher_weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from mmkd import METHODS, Batch, DistillConfig, Method, MmkdError, Outputs, Range, Setup, option, paired_branch
from mmkd.frequency import lift


@METHODS.register("cat-kd")
class CATKD(Method):
    """Class activation maps of all classes. Guo et al., CVPR 2023, arXiv:2304.12777.

    Use it when networks end with the mean of the last map and you want to transfer where each class is seen, not only
    the true one. Its default weight is large beside cross-entropy, so tune it before you judge it.
    """

    @dataclass(frozen=True)
    class Config(DistillConfig):
        weight: float = option(15.0, "weight of the maps", ge=0, tune=Range(0.2, 30, log=True))
        resolution: int = option(2, "side r to which maps are pooled", ge=1, tune=(2, 4))
        normalise: bool = option(True, "divide each map by its norm over positions; if false, maps keep their scale")
        pairs: Literal["same", "all"] = option("same", "each teacher guides its own branch, or all the signal branch")
        mixed: Literal["outer", "repeat", "hankel", "toeplitz"] = option(
            "repeat", "how the map of a line becomes that of an image"
        )

    unlabelled = "all"
    tasks = frozenset({"classification", "segmentation"})
    needs = frozenset({"features", "cam"})

    def check(self, setup: Setup) -> None:
        super().check(setup)
        if self.config.normalise and self.config.resolution == 1:
            raise MmkdError("CATKD: a map of one position is its sign after normalisation; use --resolution 2")
        for modality in setup.teachers:
            branch = paired_branch(setup.student, modality, self.config.pairs)
            if not branch.features or branch.classifier is None:
                raise MmkdError(
                    f"CATKD: the student has no class activation maps for the {modality} teacher; choose another "
                    f"--student-net, for example small"
                )

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        c = self.config
        terms = self.supervised(student, batch)
        for modality, share in self.weights(teachers).items():
            maps = (
                paired_branch(student, modality, c.pairs).activation_maps(),
                teachers[modality].activation_maps(),
            )
            image = any(x.ndim == 4 for x in maps)
            s, t = (self.pooled(x, image) for x in maps)
            terms[f"cat_{modality}"] = c.weight * share * F.mse_loss(s, t)
        return terms

    def pooled(self, cam: Tensor, image: bool) -> Tensor:
        """Pool a class activation map (B, K, T) or (B, K, H, W) to (B, K, r).

        With `image`, where the student or the teacher has an image, to (B, K, r r).
        """
        c = self.config
        if cam.ndim == 4:
            cam = F.adaptive_avg_pool2d(cam, c.resolution)
        else:
            cam = lift(cam, c.mixed, c.resolution) if image else F.adaptive_avg_pool1d(cam, c.resolution)
        return F.normalize(cam.flatten(2), dim=2) if c.normalise else cam.flatten(2)
