"""Checks of a request: its networks, fusions and modalities exist, and fit the task and the data."""

import itertools
import math
from dataclasses import replace
from typing import Any

from mmkd.core.errors import MmkdError, unknown_name
from mmkd.core.registry import Registry, group_of, kind_of, rate_of, with_rate, without_rate
from mmkd.data import Dataset
from mmkd.data.dataset import SHORTEST_WINDOW
from mmkd.data.resampling import resampled_length
from mmkd.specs.teacher_nets import canonical_net, kind_of_net, single_nets
from mmkd.tasks import TASKS, Task
from mmkd.units.request import OWN, Request
from mmkd.views import MODALITIES


def check_networks(request: Request, nets: tuple[str, ...]) -> None:
    """Check the networks, fusions and modalities of a request.

    Raises:
        MmkdError: one of them does not exist, or no unit would use it.
    """
    from mmkd.nets import BACKBONES, DENSE, FUSIONS, canonical_fusion, check_dense_fusion
    from mmkd.nets.dense.branches import check_branch_fusion

    task = TASKS.get(request.task)
    dense = task.per_step
    networks: Registry[Any] = {"backbones": BACKBONES, "dense": DENSE}[task.networks]
    for text in request.teachers:
        parse_modalities(text, ",", "--teachers")
    flags = (("--teacher-net", request.teacher_nets), ("--teacher-checkpoint", request.teacher_checkpoints))
    for flag, modality, value in ((flag, *item) for flag, values in flags for item in values.items()):
        if kind_of(modality) not in MODALITIES:
            raise MmkdError(f"{flag}: {unknown_name('modality', kind_of(modality), MODALITIES)}")
        if not any(modality in parse_modalities(text, ",", "--teachers") for text in request.teachers):
            raise MmkdError(f"{flag} {modality}={value}: there is no {modality} teacher; add it to --teachers")
    for modality, net in request.teacher_nets.items():
        name = canonical_net(net, task.preset(request.preset).teacher_net(modality))
        _check_kind(task, modality, name)
        for single in single_nets([name]):
            networks.get(single)
    for net in request.student_net:
        networks.get(net)
    for student, fusion in itertools.product(request.students, request.fusion) if dense else ():
        for net in nets if fusion != OWN else ():
            if "+" in student:
                check_branch_fusion(fusion)
            else:
                check_dense_fusion(net, fusion)
    for fusion in () if dense else request.fusion:
        canonical_fusion(FUSIONS, fusion)
        if not any("+" in student for student in request.students):
            raise MmkdError(f"--fusion {fusion}: a student of one branch has nothing to fuse; use --student sig+gaf+pi")


def canonical_fusions(request: Request) -> tuple[str | None, ...]:
    """The fusions of a checked request, each in the one text that keys hold; None for a dense network's own form."""
    from mmkd.nets import FUSIONS, STAGE_FUSIONS, canonical_fusion

    if not TASKS.get(request.task).per_step:
        return tuple(canonical_fusion(FUSIONS, fusion) for fusion in request.fusion or ("concat",))
    from mmkd.nets.dense.branches import ATTENTION

    texts = request.fusion or (OWN,)
    as_it_is = {OWN: None, ATTENTION: ATTENTION}
    return tuple(as_it_is[text] if text in as_it_is else canonical_fusion(STAGE_FUSIONS, text) for text in texts)


def _check_kind(task: Task, modality: str, net: str) -> None:
    """Refuse an ensemble or a peer as teacher where there is none.

    Args:
        net: its canonical name.
    """
    kind = kind_of_net(net)
    if kind != "network" and not task.per_window:
        raise MmkdError(
            f"--teacher-net {modality}={net}: only windows with one label have such a teacher, not {task.name}"
        )
    if kind == "peer" and kind_of(modality) != "sig":
        raise MmkdError(f"--teacher-net {modality}={net}: it reads signals; give it to sig, or {modality} a network")


def check_modalities(request: Request, data: Dataset) -> None:
    """Check that modalities and image size fit the data.

    Raises:
        MmkdError: a modality of signals with images, one of images with signals, an unknown channel group, or an image
            size for images, which keep their own.
    """
    source, use = ("signals", "sig (or gaf, pi)") if data.grid is None else ("images", "img")
    for flag, separator, texts in (("--student", "+", request.students), ("--teachers", ",", request.teachers)):
        for text in texts:
            for name in parse_modalities(text, separator, flag):
                if MODALITIES.get(kind_of(name)).source != source:
                    raise MmkdError(
                        f"{flag} {text}: data {data.name!r} has {source}, which have no view {name}; use {flag} {use}"
                    )
                if "@" in name and source == "images":
                    raise MmkdError(f"{flag} {text}: images have no channel groups; use {flag} {use}")
                if rate_of(name):
                    check_rate(request, data, name, f"{flag} {text}")
                if "@" in without_rate(name):
                    try:
                        data.channel_group(group_of(name))
                    except MmkdError as error:
                        raise MmkdError(f"{flag} {text}: {error}") from None
    check_view_options(request)
    if data.grid is not None and request.image_size is not None:
        raise MmkdError(f"--image-size: the images of data {data.name!r} keep their own size; leave it out")


