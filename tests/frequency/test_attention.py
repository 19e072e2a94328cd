from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from mmkd import MmkdError
from mmkd.frequency import MASKS, FrequencyAttention, FrequencyAttention1d, high_pass
from mmkd.frequency.spectrum import fold, symmetrise

ORACLES = sorted((Path(__file__).parents[1] / "oracles").glob("fam_module_*.npz"))
CLASSES = {1: FrequencyAttention1d, 2: FrequencyAttention}
SIZES = [(7,), (12,), (1,), (2,), (7, 7), (8, 8), (20, 20), (5, 8), (8, 5), (1, 6), (6, 1), (1, 1), (2, 2)]


def close(got, want, name):
    scale = np.abs(want).max()
    np.testing.assert_allclose(np.asarray(got) / scale, want / scale, atol=1e-5, rtol=0, err_msg=name)


def naive(x, full, mask):
    """The global branch as the paper writes it: full complex spectrum, every frequency its own matrix."""
    space = tuple(range(2, x.ndim))
    spectrum = torch.fft.fftn(x, dim=space, norm="ortho")
    product = torch.einsum("bi...,io...->bo...", spectrum, full) * mask
    return torch.fft.ifftn(product, dim=space, norm="ortho").real


def test_oracles_are_here():
    assert len(ORACLES) == 6


