"""What a unit of work is, in plain values: everything that shapes its result, and nothing else.

A unit is one (data, split, seed, teachers, student, method with its options). Its key is a hash of the resolved spec,
defaults included: another value of any field is another key, another order of the fields is not. Where the work is done
(device, threads, folders) is not part of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from mmkd.core.errors import MmkdError
from mmkd.core.keys import digest
from mmkd.core.options import FIRST_FORMAT, Options, option, recorded
from mmkd.specs.data import DataSpec

FORMAT = FIRST_FORMAT
"""Raised when the meaning of a spec changes, so that no old record answers for a new one."""


@dataclass(frozen=True)
class Training(Options):
    """How one network is trained."""

    epochs: int = option(20, "passes over the training windows; 0: weights that were given", ge=0)
    batch_size: int = option(64, "windows a step", ge=2)
    optimizer: str = option("adamw", "a name of `training.optimization.OPTIMIZERS`: adamw, or sgd with momentum 0.9")
    lr: float = option(2e-3, "highest learning rate", gt=0)
    weight_decay: float = option(1e-4, "weight decay", ge=0)
    schedule: Literal["cosine", "steps"] = option("cosine", "learning rate over the epochs")
    precision: Literal["fp32", "bf16"] = option("fp32", "bf16: autocast of the networks")


@dataclass(frozen=True)
class TeacherSpec:
    """One teacher: a network on one modality, trained, or with the weights of a file of this content."""

    data: DataSpec
    seed: int
    modality: str
    view: Mapping[str, Any]
    net: str
    training: Training
    task: str = "classification"
    checkpoint_sha256: str = field(default="", metadata={"since": 3})
    checkpoint_file: str = field(default="", metadata={"in_key": False})

    @cached_property
    def key(self) -> str:
        """The name of its record and of its entry in the cache."""
        return digest({"kind": "teacher", "format": FORMAT, **recorded(self)})

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "TeacherSpec":
        """The spec that a record's JSON holds."""
        typed = {"data": DataSpec(**values["data"]), "training": Training(**values["training"])}
        return cls(**{**values, **typed})


@dataclass(frozen=True)
class UnitSpec:
    """One student, distilled by one method.

    Attributes:
        options: of the method, as `core.options.recorded` gives them.
        views: modality -> its configuration, of student and teachers.
        teachers: modality -> network.
        teacher_training: None of a method without teachers.
        student: its modalities.
        method_sha256: of the file of a method that is not part of mmkd; empty of ours.
        plugins: files that register methods; no part of the key.
        checkpoint_sha256: modality -> checksum of the user's own weights of a teacher.
        checkpoint_files: modality -> the file of those weights; no part of the key.
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

    @cached_property
    def key(self) -> str:
        """The name of its record."""
        return digest({"kind": "student", "format": FORMAT, **recorded(self)})

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "UnitSpec":
        """The spec that a record's JSON holds."""
        teachers = values["teacher_training"]
        typed = {
            "data": DataSpec(**values["data"]),
            "training": Training(**values["training"]),
            "teacher_training": None if teachers is None else Training(**teachers),
            "student": tuple(values["student"]),
            "plugins": tuple(values["plugins"]),
        }
        return cls(**{**values, **typed})

    @property
    def searches_shares(self) -> bool:
        """Whether the shares of the teachers are searched on validation windows."""
        return self.options.get("teacher_weights") == "search"

    @property
    def starts_trained(self) -> bool:
        """Whether the student starts from the weights of one that was trained alone."""
        return self.options.get("init_student") == "trained"

    @property
    def student_name(self) -> str:
        return "+".join(self.student)

    @property
    def student_title(self) -> str:
        """The student in words: its modalities, network and fusion."""
        return f"student {self.student_name} ({self.student_net}{', ' + self.fusion if self.fusion else ''})"

    def teacher(self, modality: str) -> TeacherSpec:
        """The spec of this unit's teacher on `modality`; the same for every method."""
        if modality not in self._teacher_specs:
            self._teacher_specs[modality] = self._teacher(modality)
        return self._teacher_specs[modality]

    @cached_property
    def _teacher_specs(self) -> dict[str, TeacherSpec]:
        """Modality -> spec of that teacher, made once so that its key is hashed once."""
        return {}

    def _teacher(self, modality: str) -> TeacherSpec:
        if self.teacher_training is None:
            raise MmkdError(f"a unit of method {self.method!r} has no teachers")
        training, given = self.teacher_training, self.checkpoint_sha256.get(modality, "")
        if given:  # nothing of how others are trained goes into its key
            training = Training(epochs=0, precision=training.precision)
        return TeacherSpec(
            self.data,
            self.seed,
            modality,
            self.views[modality],
            self.teachers[modality],
            training,
            self.task,
            given,
            self.checkpoint_files.get(modality, ""),
        )


@dataclass(frozen=True)
class DetectorSpec:
    """A reference row that no network makes, such as a simple detector of anomalies: a name, on these data."""

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
        """The name of its record."""
        return digest({"kind": "simple", "format": FORMAT, **recorded(self)})

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "DetectorSpec":
        """The spec that a record's JSON holds."""
        return cls(**{**values, "data": DataSpec(**values["data"]), "student": tuple(values["student"])})


Spec = UnitSpec | TeacherSpec | DetectorSpec
KINDS: Mapping[str, type[Spec]] = {"student": UnitSpec, "teacher": TeacherSpec, "simple": DetectorSpec}
"""Kind of a record -> the type of its spec."""
