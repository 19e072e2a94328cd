"""Keys and seeds: what changes them, and what does not."""

import json
from dataclasses import asdict, fields, replace
from hashlib import sha256

import pytest

from mmkd import MmkdError
from mmkd.core.keys import digest, seed_for
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import TeacherSpec, Training, UnitSpec
from mmkd.tasks import TASKS

SPEC = UnitSpec(
    data=DataSpec("gunpoint", "ab" * 32),
    seed=0,
    method="kd",
    options={"temperature": 4.0, "kd_weight": 0.7},
    views={"sig": {"scale": "channel"}, "gaf": {"size": 32, "method": "summation"}},
    teachers={"sig": "WRN16-1", "gaf": "WRN16-1"},
    teacher_training=Training(epochs=8),
    student=("sig", "gaf"),
    student_net="small",
    fusion="concat",
    training=Training(epochs=20),
)
OTHER = {
    "method_sha256": "ef" * 32,
    "data": DataSpec("gunpoint", "cd" * 32),
    "seed": 1,
    "method": "aver",
    "options": {"temperature": 2.0, "kd_weight": 0.7},
    "views": {"sig": {"scale": "channel"}, "gaf": {"size": 16, "method": "summation"}},
    "teachers": {"sig": "WRN16-1", "gaf": "WRN16-3"},
    "teacher_training": Training(epochs=9),
    "student": ("gaf", "sig"),
    "student_net": "WRN16-1",
    "fusion": "attention",
    "training": Training(epochs=21),
    "task": "segmentation",
    "checkpoint_sha256": {"sig": "12" * 32},
    "revision": 2,
    "teacher_validation": 0.2,
    "selection_folds": 3,
    "teacher_targets": "out-of-fold:3",
    "peer_revisions": {"sig": 2},
    "tuning": {"table": "56" * 8, "number": 3},
    "tuned": {"table": "56" * 8, "number": 3, "budget": 10, "on": ["gunpoint"]},
    "training_seed": 1000,
    "sources": {"backbone mine": "ef" * 32},
}
OTHER_DATA = {
    "name": "coffee",
    "sha256": "cd" * 32,
    "nan": "drop",
    "validation": 0.3,
    "epoch_rule": "last",
    "train_subjects": 5,
    "test_subjects": (3, 4),
    "by_name": True,
    "rate": 25.0,
    "labelled_subjects": 5,
    "labelled_windows": 10,
    "unlabelled_sha256": "34" * 32,
    "inner_fold": (1, 3),
    "stratified_fold": (2, 3),
    "train_windows": 10,
}
OTHER_TRAINING = {
    "epochs": 21,
    "batch_size": 32,
    "optimizer": "sgd",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "schedule": "steps",
    "precision": "bf16",
    "label_smoothing": 0.1,
    "steps": 500,
    "class_weights": "balanced",
    "focal_gamma": 2.0,
    "augment": ("rotate:30",),
    "augment_copies": 4,
    "triads": ("wrist=0,1,2",),
}


def backwards(mapping):
    return {k: backwards(v) if isinstance(v, dict) else v for k, v in reversed(mapping.items())}


def test_the_lists_above_name_every_field():
    assert set(OTHER) | {"plugins", "checkpoint_files", "given_views"} == {f.name for f in fields(UnitSpec)}
    assert set(OTHER_DATA) | {"fold", "unlabelled_file", "unequal", "parts_file"} == {f.name for f in fields(DataSpec)}
    assert set(OTHER_TRAINING) | {"given"} == {f.name for f in fields(Training)}


def test_key_is_the_same_everywhere_and_in_every_process():
    assert SPEC.key == replace(SPEC).key
    assert len(SPEC.key) == 16
    assert int(SPEC.key, 16) >= 0
    text = b'{"a":true,"b":[1,2.5,null,"\\u00e9"]}'
    assert digest({"b": [1, 2.5, None, "é"], "a": True}) == sha256(text).hexdigest()[:16]


def test_key_ignores_the_order_of_fields():
    other = replace(
        SPEC, options=backwards(SPEC.options), views=backwards(SPEC.views), teachers=backwards(SPEC.teachers)
    )
    assert list(other.options) != list(SPEC.options)
    assert other.key == SPEC.key
    assert other.teacher("gaf").key == SPEC.teacher("gaf").key


