"""Views of tensors: the numbers of the arrays, the gradients of differences, and never off their device."""

import numpy as np
import pytest
import torch

from mmkd import MmkdError
from mmkd.views import (
    GAF,
    MTF,
    PersistenceImage,
    Signal,
    gramian_field,
    persistence_image,
    sublevel_diagrams,
    sublevel_pairs,
    tensor_view,
)

X = np.random.default_rng(29).normal(size=(6, 3, 40)).cumsum(axis=-1)
ENDS = {"birth_low": -2.0, "birth_high": 2.0, "persistence_high": 3.0}
MAKE = {
    "sig": Signal,
    "gaf": lambda: GAF(12),
    "gaf whole": lambda: GAF(40),
    "gaf difference": lambda: GAF(17, "difference"),
    "gaf train": lambda: GAF(12, range="train"),
    "pi": lambda: PersistenceImage(12),
    "pi both": lambda: PersistenceImage(12, "both", essential="max", scale="image"),
    "pi superlevel": lambda: PersistenceImage(9, "superlevel", sigma=0.3, min_persistence=0.2),
    "pi published": lambda: PersistenceImage.published(24),
    "pi given": lambda: PersistenceImage(8, scale="none", sigma_pixels=1.7, **ENDS),
}


@pytest.fixture(params=MAKE)
def modality(request):
    return MAKE[request.param]().fit(X[:4])


def row(*values):
    return torch.tensor([[values]], dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_view_of_the_array(modality, dtype):
    x = torch.tensor(X / 4, dtype=dtype)
    found = tensor_view(modality, x)
    assert found.dtype == dtype
    np.testing.assert_allclose(found.numpy(), modality.transform(x.numpy()), rtol=1e-5, atol=1e-5)


def test_half_precision_and_autocast_are_computed_in_float32(modality):
    x = torch.tensor(X / 4).half()
    expected = modality.transform(x.numpy())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = tensor_view(modality, x)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_differences(modality):
    x = torch.tensor(X[:2] / 4, requires_grad=True)
    tolerance = {"eps": 1e-7, "atol": 1e-4, "rtol": 1e-3}
    assert torch.autograd.gradcheck(lambda x: tensor_view(modality, x), (x,), **tolerance, fast_mode=True)


def test_nothing_leaves_the_device(modality):
    """A tensor of the device "meta" has a shape and no values: to read one, or to copy it to the CPU, fails."""
    x = torch.empty(5, 3, 40, device="meta", requires_grad=True)
    found = tensor_view(modality, x)
    assert (found.device.type, tuple(found.shape)) == ("meta", (5, *modality.shape(3, 40)))
    found.sum().backward()
    with pytest.raises(RuntimeError):
        x.detach().sum().item()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu(modality):
    found = tensor_view(modality, torch.tensor(X / 4, device="cuda"))
    assert found.is_cuda
    np.testing.assert_allclose(found.cpu().numpy(), modality.transform(X / 4), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fill", [0.0, 0.1, -7.0, 12345678.9])
def test_constant_windows_have_no_gradient(modality, fill):
    x = torch.full((2, 3, 40), fill, requires_grad=True)
    found = tensor_view(modality, x)
    np.testing.assert_allclose(found.detach().numpy(), modality.transform(x.detach().numpy()), rtol=1e-5, atol=1e-5)
    found.sum().backward()
    assert torch.isfinite(x.grad).all()
    if modality.name == "pi" or not modality.fitted:  # scaled by the training windows, a level is a value like others
        assert (x.grad == 0).all()


@pytest.mark.parametrize("length", [1, 2, 3, 5, 31, 32, 33, 128])
@pytest.mark.parametrize("essential", ["drop", "max"])
@pytest.mark.parametrize("coarse", [False, True])
def test_pairs_are_those_of_the_diagrams(length, essential, coarse):
    """Coarse values have plateaus and minima of the same height."""
    x = np.random.default_rng(length).normal(size=(40, 2, length)).cumsum(axis=-1)
    x = np.round(x) if coarse else x
    births, deaths = (side.numpy() for side in sublevel_pairs(torch.tensor(x), essential))
    assert (deaths >= births).all()
    for n, window in enumerate(sublevel_diagrams(x, essential)):
        for c, expected in enumerate(window):
            alive = deaths[n, c] > births[n, c]
            found = np.stack([births[n, c][alive], deaths[n, c][alive]], axis=1)
            np.testing.assert_array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])


def test_gradients_flow_to_the_two_samples_of_a_pair():
    x = row(0.0, 2.0, 1.0, 3.0, 0.5, 4.0).requires_grad_()
    births, deaths = sublevel_pairs(x)
    (deaths - births).sum().backward()  # 1 dies at 2, 0.5 at 3; the others at once or never
    assert x.grad[0, 0].tolist() == [0, 1, -1, 1, -1, 0]


def test_a_signal_can_be_found_from_its_field():
    """What a gradient is for: descent from another signal comes near the field of the first."""
    torch.manual_seed(0)
    t = torch.linspace(0, 6, 24)
    wanted = gramian_field(torch.sin(t), 24)
    x = (torch.sin(t) + 0.3 * torch.randn(24)).requires_grad_()
    optimizer = torch.optim.Adam([x], 0.01)
    losses = []
    for _ in range(200):
        loss = (gramian_field(x, 24) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_any_leading_axes_of_a_field():
    x = torch.tensor(X)
    whole = gramian_field(x, 12)
    torch.testing.assert_close(gramian_field(x[0, 0], 12), whole[0, 0])
    torch.testing.assert_close(gramian_field(x[None], 12)[0], whole)


def test_inference_mode_leaves_nothing_behind():
    with torch.inference_mode():
        gramian_field(torch.rand(3, 50), 7)
    x = torch.rand(3, 50, requires_grad=True)
    gramian_field(x, 7).sum().backward()
    assert x.grad.abs().sum() > 0


def test_bad_input_is_refused():
    x = torch.tensor(X)
    with pytest.raises(MmkdError, match="tensor_view takes a floating-point tensor"):
        tensor_view(GAF(8), X)
    with pytest.raises(MmkdError, match="mtf is of arrays alone: use its transform"):
        tensor_view(MTF(8), x)
    with pytest.raises(MmkdError, match="call fit with the training windows first"):
        tensor_view(Signal(), x)
    with pytest.raises(MmkdError, match="fitted on 3 channels and is given 2"):
        tensor_view(GAF(8, range="train").fit(X), x[:, :2])
    with pytest.raises(MmkdError, match="at least 41 samples, found 40"):
        tensor_view(GAF(41), x)
    with pytest.raises(MmkdError, match="size 41 needs at least as many samples, found 40"):
        gramian_field(x, 41)
    with pytest.raises(MmkdError, match="floating-point rows"):
        gramian_field(torch.arange(9), 3)
    with pytest.raises(MmkdError, match="not one of summation, difference"):
        gramian_field(x, 8, "sum")
    with pytest.raises(MmkdError, match="not one of drop, max"):
        sublevel_pairs(x, "keep")
    with pytest.raises(MmkdError, match="windows"):
        persistence_image(x[0], **ENDS)
    with pytest.raises(MmkdError, match="not one of sublevel"):
        persistence_image(x, levels="up", **ENDS)
