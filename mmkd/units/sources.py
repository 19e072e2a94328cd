"""The code of plugins that a unit is made with: its checksums, and whether it is the code that is loaded now."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mmkd.augment import AUGMENTATIONS
from mmkd.core.errors import MmkdError
from mmkd.core.plugins import load_plugin
from mmkd.core.registry import METHODS, Registry, kind_of
from mmkd.specs.fusion_names import kind_of_fusion
from mmkd.specs.teacher_nets import single_nets
from mmkd.specs.unit import TeacherSpec, UnitSpec
from mmkd.tasks import TASKS
from mmkd.views import MODALITIES

Entry = tuple[Registry[Any], str]
"""A registry, and a name in it."""


def entries(
    task: str,
    modalities: Iterable[str],
    nets: Iterable[str],
    fusion: str | None = None,
    augmentations: Iterable[str] = (),
) -> list[Entry]:
    """What a unit, or a part of it, takes from registries.

    Args:
        modalities, nets: of student and teachers.
        fusion: of branches, or of the stages of a dense network.
        augmentations: of the trainings.
    """
    from mmkd.nets import BACKBONES, DENSE, FUSIONS, STAGE_FUSIONS
    from mmkd.nets.dense.branches import ATTENTION
    from mmkd.nets.reverse import NETWORK

    dense = TASKS.get(task).per_step
    used: list[Entry] = [(TASKS, task), *((MODALITIES, kind_of(name)) for name in modalities)]
    used += [(DENSE if dense else BACKBONES, net) for net in single_nets(nets) if net != NETWORK]
    used += [(AUGMENTATIONS, name) for name in dict.fromkeys(augmentations)]
    if fusion is None or (dense and fusion == ATTENTION):  # in no registry
        return used
    return [*used, (STAGE_FUSIONS if dense else FUSIONS, kind_of_fusion(fusion))]


def entries_of(spec: UnitSpec | TeacherSpec) -> list[Entry]:
    """What a whole unit, or a teacher, takes from registries, except for its method."""
    if isinstance(spec, TeacherSpec):
        return entries(spec.task, (spec.modality,), (spec.net,), augmentations=spec.training.augmentation_names)
    nets = (spec.student_net, *spec.teachers.values())
    return entries(spec.task, spec.views, nets, spec.fusion, augmentations_of(spec))


def augmentations_of(spec: UnitSpec) -> tuple[str, ...]:
    """The names of the augmentations of the trainings of a unit's student and teachers."""
    trainings = (spec.training, spec.teacher_training)
    return tuple(name for training in trainings if training for name in training.augmentation_names)


def student_entries(spec: UnitSpec) -> list[Entry]:
    """What the student of a unit takes from registries."""
    return entries(spec.task, spec.student, (spec.student_net,), spec.fusion)


def checksums_of(used: Iterable[Entry]) -> dict[str, str]:
    """The checksums of what plugins and packages registered, as `UnitSpec.sources` has them.

    Raises:
        MmkdError: an entry does not exist.
    """
    checksums = {f"{registry.kind} {name}": registry.source_sha256(name) for registry, name in used}
    return {entry: checksum for entry, checksum in checksums.items() if checksum}


def check_loaded(spec: UnitSpec | TeacherSpec, problem: str) -> None:
    """Check that the code that is loaded in this process is the code that a spec was made with.

    Args:
        problem: the end of the message, such as "has changed since the command began; start it again".

    Raises:
        MmkdError: it is not; the message names the first entry that differs.
    """
    now = checksums_of(entries_of(spec))
    changed = [entry for entry in {**spec.sources, **now} if spec.sources.get(entry) != now.get(entry)]
    if isinstance(spec, UnitSpec) and METHODS.source_sha256(spec.method) != spec.method_sha256:
        changed.append(f"method {spec.method}")
    if changed:
        kind, _, name = changed[0].rpartition(" ")
        raise MmkdError(f"{kind} {name!r} {problem}")


def load_recorded(
    spec: UnitSpec | TeacherSpec, used: Callable[[], Iterable[Entry]], plugins: Iterable[str | Path] = ()
) -> None:
    """Load the plugins that a record needs, unless they are loaded, and check that they are those it was made with.

    Args:
        used: what is needed; called when the task of the record is known. Records that are older than `sources` say
            nothing of their plugins' text, which is not compared then.
        plugins: files in place of those of the record, which may have moved.

    Raises:
        MmkdError: a plugin is missing, cannot be loaded, or has changed.
    """
    files = [Path(path) for path in plugins or spec.plugins]
    if plugins or _find_problem(spec, used, files):
        for path in files:
            if plugins or path.is_file():
                load_plugin(path)
    problem = _find_problem(spec, used, files)
    if problem:
        raise MmkdError(problem)


def _find_problem(spec: UnitSpec | TeacherSpec, used: Callable[[], Iterable[Entry]], files: Sequence[Path]) -> str:
    """What is missing or has changed, in one line; empty if nothing is."""
    for registry, name in used() if spec.task in TASKS else [(TASKS, spec.task)]:
        recorded = spec.sources.get(f"{registry.kind} {name}", "")
        if registry is METHODS and isinstance(spec, UnitSpec):
            recorded = spec.method_sha256
        if name not in registry:
            absent = [path for path in files if not path.is_file()]
            what = f"its file {absent[0]} is not there" if absent else "no plugin that is loaded registers it"
            return f"{registry.kind} {name!r} of this record is missing: {what}; give its file as plugin"
        if recorded and registry.source_sha256(name) != recorded:
            return (
                f"{registry.kind} {name!r} of this record has changed: {registry.source_file(name)} is not the file "
                f"of the record (SHA-256 {recorded[:8]}...); give that file as plugin, or run the unit again"
            )
    return ""
