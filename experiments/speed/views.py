"""Views: fields, plots, diagrams and persistence images beside the libraries that have them."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import ripser
from gudhi.sklearn.cubical_persistence import CubicalPersistence
from numpy.typing import NDArray
from pairs import Row, pairs
from persim import PersistenceImager
from pyts.approximation import PiecewiseAggregateApproximation
from pyts.image import GramianAngularField, MarkovTransitionField, RecurrencePlot
from scipy import sparse

from mmkd.core.memory import keep_freed_memory
from mmkd.views import GAF, MTF, RP, Modality, PersistenceImage, sublevel_diagrams

WINDOWS, CHANNELS, LENGTH, SIZE = 10_000, 9, 128, 64
PART = 1000
DIAGRAMS = ((128, 2000), (512, 1000), (4096, 125))
"""Lengths, and windows of nine channels of each."""
RIPSER_ROWS = 256


def walks(windows: int, length: int = LENGTH) -> NDArray[np.float64]:
    """Random walks, as smooth as sensors are."""
    return np.random.default_rng(0).standard_normal((windows, CHANNELS, length)).cumsum(axis=2)


def gaf(rounds: int) -> Iterator[Row]:
    """Fields of ten thousand windows at once, and a thousand at a time in memory that is used again."""
    x, what = walks(WINDOWS), f"GAF, {WINDOWS:,} x {CHANNELS} x {LENGTH} -> {SIZE} x {SIZE}"
    ours, theirs = GAF(SIZE), GramianAngularField(image_size=SIZE)
    few = x[:200]
    gap = np.abs(ours.transform(few) - theirs.fit_transform(few.reshape(-1, LENGTH)).reshape(200, CHANNELS, SIZE, SIZE))
    assert gap.max() < 1e-6, f"gaf differs from pyts by {gap.max()}"
    out = np.zeros((WINDOWS, CHANNELS, SIZE, SIZE), np.float32)
    times = pairs(lambda: ours.transform(x, out=out), lambda: theirs.fit_transform(x.reshape(-1, LENGTH)), rounds)
    note = f"into an array that is there, which pyts cannot; largest difference {gap.max():.0e}"
    yield Row(what, "pyts", times.faster, 10.0, note=note)
    times = pairs(lambda: ours.transform(x), lambda: theirs.fit_transform(x.reshape(-1, LENGTH)), rounds, warm=False)
    yield Row(f"{what}, into a new array", "pyts", times.faster, None)
    keep_freed_memory()  # from here on, as the command does; the peers have it too
    out = out[:PART]
    parts = np.split(x, WINDOWS // PART)

    def into() -> None:
        for part in parts:
            ours.transform(part, out=out)

    def peer() -> None:
        for part in parts:
            theirs.fit_transform(part.reshape(-1, LENGTH))

    note = "neither asks the system for memory; ours is as fast as memory takes it, see the next row"
    yield Row(f"{what}, {PART:,} windows a call", "pyts", pairs(into, peer, rounds).faster, None, note=note)
    filled = pairs(into, lambda: [out.fill(1.0) for _ in parts], rounds)
    yield Row(f"{what}, {PART:,} windows a call", "filling the array, on one thread", filled.cost, 3.0, cost=True)


def plots(rounds: int) -> Iterator[Row]:
    """Markov transition fields and recurrence plots, a thousand windows into an array that is there."""
    x = walks(PART)
    rows = x.reshape(-1, LENGTH)
    averaged = PiecewiseAggregateApproximation(None, output_size=SIZE, overlapping=False)
    wider = PiecewiseAggregateApproximation(None, output_size=SIZE + 2, overlapping=False)
    peers: tuple[tuple[str, Modality, Callable[[], NDArray[np.float64]]], ...] = (
        ("MTF", MTF(SIZE), lambda: MarkovTransitionField(SIZE).transform(rows)),
        ("recurrence plots", RP(SIZE, scale="none"), lambda: RecurrencePlot().transform(averaged.transform(rows))),
        (
            "recurrence plots, states of 3, nearest 10 %",
            RP(SIZE, 3, threshold="point"),
            lambda: RecurrencePlot(3, 1, "point").transform(wider.transform(rows)),
        ),
    )
    out = np.zeros((PART, CHANNELS, SIZE, SIZE), np.float32)
    for what, ours, theirs in peers:
        expected = theirs().reshape(out.shape)
        gap = float(np.abs(ours.fit(x).transform(x, out=out) - expected).max() / expected.max())
        assert gap < 1e-6, f"{what} differ from pyts' by {gap} of the largest value"
        times = pairs(partial(ours.transform, x, out=out), theirs, rounds)
        note = f"into an array that is there; largest difference {gap:.0e} of the largest value"
        yield Row(f"{what}, {PART:,} x {CHANNELS} x {LENGTH} -> {SIZE} x {SIZE}", "pyts", times.faster, 5.0, note=note)


def gudhi_pairs(rows: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Diagrams by gudhi's public 1-D route, with the component that never dies."""
    found: list[NDArray[np.float64]] = CubicalPersistence(homology_dimensions=0, input_type="vertices").fit_transform(
        list(rows)
    )
    return found


