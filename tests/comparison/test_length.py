"""Trainings whose length a preset gives by the number of windows are one row, whatever that number is."""

import copy
from dataclasses import replace

import pytest

import mmkd
from mmkd.comparison.compare import compare
from mmkd.comparison.gap import record_gaps
from mmkd.comparison.length import settings_by_length
from mmkd.store.records import Records
from mmkd.tasks import TASKS

PRESETS = TASKS.get("classification").presets
NUMBERS = {0: 3000, 1: 2800}
"""Seed -> number of training windows, as where each seed draws other labelled subjects."""


@pytest.fixture(scope="module")
def records(tiny, tmp_path_factory):
    """Two seeds of a student alone, with a teacher, and with a teacher that has validation windows of its own."""
    runs = tmp_path_factory.mktemp("length")
    for seed in NUMBERS:
        for method in ("student", "kd", "eskd"):
            mmkd.run(method, student="sig", teachers="sig", seed=seed, runs=runs, **{**tiny, "epoch_rule": "last"})
    return list(Records(runs))


def lasting(record, preset, windows=NUMBERS, changes=None):
    """A record as if it were of a training of that preset on so many windows."""
    result = copy.deepcopy(dict(record.result))
    spec, number = result["spec"], windows[record.spec.seed]
    result["data"]["windows"] = {"train": number, "validation": 0, "test": 99, "unlabelled": 0}
    for name, of_teacher in (("training", record.kind == "teacher"), ("teacher_training", True)):
        if spec.get(name):
            part = number * 4 // 5 if of_teacher and spec.get("teacher_validation") else number  # of a student's record
            made = PRESETS[preset].resolve(part, of_teacher, {"batch_size": 64, **(changes or {})})
            spec[name] |= {"epochs": made.epochs, "steps": made.steps, "batch_size": made.batch_size}
    return replace(record, result=result)


def test_the_length_of_a_preset_is_its_name_and_any_other_its_numbers(records):
    one = next(record for record in records if record.kind == "student")
    settings = settings_by_length(one.unit.training, one, teacher=False)
    assert (settings["epochs"], settings["steps"]) == (one.unit.training.epochs, one.unit.training.steps)
    assert "length" not in settings
    for preset in ("quick", "standard"):
        made = lasting(one, preset)
        settings = settings_by_length(made.unit.training, made, teacher=False)
        assert settings["length"] == preset
        assert not {"epochs", "steps"} & set(settings)
    other = lasting(one, "standard", changes={"steps": 1234})
    assert settings_by_length(other.unit.training, other, teacher=False)["steps"] == 1234
    old = replace(one, result={**one.result, "data": {}})
    assert settings_by_length(old.unit.training, old, teacher=False)["epochs"] == one.unit.training.epochs


def test_seeds_with_other_numbers_of_windows_are_one_row(records):
    made = [lasting(record, "standard") for record in records]
    lengths = {record.spec.training.steps for record in made}
    assert len(lengths) > 1, "else nothing is to be seen"
    (group,) = compare(made).groups
    assert all(len(row.units) == 2 for row in group.rows), [(row.name, len(row.units)) for row in group.rows]
    assert {row.base for row in group.rows if row.kind == "student"} == {"student", "kd", "eskd"}
    alone = [record for record in made if record.kind == "student" and record.spec.method == "student"]
    teachers = [record for record in made if record.kind == "teacher" and not record.spec.data.validation]
    (gap,) = record_gaps(alone, teachers)
    assert gap.n == 2


def test_presets_are_told_apart(records):
    presets = {0: "standard", 1: "quick"}
    made = [lasting(record, presets[record.spec.seed]) for record in records]
    assert len(compare(made).groups) == 2
