"""The base class of augmentations, the registry of their names, and texts such as `rotate:30`."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmkd.augment.draws import Draws, Float32
from mmkd.core.errors import MmkdError
from mmkd.core.options import shown
from mmkd.core.registry import Registry

HOW = "python -m mmkd.bench --list augmentations"
HELPERS = {"base", "draws", "pipeline", "checks"}
"""Modules of this package that define no augmentation."""
Site = tuple[tuple[int, int, int], ...]
"""The triads of one body site: for each sensor the numbers of its channels x, y, z."""


def _import_augmentations(registry: "Registry[Any]") -> None:
    """Import every module of this package that defines augmentations."""
    package = import_module(__package__)
    for module in iter_modules(package.__path__):
        if module.name not in HELPERS:
            import_module(f"{__package__}.{module.name}")


def _check_class(thing: Any) -> str | None:
    if isinstance(thing, type) and issubclass(thing, Augmentation):
        return None if thing.name else f"is {thing.__name__}, which lacks its name; write name = ... in the class"
    return f"is {getattr(thing, '__name__', type(thing).__name__)}, which is no subclass of mmkd.Augmentation"


AUGMENTATIONS: Registry[type["Augmentation"]] = Registry(
    "augmentation", HOW, _import_augmentations, _check_class, "mmkd.augmentations"
)
"""Every augmentation by name."""


@dataclass(frozen=True)
class Channels:
    """What an augmentation knows of the C channels of the windows.

    Attributes:
        sites: the triads of each body site. The sensors of a site move together.
        mean, std: (C,) of the training windows, over all of their samples.
    """

    sites: tuple[Site, ...]
    mean: Float32
    std: Float32

    @property
    def triads(self) -> list[tuple[int, int, int]]:
        """All triads, of all sites."""
        return [triad for site in self.sites for triad in site]

    @property
    def outside(self) -> list[int]:
        """The channels that are in no triad."""
        inside = {channel for triad in self.triads for channel in triad}
        return [channel for channel in range(len(self.std)) if channel not in inside]


class Augmentation:
    """Base of all augmentations, which a text such as `rotate:30` names with one number, its amount.

    A subclass is registered with `@AUGMENTATIONS.register("name")` and implements `apply`. One that mixes each window
    with a partner, another training window, sets `mixes` and implements `weights` instead.

    Attributes:
        name: the registered name.
        unit: what the amount is, in capital letters, as `SD` in `gain:SD`.
        usual: an amount, for the example in messages.
        highest: the largest amount; the least is just above 0.
        uses_triads: whether it depends on which channels are the axes of one sensor.
        needs_triads: whether it is refused where no channels are.
        mixes: whether it mixes two windows.
        amount: the number of this augmentation.
    """

    name: ClassVar[str] = ""
    unit: ClassVar[str] = "SD"
    usual: ClassVar[float] = 0.1
    highest: ClassVar[float] = math.inf
    uses_triads: ClassVar[bool] = False
    needs_triads: ClassVar[bool] = False
    mixes: ClassVar[bool] = False

    def __init__(self, amount: float) -> None:
        self.amount = amount

    @property
    def label(self) -> str:
        """The text that names it, such as "rotate:30"."""
        return f"{self.name}:{self.amount!r}".removesuffix(".0")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.amount:g})"

    @classmethod
    def example(cls) -> str:
        """A text that names it, for messages."""
        return f"{cls.name}:{cls.usual:g}"

    def find_problem(self, channels: int, length: int) -> str | None:
        """Why windows of `channels` channels and `length` samples cannot be changed so, in a few words; None if not."""
        return None

    def apply(self, x: Float32, draws: Draws, channels: Channels) -> Float32:
        """Change windows.

        Args:
            x: (B, C, W), which may be changed and returned.
            draws: the random numbers of these windows.

        Returns:
            (B, C, W) float32.
        """
        return x

    def weights(self, draws: Draws, length: int) -> Float32:
        """The weights of B windows against those of their partners, if it `mixes`: (B, length), in [0, 1].

        A mixed window is w x + (1 - w) partner, sample by sample. The share of its own label is the mean of w. Where
        that is below a half, 1 - w is taken, so that the label of the window itself weighs more.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no weights")


def parse_augmentation(text: str) -> Augmentation:
    """The augmentation that a text such as "rotate:30" names.

    Raises:
        MmkdError: there is no such augmentation, or its number is missing or out of range.
    """
    name, colon, number = (part.strip() for part in text.partition(":"))
    cls = AUGMENTATIONS.get(name)
    try:
        amount = float(number)
    except ValueError:
        amount = math.nan
    if not 0 < amount <= cls.highest or math.isinf(amount):
        what = f"{shown(number)} is not one" if colon and number else "it lacks one"
        most = "" if math.isinf(cls.highest) else f" and at most {cls.highest:g}"
        raise MmkdError(f"{name}:{cls.unit} takes a number above 0{most}, such as {cls.example()}; {what}")
    return cls(amount)


def parse_augmentations(texts: Iterable[str]) -> tuple[Augmentation, ...]:
    """The augmentations that texts name, in their order.

    Raises:
        MmkdError: as `parse_augmentation`; or one is named twice, or two of them mix windows.
    """
    augmentations = tuple(parse_augmentation(text) for text in texts)
    names = [augmentation.name for augmentation in augmentations]
    for name in names:
        if names.count(name) > 1:
            raise MmkdError(f"{name} is named twice")
    mixing = [augmentation.label for augmentation in augmentations if augmentation.mixes]
    if len(mixing) > 1:
        raise MmkdError(f"{mixing[0]} and {mixing[1]} both mix windows; name one of them")
    return augmentations


def format_sites(sites: Mapping[str, Site]) -> tuple[str, ...]:
    """Body sites as texts, for specs.

    >>> format_sites({"wrist": ((0, 1, 2), (3, 4, 5))})
    ('wrist=0,1,2;3,4,5',)
    """
    return tuple(f"{name}={';'.join(','.join(map(str, triad)) for triad in site)}" for name, site in sites.items())


def parse_sites(texts: Iterable[str]) -> tuple[Site, ...]:
    """The body sites from the texts of `format_sites`."""
    sites = []
    for text in texts:
        triads = [tuple(map(int, triad.split(","))) for triad in text.partition("=")[2].split(";")]
        sites.append(tuple((x, y, z) for x, y, z in triads))
    return tuple(sites)


def describe_channels(x: NDArray[np.float32], train: NDArray[np.int64], sites: tuple[Site, ...]) -> Channels:
    """What augmentations know of the channels of windows x (N, C, W), of which those numbered `train` are for training.

    Mean and standard deviation are computed in float64, in a fixed order.
    """
    count = 0
    total = np.zeros(x.shape[1])
    for start in range(0, len(train), 512):
        part = x[train[start : start + 512]].astype(np.float64)
        total += part.sum((0, 2))
        count += part.shape[0] * part.shape[2]
    mean = total / count
    squares = np.zeros(x.shape[1])
    for start in range(0, len(train), 512):
        part = x[train[start : start + 512]] - mean[:, None]
        squares += np.einsum("nct,nct->c", part, part)
    return Channels(sites, mean.astype(np.float32), np.sqrt(squares / count).astype(np.float32))