def ripser_pairs(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """The diagram of a row by ripser's lower-star filtration; it holds numbers in float32."""
    n = len(row)
    at, edges = np.arange(n), np.maximum(row[:-1], row[1:])
    i, j = np.concatenate([at, at[:-1]]), np.concatenate([at, at[1:]])
    matrix = sparse.coo_matrix((np.concatenate([row, edges]), (i, j)), shape=(n, n))
    found: NDArray[np.float64] = ripser.ripser(matrix, maxdim=0, distance_matrix=True)["dgms"][0]
    return found


def same(found: NDArray[np.float64], expected: NDArray[np.float64], tolerance: float) -> bool:
    """Whether two diagrams hold the same points; those that end where they begin are none."""
    expected = expected[np.isfinite(expected).all(axis=1)]
    expected = expected[expected[:, 1] - expected[:, 0] > tolerance]
    found = found[found[:, 1] - found[:, 0] > tolerance]
    a, b = (d[np.lexsort(d.T)] for d in (found, expected))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=tolerance))


def diagrams(rounds: int) -> Iterator[Row]:
    """Diagrams alone."""
    for length, windows in DIAGRAMS:
        x = walks(windows, length).astype(np.float32).astype(np.float64)  # ripser holds float32
        rows, what = x.reshape(-1, length), f"sublevel diagrams, {windows:,} x {CHANNELS} x {length}"
        flat = [d for window in sublevel_diagrams(x) for d in window]
        assert all(same(a, b, 1e-12) for a, b in zip(flat, gudhi_pairs(rows), strict=True)), "diagrams are not gudhi's"
        times = pairs(partial(sublevel_diagrams, x), partial(gudhi_pairs, rows), rounds)
        yield Row(what, "gudhi CubicalPersistence", times.faster, 10.0, note=f"all {len(rows):,} diagrams equal")
        few = rows[:RIPSER_ROWS]
        assert all(same(a, ripser_pairs(row), 1e-12) for a, row in zip(flat, few, strict=False)), "not ripser's"
        share = len(rows) / len(few)
        times = pairs(partial(sublevel_diagrams, x), lambda few=few: [ripser_pairs(row) for row in few], rounds)
        ratios = [share * ratio for ratio in times.faster]
        note = f"ripser timed on {len(few)} of {len(rows):,} diagrams, those equal, ours on all"
        yield Row(what, "ripser", ratios, 200.0, note=note)


def images(rounds: int) -> Iterator[Row]:
    """Persistence images from windows to arrays, diagrams included, both on one given grid."""
    x = walks(WINDOWS)
    state = PersistenceImage(SIZE, scale="none").fit(x).state()
    low, high = min(state["birth_low"]), max(state["birth_high"])
    pixel = (high - low) / SIZE
    top, sigma = high - low, pixel
    ours = PersistenceImage(SIZE, birth_low=low, birth_high=high, persistence_high=top, sigma=sigma, scale="none")
    imager = PersistenceImager((low, high), (0.0, top), pixel, kernel_params={"sigma": sigma**2})

    def theirs(x: NDArray[np.float64]) -> NDArray[np.float64]:
        found = [d[np.isfinite(d).all(axis=1)] for d in gudhi_pairs(x.reshape(-1, LENGTH))]
        return np.stack(imager.transform(found, skew=True))

    few = x[:50]
    expected = theirs(few).reshape(50, CHANNELS, SIZE, SIZE)
    gap = float(np.abs(ours.transform(few) - expected).max())
    assert gap < 1e-5 * max(1.0, expected.max()), f"persistence images differ from persim's by {gap}"
    part = x[: PART // 2]
    times = pairs(lambda: ours.transform(x), lambda: theirs(part), rounds)
    yield Row(
        f"persistence images, {WINDOWS:,} x {CHANNELS} x {LENGTH} -> {SIZE} x {SIZE}",
        "persim over gudhi diagrams",
        [WINDOWS / len(part) * ratio for ratio in times.faster],
        30.0,
        note=f"persim timed on {len(part)} of the windows, ours on all; "
        f"largest difference {gap:.0e} of values up to {expected.max():.1f}",
    )


def rows(rounds: int) -> Iterator[Row]:
    """Of the fields and plots, the diagrams and the images."""
    for part in (gaf, plots, diagrams, images):
        yield from part(rounds)
