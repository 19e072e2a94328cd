import warnings

import pytest
import torch

from mmkd import MmkdError
from mmkd.frequency import (
    MASKS,
    TRANSFORMS,
    FrequencyAttention,
    FrequencyAttention1d,
    IdleMaskWarning,
    high_pass,
    is_idle,
    masks,
)

CLASSES = {1: FrequencyAttention1d, 2: FrequencyAttention}
ACTIVE = [m for m in MASKS if m != "none"]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(masks, "_warned", set())


@pytest.mark.parametrize("size", [(16,), (33,), (20, 20), (33, 20), (41, 64)])
@pytest.mark.parametrize("cutoff", [0.05, 0.1, 0.3, 0.5])
def test_reference_is_the_published_slice(size, cutoff):
    shifted = torch.ones(size, dtype=torch.float64)
    box = tuple(slice(n // 2 - int(cutoff * (n // 2)), n // 2 + int(cutoff * (n // 2))) for n in size)
    shifted[box] = 0
    assert torch.equal(torch.fft.fftshift(high_pass(size, "reference", cutoff)), shifted)


@pytest.mark.parametrize("size", [(16,), (33,), (20, 20), (7, 12)])
@pytest.mark.parametrize("mask", ["symmetric", "radial", "butterworth", "gaussian"])
def test_slow_loop(size, mask):
    cutoff = 0.3
    got = high_pass(size, mask, cutoff)
    for at in torch.cartesian_prod(*(torch.arange(n) for n in size)).reshape(-1, len(size)).tolist():
        k = [min(i, n - i) for i, n in zip(at, size, strict=True)]  # cycles over the axis
        r = sum((2 * i / n) ** 2 for i, n in zip(k, size, strict=True)) ** 0.5
        want = {
            "symmetric": float(any(i > int(cutoff * (n // 2)) for i, n in zip(k, size, strict=True))),
            "radial": float(r > cutoff),
            "butterworth": 1 - 1 / (1 + (r / cutoff) ** 4),
            "gaussian": 1 - 2 ** -((r / cutoff) ** 2),
        }[mask]
        assert got[tuple(at)].item() == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("size", [(1,), (1, 1), (8,), (9, 16)])
def test_cutoff_0_and_side_1_keep_everything(mask, size):
    assert (high_pass(size, mask, 0) == 1).all()
    if all(n == 1 for n in size):
        assert (high_pass(size, mask, 0.9) == 1).all()


@pytest.mark.parametrize("mask", ["symmetric", "radial", "butterworth", "gaussian"])
@pytest.mark.parametrize("size", [(2,), (3, 2), (8, 8), (8, 1), (1, 8)])
def test_above_cutoff_0_the_mean_goes(mask, size):
    assert high_pass(size, mask, 0.01).flatten()[0] == 0


SIDES = [2, 3, 4, 5, 7, 8, 10, 13, 16, 20, 25, 32, 50, 64]
SIZES = [size for n in SIDES for size in ((n,), (n, n))] + [(2, 64), (64, 2), (5, 1), (1, 5)]


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("mask", [m for m in ACTIVE if m != "reference"])
def test_at_every_size_the_mean_goes_and_the_fastest_stays(mask, transform):
    for size in SIZES:
        factors = high_pass(size, mask, transform=transform)
        assert factors.flatten()[0] == 0, size
        assert factors.max() > 0.9, size
        assert not is_idle(size, mask, 0.1, transform)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_default_module_is_a_high_pass_at_every_size(transform):
    for size in SIZES:
        module = CLASSES[len(size)](1, 1, size, transform=transform)
        constant = torch.ones(1, 1, *size)
        assert module.global_branch(constant).abs().max() < 1e-5, size
        assert module.global_branch(torch.randn(1, 1, *size)).abs().max() > 1e-3, size


def test_share_of_the_frequencies_that_the_default_removes():
    shares = {n: [float((high_pass(size) == 0).float().mean()) for size in ((n,), (n, n))] for n in (2, 8, 16, 20, 64)}
    assert shares[2] == pytest.approx([1 / 2, 1 / 4])
    assert shares[8] == pytest.approx([1 / 8, 1 / 64])
    assert shares[16] == pytest.approx([1 / 16, 1 / 256])
    assert shares[20] == pytest.approx([3 / 20, 9 / 400])
    assert shares[64] == pytest.approx([7 / 64, 49 / 4096])


def test_soft_masks_are_one_half_at_the_cutoff():
    for mask in ("butterworth", "gaussian"):
        assert high_pass((20,), mask, 0.3)[3].item() == pytest.approx(0.5)


def test_reference_halves_a_cosine_at_r():
    mask = high_pass((20, 20), "reference", 0.3)  # r = 3
    assert mask[0, -3] == 0
    assert mask[0, 3] == 1


def test_refusals():
    with pytest.raises(MmkdError, match="did you mean 'radial'"):
        high_pass((8, 8), "radal", 0.1)
    with pytest.raises(MmkdError, match="between 0"):
        high_pass((8, 8), "radial", 1.2)
    with pytest.raises(MmkdError, match="removes every frequency of 8x8"):
        high_pass((8, 8), "symmetric", 1.0)
    with pytest.raises(MmkdError, match="at least one sample"):
        high_pass((0, 8), "symmetric", 0.1)


@pytest.mark.parametrize("side", range(2, 24))
def test_reference_is_idle_below_20_samples(side):
    assert is_idle((side, side), "reference", 0.1) == (side < 20)


def test_idle_mask_warns_once_and_says_what_to_do():
    with pytest.warns(IdleMaskWarning, match=r"removes nothing from maps of 8x8.*'symmetric'"):
        FrequencyAttention(2, 3, 8, mask="reference")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FrequencyAttention(2, 3, 8, mask="reference")  # said already
        FrequencyAttention(2, 3, 20, mask="reference")  # not idle
        FrequencyAttention(2, 3, 1, mask="reference")  # nothing to mask
        FrequencyAttention(2, 3, 9, mask="reference", cutoff=0)  # nothing asked
        FrequencyAttention(2, 3, 7)  # the default is never idle
        FrequencyAttention(2, 3, 10, mask="none")
        FrequencyAttention(2, 3, 11, mask="reference", use_global=False)  # nothing masked
        FrequencyAttention(2, 3, 12, mask="reference", quiet=True)
    with pytest.warns(IdleMaskWarning, match="4x6"):
        FrequencyAttention(2, 3, (4, 6), mask="reference")
