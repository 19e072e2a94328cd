"""What is measured of filters: power spectra, responses, and the energy that masks leave, against plain transforms."""

import math

import numpy as np
import pytest
import torch

from mmkd import MmkdError
from mmkd.frequency import (
    FrequencyAttention,
    FrequencyAttention1d,
    half_spectrum,
    high_pass,
    in_fourier,
    kept_energy,
    mean_power,
    removed_share,
    response,
)
from mmkd.frequency.bases import change

MASKS = [
    ("reference", 0.1),
    ("symmetric", 0.3),
    ("radial", 0.4),
    ("butterworth", 0.2),
    ("gaussian", 0.5),
    ("none", 0.1),
]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(5)


def test_the_power_of_a_cosine_stands_at_its_frequency():
    t = torch.arange(40) / 40
    x = (3 * torch.cos(2 * math.pi * 7 * t)).expand(2, 3, 40)
    power = mean_power(x)
    assert power.shape == (40,)
    assert set(torch.nonzero(power > 1e-6).flatten().tolist()) == {7, 33}
    assert power.sum().item() == pytest.approx(9 / 2 * 40)
    wave = torch.cos(2 * math.pi * (2 * t[:20, None] * 2 + 3 * t[None]))  # 2 cycles down 20 rows, 3 over 40 columns
    at = torch.nonzero(mean_power(wave.expand(1, 1, 20, 40)) > 1e-6).tolist()
    assert sorted(at) == [[2, 3], [18, 37]]


@pytest.mark.parametrize("size", [(9,), (16,), (6, 8), (5, 7)])
def test_the_power_sums_to_the_mean_energy_of_a_channel(size):
    x = torch.randn(4, 3, *size)
    assert mean_power(x).sum().item() == pytest.approx(x.square().flatten(2).sum(2).mean().item(), rel=1e-6)
    expected = np.abs(np.fft.rfftn(x.double().numpy(), axes=range(2, x.ndim), norm="ortho")) ** 2
    np.testing.assert_allclose(half_spectrum(mean_power(x)).numpy(), expected.mean((0, 1)), rtol=1e-6)


def attention(size, c_in=2, c_out=3, **options):
    kind = FrequencyAttention1d if len(size) == 1 else FrequencyAttention
    module = kind(c_in, c_out, size, bias=False, quiet=True, **options).double()
    with torch.no_grad():
        module.rate_global.fill_(-0.7)
    return module


@pytest.mark.parametrize("size", [(20,), (9,), (20, 22), (5, 8)])
@pytest.mark.parametrize(("mask", "cutoff"), MASKS)
def test_the_response_is_the_transform_of_the_impulse_responses(size, mask, cutoff):
    module = attention(size, mask=mask, cutoff=cutoff)
    impulses = torch.zeros(2, 2, *size, dtype=torch.double)
    for channel in range(2):
        impulses[(channel, channel, *(0 for _ in size))] = 1
    out = (module.rate_global * module.global_branch(impulses)).detach().numpy()
    expected = np.abs(np.fft.rfftn(out, axes=range(2, out.ndim))) ** 2
    np.testing.assert_allclose(response(module).numpy(), np.sqrt(expected.mean((0, 1))), atol=1e-12)


@pytest.mark.parametrize("transform", ["dct", "haar"])
@pytest.mark.parametrize("size", [(12,), (7,), (4, 6)])
def test_the_response_in_another_basis_is_the_root_of_the_energy_of_waves(transform, size):
    module = attention(size, transform=transform, mask="symmetric", cutoff=0.5)
    found = response(module).numpy()
    grid = torch.meshgrid(*(torch.arange(n).double() / n for n in size), indexing="ij")
    for at in np.ndindex(found.shape):
        phase = 2 * math.pi * sum(k * axis for k, axis in zip(at, grid, strict=True))
        energy = 0.0
        for part in (torch.cos(phase), torch.sin(phase)):
            for channel in range(2):
                x = torch.zeros(1, 2, *size, dtype=torch.double)
                x[0, channel] = part / math.sqrt(math.prod(size))
                energy += (0.7 * module.global_branch(x)).square().sum().item()
        assert found[at] == pytest.approx(math.sqrt(energy / 6), abs=1e-12)


def test_a_module_without_a_global_branch_has_no_response():
    with pytest.raises(MmkdError, match="has no filter"):
        response(FrequencyAttention(2, 2, 4, use_global=False))


@pytest.mark.parametrize("size", [(20,), (21,), (20, 24)])
@pytest.mark.parametrize(("mask", "cutoff"), MASKS)
def test_the_energy_that_a_mask_removes_is_that_of_the_masked_map(size, mask, cutoff):
    x = torch.randn(3, 2, *size, dtype=torch.double) + 0.5
    space = tuple(range(2, x.ndim))
    masked = torch.fft.ifftn(torch.fft.fftn(x, dim=space) * high_pass(size, mask, cutoff), dim=space).real
    expected = 1 - (masked.square().sum() / x.square().sum()).item()
    assert removed_share(x, kept_energy(size, mask, cutoff)) == pytest.approx(expected, abs=1e-12)
    assert (expected == pytest.approx(0)) == (mask == "none")


def test_a_lopsided_mask_keeps_a_quarter_of_the_energy_where_it_removes_one_sign():
    kept = kept_energy((20,), "reference", 0.2)  # -2 <= k < 2 is removed
    assert kept[[0, 1, 2, 3, 17, 18, 19]].tolist() == [0, 0, 0.25, 1, 1, 0.25, 0]
    cosine = torch.cos(2 * math.pi * 2 * torch.arange(20) / 20).view(1, 1, -1)
    assert removed_share(cosine, kept) == pytest.approx(0.75)


@pytest.mark.parametrize("transform", ["dct", "haar"])
def test_the_energy_removed_in_another_basis(transform):
    x = torch.randn(3, 2, 6, 7, dtype=torch.double) + 0.5
    factors = high_pass((6, 7), "gaussian", 0.5, transform)
    masked = change(change(x, transform) * factors, transform, inverse=True)
    expected = 1 - (masked.square().sum() / x.square().sum()).item()
    kept = kept_energy((6, 7), "gaussian", 0.5, transform)
    assert removed_share(x, kept, transform) == pytest.approx(expected, abs=1e-12)
    assert 0.01 < expected < 0.99


@pytest.mark.parametrize("transform", ["fft", "dct", "haar"])
def test_factors_of_energy_change_the_basis_and_keep_their_mean(transform):
    energy = torch.rand(6, 9, dtype=torch.double)
    found = in_fourier(energy, transform)
    assert found.mean().item() == pytest.approx(energy.mean().item())  # waves and basis functions are both complete
    torch.testing.assert_close(in_fourier(torch.ones(6, 9), transform), torch.ones(6, 9, dtype=torch.double))


def test_maps_without_energy_lose_none():
    assert removed_share(torch.zeros(2, 2, 8), kept_energy((8,), "symmetric", 0.5)) == 0
