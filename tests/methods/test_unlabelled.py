"""Methods where few windows have a label: cross-entropy reads the labelled ones alone."""

import pytest
import torch
from torch.nn import functional as F

from mmkd import METHODS, Batch, Outputs

TARGETS = torch.tensor([0, 2, -1, 1, -1])
LABELLED = TARGETS >= 0


def outputs(seed=0):
    torch.manual_seed(seed)
    branches = {m: Outputs(torch.randn(5, 3, requires_grad=True), torch.randn(5, 4)) for m in ("sig", "gaf")}
    return Outputs(torch.randn(5, 3, requires_grad=True), torch.randn(5, 4), branches=branches)


def slow_cross_entropy(logits, smoothing):
    losses = []
    for row, target in zip(logits, TARGETS.tolist(), strict=True):
        if target >= 0:
            wanted = torch.full((3,), smoothing / 3)
            wanted[target] += 1 - smoothing
            losses.append(-(wanted * row.log_softmax(0)).sum())
    return sum(losses) / len(losses)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_the_mean_over_the_labelled_windows(smoothing):
    student = outputs()
    method = METHODS.get("kd")(label_smoothing=smoothing)
    terms = method.supervised(student, Batch(TARGETS, torch.arange(5), labelled=LABELLED))
    torch.testing.assert_close(terms["ce"], slow_cross_entropy(student.logits, smoothing))
    branches = [slow_cross_entropy(branch.logits, smoothing) for branch in student.branches.values()]
    torch.testing.assert_close(terms["branch_ce"], 0.5 * sum(branches) / 2)


def test_without_a_labelled_window_it_is_0_with_a_gradient_of_0():
    student = outputs()
    batch = Batch(torch.full((5,), -1), torch.arange(5), labelled=torch.zeros(5, dtype=torch.bool))
    terms = METHODS.get("kd")().supervised(student, batch)
    assert [term.item() for term in terms.values()] == [0, 0]
    torch.stack(list(terms.values())).sum().backward()
    assert student.logits.grad is not None
    assert not student.logits.grad.any()


def test_with_all_labels_it_is_cross_entropy_bit_for_bit():
    student = outputs()
    targets = torch.tensor([0, 2, 1, 1, 0])
    terms = METHODS.get("kd")().supervised(student, Batch(targets, torch.arange(5)))
    assert torch.equal(terms["ce"], F.cross_entropy(student.logits, targets))
