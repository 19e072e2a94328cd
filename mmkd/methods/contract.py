"""The contract of a distillation method: the class to derive from.

A method defines a loss and its own modules; the training loop calls it. CONTRIBUTING.md shows a whole method.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.core.errors import MmkdError
from mmkd.core.registry import METHODS
from mmkd.methods.configs import DistillConfig, GuidedConfig, MethodConfig
from mmkd.methods.costs import Costs
from mmkd.methods.losses import label_losses, soft_targets
from mmkd.methods.outputs import Batch, Outputs, Setup, Step
from mmkd.methods.pairing import paired_branch
from mmkd.methods.retargeting import Replacement, Teaching
from mmkd.methods.schedules import Schedule
from mmkd.methods.shares import teacher_shares
from mmkd.methods.spectra import Filtering
from mmkd.methods.teacher_errors import Taught, select_taught

NEEDS = frozenset({"logits", "embedding", "features", "cam", "attention", "branches", "network"})
"""What a method can name in `Method.needs`: outputs of networks, and "network", the architecture of the teachers."""
SUPERVISED = ("ce", "branch_ce")
"""The names of the terms of `Method.supervised`, which the weight schedule does not scale."""
UNLABELLED = {
    "all": "its terms but cross-entropy read no label, and run over windows without one too",
    "teacher": "where a window has no label, it reads the class that the teachers predict",
    "labelled": "it trains on labelled windows only",
}
"""What a method does where few windows have a label: the values of `Method.unlabelled`."""

STATUSES = {
    "current": "of 2021 or later",
    "classic": "of before 2021",
    "notes": "named in the project's founding notes, with a meaning of its own",
    "control": "no method, but what methods are held against",
}
"""The values of `Method.status`."""


class Method(nn.Module):
    """Base class of all distillation methods.

    A subclass is registered with `@METHODS.register("name")` and implements `losses`. It lists in `needs` the outputs
    of the networks that it reads, and may create modules in `build`. Modules and parameters assigned in `build` are
    trained together with the student, except for those that require no gradient.

    A few methods override a hook: `teacher_parameters`, `deploy`, `after_step`, `likes`, `combine`, `length`,
    `retarget` or `spectra`.

    State that changes during training must be a parameter or a buffer. A checkpoint stores nothing else of a method,
    and an interrupted training resumes from it.

    Class attributes:
        Config: the options of the method, a subclass of `MethodConfig`.
        distils: False for a method without teachers; none is trained for it.
        minimum_teachers: the smallest number of teachers that the method is defined for.
        minimum_batch: the smallest number of windows in a batch for which the loss is defined.
        minimum_classes: the smallest number of classes for which the loss depends on what a teacher says.
        supervised_by_labels: False if the student's prediction is not trained by cross-entropy with the labels; such a
            method refuses `label_smoothing`, `class_weights` and `focal_gamma`.
        tasks: the tasks that the method is defined for: "classification", "segmentation" (see `Outputs.logits`) and
            "anomaly".
        needs: a subset of `NEEDS`. A method with teachers that needs nothing of them has none trained for it; their
            networks may count for `length`.
        unlabelled: what the method does where some training windows have no label, a key of `UNLABELLED`. "all": all of
            its terms but cross-entropy (`supervised`) can do without labels; the targets of unlabelled windows are -1.
            "teacher": it needs a class for every window; the targets of unlabelled windows are the class of the highest
            mean probability of the teachers, and `supervised` reads the labelled windows alone. "labelled": its batches
            hold labelled windows only.
        status: a key of `STATUSES`, which tables mark: "current" (of 2021 or later), "classic" (of before), "notes"
            (named in the project's founding notes, with a meaning of its own) or "control" (no method, but what methods
            are held against). `--method current` runs those of the first kind.
        options_like: of a control, the method whose options it takes where none is given for itself, such as "kd".
        control_options: of a control, the values of options that it runs with where all controls are asked for.
        ablations: option -> those of its values that take away what the method is about, such as its mask: rows with
            them are controls in every table.
        revision: raised by one when the method computes something else under the same options. It is part of the key of
            a unit, so that records of the older form are neither answered nor compared as if they were of this one.
    """

    Config: ClassVar[type[MethodConfig]] = DistillConfig
    distils: ClassVar[bool] = True
    minimum_teachers: ClassVar[int] = 1
    minimum_batch: ClassVar[int] = 1
    minimum_classes: ClassVar[int] = 2
    supervised_by_labels: ClassVar[bool] = True
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    needs: ClassVar[frozenset[str]] = frozenset({"logits"})
    unlabelled: ClassVar[Literal["all", "teacher", "labelled"]] = "labelled"
    status: ClassVar[Literal["current", "classic", "notes", "control"]] = "current"
    options_like: ClassVar[str] = ""
    control_options: ClassVar[Mapping[str, Sequence[Any]]] = {}
    ablations: ClassVar[Mapping[str, Sequence[Any]]] = {}
    revision: ClassVar[int] = 1
    combines: ClassVar[bool] = False
    stretches: ClassVar[bool] = False
    config: Any
    weight_of_class: Tensor | None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.combines = cls.combine is not Method.combine
        cls.stretches = cls.length is not Method.length

    def __init__(self, config: MethodConfig | None = None, **options: Any) -> None:
        super().__init__()
        self.config = type(self).Config.parse(options, "the method") if config is None else config
        self.register_buffer("weight_of_class", None, persistent=False)

    def check(self, setup: Setup) -> None:
        """Check, before any training, that the method can work with this student and these teachers.

        Args:
            setup: as for `build`.

        Raises:
            MmkdError: It cannot; the message gives the reason and the flag that helps.
        """
        name = METHODS.name_of(type(self)) or type(self).__name__
        self._check_task(name, setup)
        self._check_student(name, setup)
        for option in () if self.supervised_by_labels else ("label_smoothing", "class_weights", "focal_gamma"):
            if getattr(self.config, option) not in (0, "none"):
                flag = f"--{option.replace('_', '-')}"
                raise MmkdError(f"{name} trains by no cross-entropy with labels; leave {flag} out")
        for modality in setup.teachers:
            self._check_teacher(name, modality, setup)
        if self.combines and self.config.qat:
            raise MmkdError(f"{name} combines students that are trained by themselves; leave --qat out")
        if setup.teachers and isinstance(self.config, DistillConfig):
            self.weights(setup.teachers)

    def _check_task(self, name: str, setup: Setup) -> None:
        """Check the task, the numbers of teachers, classes and training windows, and the temperature schedule."""
        unknown_needs = self.needs - NEEDS
        if unknown_needs:
            raise MmkdError(f"{name}.needs names {sorted(unknown_needs)}; known: {', '.join(sorted(NEEDS))}")
        if self.status not in STATUSES:
            raise MmkdError(f"{name}.status is {self.status!r}; known: {', '.join(STATUSES)}")
        if unknown := [key for key in self.ablations if not hasattr(self.config, key)]:
            raise MmkdError(f"{name}.ablations names {unknown[0]!r}, which is no option of it")
        if setup.task not in self.tasks:
            raise MmkdError(f"{name} is not defined for --task {setup.task}; use another --method")
        taught = self.distils and bool(self.needs)  # the others have no teachers in training
        if taught and not setup.teachers:
            raise MmkdError(f"{name} needs a teacher; add --teachers sig,gaf,pi")
        if taught and len(setup.teachers) < self.minimum_teachers:
            raise MmkdError(
                f"{name} weighs teachers against each other and needs {self.minimum_teachers} or more; "
                f"use --teachers sig,gaf,pi"
            )
        if setup.classes < self.minimum_classes:
            raise MmkdError(
                f"{name} needs {self.minimum_classes} or more classes: with {setup.classes} its loss says nothing of "
                f"the teachers; use another --method"
            )
        if setup.train_size < self.minimum_batch:
            raise MmkdError(
                f"{name} compares windows of a batch and needs {self.minimum_batch} or more; there is "
                f"{setup.train_size} training window; use another --method"
            )
        scheduled = getattr(self.config, "temperature_schedule", "constant") != "constant"
        if scheduled and not hasattr(self.config, "temperature"):
            raise MmkdError(f"{name} has no temperature to schedule; leave --temperature-schedule out")

    def _check_student(self, name: str, setup: Setup) -> None:
        """Check that the student has the branches and the attention that the method needs."""
        if "branches" in self.needs and not setup.student.branches:
            raise MmkdError(f"{name} needs a student with a branch a modality; use --student sig+gaf+pi")
        if "attention" in self.needs and not setup.student.attention:
            raise MmkdError(f"{name} needs a student with attention; use --student sig+gaf+pi --fusion attention")

    def _check_teacher(self, name: str, modality: str, setup: Setup) -> None:
        """Check that a teacher, and the part of the student paired with it, have the maps that the method needs."""
        teacher = setup.teachers[modality]
        if "features" in self.needs and not teacher.features:
            raise MmkdError(
                f"{name} needs feature maps, and the {modality} teacher has none; choose another --teacher-net"
            )
        if "features" in self.needs:
            pairs = getattr(self.config, "pairs", "same")
            if not paired_branch(setup.student, modality, pairs).features:
                raise MmkdError(
                    f"{name}: the part of the student that meets the {modality} teacher puts out no feature maps; "
                    f"choose another --student-net"
                )
        if "cam" in self.needs and teacher.classifier is None:
            raise MmkdError(
                f"{name} needs class activation maps, and the {modality} teacher's classifier reads no map; "
                f"choose another net, for example --teacher-net {modality}=WRN16-1"
            )

    def build(self, setup: Setup) -> None:
        """Create the method's own modules.

        Called once, after `check`, under a random seed of the method's own.

        Args:
            setup: outputs of a dry run, from which all shapes are read.
        """

    def losses(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        """Compute the loss of one batch as named terms. Every subclass implements this.

        Args:
            student: outputs of the student.
            teachers: modality -> outputs of that teacher, without gradients unless `teacher_parameters` names some.
            batch: targets, positions in the training set, and the epoch.

        Returns:
            name -> scalar, already multiplied by its weight. The training loop minimises the sum and logs each term.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no losses")

    @property
    def checkpoint(self) -> Literal["best", "last"]:
        """Which weights of the teachers to use: those of the last epoch, or of the best validation epoch.

        It is the option `teacher_epoch`. If the student trains without validation windows, teachers of the best epoch
        are trained on fewer windows, of which a part validates them.
        """
        return getattr(self.config, "teacher_epoch", "last")

    def deploy(self, student: nn.Module) -> nn.Module:
        """Return the network that is validated, tested and exported; by default the student.

        Called once, after `build`. Another network must map views to `Outputs` as the student does, and share its
        parameters with the modules that are trained.
        """
        return student

    def teacher_parameters(self, teachers: Mapping[str, nn.Module]) -> Iterable[nn.Parameter]:
        """Return the parameters of the teachers that are trained together with the student; by default none.

        If there are any, the teachers run as copies in every step instead of being read from the cache, those that are
        trained run in training mode, and the teacher outputs that `losses` receives carry gradients. The teachers in
        the cache never change. The result may depend only on the options, because this method is also called before
        `build`.

        Args:
            teachers: modality -> network.
        """
        return ()

    def retarget(self, teaching: Teaching) -> Replacement:
        """Return what is taught in place of the outputs of the teachers; by default they are taught themselves.

        Called once, after the teachers are trained and before `check` and `build`, which see what it returned. A method
        with this hook cannot train its teachers along. All random numbers come from `teaching.generator`, so that each
        process, and a training that resumes, has the same.
        """
        return Replacement(teaching.read)

    @property
    def retargets(self) -> bool:
        """Whether the method overrides `retarget`."""
        return type(self).retarget is not Method.retarget

    def likes(self, seed: int) -> Mapping[str, int]:
        """Name the students that the method needs besides its own: the same student, trained alone; by default none.

        They have the same architecture, views, windows and training, and another training seed: other initial weights
        and batches. Each is a unit with a record of its own, which no table shows. `losses` receives their outputs
        under their names, as if they were teachers, unless the method has the hook `combine`.

        Args:
            seed: of the unit.

        Returns:
            name -> training seed. The result may depend only on the options and the seed.
        """
        return {}

    def combine(self, likes: Sequence[nn.Module]) -> nn.Module:
        """Return the network that is deployed, made of trained `likes`; a method with this hook trains nothing itself.

        Its `deploy` must return a network of the same structure, from any student.
        """
        raise NotImplementedError(f"{type(self).__name__} combines no students")

    def length(self, costs: Costs) -> float:
        """Return how many times as long the student is trained as its settings say; by default 1.

        Epochs, or steps, are rounded up; `training.length.MOST` times as many are the most. The schedule of the
        learning rate is stretched.

        Args:
            costs: of the networks of the unit.
        """
        return 1.0

    def spectra(self, student: Outputs, teachers: Mapping[str, Outputs]) -> Mapping[str, Filtering]:
        """Return what the spectral filters of the method do to the maps of some windows, for pictures in the record.

        Called after training, in evaluation mode and without gradients, for some training windows; see
        `mmkd.training.spectra`. It must change nothing.

        Returns:
            The pair of stages in words, such as "gaf: stage2 to stage3" -> its filter. By default there is none.
        """
        return {}

    @property
    def has_spectra(self) -> bool:
        """Whether the method overrides `spectra`."""
        return type(self).spectra is not Method.spectra

    def after_step(self, step: Step) -> None:
        """Called after each optimiser step, for example to update a memory or to train a module with `mmkd.Outer`.

        Parameters that are trained here must not require gradients, so that the training loop does not train them too.
        A method with this hook runs in one process only: under torchrun each process would update its own copy from
        its own part of the batch.
        """

    @property
    def steps_itself(self) -> bool:
        """Whether the method overrides `after_step`."""
        return type(self).after_step is not Method.after_step

    def terms(self, student: Outputs, teachers: Mapping[str, Outputs], batch: Batch) -> dict[str, Tensor]:
        """Compute `losses` under the schedules of weight and temperature. This is what the training loop calls."""
        if not isinstance(self.config, GuidedConfig):
            return self.losses(student, teachers, batch)
        share = batch.epoch / max(batch.epochs - 1, 1)
        if self.config.temperature_schedule != "constant":
            temperature = Schedule.parse(self.config.temperature_schedule, "temperature-schedule").at(share)
            changes: dict[str, Any] = {"temperature": temperature}
            self.config = replace(self.config, **changes)
        factor = Schedule.parse(self.config.weight_schedule, "weight-schedule").at(share)
        terms = self.losses(student, teachers, batch)
        if factor == 1:
            return terms
        return {name: term if name in SUPERVISED else factor * term for name, term in terms.items()}

    def supervised(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the student's prediction, and the mean cross-entropy of its branches if it has any.

        They are means over the labelled windows of the batch, and 0 if there is none. Of a window that is a mixture of
        two, the cross-entropy with each label counts by its share.

        Returns:
            {"ce": scalar}, and "branch_ce" (multiplied by the option `branch_weight`) for a multi-branch student.
        """
        terms = {"ce": self._cross_entropy(student.logits, batch)}
        if student.branches and self.config.branch_weight > 0:
            losses = [self._cross_entropy(branch.logits, batch) for branch in student.branches.values()]
            terms["branch_ce"] = self.config.branch_weight * torch.stack(losses).mean()
        return terms

    def _cross_entropy(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of the labelled windows; 0, with a gradient of 0, if there is none."""
        targets = batch.targets
        mixed = batch.mixed
        if batch.labelled is not None:
            logits = logits[batch.labelled]
            targets = targets[batch.labelled]
            if not len(targets):
                return logits.sum()
            if mixed is not None:
                mixed = mixed[0][batch.labelled], mixed[1][batch.labelled]
        if mixed is None and self.weight_of_class is None and self.config.focal_gamma == 0:
            return F.cross_entropy(logits, targets, label_smoothing=self.config.label_smoothing)
        own = self._label_losses(logits, targets)
        if mixed is None:
            return own.mean()
        others, shares = mixed
        other = self._label_losses(logits, others)
        return (shares * own + (1 - shares) * other).mean()

    def _label_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy (n,) of windows or steps with all of its options, each times the weight of its class."""
        losses = label_losses(logits, targets, self.config.label_smoothing, self.config.focal_gamma)
        return losses if self.weight_of_class is None else losses * self.weight_of_class[targets]

    def weigh_classes(self, labels: Tensor, classes: int) -> None:
        """Set the weights of the classes that the option `class_weights` asks for; called once, after `build`.

        "balanced": class k of n_k labels has the weight n / (K n_k), where n is the number of all labels and K that of
        the classes that occur. So the mean weight of all labels is 1, and each class has the same share of the loss.

        Args:
            labels: (n,) the labels of the training windows, or of their steps, that are known.
            classes: number of all classes.
        """
        if self.config.class_weights == "none":
            return
        counts = torch.bincount(labels, minlength=classes).to(torch.float32)
        weights = counts.sum() / (counts.clamp(min=1) * (counts > 0).sum())
        self.weight_of_class = torch.where(counts > 0, weights, 0.0)

    def soft(
        self,
        student: Outputs,
        teachers: Mapping[str, Outputs],
        temperature: float,
        pairs: str = "fused",
        batch: Batch | None = None,
    ) -> Tensor:
        """Soft-target loss of all teachers, each multiplied by its share (see `weights`).

        Args:
            student: outputs of the student.
            teachers: modality -> outputs of that teacher.
            temperature: as for `soft_targets`.
            pairs: which part of the student is compared with a teacher, as for `paired_branch`.
            batch: of a method with the option `teacher_errors`, which reads the labels.

        Returns:
            A scalar.
        """
        losses = []
        for modality, share in self.weights(teachers).items():
            own, other = paired_branch(student, modality, pairs).logits, teachers[modality].logits.detach()
            if batch is not None:
                taught = self.taught(own, other, batch, temperature)
                own, other, share = taught.student, taught.teacher, share * taught.share
            losses.append(share * soft_targets(own, other, temperature))
        return torch.stack(losses).sum()

    def taught(self, student: Tensor, teacher: Tensor, batch: Batch, temperature: float | Tensor = 1.0) -> Taught:
        """The logits of student and teacher that are compared, after the option `teacher_errors`.

        Args:
            student: (B, K) logits.
            teacher: (B, K) logits.
            batch: of B windows.
            temperature: that of the probabilities that the choice "mix" changes.

        Returns:
            Logits of n windows, and n / B, with which a mean over them is to be multiplied.
        """
        return select_taught(student, teacher, batch, getattr(self.config, "teacher_errors", "keep"), temperature)

    def weights(self, teachers: Mapping[str, Any]) -> dict[str, float]:
        """Return the share of each teacher, from the option `teacher_weights`; the shares sum to 1.

        Raises:
            MmkdError: see `mmkd.methods.shares.teacher_shares`.
        """
        return teacher_shares(self.config.teacher_weights, teachers)