@pytest.mark.parametrize("path", ORACLES, ids=lambda p: p.stem)
def test_published_code(path):
    o = np.load(path)
    full = o["filter_real"] + 1j * o["filter_imag"]
    cutoff = float(o["cutoff"])
    module = FrequencyAttention.from_reference(
        full, o["conv_weight"], o["conv_bias"], o["rate_global"], o["rate_local"], cutoff=cutoff
    )
    # The gradient for the full filter goes through the map to the half spectrum.
    leaf = torch.from_numpy(full).requires_grad_()
    folded = fold(leaf, high_pass(full.shape[2:], "reference", cutoff))
    x = torch.from_numpy(o["x"]).requires_grad_()
    y = functional_call(module, {"filter": folded}, (x,))
    torch.testing.assert_close(y, module(x), rtol=0, atol=0)
    y.backward(torch.from_numpy(o["grad_y"]))
    close(y.detach(), o["y"], "y")
    close(x.grad, o["grad_x"], "x")
    close(module.local.weight.grad, o["grad_conv_weight"], "conv_weight")
    close(module.local.bias.grad, o["grad_conv_bias"], "conv_bias")
    close(module.rate_global.grad, o["grad_rate_global"], "rate_global")
    close(module.rate_local.grad, o["grad_rate_local"], "rate_local")
    close(leaf.grad.real, o["grad_filter_real"], "filter_real")
    close(leaf.grad.imag, o["grad_filter_imag"], "filter_imag")


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mask", MASKS)
def test_half_spectrum_equals_the_full_one(size, mask):
    torch.manual_seed(0)
    c_in, c_out, cutoff = 3, 2, 0.45
    full = torch.randn(c_in, c_out, *size, dtype=torch.complex128, requires_grad=True)
    x = torch.randn(4, c_in, *size, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(4, c_out, *size, dtype=torch.float64)
    high = high_pass(size, mask, cutoff)
    module = CLASSES[len(size)](c_in, c_out, size, mask=mask, cutoff=cutoff, use_local=False, quiet=True).double()

    want = naive(x, full, high)
    want_grads = torch.autograd.grad(want, (x, full), upstream)
    state = {"filter": fold(full, high), "rate_global": torch.ones(1, dtype=torch.float64)}
    got = functional_call(module, state, (x,))
    got_grads = torch.autograd.grad(got, (x, full), upstream)
    for g, w in zip((got, *got_grads), (want, *want_grads), strict=True):
        torch.testing.assert_close(g, w, atol=1e-6, rtol=1e-6)  # soft masks are kept in float32


@pytest.mark.parametrize("size", [(7,), (8,), (5, 8), (6, 7)], ids=str)
def test_forward_symmetrises_what_is_stored(size):
    """Any stored tensor acts like a Hermitian one: what the pairs' columns say against each other has no effect."""
    torch.manual_seed(0)
    module = CLASSES[len(size)](2, 3, size, mask="none").double()
    with torch.no_grad():
        module.filter.normal_()
    p = torch.view_as_complex(module.spectrum(torch.float64))
    for v in (0, size[-1] // 2) if size[-1] % 2 == 0 else (0,):
        column = p[..., v, :, :]
        back = column if len(size) == 1 else column.flip(0).roll(1, 0)
        torch.testing.assert_close(column, back.conj().resolve_conj())
    torch.testing.assert_close(symmetrise(torch.view_as_real(p), size[-1]), torch.view_as_real(p))
    # and the output is that of the full complex formulation with this Hermitian filter
    full = torch.fft.fftn(torch.fft.irfftn(p, s=size, dim=tuple(range(len(size)))), dim=tuple(range(len(size))))
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    want = naive(x, full.permute(-2, -1, *range(len(size))), torch.ones(size))
    torch.testing.assert_close(module.global_branch(x), want)


@pytest.mark.parametrize("size", [(6,), (4, 5)], ids=str)
def test_gradcheck(size):
    torch.manual_seed(0)
    module = CLASSES[len(size)](2, 2, size, mask="symmetric", cutoff=0.4).double()
    x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    names, values = zip(*module.named_parameters(), strict=True)
    values = tuple(v.detach().clone().requires_grad_() for v in values)
    assert torch.autograd.gradcheck(
        lambda x, *v: functional_call(module, dict(zip(names, v, strict=True)), (x,)), (x, *values)
    )


@pytest.mark.parametrize("dims", [1, 2])
def test_side_1_is_a_linear_layer(dims):
    module = CLASSES[dims](3, 4, 1)
    x = torch.randn(5, 3, *(1,) * dims)
    matrix = (
        module.rate_global * module.filter.reshape(3, 4, 2)[..., 0]
        + module.rate_local * module.local.weight.reshape(4, 3).T
    )
    want = x.reshape(5, 3) @ matrix + module.rate_local * module.local.bias
    torch.testing.assert_close(module(x).reshape(5, 4), want)


@pytest.mark.parametrize("size", [(9,), (10,), (5, 6), (4, 7)], ids=str)
def test_global_branch_is_a_circular_convolution(size):
    torch.manual_seed(0)
    module = CLASSES[len(size)](2, 3, size, mask="radial", cutoff=0.4).double()
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    y = module.global_branch(x)
    space = tuple(range(2, x.ndim))
    shift = tuple(range(1, 1 + len(size)))
    torch.testing.assert_close(module.global_branch(x.roll(shift, space)), y.roll(shift, space))
    impulse = torch.zeros(2, 2, *size, dtype=torch.float64)
    impulse[0, 0].view(-1)[0] = impulse[1, 1].view(-1)[0] = 1
    kernel = module.global_branch(impulse)  # (C_in, C_out, *size)
    slow = torch.zeros_like(y)
    for at in np.ndindex(*size):
        moved = kernel.roll(at, space)
        slow += torch.einsum("bi,io...->bo...", x[(..., *at)], moved)
    torch.testing.assert_close(y, slow)


@pytest.mark.parametrize("mask", ["symmetric", "radial", "butterworth", "gaussian"])
def test_a_constant_is_removed_with_the_mean(mask):
    module = FrequencyAttention(2, 3, (8, 9), mask=mask)
    assert module.global_branch(torch.full((1, 2, 8, 9), 3.0)).abs().max() < 1e-5
    assert FrequencyAttention(2, 3, (8, 9), mask="none").global_branch(torch.full((1, 2, 8, 9), 3.0)).abs().max() > 0.1


@pytest.mark.parametrize("size", [(64,), (33,), (16, 16), (9, 12)], ids=str)
def test_balanced_init_keeps_the_mean_square(size):
    torch.manual_seed(0)
    module = CLASSES[len(size)](48, 48, size, mask="none")
    x = torch.randn(16, 48, *size) + 2 * torch.randn(16, 48, *(1,) * len(size))  # white, and a mean of each map
    assert module.global_branch(x).square().mean().item() == pytest.approx(x.square().mean().item(), rel=0.1)


def test_reference_init_starts_far_smaller():
    torch.manual_seed(0)
    x = torch.randn(8, 16, 16, 16)
    module = FrequencyAttention(16, 16, 16, init="reference", quiet=True)
    ratio = module.local(x).std() / module.global_branch(x).std()
    assert 5 < ratio < 500
    full = FrequencyAttention(2, 2, 1, init="reference").filter
    assert 0 <= full[..., 0].min() <= full[..., 0].max() <= 0.25
    assert full[..., 1].abs().max() == 0


def test_ablations_and_bias():
    x = torch.randn(2, 3, 8, 8)
    both = FrequencyAttention(3, 4, 8, mask="symmetric")
    only_global = FrequencyAttention(3, 4, 8, mask="symmetric", use_local=False)
    only_local = FrequencyAttention(3, 4, 8, mask="symmetric", use_global=False)
    only_global.filter = both.filter
    only_local.local = both.local
    torch.testing.assert_close(only_global(x) + only_local(x), both(x))
    assert {n for n, _ in only_global.named_parameters()} == {"filter", "rate_global"}
    assert {n for n, _ in only_local.named_parameters()} == {"local.weight", "local.bias", "rate_local"}
    assert FrequencyAttention(3, 4, 8, mask="none", bias=False).local.bias is None
    with pytest.raises(MmkdError, match="neither"):
        FrequencyAttention(3, 4, 8, use_global=False, use_local=False)
    with pytest.raises(MmkdError, match="has no filter"):
        only_local.spectrum()


def test_state_is_real_and_half():
    module = FrequencyAttention(3, 4, (6, 9), mask="none")
    assert module.state_dict()["filter"].shape == (6, 5, 3, 4, 2)
    assert FrequencyAttention1d(3, 4, 9, mask="none").filter.shape == (5, 3, 4, 2)
    assert not any(v.is_complex() for v in module.state_dict().values())
    other = FrequencyAttention(3, 4, (6, 9), mask="none")
    other.load_state_dict(module.state_dict())
    x = torch.randn(2, 3, 6, 9)
    assert torch.equal(module(x), other(x))


def test_types():
    module = FrequencyAttention(3, 4, 8, mask="symmetric")
    x = torch.randn(2, 3, 8, 8)
    exact = module(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module.global_branch(x).dtype == torch.float32
        torch.testing.assert_close(module.global_branch(x), module.global_branch(x.double()).float())
        torch.testing.assert_close(module(x).float(), exact, atol=0.05, rtol=0.05)
    assert FrequencyAttention(3, 4, 8, mask="symmetric").bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    assert module.double()(x.double()).dtype == torch.float64


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (2, 3, 8, 7), (2, 4, 8, 8), (2, 3, 8), (3, 8, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(MmkdError, match=r"was made for \(B, 3, 8, 8\) and got"):
        FrequencyAttention(3, 4, 8, mask="symmetric")(torch.zeros(shape))


def test_a_filter_of_side_1_does_not_broadcast():
    with pytest.raises(MmkdError, match="resize the input"):
        FrequencyAttention(3, 4, 1)(torch.zeros(2, 3, 8, 8))


def test_bad_arguments():
    with pytest.raises(MmkdError, match="2 positive side"):
        FrequencyAttention(3, 4, (8,))
    with pytest.raises(MmkdError, match="positive numbers of channels"):
        FrequencyAttention1d(0, 4, 8)
    with pytest.raises(MmkdError, match="did you mean 'balanced'"):
        FrequencyAttention(3, 4, 8, init="balance")
    with pytest.raises(MmkdError, match="do not belong together"):
        FrequencyAttention.from_reference(np.zeros((3, 4, 8)), np.zeros((4, 3, 1, 1)), np.zeros(4), 1.0, 1.0)
    with pytest.raises(MmkdError, match="do not belong together"):
        FrequencyAttention.from_reference(np.zeros((3, 4, 8, 8)), np.zeros((3, 4, 1, 1)), np.zeros(3), 1.0, 1.0)


def test_loader_in_one_dimension_and_from_tensors():
    torch.manual_seed(0)
    full = torch.randn(3, 4, 40, dtype=torch.complex128)
    weight, bias = torch.randn(4, 3, 1, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    module = FrequencyAttention1d.from_reference(full, weight, bias, 0.3, torch.tensor([0.8]), cutoff=0.2)
    x = torch.randn(2, 3, 40, dtype=torch.float64)
    want = 0.3 * naive(x, full, high_pass((40,), "reference", 0.2)) + 0.8 * F.conv1d(x, weight, bias)
    torch.testing.assert_close(module(x), want, atol=1e-6, rtol=1e-6)  # 0.8 went through float32