def at_student_rate(request: Request, data: Dataset) -> Request:
    """The request with `student_rate` in the names of the student's modalities, such as `sig@acc@25Hz`.

    Raises:
        MmkdError: a branch has a rate of its own already, or the data have no such views.
    """
    rate = request.student_rate
    if rate is None:
        return request
    flag = f"--student-rate {rate:g}"
    if data.grid is not None:
        raise MmkdError(f"{flag}: data {data.name!r} has images, which have no sampling rate; leave it out")
    students = []
    for text in request.students:
        names = parse_modalities(text, "+", "--student")
        if any(rate_of(name) for name in names):
            raise MmkdError(f"{flag}: --student {text} names a rate of its own; give one of the two")
        students.append("+".join(with_rate(name, rate) for name in names))
        check_rate(request, data, with_rate(names[0], rate), flag)
    return replace(request, students=tuple(students))


def check_rate(request: Request, data: Dataset, name: str, flag: str) -> None:
    """Check that a modality at a rate of its own, such as `sig@25Hz`, can be made of the data.

    Raises:
        MmkdError: it cannot; the text begins with `flag`.
    """
    rate = rate_of(name)
    task = TASKS.get(request.task)
    own = name.rpartition("@")[2]
    what = f"{flag}: data {data.name!r}"
    if own in data.groups or own in data.channels:
        raise MmkdError(f"{what} calls channels {own!r}, which reads like a sampling rate; rename them")
    if not task.per_window:
        raise MmkdError(f"{flag}: a slower sensor is for students that label windows, not for --task {task.name}")
    if data.rate_hz is None:
        hint = "leave it out" if data.test_from == "card" else "add an array rate_hz to the file, or leave it out"
        raise MmkdError(f"{what} has no known sampling rate; {hint}")
    if rate >= data.rate_hz:
        raise MmkdError(f"{what} has {data.rate_hz:g} Hz; a slower sensor has less")
    try:
        length = resampled_length(data.window, data.rate_hz, rate)
    except MmkdError as error:
        raise MmkdError(f"{what}: {error}") from None
    if length < SHORTEST_WINDOW:
        least = math.floor((SHORTEST_WINDOW - 1) * data.rate_hz / data.window) + 1
        hint = f"take {least} Hz or more" if least < data.rate_hz else "leave it out"
        raise MmkdError(
            f"{what}: windows of {data.window} samples would have {length}, and {SHORTEST_WINDOW} are the least; {hint}"
        )


def check_view_options(request: Request) -> None:
    """Check that the options of `--view` are for views that there are.

    Raises:
        MmkdError: a modality does not exist, no unit uses it, or it has no such option or value.
    """
    used = {name for text in request.students for name in parse_modalities(text, "+", "--student")}
    used |= {name for text in request.teachers for name in parse_modalities(text, ",", "--teachers")}
    for modality, options in request.view.items():
        first = next(iter(options), "OPTION")
        flag = f"--view {modality}.{first}"
        if kind_of(modality) not in MODALITIES:
            raise MmkdError(f"{flag}: {unknown_name('modality', kind_of(modality), MODALITIES)}")
        if modality not in used | {kind_of(name) for name in used} | {without_rate(name) for name in used}:
            raise MmkdError(f"{flag}: no view {modality} is used here; add it to --teachers or --student")
        try:
            MODALITIES.get(kind_of(modality)).parse(options)
        except MmkdError as error:
            raise MmkdError(f"--view {modality}: {error}") from None


def parse_modalities(text: str, separator: str, flag: str) -> tuple[str, ...]:
    """The modalities in the value of a flag.

    >>> parse_modalities("sig+gaf", "+", "--student")
    ('sig', 'gaf')

    Raises:
        MmkdError: a modality is unknown, or named twice.
    """
    names = tuple(part.strip() for part in text.split(separator))
    for name in names:
        if kind_of(name) not in MODALITIES:
            raise MmkdError(f"{flag} {text}: {unknown_name('modality', kind_of(name), MODALITIES)}")
    if len(set(names)) < len(names):
        raise MmkdError(f"{flag} {text}: a modality is named twice")
    return names
