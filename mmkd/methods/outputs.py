"""What a distillation method receives: the outputs of networks, a batch, a step, and the setup before training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Outputs:
    """The outputs of a network for a batch of B samples.

    Attributes:
        logits: (B, K). A network that labels every time step puts out (B, K, T) or (B, K, H, W). The training loop then
            passes a method only the annotated steps of the batch, as (n, K), so that a loss on logits works for steps
            as it does for windows.
        embedding: (B, D), the input of the classifier.
        features: stage name -> feature map, (B, C, T) or (B, C, H, W), from the shallowest to the deepest.
        classifier: (K, C) weight of a linear classifier that reads the mean of the last feature map; class activation
            maps are computed with it. None if the network has no such classifier. In a network that labels every time
            step, this weight is applied to each position of the last feature map.
        attention: name -> attention weights (B, T, T') whose rows sum to 1. Empty if the network has no attention.
        branches: modality -> outputs of that branch, for a multi-branch student. Empty for other networks.
        sequence: where every time step has a label, the logits of all steps in their order, (B, K, T) or (B, K, H, W),
            those of steps without annotation too; set by `steps`. None for classes of windows.
        variants: (B, M, K), the logits of M changed copies of each window, for a `ReadsVariants`. None for others.
    """

    logits: Tensor
    embedding: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    classifier: Tensor | None = None
    attention: Mapping[str, Tensor] = field(default_factory=dict)
    branches: "Mapping[str, Outputs]" = field(default_factory=dict)
    sequence: Tensor | None = None
    variants: Tensor | None = None

    def split_variants(self, count: int) -> "Outputs":
        """The outputs for the first `count` rows, with the logits of the others as `variants`.

        Args:
            count: B; the rows after the first B are those of M copies of each window, window by window.
        """
        if len(self.logits) == count:
            return self
        return replace(
            self,
            logits=self.logits[:count],
            embedding=self.embedding[:count],
            features={k: v[:count] for k, v in self.features.items()},
            attention={k: v[:count] for k, v in self.attention.items()},
            branches={k: v.split_variants(count) for k, v in self.branches.items()},
            variants=self.logits[count:].view(count, -1, self.logits.shape[1]),
        )

    def steps(self, mask: Tensor) -> "Outputs":
        """Select time steps of a network that labels every time step.

        Features and embedding are not changed: they keep one row for each window. The logits of all steps become
        `sequence`.

        Args:
            mask: (B, T) bool, True for the n steps to select.

        Returns:
            Outputs with logits (n, K), in the branches too.
        """
        return replace(
            self,
            logits=self.logits.movedim(1, -1)[mask],
            sequence=self.logits,
            branches={name: branch.steps(mask) for name, branch in self.branches.items()},
        )

    @property
    def encoder(self) -> "Outputs":
        """The same outputs without the feature maps of a decoder (stages named `decoder*`)."""
        stages = [stage for stage in self.features if not stage.startswith("decoder")]
        if len(stages) == len(self.features):
            return self
        return replace(self, features={stage: self.features[stage] for stage in stages})

    @property
    def last_map(self) -> Tensor:
        """The deepest feature map."""
        return self.features[list(self.features)[-1]]

    def activation_maps(self, classes: Tensor | None = None) -> Tensor:
        """Class activation maps of the last feature map. Zhou et al., CVPR 2016, arXiv:1512.04150.

        Args:
            classes: (B,) int64, one class for each sample; None for all classes.

        Returns:
            (B, K, T) or (B, K, H, W); with `classes`, (B, T) or (B, H, W).

        Raises:
            ValueError: The network has no classifier that reads a feature map.
        """
        if self.classifier is None:
            raise ValueError("no class activation maps: the classifier reads no map")
        if classes is None:
            return torch.einsum("kc,bc...->bk...", self.classifier, self.last_map)
        return torch.einsum("bc,bc...->b...", self.classifier[classes], self.last_map)

    def detach(self) -> "Outputs":
        """Return the same values, detached from the graph."""
        return replace(
            self,
            logits=self.logits.detach(),
            embedding=self.embedding.detach(),
            features={k: v.detach() for k, v in self.features.items()},
            classifier=None if self.classifier is None else self.classifier.detach(),
            attention={k: v.detach() for k, v in self.attention.items()},
            branches={k: v.detach() for k, v in self.branches.items()},
            sequence=None if self.sequence is None else self.sequence.detach(),
            variants=None if self.variants is None else self.variants.detach(),
        )


@dataclass(frozen=True)
class Batch:
    """One batch of the training set.

    Attributes:
        targets: (B,) int64 class numbers. Where every time step has a label: (n,), the labels of the annotated steps.
            Of a window without label, it is what `Method.unlabelled` says: -1, or what the teachers predict.
        index: (B,) int64 position of each sample in the training set. It is the same in every epoch, so that it can
            address a memory bank.
        epoch: the current epoch, counted from 0.
        epochs: the total number of epochs.
        labelled: (B,) bool, False for windows without label; None if all have one. Cross-entropy is the mean over the
            labelled windows, see `Method.supervised`.
        mixed: where windows are mixtures of two (`mixup`): the classes (B,) of the second ones, and the shares (B,) of
            `targets`, at least 0.5 each. None where they are not.
    """

    targets: Tensor
    index: Tensor
    epoch: int = 0
    epochs: int = 1
    labelled: Tensor | None = None
    mixed: tuple[Tensor, Tensor] | None = None

    def labelled_mean(self, losses: Tensor) -> Tensor:
        """The mean of losses (B,) over the labelled windows; 0, with a gradient of 0, if there is none.

        >>> import torch
        >>> labelled = torch.tensor([True, False, True])
        >>> batch = Batch(torch.tensor([0, -1, 1]), torch.arange(3), labelled=labelled)
        >>> batch.labelled_mean(torch.tensor([1.0, 7.0, 3.0])).item()
        2.0
        """
        if self.labelled is None:
            return losses.mean()
        return losses[self.labelled].sum() / self.labelled.sum().clamp_min(1)

    def ramp(self, share: float) -> float:
        """Linear warm-up factor in (0, 1], which reaches 1 after the first `share` of the epochs.

        Epochs are counted from 1 here, so that the factor is never 0.

        >>> import torch
        >>> Batch(torch.zeros(2), torch.arange(2), epoch=0, epochs=8).ramp(0.5)
        0.25
        """
        return min((self.epoch + 1) / max(share * self.epochs, 1), 1.0)


@dataclass(frozen=True)
class Setup:
    """What `Method.build` and `Method.check` receive before training, so that no method hard-codes a shape.

    Attributes:
        student: outputs of the student for one dry-run batch. Keys and shapes, except for B, are those of training.
        teachers: modality -> outputs of that teacher for the same batch; empty for a method without teachers.
        classes: number of classes K.
        train_size: number N of training samples.
        epochs: number of epochs of the training.
        targets: (N,) classes of the training samples, in the order of `Batch.index`; or (N, T) classes of their time
            steps, -1 where a step has no label. Windows without label have the targets that `Batch.targets` has. None
            in a unit test that needs no targets.
        validated: whether there are validation windows. Without them a teacher's best epoch is its last epoch.
        window_s: length of a window in seconds; None if the data have no sampling rate. A map of T positions has
            T / window_s positions a second.
        task: "classification", "segmentation" (one class for each time step) or "anomaly".
        read: a function of positions (n,) in the training set (see `Batch.index`). It returns the outputs of the
            teachers for these windows, without gradients; of augmented windows, for those of the first pass over the
            training set. Where every time step has a label, the logits are (n, K, T). None in a trial on random
            windows, before teachers are trained, and in unit tests.
        labelled: (N,) bool, False for windows without label; None if all have one, or if `targets` are those of the
            labelled windows alone, as in a trial before teachers are trained.
        unlabelled: number of training windows without a label.
        subjects: (N,) int64, a number for each person or recording; None if there are none.
        mixes: whether the augmentations mix windows.
    """

    student: Outputs
    teachers: Mapping[str, Outputs]
    classes: int
    train_size: int
    epochs: int
    targets: Tensor | None = None
    validated: bool = True
    window_s: float | None = None
    task: str = "classification"
    read: Callable[[Tensor], Mapping[str, Outputs]] | None = None
    labelled: Tensor | None = None
    unlabelled: int = 0
    subjects: Tensor | None = None
    mixes: bool = False


@dataclass(frozen=True)
class Step:
    """What `Method.after_step` receives after each optimiser step.

    Attributes:
        student: the network in training, in training mode, after the step.
        batch: the batch of the step.
        rate: the learning rate of the step.
        read: a function of positions (B,) in the training set (see `Batch.index`). It returns the views of these
            windows (modality -> (B, ...)), the outputs of the teachers for them, and their `Batch`. Where every time
            step has a label, the targets are (B, T) with -1 for steps without a label, and the logits are (B, K, T).
        ends_epoch: whether it is the last step of an epoch. A checkpoint is written then, so that a method that gathers
            something over the steps must use it up now, or keep it in buffers. In a training of a fixed number of steps
            an epoch is one of its equal parts, which may end inside a pass over the training windows.
    """

    student: nn.Module
    batch: Batch
    rate: float
    read: Callable[[Tensor], tuple[Mapping[str, Tensor], Mapping[str, Outputs], Batch]]
    ends_epoch: bool = False
