import itertools
import math

import numpy as np
import pytest
import scipy.fft
import torch

from mmkd import MmkdError
from mmkd.frequency import (
    BAND_MASKS,
    BAND_SHAPES,
    BAND_TRANSFORMS,
    BandFilter,
    band_mask,
    band_radius,
    bands,
    random_band,
    shrink,
)

SIZES = [(1,), (2,), (9,), (16,), (5, 8), (4, 1), (6, 7)]
every_size = pytest.mark.parametrize("size", SIZES, ids=str)
every_transform = pytest.mark.parametrize("transform", BAND_TRANSFORMS)
every_shape = pytest.mark.parametrize("shape", BAND_SHAPES)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(4)


def bins(size):
    return itertools.product(*(range(n) for n in size))


def frequency(k, n, transform):
    """Cycles a sample of bin k."""
    return k / (2 * n) if transform == "dct" else min(k, n - k) / n


def slow_filter(x, gain, transform):
    """(*size) in float64, as a sum over basis functions, each written out."""
    size, y = x.shape, torch.zeros_like(x)
    grids = torch.meshgrid(*(torch.arange(n, dtype=torch.double) for n in size), indexing="ij")
    for at in bins(size):
        if transform == "dct":
            wave = torch.ones_like(x)
            for k, n, grid in zip(at, size, grids, strict=True):
                wave = wave * math.sqrt((1 if k == 0 else 2) / n) * torch.cos(math.pi * k * (2 * grid + 1) / (2 * n))
            y = y + gain[at] * (x * wave).sum() * wave
        else:
            phase = sum(2 * math.pi * k * grid / n for k, n, grid in zip(at, size, grids, strict=True))
            re, im = (x * phase.cos()).sum(), -(x * phase.sin()).sum()
            y = y + gain[at] * (re * phase.cos() - im * phase.sin()) / x.numel()
    return y


@every_size
@every_transform
@every_shape
def test_radius_and_masks_by_loops(size, transform, shape):
    r = band_radius(size, transform, shape)
    masks = {
        (m, n): band_mask(size, "low", 0.4, m, transform=transform, shape=shape, order=n)
        for m in BAND_MASKS
        for n in (1, 3)
    }
    for at in bins(size):
        f = [frequency(k, n, transform) / 0.5 for k, n in zip(at, size, strict=True)]
        want = math.hypot(*f) / math.sqrt(len(f)) if shape == "ball" else max(f)
        assert r[at].item() == pytest.approx(want, abs=1e-12)
        assert 0 <= want <= 1 + 1e-12
        for (mask, order), got in masks.items():
            value = {
                "hard": float(want <= 0.4 + 1e-9),
                "gaussian": 2 ** -((want / 0.4) ** 2),
                "butterworth": 1 / (1 + (want / 0.4) ** (2 * order)),
            }[mask]
            assert got[at].item() == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("mask", BAND_MASKS)
@every_transform
def test_high_is_one_less_low_and_soft_masks_are_half_at_the_cutoff(mask, transform):
    low, high = (band_mask((16,), band, 0.5, mask, transform=transform) for band in ("low", "high"))
    assert torch.equal(low + high, torch.ones(16, dtype=torch.float64))
    at = int((band_radius((16,), transform) - 0.5).abs().argmin())
    assert low[at].item() == (1.0 if mask == "hard" else 0.5)


@every_size
@every_transform
@every_shape
def test_the_hard_low_pass_at_1_is_the_identity(size, transform, shape):
    x = torch.randn(2, 3, *size)
    gain = band_mask(size, "low", 1.0, "hard", transform=transform, shape=shape)
    assert (gain == 1).all()
    torch.testing.assert_close(BandFilter(gain, transform)(x), x, rtol=0, atol=2e-6)


@every_size
@every_transform
@pytest.mark.parametrize("kind", ["gaussian", "hard", "random"])
def test_value_and_gradient_of_the_filter_by_sums_of_waves(size, transform, kind):
    total = math.prod(size)
    if kind == "random":
        gain = random_band(size, (total + 1) // 2, transform)
    else:
        gain = band_mask(size, "low", 0.4, kind, transform=transform)
    layer = BandFilter(gain, transform)
    x = torch.randn(2, 3, *size, dtype=torch.double, requires_grad=True)
    weight = torch.randn_like(x)
    y = layer(x)
    slow = torch.stack([torch.stack([slow_filter(c, layer.gain.double(), transform) for c in b]) for b in x])
    assert y.dtype == torch.double
    torch.testing.assert_close(y, slow, rtol=1e-9, atol=1e-9)
    (got,) = torch.autograd.grad((y * weight).sum(), x)
    (want,) = torch.autograd.grad((slow * weight).sum(), x)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    if kind != "gaussian":  # an orthogonal projection, which is also what makes the identities of `freq-lh` hold
        torch.testing.assert_close(layer(y), y, rtol=1e-9, atol=1e-9)
        assert (y * (x - y)).sum().item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 7, 64, 128, 129, 200, 301])
