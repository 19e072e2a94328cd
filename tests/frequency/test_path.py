import pytest
import torch

from mmkd import MmkdError
from mmkd.frequency import DOMAINS, FrequencyPath, map_distance, scaled


@pytest.mark.parametrize("size", [(1,), (7,), (8,), (5, 8), (8, 5), (1, 1)], ids=str)
def test_parseval(size):
    p, t = torch.randn(2, 3, 4, *size, dtype=torch.float64)
    torch.testing.assert_close(map_distance(p, t, "frequency"), map_distance(p, t, "space"))
    space = tuple(range(2, p.ndim))
    amplitudes = [torch.fft.fftn(x, dim=space, norm="ortho").abs() for x in (p, t)]
    torch.testing.assert_close(map_distance(p, t, "amplitude"), (amplitudes[0] - amplitudes[1]).square().mean())


def test_amplitude_is_blind_to_place_and_the_others_are_not():
    t = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    moved = t.roll((2, 3), (2, 3))
    assert map_distance(moved, t, "amplitude") < 1e-20
    assert map_distance(moved, t, "frequency") > 0.1


@pytest.mark.parametrize("domain", DOMAINS)
def test_distance_of_equals_is_0_with_finite_gradients(domain):
    t = torch.zeros(2, 3, 8, 8)
    p = t.clone().requires_grad_()
    d = map_distance(p, t, domain)
    d.backward()
    assert d == 0
    assert torch.isfinite(p.grad).all()


def test_scales():
    t = 300 * torch.randn(16, 3, 9, dtype=torch.float64) - 50
    rms = scaled(t, "rms")
    assert rms.square().mean().item() == pytest.approx(1)
    torch.testing.assert_close(rms / rms[0, 0, 0], t / t[0, 0, 0])
    channel = scaled(t, "channel")
    torch.testing.assert_close(channel.mean((0, 2)), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(channel.var((0, 2), correction=0), torch.ones(3, dtype=torch.float64))
    assert scaled(t, "none") is t
    for scale in ("rms", "channel"):  # a dead map
        assert (scaled(torch.zeros(2, 3, 4), scale) == 0).all()


def test_refusals():
    x = torch.zeros(2, 3, 4)
    with pytest.raises(MmkdError, match="unknown target scale"):
        scaled(x, "std")
    with pytest.raises(MmkdError, match="unknown loss domain"):
        map_distance(x, x, "time")


@pytest.mark.parametrize(("source", "size"), [((12,), (7,)), ((8, 8), (5, 6)), ((4, 4), (8, 8))])
def test_path_shapes_and_ablations(source, size):
    x = torch.randn(4, 3, *source)
    for use_global, use_local in ((True, True), (True, False), (False, True)):
        path = FrequencyPath(3, 6, 5, size, rectify=True, use_global=use_global, use_local=use_local)
        y = path(x)
        assert y.shape == (4, 5, *size)
        assert y.min() == 0
        gains = [p for n, p in path.named_parameters() if "rate" in n]
        assert [g.requires_grad for g in gains] == ([True, True] if use_global and use_local else [False])
    assert FrequencyPath(3, 6, 5, size)(x).min() < 0
