"""Whether a record is of a regime: what of it differs from the regime's suite, as far as records alone can tell.

Data sets are not read. What a suite leaves to the data follows from what the record says of them: the length of a
training from its number of windows, augmentations from the card of the data set.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmkd.augment import parse_augmentations
from mmkd.comparison.identity import as_key, student_spec
from mmkd.comparison.length import training_settings
from mmkd.core.registry import with_rate
from mmkd.core.text import shown
from mmkd.data.cards import find_card
from mmkd.results.protocol import Protocol, Regime
from mmkd.specs.data import DataSpec
from mmkd.specs.teacher_nets import canonical_net, target_folds
from mmkd.specs.unit import DetectorSpec, TeacherSpec, Training, UnitSpec, signals_of
from mmkd.store.record import Record
from mmkd.tasks import TASKS
from mmkd.tasks.presets import Preset
from mmkd.units.augmentations import CARD, NONE
from mmkd.units.expansion import VALIDATION, merge_options
from mmkd.units.frozen import frozen_options
from mmkd.units.request import Request

Difference = tuple[str, Any, Any]
"""A setting, its value in a record, and that of the protocol."""
AUGMENTED = ("augment", "augment_copies", "triads")


def describe(difference: Difference) -> str:
    """One difference in words, such as `seed 7 instead of 0, 1, 2`."""
    name, own, expected = difference
    return f"{name} {_words(own)} instead of {_words(expected)}"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{name}={own}" for name, own in value.items()]
    if isinstance(value, list | tuple | set):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None or value == "" else str(value)


def differences(record: Record, protocol: Protocol, regime: Regime, methods: bool = False) -> list[Difference]:
    """What of a record differs from the part of the regime's suite that it is nearest to; empty if it is of the regime.

    Args:
        methods: whether the method, and its options, must be those of the suite too.

    Raises:
        MmkdError: the suite of the regime is malformed.
        KeyError, TypeError, ValueError, AttributeError: the record was edited by hand.
    """
    spec = record.spec
    if spec.data.name not in regime.datasets:
        return [("data set", spec.data.name, regime.datasets)]
    asks = methods and not isinstance(spec, TeacherSpec)
    found = [
        [*_part_differences(record, request), *(method_differences(record, request) if asks else ())]
        for request in regime.requests_of(spec.data.name)
    ]
    if spec.seed not in protocol.seeds:
        found = [[("seed", spec.seed, protocol.seeds), *(d for d in own if d[0] != "seed")] for own in found]
    stated = protocol.datasets[spec.data.name].get("sha256")
    if isinstance(stated, str) and stated and spec.data.sha256 != stated:
        found = [[*own, ("content of the data", spec.data.sha256[:8], stated[:8])] for own in found]
    return min(found, key=len)


def _part_differences(record: Record, request: Request) -> Iterator[Difference]:
    """What of a record differs from one part of a suite."""
    spec = record.spec
    preset = TASKS.get(request.task).preset(request.preset)
    if spec.task != request.task:
        yield "task", spec.task, request.task
        return
    if spec.seed not in request.seeds:
        yield "seed", spec.seed, request.seeds
    yield from _data_differences(record, spec.data, request, preset)
    if isinstance(spec, TeacherSpec):
        yield from _teacher_differences(record, spec, request, preset)
        return
    students = [with_rates(text, request.student_rate) for text in request.students]
    if isinstance(spec, DetectorSpec):  # a peer reads the signals of a student
        signals = ["+".join(signals_of(text.split("+"))) for text in students]
        if "+".join(spec.student) not in signals:
            yield "student", "+".join(spec.student), signals
        return
    if spec.student_name not in students:
        yield "student", spec.student_name, students
    nets = request.student_net or (preset.student_net,)
    if spec.student_net not in nets:
        yield "student network", spec.student_net, nets
    fusions = tuple(text.partition(":")[0] for text in request.fusion)
    if len(spec.student) > 1 and (spec.fusion or "").partition(":")[0] not in (fusions or ("concat",)):
        yield "fusion", spec.fusion, fusions or "concat"
    yield from _view_differences(spec.views, request, preset)
    yield from _training_differences(record, spec.training, request, preset, teacher=False)
    if spec.teachers:
        yield from _taught_differences(record, spec, request, preset)


def _data_differences(record: Record, spec: DataSpec, request: Request, preset: Preset) -> Iterator[Difference]:
    """What differs in the windows, labels and epochs of a unit or teacher."""
    numbers = ("labelled_subjects", "labelled_windows", "train_subjects", "train_windows")
    for name in numbers:
        own, expected = getattr(spec, name), getattr(request, name) or 0
        if own != expected:
            yield name.replace("_", " "), own or "all", expected or "all"
    if request.rate and spec.rate != request.rate and (spec.rate or record.data.get("rate_hz") != request.rate):
        yield "rate", spec.rate or record.data.get("rate_hz"), request.rate
    if spec.rate and not request.rate:
        yield "rate", spec.rate, "that of the data"
    if spec.nan != request.nan:
        yield "missing values", spec.nan, request.nan
    if request.split == "card" and request.folds is None and spec.tested:
        yield "test part", spec.fold or "a fold", "that of the data set"
    rule = request.epoch_rule or preset.epoch_rule
    alone = isinstance(record.spec, TeacherSpec) and rule == "last"  # a method may take its teachers' best epoch
    if (spec.epoch_rule != rule and not alone) or (spec.epoch_rule == "val-best" and spec.validation != VALIDATION):
        yield "epoch rule", spec.epoch_rule, rule


def _teacher_differences(record: Record, spec: TeacherSpec, request: Request, preset: Preset) -> Iterator[Difference]:
    """What differs in a teacher's modality, network, view and training."""
    expected = [net for nets in teacher_nets(request, preset) for name, net in nets.items() if name == spec.modality]
    if not expected:
        yield "teacher", spec.modality, [", ".join(nets) for nets in teacher_nets(request, preset)]
    elif spec.net not in expected or spec.member:
        yield "network of the teacher", f"{spec.net} {spec.member or ''}".strip(), list(dict.fromkeys(expected))
    yield from _view_differences({spec.modality: spec.view}, request, preset)
    if spec.training.epochs:
        yield from _training_differences(record, spec.training, request, preset, teacher=True)


