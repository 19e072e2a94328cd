"""`label-smoothing` and `virtual-teacher`: reference numbers, slow loops, identities and the traps of other forms."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mmkd
from mmkd import METHODS, Batch, Outputs

ORACLE = np.load(Path(__file__).parents[1] / "oracles" / "controls.npz", allow_pickle=False)
LOGITS, TARGETS = (torch.from_numpy(ORACLE[key]) for key in ("logits_student", "target"))
B, K = LOGITS.shape


def terms(name, mixed=None, logits=LOGITS, **options):
    """The terms of a method, and its student's logits, which take gradients."""
    own = logits.double().clone().requires_grad_()
    batch = Batch(TARGETS, torch.arange(B), mixed=mixed)
    return METHODS.get(name)(**options).losses(Outputs(own, own), {}, batch), own


def assert_reference(term, logits, key, scale=1.0):
    assert term.item() == pytest.approx(scale * float(ORACLE[key]), rel=1e-6)
    (gradient,) = torch.autograd.grad(term, logits)
    np.testing.assert_allclose(gradient, scale * ORACLE[f"{key}_grad"], rtol=0, atol=1e-6)


def test_label_smoothing_equals_the_reference():
    found, logits = terms("label-smoothing")
    assert_reference(found["ce"], logits, "own_label_smoothing_torch_0.1")


def test_the_form_that_spares_the_label_is_that_of_another_share():
    """eps / (K - 1) on the other classes alone is eps / K on all of them at eps K / (K - 1)."""
    found, logits = terms("label-smoothing", label_smoothing=0.1 * K / (K - 1))
    assert_reference(found["ce"], logits, "tfkd_label_smoothing_0.1")
    assert found["ce"].item() != pytest.approx(terms("label-smoothing")[0]["ce"].item(), rel=1e-4)


def test_label_smoothing_is_the_student_with_that_option_to_the_bit(tiny, tmp_path):
    settings = {**tiny, "student": "sig", "epochs": 2, "runs": tmp_path}
    control = mmkd.run("label-smoothing", **settings)
    student = mmkd.run("student", label_smoothing=0.1, **settings)
    plain = mmkd.run("student", **settings)
    assert control.key != student.key
    own, same, other = (load_file(r.folder / "student.safetensors") for r in (control, student, plain))
    assert all(torch.equal(own[name], same[name]) for name in own)
    assert not all(torch.equal(own[name], other[name]) for name in own)
    assert control.metrics == student.metrics
    assert control.result["method_status"] == "control"


def test_a_virtual_teacher_equals_the_reference():
    found, logits = terms("virtual-teacher")
    assert_reference(found["kd"], logits, "own_virtual_teacher_logits_T4_a0.99", scale=0.7)
    hard = torch.nn.functional.cross_entropy(logits, TARGETS)
    assert found["ce"].item() == pytest.approx(0.3 * hard.item(), rel=1e-6)


def slow_divergence(row, label, a=0.99, t=4.0):
    """T^2 KL of one window, from plain numbers."""
    teacher = [math.log(a) if k == label else math.log((1 - a) / (K - 1)) for k in range(K)]

    def softened(values):
        exponentials = [math.exp(v / t) for v in values]
        return [e / sum(exponentials) for e in exponentials]

    p, q = softened(teacher), softened(row)
    return t * t * sum(pk * math.log(pk / qk) for pk, qk in zip(p, q, strict=True))


def test_of_a_mixture_both_labels_count_by_their_shares():
    others = (TARGETS + 1) % K
    shares = torch.linspace(0.5, 1, B, dtype=torch.float64)
    found, _ = terms("virtual-teacher", mixed=(others, shares), kd_weight=1)
    expected = [
        s * slow_divergence(row, y) + (1 - s) * slow_divergence(row, other)
        for row, y, other, s in zip(LOGITS.tolist(), TARGETS.tolist(), others.tolist(), shares.tolist(), strict=True)
    ]
    assert found["kd"].item() == pytest.approx(sum(expected) / B, rel=1e-6)


def test_it_is_not_the_form_that_divides_probabilities_by_the_temperature():
    """That one is uniform: 0.1736 beside 0.1653 at T = 20. Ours has the confidence at T = 1, and less at T = 4."""
    coded = torch.tensor([0.1] + [0.9 / (K - 1)] * (K - 1)).div(20).softmax(0)
    assert coded.max() - coded.min() < 0.01
    a = 0.99
    ours = torch.tensor([math.log(a)] + [math.log((1 - a) / (K - 1))] * (K - 1))
    assert ours.softmax(0)[0].item() == pytest.approx(a, rel=1e-6)
    logits = ours.repeat(B, 1)
    for row, label in enumerate(TARGETS.tolist()):
        logits[row, [0, label]] = logits[row, [label, 0]]
    for temperature in (1.0, 4.0, 20.0):  # no divergence from a student that says exactly the same
        found, _ = terms("virtual-teacher", logits=logits, temperature=temperature)
        assert found["kd"].item() == pytest.approx(0, abs=1e-6)
    other, _ = terms("virtual-teacher", logits=torch.zeros(B, K))
    assert other["kd"].item() > 0.1


@pytest.mark.parametrize("pairs", ["fused", "same", "all"])
def test_the_pairs_of_a_virtual_teacher(pairs):
    branches = {name: Outputs(LOGITS.double() * factor, LOGITS) for name, factor in (("gaf", 0.5), ("sig", -1.0))}
    student = Outputs(LOGITS.double(), LOGITS, branches=branches)
    method = METHODS.get("virtual-teacher")(kd_weight=1, pairs=pairs)
    found = method.losses(student, {}, Batch(TARGETS, torch.arange(B)))["kd"].item()
    factors = {"fused": [1.0], "same": [0.5, -1.0], "all": [-1.0]}[pairs]
    values = [
        slow_divergence([f * z for z in row], y)
        for f in factors
        for row, y in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True)
    ]
    assert found == pytest.approx(sum(values) / len(values), rel=1e-6)
