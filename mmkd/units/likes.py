"""Students like that of a unit, trained alone under another training seed; what a method does with them is its own."""

from collections.abc import Mapping
from dataclasses import replace

from mmkd.core.options import older_options
from mmkd.core.registry import METHODS
from mmkd.specs.unit import UnitSpec
from mmkd.units.expansion import student_alone


def like(spec: UnitSpec, training_seed: int) -> UnitSpec:
    """The unit of the same student trained alone on the same windows, under another training seed.

    Under the unit's own seed it is the student alone itself.
    """
    return replace(student_alone(spec), training_seed=None if training_seed == spec.seed else training_seed)


def likes_of(spec: UnitSpec) -> Mapping[str, UnitSpec]:
    """The units of `Method.likes` by name; they are run before `spec`."""
    cls = METHODS.get(spec.method)
    method = cls(cls.Config(**older_options(cls.Config, spec.options)))
    return {name: like(spec, seed) for name, seed in method.likes(spec.seed).items()}


def teaching_likes(spec: UnitSpec) -> Mapping[str, UnitSpec]:
    """Those of them that teach, as the teachers of the unit do."""
    return {} if METHODS.get(spec.method).combines else likes_of(spec)