def _taught_differences(record: Record, spec: UnitSpec, request: Request, preset: Preset) -> Iterator[Difference]:
    """What differs in the teachers of a unit."""
    nets = teacher_nets(request, preset)
    if dict(spec.teachers) not in nets:
        yield "teachers", spec.teachers, nets[0] if len(nets) == 1 else [str(own) for own in nets]
    folds = target_folds(request.teacher_targets)
    targets = f"out-of-fold:{folds}" if folds else "fitted"
    if spec.teacher_targets != targets:
        yield "targets of the teachers", spec.teacher_targets, targets
    if spec.teacher_training is not None and not spec.teacher_validation:
        yield from _training_differences(record, spec.teacher_training, request, preset, teacher=True)


def teacher_nets(request: Request, preset: Preset) -> list[dict[str, str]]:
    """Modality -> network, of each set of teachers of a request."""
    usual = [{name: preset.teacher_net(name) for name in text.split(",")} for text in request.teachers]
    return [
        {name: canonical_net(request.teacher_nets.get(name) or net, net) for name, net in nets.items()}
        for nets in usual
    ]


def with_rates(student: str, rate: float | None) -> str:
    """A student in words, its modalities at the rate of a slower sensor if there is one."""
    return student if rate is None else "+".join(with_rate(name, rate) for name in student.split("+"))


def _view_differences(views: Mapping[str, Mapping[str, Any]], request: Request, preset: Preset) -> Iterator[Difference]:
    """Options of views that the suite or its preset names, and that have another value."""
    for view, options in merge_options(preset.views, request.view).items():
        for name, expected in options.items():
            if view in views and as_key(views[view].get(name)) != as_key(expected):
                yield f"{view}.{name}", views[view].get(name), expected


