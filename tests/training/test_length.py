"""How long a student is trained where its method says that it is not as long as its settings say."""

import csv
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from mmkd import METHODS, Costs
from mmkd.engines.estimate import estimate
from mmkd.engines.plan import make_plan
from mmkd.nets import build_student, build_teacher
from mmkd.nets.cost import count_macs
from mmkd.specs.unit import Training
from mmkd.store.records import Records
from mmkd.training.length import MOST, costs_of, length_of, stretch
from mmkd.training.preparation import prepare_unit
from mmkd.training.student import run_unit
from mmkd.training.workspace import Workspace
from mmkd.units.expansion import expand, student_alone
from mmkd.units.request import Request
from mmkd.units.splits import split_for

EPOCHS, TEACHER_EPOCHS = 4, 3


@pytest.fixture
def unit(sines, tmp_path):
    """A function from settings to a unit of `longer`, its data and a workspace."""

    def make(count="given-teachers", **settings):
        usual = {"students": ("sig",), "teachers": ("sig,gaf",), "epochs": EPOCHS, "teacher_epochs": TEACHER_EPOCHS}
        usual |= {"image_size": 16, "peers": ("none",), "options": {"longer": {"count": count}}}
        request = Request(methods=("longer",), data=str(sines), **{**usual, **settings})
        ((spec, data),) = expand(request)
        return spec, data, Workspace.for_request(request, runs=tmp_path / "runs", cache_folder=tmp_path / "cache")

    return make


def macs(spec, data):
    """F_s and the sum of F_k, counted on networks that are made here."""
    channels, window = data.x.shape[1:]
    shapes = {"sig": (channels, window), "gaf": (channels, 16, 16)}
    views = {name: torch.zeros(1, *shape) for name, shape in shapes.items()}
    classes = len(data.classes)
    student = build_student(spec.student_net, {"sig": shapes["sig"]}, classes, "concat")
    teachers = {name: build_teacher(net, name, shapes[name], classes) for name, net in spec.teachers.items()}
    return count_macs(student, views), {name: count_macs(net, views) for name, net in teachers.items()}