@pytest.mark.parametrize("name", OTHER)
def test_key_changes_with_every_field(name):
    assert replace(SPEC, **{name: OTHER[name]}).key != SPEC.key


@pytest.mark.parametrize("name", OTHER_DATA)
def test_key_changes_with_every_field_of_the_data(name):
    other = replace(SPEC, data=replace(SPEC.data, **{name: OTHER_DATA[name]}))
    assert other.key != SPEC.key
    same = name == "unlabelled_sha256"  # teachers are trained on labelled windows
    assert (other.teacher("sig").key == SPEC.teacher("sig").key) is same


def test_key_hangs_on_who_is_tested_and_not_on_what_a_fold_is_called():
    assert replace(SPEC, data=replace(SPEC.data, fold="subject 3")).key == SPEC.key
    old = {name: value for name, value in asdict(SPEC.data).items() if name not in ("test_subjects", "fold")}
    assert DataSpec(**old) == SPEC.data
    fold = replace(SPEC.data, test_subjects=(3, 4), fold="mine")
    assert DataSpec(**json.loads(json.dumps(asdict(fold)))) == fold


@pytest.mark.parametrize("name", OTHER_TRAINING)
def test_key_changes_with_every_field_of_the_training(name):
    changed = {name: OTHER_TRAINING[name]}
    assert replace(SPEC, training=replace(SPEC.training, **changed)).key != SPEC.key
    other = replace(SPEC, teacher_training=replace(SPEC.teacher_training, **changed))
    assert other.key != SPEC.key
    assert other.teacher("sig").key != SPEC.teacher("sig").key


def test_key_changes_with_no_teacher_and_no_fusion():
    keys = {SPEC.key, replace(SPEC, fusion=None).key, replace(SPEC, teachers={}, teacher_training=None).key}
    assert len(keys) == 3


def test_plugins_do_not_change_the_key():
    assert replace(SPEC, plugins=("/somewhere/mine.py",)).key == SPEC.key


def test_key_survives_json():
    """A record's spec, read back, has the key of the unit."""
    values = json.loads(json.dumps(asdict(SPEC)))
    again = UnitSpec.parse(values)
    assert again == SPEC
    assert again.key == SPEC.key


def test_digest_refuses_what_json_cannot_say():
    with pytest.raises(MmkdError, match="a = nan"):
        digest({"a": float("nan")})


def test_teacher_is_shared_by_all_that_does_not_shape_it():
    teacher = SPEC.teacher("gaf")
    shaped = {"data", "seed", "views", "teachers", "teacher_training", "task"}
    for name in set(OTHER) - shaped:
        assert replace(SPEC, **{name: OTHER[name]}).teacher("gaf").key == teacher.key, name
    for name in shaped:
        assert replace(SPEC, **{name: OTHER[name]}).teacher("gaf").key != teacher.key, name
    assert replace(SPEC, views=OTHER["views"]).teacher("sig").key == SPEC.teacher("sig").key


def test_a_teacher_has_the_sources_that_it_is_made_with():
    every = ["task classification", "modality gaf", "backbone WRN16-1", "backbone small", "fusion concat"]
    spec = replace(SPEC, sources={entry: f"{n:064d}" for n, entry in enumerate([*every, "modality sig"])})
    assert set(spec.teacher("gaf").sources) == set(every[:3])
    assert set(spec.view_sources("gaf@gyro")) == set(every[:2])
    assert spec.teacher("gaf").key != SPEC.teacher("gaf").key
    for entry in ("backbone small", "fusion concat", "modality sig"):
        other = replace(spec, sources={**spec.sources, entry: "ff" * 32})
        assert other.key != spec.key
        assert other.teacher("gaf").key == spec.teacher("gaf").key


