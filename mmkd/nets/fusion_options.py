"""Options of fusions: `--fusion freqfusion:kernels=3-5-7`, one text a choice.

A fusion, or stage fusion, with options has an attribute `Config`, a frozen dataclass of `core.options`; its factory
takes them as keyword arguments. In the text, values of a tuple are joined by `-`. The canonical text leaves out what
has its default, so that a choice has one text, and so one key of a unit.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_origin, get_type_hints

from mmkd.core.errors import MmkdError
from mmkd.core.options import Options, describe, option
from mmkd.core.registry import Registry
from mmkd.core.text import shown
from mmkd.specs.fusion_names import fusion_options, kind_of_fusion

LARGEST_KERNEL = 15


@dataclass(frozen=True)
class FreqFusionOptions(Options):
    """Options of FreqFusion and its variants; `mmkd.nets.freqfusion.FreqFusion` says what each does.

    Raises:
        MmkdError: A kernel is even, out of range or named twice, or options exclude each other.
    """

    kernels: tuple[int, ...] = option((5,), "odd sizes, such as 3-5-7, mixed at each position")
    bands: Literal[2, 3, 4, "continuous"] = option(2, "of the fine map: 2|3|4|continuous")
    gates: Literal["fixed", "learned"] | None = option(None, "fixed|learned: fixed with 2 bands, learned with more")

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = [k for k in self.kernels if k % 2 == 0 or not 3 <= k <= LARGEST_KERNEL]
        if wrong or not self.kernels:
            raise MmkdError(
                f"kernels = {_text(self.kernels) or 'none'}: take odd sizes from 3 to {LARGEST_KERNEL}, such as 5 or "
                f"3-5-7"
            )
        if len(set(self.kernels)) < len(self.kernels):
            raise MmkdError(f"kernels = {_text(self.kernels)}: a size is named twice; name it once")
        object.__setattr__(self, "kernels", tuple(sorted(self.kernels)))
        if self.bands != 2 and self.gates == "fixed":
            raise MmkdError(
                f"gates = fixed: only two bands have a fixed gate; leave it out, or take 2 bands, not {self.bands}"
            )
        if self.has_gates and len(self.kernels) > 1:
            raise MmkdError(
                f"kernels = {_text(self.kernels)}: bands with learned gates have sizes of their own; take one kernel, "
                f"or two bands with a fixed gate"
            )
        if self.gates == ("fixed" if self.bands == 2 else "learned"):
            object.__setattr__(self, "gates", None)

    @property
    def has_gates(self) -> bool:
        """Whether the gains of bands are learned."""
        return self.bands != 2 or self.gates == "learned"

    @property
    def band_sizes(self) -> tuple[int, ...]:
        """The sizes of kernels between the bands: k_hp, k_hp + 2, ...; those of 4 bands for "continuous"."""
        number = 4 if self.bands == "continuous" else self.bands
        return tuple(max(3, self.kernels[0] - 2) + 2 * n for n in range(number - 1))

    @property
    def low_sizes(self) -> tuple[int, ...]:
        """The sizes of kernels that E_lp has an encoder for."""
        return (max(self.kernels[0], self.band_sizes[-1]),) if self.has_gates else self.kernels

    @property
    def high_sizes(self) -> tuple[int, ...]:
        """The sizes of kernels that E_hp has an encoder for; one of each low-pass kernel, or of each band but one."""
        if self.bands == "continuous":
            return self.band_sizes[-1:]
        return self.band_sizes if self.has_gates else tuple(max(3, kernel - 2) for kernel in self.kernels)


def chosen_fusion(registry: Registry[Any], text: str) -> tuple[Any, dict[str, Any]]:
    """Look up a fusion and read its options.

    Args:
        registry: `FUSIONS` or `STAGE_FUSIONS`.
        text: a name, or NAME:OPTION=VALUE:...

    Returns:
        The factory, and its keyword arguments: none where a fusion has no options.

    Raises:
        MmkdError: The name is unknown, the fusion has no such options, or a value is not one of them.
    """
    if isinstance(text, str) and text.strip().isdecimal():  # the rest of kernels=3,5,7
        raise MmkdError(f"--fusion {shown(text)}: a comma begins another fusion; join values by -, as in kernels=3-5-7")
    factory = registry.get(kind_of_fusion(text) if isinstance(text, str) else text)
    config = _config(factory)
    if ":" in text and config is None:
        raise MmkdError(f"--fusion {shown(text)}: {kind_of_fusion(text)} has no options; leave out what follows it")
    return factory, {} if config is None else vars(_read(config, text)).copy()


def canonical_fusion(registry: Registry[Any], text: str) -> str:
    """The one text for a choice of fusion and options: in the order of the options, without those at their default.

    Raises:
        MmkdError: As for `chosen_fusion`.
    """
    factory, options = chosen_fusion(registry, text)
    name = kind_of_fusion(text)
    if not options:
        return name
    usual = _config(factory)()
    own = [(key, value) for key, value in options.items() if value != getattr(usual, key)]
    return ":".join([name, *(f"{key.replace('_', '-')}={_text(value)}" for key, value in own)])


def described_options(name: str, factory: Any) -> str:
    """The options of the fusion `name` for `--list`, each with its default; empty if it has none."""
    config = _config(factory)
    if config is None:
        return ""
    rows = [
        f"{flag} ({words})" if default is None else f"{flag}={_text(default)} ({words})"
        for flag, _, default, words in describe(config)
    ]
    return f" --fusion {name}:OPTION=VALUE: {'; '.join(rows)}"


def _config(factory: Any) -> Any:
    """The dataclass with the options of a fusion, None if it has none."""
    config = getattr(factory, "Config", None)
    return config if isinstance(config, type) and issubclass(config, Options) else None


def _read(config: Any, text: str) -> Any:
    hints = get_type_hints(config)
    tuples = {f.name for f in fields(config) if get_origin(hints[f.name]) is tuple}
    given: dict[str, Any] = fusion_options(text)
    values = {key: value.split("-") if key.replace("-", "_") in tuples else value for key, value in given.items()}
    return config.parse(values, f"--fusion {shown(text)}")


def _text(value: Any) -> str:
    """A value as `--fusion` writes it."""
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