@pytest.mark.parametrize(
    ("augment", "copies"),
    [({}, 1), ({"augment": ("gain:0.3",), "augment_copies": 3}, 3), ({"augment": ("gain:0.3",)}, 0)],
)
@pytest.mark.parametrize("count", ["given-teachers", "all"])
def test_the_length_is_the_published_formula(unit, count, augment, copies):
    """E (1 + sum F_k / (3 F_s)) live, E + c sum F_k / (3 F_s) stored; all: + sum E_k F_k / F_s; rounded up."""
    spec, data, _ = unit(count, **augment)
    f_s, f_k = macs(spec, data)
    total = sum(f_k.values()) / (3 * f_s)
    epochs = EPOCHS + copies * total if copies else EPOCHS * (1 + total)
    if count == "all":
        epochs += TEACHER_EPOCHS * sum(f_k.values()) / f_s
    length = length_of(spec, data)
    assert length.asked == pytest.approx(epochs / EPOCHS, rel=1e-9)
    assert length.training.epochs == min(-int(-epochs // 1), MOST * EPOCHS) > EPOCHS
    assert length.factor == length.training.epochs / EPOCHS
    assert replace(length.training, epochs=EPOCHS) == spec.training


def test_a_fixed_number_of_steps_is_stretched_as_epochs_are(unit):
    spec, data, _ = unit(epochs=None, steps=30)
    f_s, f_k = macs(spec, data)
    windows = len(split_for(data, spec.data, spec.seed).train)
    steps = 30 + sum(f_k.values()) / (3 * f_s) * windows / spec.training.batch_size
    assert length_of(spec, data).training.steps == -int(-steps // 1)


def test_steps_stay_in_parts_of_about_the_same_size():
    length = stretch(Training(epochs=3, steps=310), 2.5)
    assert (length.training.steps, length.training.epochs, length.factor) == (775, 8, 2.5)


def test_what_peers_and_given_weights_cost(unit, tmp_path):
    """A peer has no network; weights that are given were not trained for it."""
    spec, data, _ = unit("all", teacher_nets={"sig": "random-forest"})
    costs = costs_of(spec, data)
    assert costs.teachers["sig"] == costs.trained["sig"] == 0
    assert min(costs.teachers["gaf"], costs.trained["gaf"]) > 0
    weights = tmp_path / "gaf.safetensors"
    save_file(build_teacher(spec.teachers["gaf"], "gaf", (data.x.shape[1], 16, 16), 3).state_dict(), weights)
    spec, _, _ = unit("all", teacher_checkpoints={"gaf": str(weights)})
    costs = costs_of(spec, data)
    assert costs.trained["gaf"] == 0
    assert min(costs.teachers["gaf"], costs.trained["sig"]) > 0


def test_teachers_without_a_fold_are_trained_too(unit):
    spec, data, _ = unit("all", teachers=("sig",))
    out_of_fold, _, _ = unit("all", teachers=("sig",), teacher_targets="out-of-fold:3")
    one, several = costs_of(spec, data), costs_of(out_of_fold, data)
    assert one.trained["sig"] < several.trained["sig"] == 3 * one.trained["sig"], "each on two thirds of the windows"


def test_with_few_labels_teachers_look_at_all_windows(unit):
    spec, data, _ = unit("all", labelled_subjects=2)
    costs = costs_of(spec, data)
    split = split_for(data, spec.data, spec.seed)
    assert costs.stored == len(split.pool) > len(split.train)
    assert costs.windows == spec.training.steps * min(spec.training.batch_size, len(split.train))
    assert costs.trained["gaf"] == TEACHER_EPOCHS * len(split.train)


def test_it_is_cut():
    length = stretch(Training(epochs=2), 20.5)
    assert (length.training.epochs, length.is_cut) == (40, True)
    assert "not 20.5 times" in length.text
    assert not stretch(Training(epochs=2), 20.0).is_cut
    method = METHODS.get("longer")()
    assert method.length(Costs(1, {"sig": 3}, windows=10, stored=5, trained={"sig": 0})) == 1.5


def test_the_record_the_history_and_the_log_have_the_real_length(unit):
    spec, data, workspace = unit(epochs=2)
    record = run_unit(spec, data, workspace)
    length = length_of(spec, data)
    rows = list(csv.DictReader((record.folder / "history.csv").read_text().splitlines()))
    assert len(rows) == length.training.epochs > 2
    assert float(rows[-1]["lr"]) < float(rows[1]["lr"]), "the schedule is stretched, and ends at its end"
    assert record.result["length"]["epochs"] == length.training.epochs
    assert f"trained for {length.text}" in (record.folder / "events.log").read_text()
    assert record.unit.training.epochs == 2, "its settings are those of the rows that it is compared with"


def test_no_teacher_is_trained_for_it(unit):
    spec, data, workspace = unit()
    plan = make_plan([(spec, data)], workspace.records, workspace.cache)
    assert [(job.kind, job.modality) for job in plan] == [("view", "sig"), ("unit", "")]
    prepared = prepare_unit(spec, data, workspace)
    assert not prepared.teachers
    assert not list(Records(workspace.runs))


def test_an_estimate_knows_the_length(unit):
    """A record of the same unit takes as long as it took."""
    spec, data, workspace = unit(epochs=2)
    record = run_unit(spec, data, workspace)
    other = replace(spec, seed=1)
    plan = make_plan([(other, data)], workspace.records, workspace.cache)
    found = estimate(plan, [record], 1, workspace.threads, "auto")
    assert found.known == 1
    assert found.seconds == pytest.approx(record.seconds, rel=1e-6)
    alone = run_unit(student_alone(spec), data, workspace)
    found = estimate(plan, [alone], 1, workspace.threads, "auto")
    assert found.seconds == pytest.approx(alone.seconds * length_of(spec, data).factor, rel=1e-6)


def test_a_length_that_is_cut_is_said(unit, monkeypatch):
    said = []
    monkeypatch.setattr("mmkd.training.length.MOST", 1.5)
    spec, data, workspace = unit("all", epochs=2)
    monkeypatch.setattr(type(workspace.progress), "say", lambda self, line: said.append(line))
    prepared = prepare_unit(spec, data, workspace)
    assert (prepared.training.epochs, prepared.spec.training.epochs) == (3, 2)
    (line,) = said
    assert line.startswith("warning: longer, seed 0: 3 epochs, 1.50 times as long as the settings say, and not ")
