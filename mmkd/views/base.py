"""What every modality has in common: checks, chunks, the fitted state, and the registry of their names."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options
from mmkd.core.registry import Registry
from mmkd.views.chunks import Float32, Float64, checked, in_chunks, shaped, target

MODALITIES: Registry[type["Modality"]] = Registry("modality", "python -m mmkd.bench --list modalities")
"""Every modality by name."""


class Modality:
    """Base of all modalities: N windows (N, C, W) become a float32 array (N, ...), window by window.

    A subclass is registered with `@MODALITIES.register("name")`, says in `shape` what one window becomes, and writes it
    in `_write`. One that learns from the training windows sets `fitted`, names its `_fits` and computes them in `fit`.

    Attributes:
        name: the name it is registered under.
        version: part of cache keys; raised by one whenever the numbers change.
        fitted: whether `fit` depends on the data. Where it is False one cached view serves every split.
        options: the constructor's options.
        source: what it is made of, windows of "signals" or "images".
    """

    Config: ClassVar[type[Options]] = Options
    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    source: ClassVar[str] = "signals"
    fitted: bool = False
    _fits: ClassVar[tuple[str, ...]] = ()  # the fitted values, each a list of one number a plane
    _planes: int = 1  # planes of the result a channel

    def __init__(self, options: Options | None = None) -> None:
        self.options: Any = type(self).Config() if options is None else options
        self._state: dict[str, list[float]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Make the modality from a mapping of option names to values or to strings, as a command line gives them."""
        return cls(**asdict(cls.Config.parse(values, f"modality {cls.name}")))

    def config(self) -> dict[str, Any]:
        """All options of the constructor, for cache keys and records: `type(m)(**m.config())` is the same modality."""
        return asdict(self.options)

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        """The shape of one transformed window of `channels` channels and `length` samples.

        Raises:
            MmkdError: windows of this shape cannot be transformed.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no shape")

    def fit(self, windows: ArrayLike) -> Self:
        """Learn what `transform` needs from the training windows (N, C, W), and from nothing else. Returns itself."""
        return self

    def transform(self, windows: ArrayLike, out: NDArray[np.float32] | None = None) -> Float32:
        """The windows (N, C, W) as a float32 array (N, *shape(C, W)).

        Memory above the result stays below 256 MiB at any N, for windows of up to a million values.

        Args:
            windows: real numbers of any type; may be a memory map.
            out: where to write, a C-contiguous float32 array or memory map of the result's shape; default: a new array.

        Raises:
            MmkdError: windows of a wrong shape or with NaN or infinity, an `out` that does not fit, or not fitted yet.
        """
        array = shaped(windows)
        n, channels, length = array.shape
        one = self.shape(channels, length)
        self._ready(channels)
        result = target(out, (n, *one))
        in_chunks(
            lambda start, x: self._write(x, result[start : start + len(x)]),
            array,
            self._scratch(channels, length),
            finite=True,
        )
        return result if out is None else out

    def state(self) -> dict[str, list[float]]:
        """The fitted values, as JSON can hold them; empty where `fitted` is False."""
        self._ready(None)
        return {k: list(v) for k, v in self._state.items()}

    def load_state(self, state: Mapping[str, Any]) -> Self:
        """Take over the values of another one's `state()`. Returns itself.

        Raises:
            MmkdError: the state is another modality's, or damaged.
        """
        names = self._fits if self.fitted else ()
        values = {k: [float(x) for x in v] for k, v in state.items()}
        lengths = {len(v) for v in values.values()}
        good = set(values) == set(names) and (not names or (len(lengths) == 1 and 0 not in lengths))
        if not good or not all(np.isfinite(v).all() for v in values.values()):
            raise MmkdError(
                f"{self!r} cannot load a state of {sorted(values) or 'nothing'}; "
                f"it needs {sorted(names) or 'nothing'}, as many finite numbers of each"
            )
        self._state = values
        return self

    def _keep(self, **values: Float64) -> Self:
        """Store fitted values, each (planes,)."""
        self._state = {k: [float(x) for x in v] for k, v in values.items()}
        return self

    def _kept(self, name: str) -> Float64:
        return np.array(self._state[name], dtype=np.float64)

    def _ready(self, channels: int | None) -> None:
        if not self.fitted:
            return
        if not self._state:
            raise MmkdError(f"{self!r} is not fitted; call fit with the training windows first")
        found = len(self._state[self._fits[0]]) // self._planes
        if channels is not None and found != channels:
            raise MmkdError(f"modality {self.name} was fitted on {found} channels and is given {channels}")

    def _training(self, windows: ArrayLike) -> NDArray[Any]:
        """The training windows, checked; MmkdError when there is none."""
        array = checked(windows)
        if len(array) == 0:
            raise MmkdError(f"modality {self.name} cannot be fitted on no windows")
        return array

    def _scratch(self, channels: int, length: int) -> int:
        """Bytes a window that `_write` allocates."""
        return 0

    def _write(self, x: Float64, out: Float32) -> None:
        """Transform a chunk (n, C, W) into `out` (n, *shape)."""
        raise NotImplementedError(f"{type(self).__name__} defines no _write")
