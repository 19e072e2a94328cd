"""`fam-review`: a block against the published code, the walk and the loss against formulas written out."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup
from mmkd.frequency import IdleMaskWarning, ReviewBlock, high_pass, lift, masks

ORACLE = Path(__file__).parents[1] / "oracles" / "review_block.npz"
SIG = {"stage1": (8, 32), "stage2": (16, 16)}
GAF = {"stage1": (8, 16, 16), "stage2": (16, 8, 8)}


@pytest.fixture
def oracle():
    return {k: torch.from_numpy(v) for k, v in np.load(ORACLE).items()}


def state_of(oracle):
    return {k.removeprefix("state."): v for k, v in oracle.items() if k.startswith("state.")}


def outputs(shapes, batch=6, width=16, relu=True, **more):
    features = {k: torch.randn(batch, *s) for k, s in shapes.items()}
    features = {k: (f.relu() if relu else f).requires_grad_() for k, f in features.items()}
    embedding = torch.randn(batch, width)
    embedding = (embedding.relu() if relu else embedding).requires_grad_()
    return Outputs(torch.randn(batch, 3, requires_grad=True), embedding, features, **more)


def student(batch=6):
    parts = {"sig": outputs(SIG, batch), "gaf": outputs(GAF, batch)}
    return outputs({}, batch, branches=parts)


def teachers(batch=6, **options):
    return {m: outputs(s, batch, width=24, **options) for m, s in {"sig": SIG, "gaf": GAF, "p.i@8": GAF}.items()}


def made(s, t, **options):
    torch.manual_seed(0)
    method = METHODS.get("fam-review")(**options)
    setup = Setup(s, t, classes=3, train_size=60, epochs=24)
    method.check(setup)
    method.build(setup)
    return method


def batch(epoch=23, size=6):
    return Batch(torch.arange(size) % 3, torch.arange(size), epoch, 24)


# one block


def test_published_block(oracle):
    block = ReviewBlock.from_reference(state_of(oracle)).train()
    out, residual = block(oracle["student_feature"], oracle["deeper_residual"])
    torch.testing.assert_close(out, oracle["out"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(residual, oracle["residual"], atol=1e-5, rtol=1e-5)
    assert (out == 0).float().mean() > 0.2  # the ReLU


def normalised(x, norm):
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + norm.eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]


def mixed(x, conv):
    return torch.einsum("oi,bihw->bohw", conv.weight[..., 0, 0], x)


def nearest(x, size):
    """Row i of n comes from row floor(i * old / n)."""
    rows, columns = (torch.arange(n) * old // n for n, old in zip(size, x.shape[2:], strict=True))
    return x[:, :, rows][..., columns]


def entered(x, part):
    return normalised(mixed(x, part[0]), part[1]).relu() if isinstance(part, torch.nn.Sequential) else x


def attended(x, y, m):
    """Nine shifted copies instead of windows."""
    c, h, w = x.shape[1:]
    q, k, v = mixed(y, m.query), mixed(F.pad(x, [1] * 4), m.key), mixed(F.pad(x, [1] * 4), m.value)
    scores, values = [], []
    for i in range(3):
        for j in range(3):
            offset = torch.cat([m.row[:, i], m.column[:, j]]).view(c, 1, 1)
            scores.append((q * (k[..., i : i + h, j : j + w] + offset)).exp())
            values.append(v[..., i : i + h, j : j + w])
    return sum(s * v for s, v in zip(scores, values, strict=True)) / sum(scores)


def filtered(x, m, mask):
    """The frequency attention on the full complex spectrum of a half one."""
    h, w = x.shape[2:]
    half = torch.view_as_complex(m.filter).permute(2, 3, 0, 1)
    kernel = torch.fft.irfftn(half, s=(h, w), dim=(2, 3))  # real, so that its spectrum is the Hermitian filter
    spectrum = torch.einsum("bihw,iohw->bohw", torch.fft.fft2(x), torch.fft.fft2(kernel) * mask)
    return m.rate_global * torch.fft.ifft2(spectrum).real + m.rate_local * mixed(x, m.local)


def block_by_hand(b, x, residual, mask):
    x = entered(x, b.embed)
    if residual is not None:
        x = attended(x, nearest(entered(residual, b.embed_residual), x.shape[2:]), b.attend)
    x = nearest(x, b.size)
    y = normalised(filtered(x, b.attention, mask), b.norm)
    return (y.relu() if b.rectify else y), x


def assert_same(got, want, leaves):
    torch.testing.assert_close(got, want)
    for g, w in zip(
        torch.autograd.grad(got, leaves, retain_graph=True),
        torch.autograd.grad(want, leaves, retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(g, w)


@pytest.mark.parametrize(
    ("channels", "own", "deep", "size"),
    [
        ((3, 4, 5, 6), (5, 6), (3, 2), (4, 8)),
        ((4, 4, 5, 4), (6, 6), (6, 6), (6, 6)),  # as many channels as in the middle: no convolution
        ((4, 4, 5, 6), (3, 3), (7, 7), (1, 1)),
        ((3, 4, 5, None), (5, 6), None, (3, 3)),  # the deepest
    ],
)
def test_block_by_hand(channels, own, deep, size):
    torch.manual_seed(0)
    c_in, width, c_out, deeper = channels
    block = ReviewBlock(c_in, width, c_out, size, deeper, mask="none").double()
    with torch.no_grad():
        for p in block.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x = torch.randn(4, c_in, *own, dtype=torch.float64, requires_grad=True)
    y = None if deeper is None else torch.randn(4, deeper, *deep, dtype=torch.float64, requires_grad=True)
    leaves = [x, *([] if y is None else [y]), *block.parameters()]
    upstream = torch.randn(4, c_out, *size, dtype=torch.float64), torch.randn(4, width, *size, dtype=torch.float64)
    got = sum((o * u).sum() for o, u in zip(block(x, y), upstream, strict=True))
    want = sum((o * u).sum() for o, u in zip(block_by_hand(block, x, y, 1), upstream, strict=True))
    assert_same(got, want, leaves)
    convolutions = isinstance(block.embed, torch.nn.Sequential), isinstance(block.embed_residual, torch.nn.Sequential)
    assert convolutions == (c_in != width, deeper not in (None, width))


def test_published_block_in_evaluation(oracle):
    """The bias that a BatchNorm undoes in training stands in its running mean."""
    state = state_of(oracle)
    torch.manual_seed(0)
    state["conv2.1.running_mean"] = torch.randn(20)
    state["conv2.1.running_var"] = torch.rand(20) + 0.5
    block = ReviewBlock.from_reference(state).eval()
    out, x = block(oracle["student_feature"], oracle["deeper_residual"])
    full = torch.complex(state["conv2.0.weights1_real"], state["conv2.0.weights1_imag"])
    spectrum = torch.einsum("bihw,iohw->bohw", torch.fft.fft2(x), full)  # idle mask at side 8
    y = 0.5 * torch.fft.ifft2(spectrum).real
    y = y + 0.5 * F.conv2d(x, state["conv2.0.w0.weight"], state["conv2.0.w0.bias"])
    want = F.batch_norm(y, state["conv2.1.running_mean"], state["conv2.1.running_var"]).relu()
    torch.testing.assert_close(out, want, atol=1e-5, rtol=1e-5)


def test_loader_of_blocks_without_convolutions_and_refusals(oracle):
    state = state_of(oracle)
    deepest = {k: v for k, v in state.items() if not k.startswith(("conv1.", "att_conv"))}
    block = ReviewBlock.from_reference({k: v.numpy() for k, v in deepest.items()})
    assert block.attend is None
    predicted, residual = block(oracle["student_feature"])
    assert predicted.shape == (4, 20, 8, 8)
    bare = {k: v for k, v in state.items() if not k.startswith("conv1")}
    torch.testing.assert_close(
        ReviewBlock.from_reference(bare)(residual, residual)[1],
        ReviewBlock.from_reference(state).attend(residual, residual),
    )
    with pytest.raises(MmkdError, match="has no 'conv2.0.w0.weight'"):
        ReviewBlock.from_reference({k: v for k, v in state.items() if "w0" not in k})
    with pytest.raises(MmkdError, match="only then"):
        block(oracle["student_feature"], residual)
    with pytest.raises(MmkdError, match="only then"):
        ReviewBlock.from_reference(state)(oracle["student_feature"])


# the walk


def context(s, t):
    total, weights = F.mse_loss(s, t), 1.0
    for level, side in enumerate(side for side in (4, 2, 1) if side < min(s.shape[2:])):
        pooled = [F.adaptive_avg_pool2d(x, side) for x in (s, t)]
        total = total + 0.5 ** (level + 1) * F.mse_loss(*pooled)
        weights += 0.5 ** (level + 1)
    return total / weights


@pytest.mark.parametrize("loss", ["mse", "reviewkd-hcl"])
@pytest.mark.parametrize(("stages", "width"), [("all", 0), ("last", 5), ("stage1", 0)])
def test_the_walk_by_hand(loss, stages, width):
    """A review path a teacher, from the embedding to the shallow stage, lines lifted, in its share."""
    torch.manual_seed(1)
    s, t = student(), teachers()
    options = {"loss": loss, "stages": stages, "width": width, "feature_weight": 3.0, "cutoff": 0.4}
    method = made(s, t, teacher_weights="sig=2,gaf=1,p.i@8=1", **options)
    terms = method.losses(s, t, batch(epoch=0))
    names = {"all": ["stage2", "stage1"], "last": ["stage2"], "stage1": ["stage1"]}[stages]
    for number, (modality, share) in enumerate({"sig": 0.5, "gaf": 0.25, "p.i@8": 0.25}.items()):
        own = s.branches.get(modality, s.branches["sig"])
        pairs = [(own.embedding[..., None, None], t[modality].embedding[..., None, None])]
        for name in names:
            side = {"stage1": 16, "stage2": 8}[name]
            both = own.features[name], t[modality].features[name]
            pairs.append(tuple(lift(x, "outer", side) if x.ndim == 3 else x for x in both))
        residual, total = None, 0
        blocks = [b for key, b in method.paths.items() if key.startswith(f"{number}_")]
        for block, (x, target) in zip(blocks, pairs, strict=True):
            assert block.embed[0].out_channels == width if width else block.attention.in_channels == min(16, x.shape[1])
            assert block.rectify
            mask = high_pass(block.size, "symmetric", 0.4)
            predicted, residual = block_by_hand(block, x, residual, mask.float())
            target = (target / target.square().mean().sqrt()).detach()
            total = total + (F.mse_loss if loss == "mse" else context)(predicted, target)
        leaves = [own.embedding, *(own.features[n] for n in names), *(p for b in blocks for p in b.parameters())]
        assert_same(terms[f"fam_{modality}"], 3 * 0.5 * share * total, leaves)


def test_the_deep_stage_is_handed_on():
    s = outputs(SIG)
    t = {"sig": outputs(SIG, width=24)}
    method = made(s, t)
    (deepest, deep, shallow) = method.paths.values()
    assert (deepest.attend is None, deep.attend is None, shallow.attend is None) == (True, False, False)
    term = method.losses(s, t, batch())["fam_sig"]
    assert s.embedding.grad is None
    shallow_only = [
        torch.randn(6, 8, 32, 32),
        deep(torch.randn(6, 16, 16, 16), deepest(s.embedding[..., None, None])[1]),
    ]
    reached = torch.autograd.grad(shallow(shallow_only[0], shallow_only[1][1])[0].square().sum(), s.embedding)[0]
    assert reached.abs().sum() > 0
    assert torch.isfinite(term)


def test_terms_gradients_and_training():
    torch.manual_seed(1)
    s, t = student(), teachers()
    method = made(s, t, logit_weight=0.5)
    terms = method.losses(s, t, batch())
    assert set(terms) == {"ce", "branch_ce", "fam_sig", "fam_gaf", "fam_p.i@8", "kd"}
    sum(terms.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    for branch in s.branches.values():
        assert all(x.grad.abs().sum() > 0 for x in (branch.embedding, *branch.features.values()))
    for teacher in t.values():
        assert all(x.grad is None for x in (teacher.logits, teacher.embedding, *teacher.features.values()))
    optimiser, values = torch.optim.Adam(method.parameters(), lr=0.01), []
    for _ in range(15):
        optimiser.zero_grad()
        loss = sum(v for k, v in method.losses(s, t, batch()).items() if k.startswith("fam_"))
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < 0.9 * values[0]


def test_each_flag_changes_what_it_says():
    torch.manual_seed(1)
    s, t = student(), teachers()
    base = made(s, t)
    value = base.losses(s, t, batch())["fam_gaf"].item()
    changes = [{"mask": "none"}, {"cutoff": 0.6}, {"init": "reference"}, {"width": 5}, {"stages": "last"}]
    changes += [{"loss_domain": "amplitude"}, {"target_scale": "channel"}, {"target_scale": "none"}, {"pairs": "all"}]
    changes += [{"global_branch": False}, {"local_branch": False}, {"transform": "dct"}, {"transform": "haar"}]
    for change in [*changes, {"loss": "reviewkd-hcl"}]:
        other = made(s, t, **change).losses(s, t, batch())["fam_gaf"].item()
        assert other != pytest.approx(value, rel=1e-4), change
    value = base.losses(s, t, batch())["fam_sig"].item()
    for change in ({"lift": "repeat"}, {"side_limit": 8}):
        other = made(s, t, **change).losses(s, t, batch())["fam_sig"].item()
        assert other != pytest.approx(value, rel=1e-4), change
    same = made(s, t, loss_domain="frequency").losses(s, t, batch())["fam_gaf"].item()
    assert same == pytest.approx(base.losses(s, t, batch())["fam_gaf"].item(), rel=1e-5)  # Parseval
    with pytest.raises(MmkdError, match="no option 'local_attention'"):
        METHODS.get("fam-review")(local_attention=True)


def test_targets_with_negative_values_meet_no_relu():
    s = student()
    assert all(b.rectify for b in made(s, teachers()).paths.values())
    assert not any(b.rectify for b in made(s, teachers(relu=False)).paths.values())


def test_small_batches_and_mixed_precision():
    method = made(student(), teachers())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        s = student()
        terms = method.losses(s, teachers(), batch())
    sum(terms.values()).backward()
    assert all(torch.isfinite(v) and (v.dtype == torch.float32) for k, v in terms.items() if k != "ce")
    terms = method.eval().losses(student(batch=1), teachers(batch=1), batch(size=1))
    assert all(torch.isfinite(v) for v in terms.values())
    s, t = student(), teachers()
    with pytest.raises(MmkdError, match="2 or more"):
        method.check(replace(Setup(s, t, 3, 60, 24), train_size=1))


def test_the_published_mask_says_once_that_it_is_idle(monkeypatch):
    monkeypatch.setattr(masks, "_warned", set())
    s, t = student(), teachers()
    with pytest.warns(IdleMaskWarning, match="FAMReview.*removes nothing from maps of 8x8, 16x16 ") as seen:
        made(s, t, mask="reference")
    assert len(seen) == 1  # and nothing of the 1x1 of the embedding, where no mask was meant
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(s, t, mask="reference", global_branch=False)
        made(s, t, mask="none")
