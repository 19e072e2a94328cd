"""What the spectral filters of a method do, after the last epoch: measured on training windows, drawn for the record.

The weights are those of the last epoch, which the student and the method's own modules have together. Neither test nor
validation windows are read, and the random numbers of the training are not touched.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmkd.drawing.spectra import FilterSpectra
from mmkd.frequency import half_spectrum, mean_power
from mmkd.methods.outputs import Outputs
from mmkd.methods.spectra import Filtering
from mmkd.store.spectra import NAME, write_spectra
from mmkd.training.pictures import save_spectra_picture
from mmkd.training.precision import as_float
from mmkd.training.preparation import PreparedUnit
from mmkd.training.replaced import in_pass

MOST_WINDOWS = 64
BATCH = 16
"""Windows at a time, so that the spectra of large maps need little memory."""


def measure_spectra(unit: PreparedUnit) -> list[FilterSpectra]:
    """The spectra of the filters of a method, over at most 64 training windows, evenly spaced.

    Called right after the training. Of augmented windows, those of the first pass are read.

    Returns:
        A filter for each pair of stages whose maps have more than one position; none of a method without filters.
    """
    method = unit.method
    if not method.has_spectra or method.combines:
        return []
    windows = unit.windows
    count = len(windows.train)
    positions = np.linspace(0, count - 1, min(MOST_WINDOWS, count)).round().astype(np.int64)
    modules = [unit.student, method, *unit.source.networks.values()]
    modes = [module.training for module in modules]
    sums: dict[str, _Sum] = {}
    try:
        for module in modules:
            module.eval()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for start in range(0, len(positions), BATCH):
                for name, filtering in method.spectra(*_outputs(unit, positions[start : start + BATCH])).items():
                    if filtering.before[0, 0].numel() > 1:
                        sums.setdefault(name, _Sum()).add(filtering)
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)
    return [total.mean(name, windows.window_s) for name, total in sums.items()]


def _outputs(unit: PreparedUnit, positions: NDArray[np.int64]) -> tuple[Outputs, Mapping[str, Outputs]]:
    """The outputs of student and teachers for training windows, as `Method.losses` gets them."""
    windows = unit.windows
    rows = windows.rows(positions, 0)
    views = windows.load_rows(rows)
    student = as_float(unit.student(views))
    teachers = in_pass(unit.source, 0).outputs(rows, views)
    if windows.per_step:
        every = torch.ones(len(rows), windows.y.shape[1], dtype=torch.bool, device=windows.device)
        student = student.steps(every)
        teachers = {name: outputs.steps(every) for name, outputs in teachers.items()}
    return student, teachers


class _Sum:
    """Spectra summed over batches, each weighted by its number of windows."""

    def __init__(self) -> None:
        self.windows = 0
        self.energy = 0.0
        self.removed = 0.0
        self.power: list[Tensor] = []
        self.last: Filtering

    def add(self, filtering: Filtering) -> None:
        count = len(filtering.before)
        power = [mean_power(x.cpu()) * count for x in (filtering.before, filtering.after)]
        energy = float(power[0].sum())
        self.windows += count
        self.energy += energy
        self.removed += filtering.removed * energy
        self.power = [a + b for a, b in zip(self.power, power, strict=True)] if self.power else power
        self.last = filtering

    def mean(self, name: str, window_s: float | None) -> FilterSpectra:
        before, after = (half_spectrum(total / self.windows).numpy() for total in self.power)
        last = self.last
        size = tuple(last.before.shape[2:])
        timed = last.timed and window_s is not None and len(size) == 1
        return FilterSpectra(
            name=name,
            size=size,
            before=before,
            after=after,
            response=last.response.double().cpu().numpy(),
            kept=None if last.kept is None else last.kept.double().cpu().numpy(),
            removed=self.removed / self.energy if self.energy > 0 else 0.0,
            rate_hz=size[0] / window_s if timed and window_s is not None else None,
            facts=last.facts,
            windows=self.windows,
        )


def save_spectra(folder: Path, unit: PreparedUnit, filters: Sequence[FilterSpectra]) -> None:
    """Write `spectra.npz` and `spectra.svg`; nothing where there is no filter."""
    if filters:
        write_spectra(folder / NAME, filters)
        save_spectra_picture(folder, unit, filters)
