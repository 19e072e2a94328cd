"""What an `.npz` file says about its windows as a whole: channels, rate, channel groups, classes, kind."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from numpy.typing import NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.options import shown
from mmkd.data.axes import Kind

FACTS = ("kind", "channels", "rate_hz", "window_s", "groups", "classes", "triads", "augment")
"""Arrays that describe the windows as a whole."""


@dataclass(frozen=True)
class Facts:
    """What a file says about its windows.

    Attributes:
        kind: "signal" or "image".
        channels, classes: names.
        rate_hz: samples a second.
        window_s: seconds that a window lasts.
        groups: `name=channel,channel` texts; or the name of a group for each channel.
        triads: `site=x,y,z;x,y,z` texts: the channels of the three axes of each sensor of a body site.
        augment: augmentations, such as "jitter:0.05".
        given: names of the arrays that are in the file.
    """

    kind: Kind | None = None
    channels: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    rate_hz: float | None = None
    window_s: float | None = None
    groups: tuple[str, ...] = ()
    triads: tuple[str, ...] = ()
    augment: tuple[str, ...] = ()
    given: frozenset[str] = frozenset()

    def check(self, channels: int, length: int, images: bool) -> None:
        """Check the facts against the windows.

        Args:
            channels: C.
            length: W, samples in a window.
            images: whether x holds images.

        Raises:
            MmkdError: they contradict each other.
        """
        if self.channels is not None and len(self.channels) != channels:
            raise MmkdError(f"channels has {len(self.channels)} names, and x {channels} channels; they must be as many")
        for name in ("rate_hz", "window_s", "triads", "augment") if images else ():
            if getattr(self, name):
                raise MmkdError(f"{name} goes with windows of a signal, and x holds images; leave it out")
        if self.rate_hz and self.window_s and abs(self.rate_hz * self.window_s - length) > 0.5:
            raise MmkdError(
                f"a window of {self.window_s:g} s at rate_hz {self.rate_hz:g} has {self.rate_hz * self.window_s:g} "
                f"samples, and x has {length}; mend rate_hz or window_s"
            )

    def rate(self, length: int) -> float | None:
        """Samples a second, as the file says it or from `window_s` and the samples in a window."""
        return length / self.window_s if self.window_s and self.rate_hz is None else self.rate_hz

    def groups_of(self, channels: int) -> dict[str, tuple[str, ...]]:
        """Channel group -> the names of its channels.

        Args:
            channels: C.

        Raises:
            MmkdError: a group has no valid name, or a channel that there is not.
        """
        names = self.channels or tuple(f"channel_{number}" for number in range(channels))
        groups: dict[str, tuple[str, ...]] = {}
        if self.groups and not any("=" in text for text in self.groups):  # a group a channel
            if len(self.groups) != channels:
                raise MmkdError(
                    f"groups has {len(self.groups)} entries; it has texts such as 'acc=acc_x,acc_y', or the name of a "
                    f"group for each of the {channels} channels (persons belong in 'subject')"
                )
            for group, channel in zip(self.groups, names, strict=True):
                if group:
                    groups[group] = (*groups.get(group, ()), channel)
        else:
            for text in self.groups:
                group, _, members = (part.strip() for part in text.partition("="))
                if group in groups:
                    raise MmkdError(f"groups names {group!r} twice")
                groups[group] = tuple(member.strip() for member in members.split(","))
        for group, own in groups.items():
            if not re.fullmatch(r"[A-Za-z0-9_-]+", group):
                raise MmkdError(f"groups: {shown(group)} must be a name of letters, digits, _ and -")
            unknown = [channel for channel in own if channel not in names]
            if unknown or len(set(own)) < len(own):
                what = f"no channel {unknown[0]!r}" if unknown else "a channel twice"
                raise MmkdError(f"groups: {group!r} has {what}; the channels are {', '.join(names[:9])}")
            if group in names and own != (group,):
                raise MmkdError(f"groups: {group!r} is the name of a channel too; give the group another one")
        return groups

    def triads_of(self, channels: int) -> dict[str, tuple[tuple[str, ...], ...]]:
        """Body site -> the names of the channels x, y, z of each sensor there.

        Args:
            channels: C.

        Raises:
            MmkdError: a text is malformed, or names a channel that there is not, or one twice.
        """
        names = self.channels or tuple(f"channel_{number}" for number in range(channels))
        sites: dict[str, tuple[tuple[str, ...], ...]] = {}
        for text in self.triads:
            site, _, members = (part.strip() for part in text.partition("="))
            triads = tuple(tuple(name.strip() for name in triad.split(",")) for triad in members.split(";"))
            if not site or site in sites or any(len(triad) != 3 for triad in triads):
                raise MmkdError(f"triads: write texts such as 'wrist=acc_x,acc_y,acc_z;gyro_x,...', not {shown(text)}")
            sites[site] = triads
        used = [name for triads in sites.values() for triad in triads for name in triad]
        unknown = [name for name in used if name not in names]
        if unknown or len(set(used)) < len(used):
            what = f"no channel {unknown[0]!r}" if unknown else "a channel twice"
            raise MmkdError(f"triads has {what}; the channels are {', '.join(names[:9])}")
        return sites


def read_facts(arrays: Mapping[str, NDArray[Any]]) -> Facts:
    """The facts from the arrays of a file; none is needed.

    - kind: "signal" or "image", for an x that could be both.
    - channels (C,): the names of the channels.
    - rate_hz: samples a second. window_s: seconds that a window lasts; the rate follows from it.
    - groups: texts such as "acc=acc_x,acc_y"; or (C,) texts, the group of each channel, empty for none.
    - triads: texts such as "wrist=acc_x,acc_y,acc_z;gyro_x,gyro_y,gyro_z", the axes of the sensors of a body site.
    - augment: texts such as "rotate:30", the augmentations of `--augment card`.
    - classes (K,): the names of the classes. A whole number in y is then the place of its class, counted from 0.

    Raises:
        MmkdError: an array is of a wrong type or shape, or holds an impossible value.
    """
    kind = None
    if "kind" in arrays:
        (text,) = _texts(arrays, "kind", 1)
        kind = text.lower().removesuffix("s")
        if kind not in ("signal", "image"):
            raise MmkdError(f"kind is {shown(text)}; it must be 'signal' or 'image'")
    return Facts(
        kind=cast("Kind | None", kind),
        channels=_names(arrays, "channels", 1),
        classes=_names(arrays, "classes", 2),
        rate_hz=_number(arrays, "rate_hz"),
        window_s=_number(arrays, "window_s"),
        groups=_texts(arrays, "groups") if "groups" in arrays else (),
        triads=_texts(arrays, "triads") if "triads" in arrays else (),
        augment=_texts(arrays, "augment") if "augment" in arrays else (),
        given=frozenset(arrays),
    )


def _texts(arrays: Mapping[str, NDArray[Any]], name: str, count: int | None = None) -> tuple[str, ...]:
    array = arrays[name]
    if array.dtype.kind != "U" or array.ndim > 1 or (count is not None and array.size != count):
        hint = "; persons belong in 'subject'" if name == "groups" else ""
        raise MmkdError(
            f"{name} is {array.dtype} of shape {array.shape}; it must hold {'a text' if count else 'texts'}{hint}"
        )
    return tuple(str(text).strip() for text in array.reshape(-1))


def _names(arrays: Mapping[str, NDArray[Any]], name: str, least: int) -> tuple[str, ...] | None:
    if name not in arrays:
        return None
    array = arrays[name]
    if name == "classes" and array.dtype.kind in "iu":
        array = array.astype(str)
    names = _texts({name: array}, name)
    if len(set(names)) < len(names) or "" in names or len(names) < least:
        raise MmkdError(f"{name} holds {len(names)} names, {len(set(names) - {''})} of them different and not empty")
    return names


def _number(arrays: Mapping[str, NDArray[Any]], name: str) -> float | None:
    if name not in arrays:
        return None
    array = arrays[name]
    value = float(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "iuf" else math.nan
    if not 0 < value < math.inf:
        found = shown(array.reshape(-1)[0].item()) if array.size == 1 else f"of shape {array.shape}"
        raise MmkdError(f"{name} is {found}; it must be one number above 0")
    return value