def test_dct_is_scipys(n):
    """Short axes by a matrix product, long ones by a Fourier transform."""
    x = torch.randn(2, 2, n, dtype=torch.double, requires_grad=True)
    got = bands.dct(x, (2,))
    want = scipy.fft.dctn(x.detach().numpy(), type=2, norm="ortho", axes=(2,))
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(bands.idct(got, (2,)), x, rtol=1e-10, atol=1e-10)
    weight = torch.randn_like(x)
    (grad,) = torch.autograd.grad((got * weight).sum(), x)  # the transpose of an orthonormal matrix is its inverse
    torch.testing.assert_close(grad, bands.idct(weight, (2,)), rtol=1e-10, atol=1e-10)
    coefficients = torch.randn_like(x).requires_grad_()
    (grad,) = torch.autograd.grad((bands.idct(coefficients, (2,)) * weight).sum(), coefficients)
    torch.testing.assert_close(grad, bands.dct(weight, (2,)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [(6, 9), (140, 5), (3, 150)])
def test_dct_of_images_is_scipys(size):
    x = torch.randn(2, 2, *size)
    want = scipy.fft.dctn(x.double().numpy(), type=2, norm="ortho", axes=(2, 3))
    np.testing.assert_allclose(bands.dct(x, (2, 3)).numpy(), want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(bands.idct(bands.dct(x, (2, 3)), (2, 3)), x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("longest", [0, 128])
def test_gradcheck(longest, monkeypatch):
    monkeypatch.setattr(bands, "LONGEST_PRODUCT", longest)
    for transform in BAND_TRANSFORMS:
        layer = BandFilter(band_mask((5, 4), "high", 0.3, "butterworth", transform=transform), transform)
        torch.autograd.gradcheck(layer, torch.randn(1, 2, 5, 4, dtype=torch.double, requires_grad=True))


@pytest.mark.parametrize(("transform", "leak"), [("fft", 3.5e-2), ("dct", 4e-6)])
def test_leakage_of_a_ramp(transform, leak):
    """The figures of the specification: share of energy above the cutoff, of a ramp with mean 0."""
    ramp = (torch.arange(128, dtype=torch.double) - 63.5).reshape(1, 1, -1)
    high = BandFilter(band_mask((128,), "high", 0.25, "hard", transform=transform), transform)(ramp)
    share = (high.square().sum() / ramp.square().sum()).item()
    assert float(f"{share:.1e}") == pytest.approx(leak, rel=0.08)


@every_transform
def test_hertz_are_cutoffs_in_units_of_half_the_rate(transform):
    for mask in BAND_MASKS:
        in_hertz = band_mask((40,), "high", 3.0, mask, transform=transform, rate=20.0)
        torch.testing.assert_close(in_hertz, band_mask((40,), "high", 0.3, mask, transform=transform))
    r = band_radius((8, 6), transform, "ball", rate=20.0)
    torch.testing.assert_close(r, band_radius((8, 6), transform) * math.sqrt(2) * 10)
    torch.testing.assert_close(
        band_radius((8, 6), transform, "box", rate=20.0), band_radius((8, 6), transform, "box") * 10
    )


def test_a_tone_goes_where_its_frequency_says():
    t = (torch.arange(100, dtype=torch.double) + 0.5) / 50  # 2 s at 50 Hz
    slow, fast = torch.cos(2 * math.pi * 4 * t), torch.cos(2 * math.pi * 11 * t)
    x = (slow + fast).reshape(1, 1, -1)
    for transform in BAND_TRANSFORMS:
        low = BandFilter(band_mask((100,), "low", 7.0, "hard", transform=transform, rate=50.0), transform)(x)
        torch.testing.assert_close(low[0, 0], slow, rtol=0, atol=1e-9)


@every_transform
@every_size
def test_random_bands(size, transform):
    total = math.prod(size)
    for count, seed in itertools.product(range(1, total + 1), range(3)):
        torch.manual_seed(seed)
        mask = random_band(size, count, transform)
        assert mask.sum().item() == count
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
        if transform == "fft":
            for at in bins(size):
                assert mask[at] == mask[tuple(-k % n for k, n in zip(at, size, strict=True))]
        torch.manual_seed(seed)
        assert torch.equal(mask, random_band(size, count, transform))


def test_random_bands_reach_every_bin():
    for transform in BAND_TRANSFORMS:
        seen = torch.stack([random_band((12,), 3, transform) for _ in range(200)]).mean(0)
        assert (seen > 0.05).all()


def test_a_band_without_a_bin():
    with pytest.raises(MmkdError, match=r"high band of 1 positions has no bin at the cutoff 0\.25"):
        band_mask((1,), "high", 0.25)
    for mask in BAND_MASKS:  # the DCT of 4 samples ends at 3/4
        with pytest.raises(MmkdError, match="no bin"):
            band_mask((4,), "high", 0.9, mask)
        assert band_mask((4,), "high", 0.7, mask).max() > 0.5
        with pytest.raises(MmkdError, match=r"no bin at the cutoff 30 Hz at 50 samples a second"):
            band_mask((4,), "high", 30.0, mask, rate=50.0)
        assert band_mask((1, 1), "low", 0.01, mask).item() == 1  # the constant is always low


def test_refusals():
    for wrong in ({"mask": "box"}, {"transform": "haar"}, {"shape": "hard"}, {"band": "mid"}):
        given = {"size": (8,), "band": "low", "cutoff": 0.5, **wrong}
        with pytest.raises(MmkdError, match="unknown"):
            band_mask(**given)
    for cutoff in (0, -1, 1.2, math.inf, math.nan):
        with pytest.raises(MmkdError, match="cutoff"):
            band_mask((8,), "low", cutoff)
    with pytest.raises(MmkdError, match="order"):
        band_mask((8,), "low", 0.5, "butterworth", order=0)
    for size in ((), (0,), (4, 0)):
        with pytest.raises(MmkdError, match="at least one sample"):
            band_radius(size)
    with pytest.raises(MmkdError, match="unknown transform"):
        BandFilter(torch.ones(4), "haar")
    for shape in ((8,), (1,), (4, 4)):
        with pytest.raises(MmkdError, match=r"maps of \(4,\)"):
            BandFilter(torch.ones(4))(torch.zeros(1, 1, *shape))
    for count in (0, 9):
        with pytest.raises(MmkdError, match="there are 8"):
            random_band((8,), count)
    for size in ((9,), (0,), (4, 4)):
        with pytest.raises(MmkdError, match="brought down"):
            shrink(torch.zeros(1, 1, 8), size)


@every_transform
def test_half_precision_is_filtered_in_float32(transform):
    layer = BandFilter(band_mask((16,), "low", 0.3, transform=transform), transform)
    x = torch.randn(2, 3, 16).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, short = layer(x), shrink(x, (8,))
    assert y.dtype == short.dtype == torch.float32
    assert torch.equal(y, layer(x.float()))
    assert torch.equal(short, shrink(x.float(), (8,)))


def test_the_mask_is_stored():
    layer = BandFilter(random_band((16,), 4))
    other = BandFilter(torch.ones(16))
    other.load_state_dict(layer.state_dict())
    x = torch.randn(1, 1, 16)
    assert torch.equal(layer(x), other(x))
    assert not list(layer.parameters())


@pytest.mark.parametrize(("n", "m"), [(16, 8), (15, 7), (300, 140), (9, 9), (5, 1)])
def test_shrink_keeps_what_fits_and_nothing_else(n, m):
    at, coarse = ((torch.arange(k, dtype=torch.double) + 0.5) / k for k in (n, m))
    for k in range(0, n, max(1, n // 9)):
        got = shrink(torch.cos(math.pi * k * at).reshape(1, 1, -1), (m,))[0, 0]
        want = torch.cos(math.pi * k * coarse) if k < m else torch.zeros(m, dtype=torch.double)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-9)
    x = torch.randn(2, 3, n, dtype=torch.double)
    torch.testing.assert_close(shrink(x, (m,)).mean(-1), x.mean(-1))


def test_shrink_images_axis_by_axis():
    x = torch.randn(2, 3, 6, 10, requires_grad=True)
    y = shrink(x, (4, 5))
    step = shrink(x.flatten(1, 2), (5,)).view(2, 3, 6, 5).transpose(2, 3).flatten(1, 2)
    torch.testing.assert_close(y, shrink(step, (4,)).view(2, 3, 5, 4).transpose(2, 3))
    y.square().sum().backward()
    assert (x.grad != 0).all()


def test_what_is_kept_was_made_for_training():
    """The first to ask may be a network in inference mode."""
    n = bands.LONGEST_PRODUCT + 35
    with torch.inference_mode():
        bands.idct(bands.dct(torch.randn(1, 1, n), (2,)), (2,))
    x = torch.randn(1, 1, n, requires_grad=True)
    bands.idct(bands.dct(x, (2,)).square(), (2,)).sum().backward()
    assert torch.isfinite(x.grad).all()
