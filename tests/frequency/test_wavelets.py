"""The Haar transform of maps: reference numbers, slow loops, energy; and maps that meet without aliases."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mmkd import MmkdError
from mmkd.frequency import LIFTS, WAVELET_TAPS, haar_bands, haar_join, haar_levels, meet_unaliased, ring_bands, shrink

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "losses2_bands.npz", allow_pickle=False)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(2)


def test_the_transform_equals_the_reference():
    """The orientations in their order too: along the height, along the width, both."""
    low, high = haar_bands(torch.from_numpy(ORACLE["freekd_map_teacher"]), 3)
    np.testing.assert_allclose(low, ORACLE["freekd_dwt_low"], rtol=0, atol=1e-5)
    for level, band in enumerate(high, 1):
        np.testing.assert_allclose(band, ORACLE[f"freekd_dwt_high_level{level}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("end", ["zero", "repeat"])
def test_lines_by_slow_loops(end):
    x = torch.randn(2, 3, 11, dtype=torch.double)
    low, high = haar_bands(x, 3, end)
    lengths = []
    for band in high:
        rows = torch.empty(2, 3, (x.shape[2] + 1) // 2, dtype=torch.double)
        details = torch.empty_like(rows)
        for b in range(2):
            for c in range(3):
                for j in range(rows.shape[2]):
                    first = x[b, c, 2 * j]
                    outside = first * 0 if end == "zero" else first
                    second = x[b, c, 2 * j + 1] if 2 * j + 1 < x.shape[2] else outside
                    rows[b, c, j] = (first + second) / math.sqrt(2)
                    details[b, c, j] = (first - second) / math.sqrt(2)
        torch.testing.assert_close(band[:, :, 0], details)
        x = rows
        lengths.append(rows.shape[2])
    torch.testing.assert_close(low, x)
    assert lengths == [6, 3, 2]


@pytest.mark.parametrize("size", [(16,), (8, 16), (7, 12), (13,)])
def test_energy_is_kept(size):
    x = torch.randn(2, 3, *size, dtype=torch.double)
    low, high = haar_bands(x, haar_levels(size))
    energy = low.square().sum() + sum(band.square().sum() for band in high)
    torch.testing.assert_close(energy, x.square().sum())


def test_a_constant_has_a_low_band_alone():
    low, high = haar_bands(torch.full((1, 1, 8, 8), 3.0), 3)
    assert low.item() == pytest.approx(24)
    assert all(band.abs().max() < 1e-6 for band in high)


@pytest.mark.parametrize(("size", "levels"), [((1,), 0), ((2,), 1), ((8, 7), 2), ((64,), 6)])
def test_how_often_a_side_is_halved(size, levels):
    assert haar_levels(size) == levels


@pytest.mark.parametrize("case", [((2, 3), 1, "zero"), ((2, 3, 4), 0, "zero"), ((2, 3, 4), 1, "mirror")])
def test_what_is_no_transform_is_refused(case):
    shape, levels, end = case
    with pytest.raises(MmkdError):
        haar_bands(torch.randn(shape), levels, end)


def test_maps_of_one_rank_meet_at_the_smaller_sides():
    a, b = torch.randn(2, 3, 8, 5), torch.randn(2, 4, 6, 9)
    met = meet_unaliased(a, b, "outer")
    assert [tuple(x.shape) for x in met] == [(2, 3, 6, 5), (2, 4, 6, 5)]
    torch.testing.assert_close(met[0], shrink(a, (6, 5)))


@pytest.mark.parametrize("mixed", list(LIFTS))
def test_a_line_meets_an_image(mixed):
    line, image = torch.randn(2, 3, 40), torch.randn(2, 4, 6, 5)
    met = meet_unaliased(line, image, mixed)
    assert [tuple(x.shape) for x in met] == [(2, 3, 6, 5), (2, 4, 6, 5)]
    short = meet_unaliased(image, line[..., :4], mixed)
    side = 2 if mixed == "hankel" else 4
    assert [tuple(x.shape[2:]) for x in short] == [(side, side)] * 2


def test_a_fast_wave_leaves_no_alias():
    fast = torch.cos(math.pi * 30 / 32 * (torch.arange(32.0) + 0.5))[None, None]  # in no band of 8 samples
    met, _ = meet_unaliased(fast, torch.zeros(1, 1, 8), "outer")
    assert met.abs().max() < 1e-5


@pytest.mark.parametrize("size", [(16,), (11,), (7,), (8, 12), (5, 7), (6, 9)])
@pytest.mark.parametrize("levels", [1, 2])
def test_joined_bands_are_the_map_again(size, levels):
    x = torch.randn(2, 3, *size, dtype=torch.double)
    low, high = haar_bands(x, levels)
    found = haar_join(low, high)
    assert tuple(found.shape[2:]) == tuple(n + n % 2 for n in size)
    torch.testing.assert_close(found[tuple(slice(n) for n in x.shape)], x)


@pytest.mark.parametrize("wavelet", WAVELET_TAPS)
@pytest.mark.parametrize("length", [2, 6, 7, 8])
def test_bands_of_a_ring_by_slow_loops(wavelet, length):
    x = torch.randn(3, length, dtype=torch.double)
    root = 3**0.5
    h = {"haar": [4, 4], "db2": [1 + root, 3 + root, 3 - root, 1 - root]}[wavelet]
    h = [tap / (4 * 2**0.5) for tap in h]
    line = torch.cat([x, x[:, -1:]], 1) if length % 2 else x
    found_low, (found_high,) = ring_bands(x, 1, wavelet)
    n = line.shape[1]
    for j in range(n // 2):
        low = sum(h[k] * line[:, (2 * j + k) % n] for k in range(len(h)))
        high = sum((-1) ** k * h[len(h) - 1 - k] * line[:, (2 * j + k) % n] for k in range(len(h)))
        torch.testing.assert_close(found_low[:, j], low)
        torch.testing.assert_close(found_high[:, j], high)
    energy = found_low.square().sum() + found_high.square().sum()
    torch.testing.assert_close(energy, line.square().sum())


def test_rings_of_the_haar_wavelet_are_lines_of_it():
    x = torch.randn(4, 13)
    low, high = ring_bands(x, 3)
    other_low, other_high = haar_bands(x[:, None], 3, end="repeat")
    torch.testing.assert_close(low, other_low[:, 0])
    for own, other in zip(high, other_high, strict=True):
        torch.testing.assert_close(own, other[:, 0, 0])


def test_db2_has_no_detail_of_a_ramp_but_where_its_ends_meet():
    _, (details,) = ring_bands(torch.arange(12.0)[None].double(), 1, "db2")
    assert details[0, :-1].abs().max() < 1e-12
    assert details[0, -1].abs() > 1
    with pytest.raises(MmkdError, match="db9"):
        ring_bands(torch.zeros(1, 4), 1, "db9")
