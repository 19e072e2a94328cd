"""The augmentations of the trainings of a unit: those that the user, the preset or the card of the data set names."""

from collections.abc import Iterable
from dataclasses import replace

from mmkd.augment import parse_augmentations
from mmkd.augment.base import format_sites
from mmkd.core.errors import MmkdError
from mmkd.data import Dataset
from mmkd.specs.unit import Training
from mmkd.tasks import TASKS
from mmkd.units.request import Request

NONE = "none"
CARD = "card"


def with_augmentations(training: Training, request: Request, data: Dataset, teacher: bool) -> Training:
    """The options of a training with its augmentations. Teachers read new ones each time, students may read copies.

    Raises:
        MmkdError: an augmentation does not exist, does not fit the data, or has no valid number; or there are copies of
            nothing.
    """
    preset = TASKS.get(request.task).preset(request.preset)
    texts = request.augment or preset.augment
    flag = f"--augment {','.join(texts)}"
    if len(texts) > 1 and {NONE, CARD} & set(texts):
        raise MmkdError(f"{flag}: none and card stand alone; name augmentations, or one of the two words")
    chosen = {(): (), (NONE,): (), (CARD,): data.augment}.get(tuple(texts), tuple(texts))
    if texts == (CARD,):
        flag = f"{flag}: {','.join(chosen)}"
    copies = request.augment_copies
    if copies and not chosen:
        raise MmkdError(f"--augment-copies {copies}: nothing is augmented here; add --augment, or leave it out")
    if not chosen and request.augment == (CARD,):
        raise MmkdError(
            f"--augment card: data {data.name!r} names none; name some, such as jitter:0.05, or leave it out"
        )
    if not chosen:
        return training
    try:
        labels, triads = _check(chosen, data)
    except MmkdError as error:
        raise MmkdError(f"{flag}: {error}") from None
    given = training.given
    if request.augment:
        given = (*given, "augment")
    number = preset.augment_copies if copies is None else copies
    if teacher:
        number = 0
    elif copies is not None:
        given = (*given, "augment_copies")
    return replace(training, augment=labels, augment_copies=number, triads=triads, given=given)


def said_of_cards(request: Request, data_sets: Iterable[Dataset]) -> list[str]:
    """Of `--augment card`, by flag or preset: what the card of each data set names, in one line each."""
    if (request.augment or TASKS.get(request.task).preset(request.preset).augment) != (CARD,):
        return []
    named = {data.name: ", ".join(data.augment) for data in data_sets if data.form == "window" and data.grid is None}
    return [
        f"{name}: augmented as its card says, by {texts}"
        if texts
        else f"{name}: its card names no augmentation, so nothing is augmented"
        for name, texts in named.items()
    ]


def _check(texts: tuple[str, ...], data: Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts of the augmentations, each in one spelling, and the body sites that they depend on.

    Raises:
        MmkdError: they do not exist, or do not fit the data.
    """
    augmentations = parse_augmentations(texts)
    what = f"data {data.name!r}"
    if data.grid is not None:
        raise MmkdError(f"{what} has images, and augmentations change signals; leave it out")
    if data.form != "window":
        raise MmkdError(f"{what} has labels of samples, which would have to move along; leave it out")
    for augmentation in augmentations:
        if augmentation.needs_triads and not data.triads:
            raise MmkdError(
                f"{what} does not say which channels are the axes x, y, z of a sensor; add [triads] to its card, or an "
                f"array 'triads' to its file, or leave {augmentation.name} out"
            )
        problem = augmentation.find_problem(data.x.shape[1], data.window)
        if problem:
            raise MmkdError(f"{what}: {problem}")
    sites = format_sites(data.triads) if any(augmentation.uses_triads for augmentation in augmentations) else ()
    return tuple(augmentation.label for augmentation in augmentations), sites
