"""The specs of units and teachers, in plain values: everything that determines the result, and nothing else.

A unit is one combination of data, split, seed, teachers, student, and method with its options. Its key is a hash of the
spec with all defaults: if the value of any field changes, the key changes; the order of fields does not matter. Device,
threads and folders are not part of a spec.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

from mmkd.core.errors import MmkdError
from mmkd.core.keys import digest
from mmkd.core.options import FIRST_FORMAT, Options, option, recorded
from mmkd.core.registry import kind_of
from mmkd.specs.data import DataSpec
from mmkd.specs.fusion_names import kind_of_fusion
from mmkd.specs.teacher_nets import ensemble_parts, kind_of_net, single_nets, target_folds

OPTIMIZERS: Mapping[str, str] = {
    "adamw": "AdamW",
    "adam": "Adam; its weight decay is added to the gradient",
    "sgd": "SGD with momentum 0.9",
}
"""The optimizers of networks; `training.optimization` makes them."""
OF_CROSS_ENTROPY = ("label_smoothing", "class_weights", "focal_gamma")
"""Options of cross-entropy: those of a teacher are in its `Training`, those of a student are options of its method."""
FORMAT = FIRST_FORMAT
"""Version of the meaning of a spec; it is part of every key, so that a new version ignores old records."""


@dataclass(frozen=True)
class Training(Options):
    """The options of the training of one network."""

    epochs: int = option(20, "passes over the training windows; 0: weights that were given", ge=0)
    batch_size: int = option(64, "windows a step", ge=2)
    optimizer: str = option("adamw", "a name of `OPTIMIZERS`")
    lr: float = option(2e-3, "highest learning rate", gt=0)
    weight_decay: float = option(1e-4, "weight decay", ge=0)
    schedule: Literal["cosine", "steps"] = option("cosine", "learning rate over the epochs")
    precision: Literal["fp32", "bf16"] = option("fp32", "bf16: autocast of the networks")
    label_smoothing: float = option(
        0.0, "of a teacher's cross-entropy; a student's is an option of its method", ge=0, lt=1, since=3
    )
    class_weights: Literal["none", "balanced"] = option(
        "none", "of a teacher's cross-entropy; a student's is an option of its method", since=5
    )
    focal_gamma: float = option(
        0.0, "of a teacher's cross-entropy; a student's is an option of its method", ge=0, le=20, since=5
    )
    steps: int = option(0, "optimizer steps in all; `epochs` is then the number of equal parts", ge=0, since=5)
    augment: tuple[str, ...] = option((), "augmentations of the training windows, such as rotate:30", since=5)
    augment_copies: int = option(0, "augmented copies of the training windows; 0: drawn anew each time", ge=0, since=5)
    triads: tuple[str, ...] = option(
        (), "the axes that they turn together, as `augment.format_sites` has them", since=5
    )
    given: tuple[str, ...] = field(default=(), metadata={"in_key": False})
    """Names of the options that the user set to another value than the preset's; titles show them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps and not 0 < self.epochs <= self.steps:
            raise MmkdError(f"{self.steps} steps cannot be cut into {self.epochs} parts")

    def in_steps(self, windows: int) -> "Training":
        """The same training as one of a fixed number of steps, those of its passes over so many windows.

        It is then as long for a method that trains on some of these windows only.
        """
        return self if self.steps else replace(self, steps=self.epochs * max(1, windows // self.batch_size))

    def windows_read(self, windows: int) -> int:
        """How many windows are read in all, of so many training windows; the time of a training grows with it."""
        return self.steps * min(self.batch_size, windows) if self.steps else self.epochs * windows

    @property
    def given_text(self) -> str:
        """The options that the user set, such as "lr=0.01, batch-size=32"; empty if there are none."""
        values = {name: getattr(self, name) for name in self.given}
        texts = {
            name: "+".join(value) or "none" if isinstance(value, tuple) else value for name, value in values.items()
        }
        return ", ".join(f"{name.replace('_', '-')}={text}" for name, text in texts.items())

    @property
    def augmentation_names(self) -> tuple[str, ...]:
        """The registered names of its augmentations, such as "rotate"."""
        return tuple(text.partition(":")[0] for text in self.augment)


def given_options(views: Mapping[str, Mapping[str, Any]], given: Iterable[str]) -> list[str]:
    """Those options of views that the user set, with their values.

    >>> given_options({"gaf": {"range": "train", "size": 32}}, ["gaf.range", "pi.size"])
    ['gaf.range=train']
    """
    parts = [name.rpartition(".") for name in given]
    return [f"{view}.{option}={views[view].get(option)}" for view, _, option in parts if view in views]


def select_sources(
    sources: Mapping[str, str],
    task: str,
    modalities: Iterable[str],
    nets: Iterable[str] = (),
    fusion: str | None = None,
    augmentations: Iterable[str] = (),
) -> dict[str, str]:
    """The checksums of what a part of a unit is made with.

    Args:
        sources: as in `UnitSpec.sources`.
        modalities, nets, fusion, augmentations: of that part.
    """
    names = [f"task {task}", *(f"modality {kind_of(name)}" for name in modalities)]
    names += [f"{kind} {net}" for net in nets for kind in ("backbone", "dense network")]
    names += [f"{kind} {kind_of_fusion(fusion or '')}" for kind in ("fusion", "stage fusion")]
    names += [f"augmentation {name}" for name in augmentations]
    return {name: sources[name] for name in names if name in sources}


@dataclass(frozen=True)
class TeacherSpec:
    """One teacher: a network on one modality, which is trained or loaded from a file of weights.

    Attributes:
        view: configuration of the modality.
        net: name of the network.
        checkpoint_sha256: checksum of the file of weights; empty: the teacher is trained.
        checkpoint_file: that file; it is not part of the key.
        member: of a network of an ensemble its number; 0 is the network that teaches alone, too.
        revision: of a peer, see `Peer.revision`.
        sources: checksums of the code of plugins that it is made with, see `UnitSpec.sources`.
        plugins: files of plugins; they are not part of the key.
        given_views: as in `UnitSpec`.
    """

    data: DataSpec
    seed: int
    modality: str
    view: Mapping[str, Any]
    net: str
    training: Training
    task: str = "classification"
    checkpoint_sha256: str = field(default="", metadata={"since": 3})
    checkpoint_file: str = field(default="", metadata={"in_key": False})
    sources: Mapping[str, str] = field(default_factory=dict, metadata={"since": 3})
    plugins: tuple[str, ...] = field(default=(), metadata={"in_key": False})
    given_views: tuple[str, ...] = field(default=(), metadata={"in_key": False})
    member: int = field(default=0, metadata={"since": 5})
    revision: int = field(default=1, metadata={"since": 5})

    @cached_property
    def key(self) -> str:
        """The name of its record and of its entry in the cache."""
        return digest({"kind": "teacher", "format": FORMAT, **recorded(self)})

    @property
    def members(self) -> "list[TeacherSpec]":
        """The specs of the networks of an ensemble; empty if it is none."""
        if kind_of_net(self.net) != "ensemble":
            return []
        count, net = ensemble_parts(self.net)
        return [replace(self, net=net, member=number) for number in range(count)]

    @property
    def title(self) -> str:
        """The teacher in words: its modality and network, and what the user set of its view and training."""
        given = [*given_options({self.modality: self.view}, self.given_views), self.training.given_text]
        text = ", ".join(part for part in given if part)
        return f"{self.modality} {self.net}" + (f" ({text})" if text else "")

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "TeacherSpec":
        """The spec from the JSON values of a record."""
        typed = {"data": DataSpec(**values["data"]), "training": Training(**values["training"])}
        texts = {name: tuple(values.get(name, ())) for name in ("plugins", "given_views")}
        return cls(**{**values, **typed, **texts})


@dataclass(frozen=True)
class UnitSpec:
    """One student, distilled by one method.

    Attributes:
        options: of the method, as `core.options.recorded` returns them.
        views: modality -> its configuration, for the modalities of student and teachers.
        teachers: modality -> name of the network.
        teacher_training: None for a method without teachers.
        student: the modalities of its branches.
        student_net: name of the network of each branch.
        fusion: how the branches, or the stages of a dense network, are fused, such as "freqfusion:bands=3"; None if
            there is nothing to fuse.
        method_sha256: checksum of the file of a plugin's method; empty for the methods of mmkd.
        plugins: files of plugins; they are not part of the key.
        checkpoint_sha256: modality -> checksum of the file of a teacher's weights, if it is not trained.
        checkpoint_files: modality -> that file; it is not part of the key.
        sources: what plugins and other packages registered of the task, views and networks of this unit, such as
            "backbone mine" -> checksum of the file that defines it; empty where all are those of mmkd.
        revision: of the method, see `Method.revision`.
        teacher_validation: fraction of the training windows that is used for the validation of the teachers, if the
            student is trained without one and they are those of their best epoch; 0: they have the student's windows.
        selection_folds: number of folds of the training part in which the weights of the teachers are searched, where
            there are no validation windows; 0: they are searched on validation windows, or not at all.
        given_views: options of views that the user set to another value than the preset's, such as "gaf.range"; titles
            show them. They are not part of the key.
        teacher_targets: "fitted": the logits of a training window are those of the teachers that were fitted to it; or
            "out-of-fold:K": of K teachers each of which did not see one fold of the training part.
        peer_revisions: modality -> `Peer.revision` of a peer that teaches, where it is not 1.
        training_seed: seed of initial weights, batches, dropout, augmentations and the method, where it is not `seed`,
            which then decides the split, the labelled subjects and the folds alone.
        tuning: of a unit that equal tuning tries: {"table": digest of the table, "number": of the configuration in it}.
        tuned: of a unit whose options equal tuning chose: {"table", "number", "budget": how many configurations were
            tried, "on": names of the data sets}; empty: the options are those of the request.
    """

    data: DataSpec
    seed: int
    method: str
    options: Mapping[str, Any]
    views: Mapping[str, Mapping[str, Any]]
    teachers: Mapping[str, str]
    teacher_training: Training | None
    student: tuple[str, ...]
    student_net: str
    fusion: str | None
    training: Training
    method_sha256: str = ""
    task: str = "classification"
    plugins: tuple[str, ...] = field(default=(), metadata={"in_key": False})
    checkpoint_sha256: Mapping[str, str] = field(default_factory=dict, metadata={"since": 3})
    checkpoint_files: Mapping[str, str] = field(default_factory=dict, metadata={"in_key": False})
    sources: Mapping[str, str] = field(default_factory=dict, metadata={"since": 3})
    revision: int = field(default=1, metadata={"since": 3})
    teacher_validation: float = field(default=0.0, metadata={"since": 3})
    selection_folds: int = field(default=0, metadata={"since": 5})
    given_views: tuple[str, ...] = field(default=(), metadata={"in_key": False})
    teacher_targets: str = field(default="fitted", metadata={"since": 5})
    peer_revisions: Mapping[str, int] = field(default_factory=dict, metadata={"since": 5})
    tuning: Mapping[str, Any] = field(default_factory=dict, metadata={"since": 5})
    tuned: Mapping[str, Any] = field(default_factory=dict, metadata={"since": 5})
    training_seed: int | None = field(default=None, metadata={"since": 5})

    @property
    def own_seed(self) -> int:
        """The seed of the student's own training."""
        return self.seed if self.training_seed is None else self.training_seed

    @cached_property
    def key(self) -> str:
        """The name of its record."""
        return digest({"kind": "student", "format": FORMAT, **recorded(self), "options": self.distinct_options})

    @property
    def chooses_epoch(self) -> bool:
        """Whether its teachers have a last epoch that need not be the best.

        Weights that were given have no epochs, and without validation windows the last epoch is the best.
        """
        validated = self.data.epoch_rule != "last" or self.teacher_validation > 0
        return validated and not set(self.network_teachers) <= set(self.checkpoint_sha256)

    @property
    def network_teachers(self) -> list[str]:
        """The modalities of the teachers that are networks, or ensembles of them, and no peers."""
        return [name for name, net in self.teachers.items() if kind_of_net(net) != "peer"]

    @property
    def without_folds(self) -> "list[UnitSpec]":
        """The units without one fold of the training part each, whose teachers give out-of-fold targets."""
        folds = target_folds(self.teacher_targets)
        inner = replace(self, teacher_targets="fitted")
        data = [replace(self.data, inner_fold=(number, folds)) for number in range(1, folds + 1)]
        return [replace(inner, data=part) for part in data]

    @property
    def distinct_options(self) -> dict[str, Any]:
        """The options, without the epoch of the teachers where there is no choice; older records then name none."""
        return {name: value for name, value in self.options.items() if self.chooses_epoch or name != "teacher_epoch"}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "UnitSpec":
        """The spec from the JSON values of a record."""
        teachers = values["teacher_training"]
        typed = {
            "data": DataSpec(**values["data"]),
            "training": Training(**values["training"]),
            "teacher_training": None if teachers is None else Training(**teachers),
            "student": tuple(values["student"]),
            "plugins": tuple(values["plugins"]),
            "given_views": tuple(values.get("given_views", ())),
        }
        return cls(**{**values, **typed})

    @property
    def searches_shares(self) -> bool:
        """Whether the weights of the teachers are searched on validation windows."""
        return self.options.get("teacher_weights") == "search"

    @property
    def starts_trained(self) -> bool:
        """Whether the student starts from the weights of the same student trained alone."""
        return self.options.get("init_student") == "trained"

    @property
    def student_name(self) -> str:
        """The modalities of the student, such as "sig+gaf"."""
        return "+".join(self.student)

    @property
    def student_title(self) -> str:
        """The student in words: its modalities, network, fusion, and what the user set of its views and training."""
        parts = [self.student_net, self.fusion, self.given_text]
        return f"student {self.student_name} ({', '.join(part for part in parts if part)})"

    @property
    def given_text(self) -> str:
        """What the user set of the student's views and training, such as "gaf.range=train, lr=0.01"."""
        own = given_options({name: self.views[name] for name in self.student if name in self.views}, self.given_views)
        return ", ".join(part for part in (*own, self.training.given_text) if part)

    def view_sources(self, modality: str) -> dict[str, str]:
        """The checksums of the plugins' code that a view is made with."""
        return select_sources(self.sources, self.task, (modality,))

    def teacher(self, modality: str) -> TeacherSpec:
        """The spec of this unit's teacher on `modality`; the same for every method."""
        if modality not in self._teacher_specs:
            self._teacher_specs[modality] = self._teacher(modality)
        return self._teacher_specs[modality]

    @cached_property
    def _teacher_specs(self) -> dict[str, TeacherSpec]:
        """Modality -> spec of that teacher; each is made once, so that its key is hashed once."""
        return {}

    def _teacher(self, modality: str) -> TeacherSpec:
        if self.teacher_training is None:
            raise MmkdError(f"a unit of method {self.method!r} has no teachers")
        training = self.teacher_training
        data = replace(self.data, unlabelled_sha256="", unlabelled_file="")  # it is trained on labelled windows
        checkpoint = self.checkpoint_sha256.get(modality, "")
        net = self.teachers[modality]
        if checkpoint or kind_of_net(net) == "peer":  # it is not trained, so that its key has no options of a training
            training = Training(epochs=0, precision=training.precision)
        elif self.teacher_validation:
            data = replace(data, epoch_rule="val-best", validation=self.teacher_validation)
        names = training.augmentation_names
        sources = select_sources(self.sources, self.task, (modality,), single_nets([net]), augmentations=names)
        return TeacherSpec(
            data=data,
            seed=self.seed,
            modality=modality,
            view=self.views[modality],
            net=net,
            training=training,
            task=self.task,
            checkpoint_sha256=checkpoint,
            checkpoint_file=self.checkpoint_files.get(modality, ""),
            sources=sources,
            plugins=self.plugins,
            given_views=tuple(name for name in self.given_views if name.rpartition(".")[0] == modality),
            revision=self.peer_revisions.get(modality, 1),
        )


DETECTOR_DATA = frozenset(f.name for f in fields(DataSpec) if f.metadata.get("since", 0) <= 3)
"""Fields of the data that are always in the key of a detector, whatever their value."""


def student_sources(spec: UnitSpec) -> dict[str, str]:
    """The checksums of the plugins' code that the student of a unit is made with."""
    return select_sources(spec.sources, spec.task, spec.student, (spec.student_net,), spec.fusion)


@dataclass(frozen=True)
class DetectorSpec:
    """The spec of a reference row without a network, such as a simple detector of anomalies; `method` is its name."""

    data: DataSpec
    seed: int
    method: str
    task: str
    student: tuple[str, ...] = ()
    student_net: str = ""
    teachers: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """The name of its record. Unlike other keys it holds each field of the data that there is in `FORMAT` 3."""
        data = {name: value for name, value in asdict(self.data).items() if name in DETECTOR_DATA}
        return digest({"kind": "simple", "format": FORMAT, **recorded(self), "data": {**recorded(self.data), **data}})

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "DetectorSpec":
        """The spec from the JSON values of a record."""
        return cls(**{**values, "data": DataSpec(**values["data"]), "student": tuple(values["student"])})


@dataclass(frozen=True)
class PeerSpec(DetectorSpec):
    """The spec of a reference row of windows, such as a random forest; `method` is its name.

    Attributes:
        student: the modalities of the signals that it reads, such as ("sig@acc",).
        revision: of the peer, see `Peer.revision`.
    """

    revision: int = field(default=1, metadata={"since": 5})

    @cached_property
    def key(self) -> str:
        """The name of its record."""
        return digest({"kind": "reference", "format": FORMAT, **recorded(self)})

    @classmethod
    def beside(cls, unit: UnitSpec, name: str, revision: int = 1) -> "PeerSpec":
        """The spec of the peer `name` beside a unit: on the same windows, and the channels that its student reads."""
        return cls(unit.data, unit.seed, name, unit.task, student=signals_of(unit.student), revision=revision)


def signals_of(student: Iterable[str]) -> tuple[str, ...]:
    """The signals that a student is made from, whatever its views: a modality for each group of channels that it reads.

    >>> signals_of(["sig@acc", "gaf@acc", "pi@gyro"]), signals_of(["gaf", "sig@acc"]), signals_of(["img"])
    (('sig@acc', 'sig@gyro'), ('sig',), ('img',))
    """
    names = dict.fromkeys(name if name == "img" else "sig" + name[len(kind_of(name)) :] for name in student)
    return ("sig",) if "sig" in names else tuple(names)


Spec = UnitSpec | TeacherSpec | DetectorSpec
KINDS: Mapping[str, type[Spec]] = {
    "student": UnitSpec,
    "teacher": TeacherSpec,
    "simple": DetectorSpec,
    "reference": PeerSpec,
}
"""Kind of a record -> the type of its spec."""
