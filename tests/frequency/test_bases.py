import math

import numpy as np
import pytest
import scipy.fft
import torch
from torch.func import functional_call

from mmkd import MmkdError
from mmkd.frequency import MASKS, TRANSFORMS, FrequencyAttention, FrequencyAttention1d, high_pass
from mmkd.frequency.bases import basis, change, cycles

CLASSES = {1: FrequencyAttention1d, 2: FrequencyAttention}
SIZES = [(1,), (2,), (7,), (12,), (16,), (1, 1), (1, 6), (5, 8), (8, 8)]
REAL = ["dct", "haar"]
MASKED = [m for m in MASKS if m != "reference"]


def haar(n):
    """Of a power of two, by the doubling of the textbook."""
    if n == 1:
        return np.ones((1, 1))
    coarse = np.kron(haar(n // 2), [1, 1])
    return np.vstack([coarse, np.kron(np.eye(n // 2), [1, -1])]) / math.sqrt(2)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_dct_is_that_of_scipy(size):
    x = torch.randn(3, 2, *size, dtype=torch.float64)
    axes = tuple(range(2, x.ndim))
    want = scipy.fft.dctn(x.numpy(), type=2, axes=axes, norm="ortho")
    np.testing.assert_allclose(change(x, "dct"), want, atol=1e-13)
    np.testing.assert_allclose(
        change(x, "dct", inverse=True), scipy.fft.idctn(x.numpy(), type=2, axes=axes, norm="ortho"), atol=1e-13
    )


@pytest.mark.parametrize("n", [1, 2, 4, 8, 32])
def test_haar_is_the_textbook_matrix(n):
    np.testing.assert_allclose(basis("haar", n), haar(n), atol=1e-15)
    x = torch.randn(2, 3, n, 4, dtype=torch.float64)
    want = np.einsum("ai,bcij,dj->bcad", haar(n), x, haar(4))
    np.testing.assert_allclose(change(x, "haar"), want, atol=1e-13)


@pytest.mark.parametrize("n", range(1, 34))
def test_haar_of_any_length(n):
    rows = basis("haar", n)
    torch.testing.assert_close(rows @ rows.T, torch.eye(n, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(rows[0], torch.full((n,), n**-0.5, dtype=torch.float64))
    lengths = []
    for row in rows[1:]:
        at = row.nonzero().flatten()
        assert len(at) == at[-1] - at[0] + 1
        left, right = row[row > 0], row[row < 0]
        assert len(left) - len(right) in (0, 1)
        assert left.unique().numel() == right.unique().numel() == 1
        assert row.argmax() == at[0]
        lengths.append(len(at))
    assert lengths == sorted(lengths, reverse=True) or n & (n - 1)  # coarse to fine
    np.testing.assert_allclose(cycles("haar", n), [0, *(n / m for m in lengths)])


@pytest.mark.parametrize("n", [1, 2, 7, 8, 16])
def test_cycles(n):
    np.testing.assert_allclose(cycles("dct", n) / n, np.arange(n) / (2 * n))
    np.testing.assert_allclose(cycles("fft", n), n * np.fft.fftfreq(n))
    for k in range(n):  # the cosine of bin k, counted by its zero crossings: two a cycle
        crossings = (torch.diff(torch.sign(basis("dct", n)[k] + 1e-12)) != 0).sum().item()
        assert crossings == 2 * cycles("dct", n)[k]


@pytest.mark.parametrize("transform", REAL)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mask", MASKED)
def test_masks_by_loops(size, mask, transform):
    cutoff = 0.3
    got = high_pass(size, mask, cutoff, transform)
    supports = {n: [(basis("haar", n)[i].abs() > 0).sum().item() for i in range(n)] for n in size}
    for at in np.ndindex(*size):
        if transform == "dct":
            k = [i / 2 for i in at]
        else:
            k = [0 if i == 0 else n / supports[n][i] for i, n in zip(at, size, strict=True)]
        r = math.hypot(*(2 * i / n for i, n in zip(k, size, strict=True)))
        want = {
            "symmetric": float(any(i > int(cutoff * (n // 2)) for i, n in zip(k, size, strict=True))),
            "radial": float(r > cutoff),
            "butterworth": 1 - 1 / (1 + (r / cutoff) ** 4),
            "gaussian": 1 - 2 ** -((r / cutoff) ** 2),
            "none": 1.0,
        }[mask]
        assert got[at].item() == pytest.approx(1.0 if max(size) == 1 else want, abs=1e-12)
    assert (high_pass(size, mask, 0, transform) == 1).all()


def naive(x, filter, transform):
    """Every basis function on its own: its coefficient in each input channel, its matrix, and back."""
    size, out = tuple(x.shape[2:]), 0
    for at in np.ndindex(*size):
        if transform == "dct":
            lines = [scipy.fft.idct(np.eye(n)[i], norm="ortho") for i, n in zip(at, size, strict=True)]
        else:
            lines = [basis("haar", n)[i].numpy() for i, n in zip(at, size, strict=True)]
        wave = torch.from_numpy(lines[0] if len(lines) == 1 else np.outer(*lines))
        coefficient = (x * wave).flatten(2).sum(2)
        out = out + (coefficient @ filter[at])[..., *[None] * len(size)] * wave
    return out


@pytest.mark.parametrize("transform", REAL)
@pytest.mark.parametrize("size", [(1,), (6,), (7,), (8,), (3, 4), (5, 2), (1, 1)], ids=str)
@pytest.mark.parametrize("mask", ["none", "symmetric", "gaussian"])
def test_module_by_loops(size, transform, mask):
    torch.manual_seed(0)
    module = CLASSES[len(size)](3, 2, size, mask=mask, cutoff=0.4, transform=transform).double()
    with torch.no_grad():
        module.rate_global.fill_(0.3)
        module.rate_local.fill_(0.9)
    x = torch.randn(4, 3, *size, dtype=torch.float64, requires_grad=True)
    kept = high_pass(size, mask, 0.4, transform)[..., None, None]
    local = torch.einsum("oi,bi...->bo...", module.local.weight.flatten(1), x)
    local = local + module.local.bias.view(1, -1, *[1] * len(size))
    want = module.rate_global * naive(x, kept * module.filter, transform) + module.rate_local * local
    got = module(x)
    leaves = (x, *module.parameters())
    upstream = torch.randn_like(got)
    for g, w in zip(
        (got, *torch.autograd.grad(got, leaves, upstream)),
        (want, *torch.autograd.grad(want, leaves, upstream)),
        strict=True,
    ):
        torch.testing.assert_close(g, w, atol=1e-6, rtol=1e-6)  # soft masks are kept in float32
    torch.testing.assert_close(module.spectrum(torch.float64), kept * module.filter, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("transform", REAL)
@pytest.mark.parametrize("size", [(6,), (3, 5)], ids=str)
def test_gradcheck(size, transform):
    torch.manual_seed(0)
    module = CLASSES[len(size)](2, 2, size, mask="symmetric", cutoff=0.4, transform=transform).double()
    x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    names, values = zip(*module.named_parameters(), strict=True)
    values = tuple(v.detach().clone().requires_grad_() for v in values)
    assert torch.autograd.gradcheck(
        lambda x, *v: functional_call(module, dict(zip(names, v, strict=True)), (x,)), (x, *values)
    )


@pytest.mark.parametrize("transform", REAL)
def test_identities(transform):
    torch.manual_seed(0)
    options = {"transform": transform}
    module = FrequencyAttention(2, 3, (8, 9), mask="symmetric", **options)
    assert module.global_branch(torch.full((1, 2, 8, 9), 3.0)).abs().max() < 1e-5
    open_ = FrequencyAttention(2, 3, (8, 9), mask="none", **options)
    assert open_.global_branch(torch.full((1, 2, 8, 9), 3.0)).abs().max() > 0.1
    same = FrequencyAttention(2, 2, (8, 9), mask="none", **options)
    with torch.no_grad():
        same.filter.copy_(torch.eye(2).expand(8, 9, 2, 2))
    x = torch.randn(4, 2, 8, 9)
    torch.testing.assert_close(same.global_branch(x), x)
    point = FrequencyAttention1d(3, 4, 1, use_local=False, mask="none", **options)
    with torch.no_grad():
        point.rate_global.fill_(1)
    y = torch.randn(5, 3, 1)
    torch.testing.assert_close(point(y)[..., 0], y[..., 0] @ point.filter[0])


@pytest.mark.parametrize("transform", REAL)
def test_both_starts(transform):
    torch.manual_seed(0)
    module = FrequencyAttention(48, 48, 12, mask="none", transform=transform)
    x = torch.randn(8, 48, 12, 12) + 2 * torch.randn(8, 48, 1, 1)
    assert module.global_branch(x).square().mean().item() == pytest.approx(x.square().mean().item(), rel=0.1)
    published = FrequencyAttention(2, 4, 6, mask="none", init="reference", transform=transform).filter
    assert 0 <= published.min() <= published.max() <= 1 / 8
    assert published.mean().item() == pytest.approx(1 / 16, rel=0.2)


@pytest.mark.parametrize("transform", REAL)
def test_types_state_and_ablations(transform):
    options = {"mask": "symmetric", "transform": transform}
    module = FrequencyAttention(3, 4, (6, 9), **options)
    assert module.state_dict()["filter"].shape == (6, 9, 3, 4)
    x = torch.randn(2, 3, 6, 9)
    exact = module(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module.global_branch(x).dtype == torch.float32
        torch.testing.assert_close(module.global_branch(x), module.global_branch(x.double()).float())
        torch.testing.assert_close(module(x).float(), exact, atol=0.05, rtol=0.05)
    assert FrequencyAttention(3, 4, (6, 9), **options).bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    assert FrequencyAttention(3, 4, (6, 9), **options).double()(x.double()).dtype == torch.float64
    only_global = FrequencyAttention(3, 4, (6, 9), use_local=False, **options)
    only_local = FrequencyAttention(3, 4, (6, 9), use_global=False, **options)
    only_global.filter, only_local.local = module.filter, module.local
    torch.testing.assert_close(only_global(x) + only_local(x), exact)
    with torch.inference_mode():
        fresh = FrequencyAttention(3, 4, (5, 11), **options)(torch.randn(2, 3, 5, 11))
    assert fresh.is_inference()
    FrequencyAttention(3, 4, (5, 11), **options)(torch.randn(2, 3, 5, 11)).sum().backward()  # the basis is no such one


def test_the_transforms_differ():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    results = []
    for transform in TRANSFORMS:
        torch.manual_seed(1)
        results.append(FrequencyAttention(3, 3, 8, mask="none", transform=transform)(x))
    assert not any(torch.allclose(a, b) for a, b in zip(results, [*results[1:], results[0]], strict=True))


@pytest.mark.parametrize("transform", REAL)
def test_refusals(transform):
    with pytest.raises(MmkdError, match=rf"'reference' is a box .* {transform!r} does not have.*--mask symmetric"):
        FrequencyAttention(3, 4, 8, mask="reference", transform=transform)
    FrequencyAttention(3, 4, 8, transform=transform)  # the default mask goes with every transform
    with pytest.raises(MmkdError, match=r"was made for \(B, 3, 8, 8\) and got"):
        FrequencyAttention(3, 4, 8, mask="none", transform=transform)(torch.zeros(2, 3, 1, 1))
    with pytest.raises(MmkdError, match="removes every frequency of 8x8"):
        FrequencyAttention(3, 4, 8, mask="symmetric", cutoff=1.0, transform=transform)
    for call in (lambda: high_pass((8,), "none", 0.1, "dst"), lambda: cycles("dst", 8), lambda: basis("fft", 8)):
        with pytest.raises(MmkdError, match="unknown (real )?transform"):
            call()