def _training_differences(
    record: Record, training: Training, request: Request, preset: Preset, teacher: bool
) -> Iterator[Difference]:
    """What differs in a training from that which the preset has for so many windows."""
    counts = record.data.get("windows") or {}
    if not isinstance(counts.get("train"), int):
        yield "number of training windows", "unknown", "a number"
        return
    windows = counts["train"] + (0 if teacher else counts.get("unlabelled", 0))
    expected = preset.resolve(windows, teacher, request.training_changes(teacher))
    if record.spec.data.few_labels and not teacher:
        expected = expected.in_steps(windows)
    own, usual = training_settings(training), training_settings(expected)
    whose = "teacher's " if teacher else ""
    for name in (name for name in usual if name not in AUGMENTED and own[name] != usual[name]):
        yield f"{whose}{name.replace('_', ' ')}", own[name], usual[name]
    labels = _augmentations(record.spec.data.name, request, preset)
    copies = preset.augment_copies if request.augment_copies is None else request.augment_copies
    if training.augment != labels:
        yield f"{whose}augmentation", training.augment, labels
    elif labels and training.augment_copies != (0 if teacher else copies):
        yield f"{whose}augmented copies", training.augment_copies, 0 if teacher else copies


def _augmentations(dataset: str, request: Request, preset: Preset) -> tuple[str, ...]:
    """The augmentations of a data set in a request, as specs name them."""
    texts = request.augment or preset.augment
    if texts == (NONE,):
        return ()
    names = find_card(dataset).augment if texts == (CARD,) else texts
    return tuple(augmentation.label for augmentation in parse_augmentations(names))


def method_differences(record: Record, request: Request) -> list[Difference]:
    """What differs in the method of a record, or the options of it, from the methods of a part of a suite.

    Raises:
        MmkdError: the suite names a method or an option that there is not.
    """
    from mmkd.core.registry import METHODS
    from mmkd.units.choices import choices
    from mmkd.units.methods import named_methods

    spec = student_spec(record)
    if not isinstance(spec, UnitSpec):
        task = TASKS.get(request.task)
        peers = task.chosen_references(request.peers, request.preset)
        return [] if spec.method in peers else [("peer", spec.method, peers)]
    methods = named_methods(request.methods, request.with_controls)
    if spec.method not in methods:
        return [("method", spec.method, methods)]
    if spec.tuned:
        return _tuned_differences(spec, request)
    if spec.revision != METHODS.get(spec.method).revision:
        return [(f"revision of {spec.method}", spec.revision, METHODS.get(spec.method).revision)]
    sets = choices(request, spec.method)
    own = dict(spec.options)
    for options in sets:
        # which epoch teaches stands in options only where there is a choice
        names = (options.keys() | own.keys()) - {"teacher_epoch"}
        if all(as_key(options.get(name)) == as_key(own.get(name)) for name in names):
            return []
    return [(f"options of {spec.method}", shown(own), shown(sets[0]))]


def _tuned_differences(spec: UnitSpec, request: Request) -> list[Difference]:
    """What differs in the options of a tuned unit from those that the suite has frozen."""
    if not request.tuned:
        return [] if request.tune else [("options", "tuned", "as in the suite")]
    folder = Path(request.tuned)
    expected = frozen_options(folder, spec.method)
    if expected is None:
        return [("options", "tuned", f"as in {folder.name}, which has no file of {spec.method}")]
    names = (expected.keys() | spec.options.keys()) - {"teacher_epoch"}
    if all(as_key(spec.options.get(name)) == as_key(expected.get(name)) for name in names):
        return []
    return [(f"tuned options of {spec.method}", shown(spec.options), shown(expected))]


def uses_extra_data(record: Record) -> bool:
    """Whether a unit read windows, or weights of teachers, that are not of the data set."""
    spec = record.spec
    given = bool(spec.checkpoint_sha256) if isinstance(spec, UnitSpec | TeacherSpec) else False
    return bool(spec.data.unlabelled_sha256) or given
