"""`tsd`: reference numbers, slow loops, identities; what is occluded, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmkd.baselines.tsd import occluded, saliency, saliency_distance

from mmkd import METHODS, Batch, MmkdError, Outputs, Setup

ORACLES = Path(__file__).parents[1] / "oracles"
INPUTS = np.load(ORACLES / "losses2.npz", allow_pickle=False)
ORACLE = np.load(ORACLES / "losses2_bands.npz", allow_pickle=False)


def outputs(who):
    logits = torch.from_numpy(INPUTS[f"logits_{who}"]).clone().requires_grad_()
    variants = torch.from_numpy(ORACLE[f"own_tsd_{who}_occluded_logits"]).clone().requires_grad_()
    return Outputs(logits, logits, variants=variants)


def case(**options):
    student, teachers = outputs("student"), {"sig": outputs("teacher")}
    batch = Batch(torch.from_numpy(INPUTS["target"]), torch.arange(8))
    method = METHODS.get("tsd")(**options)
    method.check(Setup(student, teachers, 6, 60, 6, torch.arange(60) % 6))
    return student, teachers, batch, method


@pytest.mark.parametrize(("form", "tau"), [("kl", 1.0), ("kl", 0.5), ("mse", 1.0)])
def test_tsd_equals_the_reference(form, tau):
    student, teachers, batch, method = case(form=form, saliency_temperature=tau)
    term = method.losses(student, teachers, batch)["tsd"]
    key = f"own_tsd_{form}_tau{tau:g}"
    assert term.item() == pytest.approx(float(ORACLE[key]), rel=1e-5)
    found = torch.autograd.grad(term, [student.variants, student.logits])
    expected = ORACLE[f"{key}_grad"]
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    if form == "kl":  # the whole window cancels in the softmax
        assert found[1].abs().max() < 1e-6 * np.abs(expected).max() + 1e-7
    else:
        expected = ORACLE[f"{key}_grad_logits"]
        np.testing.assert_allclose(found[1].numpy(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    for x in (teachers["sig"].logits, teachers["sig"].variants):
        assert x.grad is None


def test_identical_networks_cost_nothing():
    student = outputs("student")
    teacher = student.detach()
    for form in ("kl", "mse"):
        method = METHODS.get("tsd")(form=form)
        batch = Batch(torch.from_numpy(INPUTS["target"]), torch.arange(8))
        assert method.losses(student, {"sig": teacher}, batch)["tsd"].abs() < 1e-6


def test_the_class_is_the_teachers_or_the_label_where_there_is_one():
    student, teachers, batch, _ = case()
    targets = torch.where(torch.arange(8) % 2 == 0, batch.targets, -1)
    values = {}
    for which in ("teacher", "label"):
        method = METHODS.get("tsd")(saliency_class=which, form="mse")
        labelled = targets >= 0
        values[which] = method.losses(student, teachers, replace(batch, targets=targets, labelled=labelled))["tsd"]
        total = 0.0
        for b in range(8):
            t = teachers["sig"].logits[b]
            c = t.argmax() if which == "teacher" or targets[b] < 0 else targets[b]
            s, t = (x.logits[b, c] - x.variants[b, :, c] for x in (student, teachers["sig"]))
            total += (s / s.norm() - t / t.norm()).square().mean().item() / 8
        assert values[which].item() == pytest.approx(total, rel=1e-5)
    assert values["teacher"].item() != pytest.approx(values["label"].item(), rel=1e-3)


def test_terms_weights_and_soft_targets():
    student, teachers, batch, _ = case()
    teachers = {**teachers, "gaf": replace(outputs("teacher"), variants=outputs("student").variants.detach())}
    method = METHODS.get("tsd")(weight=3, teacher_weights="sig=0.75,gaf=0.25")
    terms = method.losses(student, teachers, batch)
    single = [METHODS.get("tsd")().losses(student, {m: teachers[m]}, batch) for m in ("sig", "gaf")]
    torch.testing.assert_close(terms["tsd"], 3 * (0.75 * single[0]["tsd"] + 0.25 * single[1]["tsd"]))
    kd = METHODS.get("kd")(kd_weight=0.7).losses(student, {"sig": teachers["sig"]}, batch)["kd"]
    torch.testing.assert_close(single[0]["kd"], kd)
    torch.testing.assert_close(single[0]["ce"], torch.nn.functional.cross_entropy(student.logits, batch.targets))
    assert "kd" not in METHODS.get("tsd")(kd_weight=0).losses(student, teachers, batch)


def test_each_branch_has_variants_of_its_own():
    student, teachers, batch, _ = case()
    branch = replace(outputs("student"), variants=outputs("student").variants.detach().flip(1))
    student = replace(student, branches={"sig": branch})
    found = METHODS.get("tsd")(pairs="same").losses(student, teachers, batch)["tsd"]
    expected = METHODS.get("tsd")().losses(branch, teachers, batch)["tsd"]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("fill", ["line", "mean", "zero"])
def test_occlusion_by_slow_loops(fill):
    x = torch.randn(3, 2, 17, generator=torch.Generator().manual_seed(0))
    found = occluded(x, 4, fill)
    assert found.shape == (3, 4, 2, 17)
    for b in range(3):
        for m in range(4):
            first, end = m * 17 // 4, (m + 1) * 17 // 4
            for c in range(2):
                for w in range(17):
                    expected = x[b, c, w]
                    if first <= w < end:
                        step = (w - first) / (end - 1 - first)
                        line = x[b, c, first] + step * (x[b, c, end - 1] - x[b, c, first])
                        expected = {"line": line, "mean": x[b, c].mean(), "zero": torch.tensor(0.0)}[fill]
                    assert found[b, m, c, w].item() == pytest.approx(expected.item(), abs=1e-6)
    assert sum((m + 1) * 17 // 4 - m * 17 // 4 for m in range(4)) == 17


def test_a_line_is_not_changed_by_a_line():
    ramp = torch.linspace(-2, 5, 24).expand(1, 2, 24)
    torch.testing.assert_close(occluded(ramp, 8), ramp[:, None].expand(1, 8, 2, 24))


def test_short_segments_are_refused():
    with pytest.raises(MmkdError, match="--segments") as caught:
        METHODS.get("tsd")().variants(torch.zeros(1, 2, 23))
    assert "\n" not in str(caught.value)
    assert METHODS.get("tsd")(segments=7).variants(torch.zeros(1, 2, 23)).shape == (1, 7, 2, 23)


def test_saliency_is_what_is_lost():
    logits = torch.tensor([[3.0, 0.0]])
    variants = torch.tensor([[[1.0, 9.0], [3.5, 9.0]]])
    assert saliency(logits, variants, torch.tensor([0])).tolist() == [[2.0, -0.5]]
    assert saliency_distance(torch.tensor([[2.0, 0.0]]), torch.tensor([[5.0, 0.0]]), "mse") == 0
