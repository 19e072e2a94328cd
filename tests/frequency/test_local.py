from pathlib import Path

import numpy as np
import pytest
import torch

from mmkd import MmkdError
from mmkd.frequency import LocalAttention

ORACLE = Path(__file__).parents[1] / "oracles" / "local_attention.npz"


def slow(m, x, query):
    """One position and one channel at a time."""
    b, c, h, w = x.shape
    q = torch.einsum("oi,bihw->bohw", m.query.weight[..., 0, 0], query)
    padded = torch.zeros(b, c, h + 2, w + 2, dtype=x.dtype)
    padded[..., 1:-1, 1:-1] = x
    k, v = (torch.einsum("oi,bihw->bohw", conv.weight[..., 0, 0], padded) for conv in (m.key, m.value))
    out = torch.empty_like(x)
    for n, ch, i, j in np.ndindex(b, c, h, w):
        keys, values = k[n, ch, i : i + 3, j : j + 3], v[n, ch, i : i + 3, j : j + 3]
        offset = m.row[ch][:, None] if ch < c // 2 else m.column[ch - c // 2][None, :]
        weights = (q[n, ch, i, j] * (keys + offset)).flatten().softmax(dim=0)
        out[n, ch, i, j] = (weights * values.flatten()).sum()
    return out


def test_published_code():
    o = {k: torch.from_numpy(v) for k, v in np.load(ORACLE).items()}
    module = LocalAttention(8)
    module.load_state_dict(
        {
            "query.weight": o["query_weight"],
            "key.weight": o["key_weight"],
            "value.weight": o["value_weight"],
            "row": o["rel_row"].view(4, 3),
            "column": o["rel_col"].view(4, 3),
        }
    )
    torch.testing.assert_close(module(o["key_value_input"], o["query_input"]), o["out"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 4, 5])
@pytest.mark.parametrize("size", [(1, 1), (3, 4)])
def test_slow_loop(channels, size):
    torch.manual_seed(0)
    module = LocalAttention(channels).double()
    x, y = torch.randn(2, 2, channels, *size, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(module(x, y), slow(module, x, y))
        torch.testing.assert_close(module(x), slow(module, x, x))


def test_gradients():
    torch.manual_seed(0)
    module = LocalAttention(2).double()
    x, y = torch.randn(2, 1, 2, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(module, (x.requires_grad_(), y.requires_grad_()))
    module(x, y).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in module.parameters())


def test_refusals():
    with pytest.raises(MmkdError, match="resize the query"):
        LocalAttention(4)(torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 4, 4))
    with pytest.raises(MmkdError, match=r"\(B, 4, H, W\)"):
        LocalAttention(4)(torch.zeros(1, 3, 8, 8))
