import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import torch

from mmkd import MmkdError
from mmkd.frequency import LIFTS, RESIZES, lift, resample


def slow(z, kind):
    side = (len(z) + 1) // 2 if kind == "hankel" else len(z)
    rule = {
        "outer": lambda i, j: z[i] * z[j],
        "repeat": lambda i, j: z[j],
        "hankel": lambda i, j: z[i + j],
        "toeplitz": lambda i, j: z[abs(i - j)],
    }[kind]
    return torch.tensor([[rule(i, j) for j in range(side)] for i in range(side)])


@pytest.mark.parametrize("side", [1, 2, 5, 12, 30])
@pytest.mark.parametrize("kind", LIFTS)
@pytest.mark.parametrize("resize", RESIZES)
def test_slow_loop(kind, side, resize):
    x = torch.randn(2, 3, 12, dtype=torch.float64)
    got = lift(x, kind, side, resize)
    assert got.shape == (2, 3, side, side)
    z = resample(x, 2 * side - 1 if kind == "hankel" else side, resize)
    for b in range(2):
        for c in range(3):
            torch.testing.assert_close(got[b, c], slow(z[b, c].tolist(), kind).double())


def test_textbook_matrices():
    x = torch.randn(1, 1, 9)
    z = x[0, 0].numpy()
    np.testing.assert_array_equal(lift(x, "hankel", 5)[0, 0], scipy.linalg.hankel(z[:5], z[4:]))
    np.testing.assert_array_equal(lift(x, "toeplitz")[0, 0], scipy.linalg.toeplitz(z))
    np.testing.assert_array_equal(lift(x)[0, 0], np.outer(z, z))


@pytest.mark.parametrize("t", [1, 2, 7, 8, 16])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 16, 31])
def test_spectral_equals_scipy(t, length):
    x = torch.randn(2, 3, t, dtype=torch.float64)
    np.testing.assert_allclose(
        resample(x, length, "spectral"), scipy.signal.resample(x.numpy(), length, axis=-1), atol=1e-12
    )


def test_spectral_keeps_a_slow_sine():
    def sine(n):
        return torch.sin(2 * torch.pi * 3 * torch.arange(n, dtype=torch.float64) / n).view(1, 1, n)

    for length in (8, 15, 64):
        torch.testing.assert_close(resample(sine(32), length, "spectral"), sine(length))


def test_pool_averages_and_repeats():
    x = torch.arange(6.0).view(1, 1, 6)
    assert resample(x, 3).flatten().tolist() == [0.5, 2.5, 4.5]
    assert resample(x[..., :2], 4).flatten().tolist() == [0, 0, 1, 1]
    assert resample(x[..., :2], 3).flatten().tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("resize", RESIZES)
def test_a_constant_stays_and_so_does_the_same_length(resize):
    constant = torch.full((1, 2, 10), 3.0)
    for length in (1, 4, 10, 17):
        torch.testing.assert_close(resample(constant, length, resize), torch.full((1, 2, length), 3.0))
    x = torch.randn(1, 2, 10)
    assert resample(x, 10, resize) is x


@pytest.mark.parametrize("kind", LIFTS)
@pytest.mark.parametrize("resize", RESIZES)
def test_gradients(kind, resize):
    x = torch.randn(1, 2, 6, dtype=torch.float64, requires_grad=True)
    for side in (4, 9):
        assert torch.autograd.gradcheck(lambda x, side=side: lift(x, kind, side, resize), x)


def test_half_precision_goes_through():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert lift(torch.randn(1, 2, 8).bfloat16(), "outer", 5, "spectral").dtype == torch.bfloat16


def test_refusals():
    x = torch.randn(1, 2, 8)
    with pytest.raises(MmkdError, match="did you mean 'hankel'"):
        lift(x, "hankl")
    with pytest.raises(MmkdError, match="unknown resize"):
        lift(x, "outer", 4, "cubic")
    with pytest.raises(MmkdError, match="0 samples"):
        lift(x, "outer", 0)
    with pytest.raises(MmkdError, match="1-D feature"):
        lift(torch.randn(1, 2, 8, 8), "outer", 4)
