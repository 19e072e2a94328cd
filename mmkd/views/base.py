"""The base class of modalities (checks, chunks, fitted state), and the registry of their names."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, recorded
from mmkd.core.registry import Registry
from mmkd.views.chunks import Float32, Float64, as_windows, check_windows, map_chunks, output_array

HELPERS = {
    "base",
    "cached",
    "channels",
    "checks",
    "chunks",
    "diagrams",
    "pairing",
    "rates",
    "scaled",
    "spectra",
    "splat",
    "tensor_fields",
    "tensor_images",
    "tensor_views",
    "wavelets",
}
"""Modules of this package that define no modality; some of them are slow to import."""


def _import_modalities(registry: "Registry[Any]") -> None:
    """Import every module of this package that defines a modality: a new one is one new file."""
    package = import_module(__package__)
    for module in iter_modules(package.__path__):
        if module.name not in HELPERS:
            import_module(f"{__package__}.{module.name}")


def _check_modality(thing: Any) -> str | None:
    if isinstance(thing, type) and issubclass(thing, Modality):
        return None if thing.name else f"is {thing.__name__}, which lacks its name; write name = ... in the class"
    return f"is {getattr(thing, '__name__', type(thing).__name__)}, which is no subclass of mmkd.Modality"


MODALITIES: Registry[type["Modality"]] = Registry(
    "modality", "python -m mmkd.bench --list modalities", _import_modalities, _check_modality, "mmkd.modalities"
)
"""Every modality by name."""


class Modality:
    """Base of all modalities: transforms windows (N, C, W) into a float32 array (N, ...), each window by itself.

    A subclass is registered with `@MODALITIES.register("name")`. It implements `shape`, the shape of one transformed
    window, and `_transform_chunk`. A subclass that learns from the training windows also sets `fitted`, lists its
    `_fitted_names`, and implements `fit`.

    Attributes:
        name: the registered name.
        version: part of the cache keys; increase it whenever the numbers change.
        fitted: whether `fit` depends on the data. If it is False, one cached view serves every split.
        options: the options of the constructor.
        source: what the modality is made from: windows of "signals" or "images".
    """

    Config: ClassVar[type[Options]] = Options
    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    source: ClassVar[str] = "signals"
    fitted: bool = False
    _fitted_names: ClassVar[tuple[str, ...]] = ()  # the fitted values; each is a list with one number for each plane
    _planes: int = 1  # planes of the result for each channel

    def __init__(self, options: Options | None = None) -> None:
        self.options: Any = type(self).Config() if options is None else options
        self._state: dict[str, list[float]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Make the modality from option names and values; values may be strings, as on a command line."""
        return cls(**asdict(cls.Config.parse(values, f"modality {cls.name}")))

    def config(self) -> dict[str, Any]:
        """The options of the constructor, for cache keys and records: `type(m)(**m.config())` is the same modality.

        An option that was added later (`since`) is left out while it has its default.
        """
        return recorded(self.options)

    def shape(self, channels: int, length: int) -> tuple[int, ...]:
        """The shape of one transformed window of `channels` channels and `length` samples.

        Raises:
            MmkdError: windows of this shape cannot be transformed.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no shape")

    def fit(self, windows: ArrayLike) -> Self:
        """Learn what `transform` needs from the training windows (N, C, W). Returns itself."""
        return self

    def transform(self, windows: ArrayLike, out: NDArray[np.float32] | None = None) -> Float32:
        """Transform windows (N, C, W) into a float32 array (N, *shape(C, W)).

        Beside the result this takes less than 256 MiB of memory at any N, for windows of up to a million values.

        Args:
            windows: real numbers of any type; may be a memory map.
            out: where to write: a C-contiguous float32 array or memory map of the shape of the result; by default a new
                array.

        Raises:
            MmkdError: the windows have a wrong shape, or hold NaN or infinity; `out` does not fit; or the modality is
                not fitted yet.
        """
        array = as_windows(windows)
        n, channels, length = array.shape
        shape = self.shape(channels, length)
        self._check_fitted(channels)
        result = output_array(out, (n, *shape))
        map_chunks(
            lambda start, x: self._transform_chunk(x, result[start : start + len(x)]),
            array,
            self._scratch_bytes(channels, length),
            finite=True,
        )
        return result if out is None else out

    def state(self) -> dict[str, list[float]]:
        """The fitted values, ready for JSON; empty if `fitted` is False."""
        self._check_fitted(None)
        return {k: list(v) for k, v in self._state.items()}

    def load_state(self, state: Mapping[str, Any]) -> Self:
        """Restore the fitted values that `state()` returned. Returns itself.

        Raises:
            MmkdError: the state is of another modality, or damaged.
        """
        names = self._fitted_names if self.fitted else ()
        values = {k: [float(x) for x in v] for k, v in state.items()}
        lengths = {len(v) for v in values.values()}
        valid = set(values) == set(names) and (not names or (len(lengths) == 1 and 0 not in lengths))
        if not valid or not all(np.isfinite(v).all() for v in values.values()):
            raise MmkdError(
                f"{self!r} cannot load a state of {sorted(values) or 'nothing'}; "
                f"it needs {sorted(names) or 'nothing'}, each with the same number of finite values"
            )
        self._state = values
        return self

    def _set_fitted(self, **values: Float64) -> Self:
        """Store fitted values, each (planes,)."""
        self._state = {k: [float(x) for x in v] for k, v in values.items()}
        return self

    def _get_fitted(self, name: str) -> Float64:
        """A fitted value, (planes,)."""
        return np.array(self._state[name], dtype=np.float64)

    def _check_fitted(self, channels: int | None) -> None:
        """MmkdError if the modality is not fitted yet, or was fitted on another number of channels."""
        if not self.fitted:
            return
        if not self._state:
            raise MmkdError(f"{self!r} is not fitted; call fit with the training windows first")
        fitted_channels = len(self._state[self._fitted_names[0]]) // self._planes
        if channels is not None and fitted_channels != channels:
            raise MmkdError(f"modality {self.name} was fitted on {fitted_channels} channels and is given {channels}")

    def _check_training(self, windows: ArrayLike) -> NDArray[Any]:
        """The training windows as a checked array; MmkdError if there is none."""
        array = check_windows(windows)
        if len(array) == 0:
            raise MmkdError(f"modality {self.name} cannot be fitted on no windows")
        return array

    def _scratch_bytes(self, channels: int, length: int) -> int:
        """Bytes that `_transform_chunk` allocates for each window."""
        return 0

    def _transform_chunk(self, x: Float64, out: Float32) -> None:
        """Transform a chunk (n, C, W) into `out` (n, *shape)."""
        raise NotImplementedError(f"{type(self).__name__} defines no _transform_chunk")