def test_teacher_key_changes_with_every_field():
    teacher = SPEC.teacher("gaf")
    other = {
        "data": OTHER["data"],
        "seed": 1,
        "modality": "sig",
        "view": {"size": 16},
        "net": "WRN16-3",
        "training": Training(epochs=9),
        "task": "segmentation",
        "checkpoint_sha256": "12" * 32,
        "sources": {"backbone WRN16-1": "ef" * 32},
        "member": 1,
        "revision": 2,
    }
    assert set(other) | {"checkpoint_file", "plugins", "given_views"} == {f.name for f in fields(TeacherSpec)}
    keys = {teacher.key} | {replace(teacher, **{name: value}).key for name, value in other.items()}
    assert len(keys) == 1 + len(other)


def test_a_unit_without_teachers_has_none():
    with pytest.raises(MmkdError, match="method 'student' has no teachers"):
        replace(SPEC, method="student", teachers={}, teacher_training=None).teacher("sig")


def test_student_name():
    assert SPEC.student_name == "sig+gaf"


def test_seeds_differ_by_role_and_seed():
    roles = ["split", "teacher/sig", "teacher/gaf", "student", "batches", "method"]
    seeds = [seed_for(seed, role) for seed in range(20) for role in roles]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= s < 2**48 for s in seeds)
    assert seed_for(3, "student") == seed_for(3, "student")


@pytest.mark.parametrize("name", ["epochs", "batch_size", "lr", "weight_decay"])
def test_training_is_checked(name):
    with pytest.raises(MmkdError, match=f"{name.replace('_', '-')} = "):
        Training(**{name: -1})


def test_keys_of_specs_without_a_teacher_checkpoint_are_as_they_were():
    """Written down before there were teachers' checkpoints."""
    assert SPEC.key == "92a9965333e2492d"
    assert SPEC.teacher("gaf").key == "dbd6d8e5cb9f0c0f"


def test_the_content_of_a_teacher_checkpoint_is_in_the_key_and_the_place_is_not():
    mine = replace(SPEC, checkpoint_sha256={"sig": "12" * 32}, checkpoint_files={"sig": "/a"})
    assert mine.key != SPEC.key
    assert mine.key == replace(mine, checkpoint_files={"sig": "/b"}).key
    assert mine.key != replace(mine, checkpoint_sha256={"sig": "34" * 32}).key
    assert mine.teacher("sig").key != SPEC.teacher("sig").key
    assert mine.teacher("sig").key == replace(mine, checkpoint_files={"sig": "/b"}).teacher("sig").key
    assert mine.teacher("gaf") == SPEC.teacher("gaf")
    longer = replace(mine, teacher_training=Training(epochs=9, lr=0.1))
    assert mine.teacher("sig").key == longer.teacher("sig").key, "how others are trained is none of its business"
    assert UnitSpec.parse(json.loads(json.dumps(asdict(mine)))).key == mine.key


@pytest.mark.parametrize("preset", TASKS.get("classification").presets)
@pytest.mark.parametrize("windows", [1, 2, 3, 5, 7, 8, 9, 20, 31, 63, 64, 65, 400, 5_000, 200_000])
@pytest.mark.parametrize("teacher", [True, False])
def test_presets_resolve(preset, windows, teacher):
    p = TASKS.get("classification").preset(preset)
    training = p.resolve(windows, teacher, {})
    low, high = p.epochs_range
    if p.passes:
        assert p.steps_range[0] <= training.steps <= p.steps_range[1]
        assert training.epochs == round(training.steps / 100)
    else:
        assert low <= training.epochs <= high
        assert training.steps == 0
    assert 2 <= training.batch_size <= max(8, min(windows, p.training.batch_size))  # a tiny set is one batch
    rate = p.training.lr * (training.batch_size / p.training.batch_size if p.training.optimizer == "sgd" else 1)
    assert training.lr == pytest.approx(rate)
    changes = {"epochs": 3, "precision": "bf16"}
    assert p.resolve(windows, teacher, changes) == replace(training, **{**changes, "steps": 0})


def test_larger_sets_get_fewer_epochs_and_no_smaller_batches():
    quick = TASKS.get("classification").preset("quick")
    each = [quick.resolve(n, False, {}) for n in (16, 64, 256, 1024, 4096, 16384)]
    assert [t.epochs for t in each] == sorted((t.epochs for t in each), reverse=True)
    assert [t.batch_size for t in each] == sorted(t.batch_size for t in each)
    assert each[-1].batch_size == 64
