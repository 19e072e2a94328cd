"""The table of configurations of a method, and which of them is chosen."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from mmkd import METHODS, DistillConfig, Method, MmkdError, Range, option
from mmkd.core.options import recorded
from mmkd.data.relatives import are_relatives
from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.units.expansion import student_alone
from mmkd.units.names import option_names
from mmkd.units.tuned import choose, with_tuned
from mmkd.units.tuning import SEED, Tries, configurations, ranges_of, table_digest, tuning_seed


class Toy(Method):
    """Options of each kind that can be tuned."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        temperature: float = option(4.0, "temperature", gt=0, tune=Range(1, 16, log=True))
        weight: float = option(0.5, "weight", tune=Range(0, 1))
        count: int = option(2, "count", tune=Range(1, 4))
        form: str = option("plain", "form", tune=("plain", "ranked"))
        margin: float = option(0.1, "margin, which is not tuned")

        def __post_init__(self):
            super().__post_init__()
            if self.form == "ranked" and self.weight > 0.9:
                raise MmkdError("ranked with such a weight")


class Two(Method):
    """One option, with two values in all."""

    @dataclass(frozen=True)
    class Config(DistillConfig):
        form: str = option("plain", "form", tune=("plain", "ranked"))


@pytest.fixture(autouse=True)
def _toys():
    METHODS.register("toy")(Toy)
    METHODS.register("two")(Two)
    yield
    METHODS.unregister("toy")
    METHODS.unregister("two")


BASE = recorded(Toy.Config())
SPEC = UnitSpec(
    data=DataSpec("a", "ab" * 32),
    seed=0,
    method="toy",
    options=BASE,
    views={"sig": {}},
    teachers={"sig": "small"},
    teacher_training=Training(),
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(),
)


def test_number_zero_is_the_default_and_a_longer_table_begins_with_the_shorter():
    table = configurations("toy", 25, BASE)
    assert table[0] == BASE
    assert configurations("toy", 7, BASE) == table[:7]
    assert len({str(row) for row in table}) == 25
    assert all(row["margin"] == 0.1 for row in table)
    assert not any(row["form"] == "ranked" and row["weight"] > 0.9 for row in table)


def test_every_range_is_filled_evenly():
    """Of 96 points each quarter of a range has between 16 and 32: on the log scale of temperatures, too."""
    table = configurations("toy", 97, BASE)[1:]
    quarters = np.floor(np.log2([row["temperature"] for row in table]).clip(0, 3.999))
    assert all(16 <= (quarters == q).sum() <= 32 for q in range(4))
    shares = np.floor(4 * np.clip([row["weight"] for row in table], 0, 0.999))
    assert all(16 <= (shares == q).sum() <= 32 for q in range(3))  # the last has fewer: not with "ranked"
    assert {row["count"] for row in table} == {1, 2, 3, 4}
    assert all(type(row["count"]) is int for row in table)
    assert 24 <= sum(row["form"] == "ranked" for row in table) <= 56


def test_options_of_the_request_are_where_a_table_begins():
    base = recorded(Toy.Config(temperature=2.0, margin=0.3))
    table = configurations("toy", 5, base)
    assert table[0]["temperature"] == 2.0
    assert all(row["margin"] == 0.3 for row in table)
    assert [row["temperature"] for row in table[1:]] == [
        row["temperature"] for row in configurations("toy", 5, BASE)[1:]
    ]
    assert table_digest("toy", base) != table_digest("toy", BASE)


def test_a_method_with_fewer_configurations_has_those():
    assert [row["form"] for row in configurations("two", 10, recorded(Two.Config()))] == ["plain", "ranked"]


def test_a_digest_is_of_method_options_and_ranges(monkeypatch):
    digest = table_digest("toy", BASE)
    assert digest == table_digest("toy", dict(reversed(BASE.items())))
    monkeypatch.setattr(Toy, "revision", 2)
    assert table_digest("toy", BASE) != digest
    monkeypatch.undo()

    class Wider(Toy):
        @dataclass(frozen=True)
        class Config(Toy.Config):
            temperature: float = option(4.0, "temperature", gt=0, tune=Range(1, 20, log=True))

    METHODS.unregister("toy")
    METHODS.register("toy")(Wider)
    assert table_digest("toy", BASE) != digest


def test_controls_are_not_tuned(monkeypatch):
    assert list(ranges_of("toy")) == ["temperature", "weight", "count", "form"]
    monkeypatch.setattr(Toy, "status", "control")
    assert ranges_of("toy") == {}
    assert ranges_of("student") == {}


def test_no_seed_of_the_request_is_used_for_tuning():
    assert tuning_seed((0, 1)) == SEED
    assert tuning_seed((SEED, SEED + 1)) == SEED + 2


@pytest.mark.parametrize(
    ("one", "other"),
    [("hapt", "uci-har"), ("hapt6", "hapt-dense"), ("FaceAll", "ucr-uea.FacesUCR"), ("gunpoint", "ucr-uea.GunPoint")],
)
def test_sets_of_the_same_recordings(one, other):
    assert are_relatives(one, other)
    assert are_relatives(other, one)


def test_sets_of_others():
    assert not any(are_relatives("hapt6", other) for other in ("natops", "pamap2", "wisdm", "motionsense"))
    assert not are_relatives("ucr-uea.Coffee", "ucr-uea.Beef")


def tries_of(scores):
    """Tries of two values, on sets "a", "b", ..., and the records that hold these scores: number -> one a set."""
    units = []
    records = {}
    for number, row in enumerate(scores):
        specs = [replace(SPEC, data=replace(SPEC.data, name="ab"[place]), seed=number) for place in range(len(row))]
        units.append([(spec, None) for spec in specs])
        for spec, score in zip(specs, row, strict=True):
            if score is not None:
                found = SimpleNamespace(metrics=SimpleNamespace(test={"macro_f1": score}), seconds=2.0)
                records[spec.key] = found
    options = configurations("toy", len(scores), BASE)
    return Tries("toy", "digest", options, units, "setting"), records


def test_the_best_score_is_chosen_and_of_equal_ones_the_first():
    tries, records = tries_of([[0.5], [0.7], [0.7], [0.6]])
    choice = choose(tries, records.get)
    assert (choice.number, choice.score, choice.default_score, choice.lacking) == (1, 0.7, 0.5, [])
    assert choice.options == configurations("toy", 2, BASE)[1]
    assert list(choice.changed) == ["temperature", "weight", "count", "form"]
    assert (choice.trainings, choice.seconds, choice.budget) == (4, 8.0, 4)
    tries, records = tries_of([[0.7], [0.7]])
    assert choose(tries, records.get).number == 0


def test_of_several_sets_the_mean_gain_over_the_default_is_compared():
    """Number 1 gains 0.1 and 0.0, number 2 -0.2 and 0.2; a set with higher scores does not weigh more."""
    tries, records = tries_of([[0.9, 0.1], [1.0, 0.1], [0.7, 0.3]])
    choice = choose(tries, records.get)
    assert (choice.number, choice.on) == (1, ["a", "b"])
    assert choice.score == pytest.approx(0.55)


def test_what_failed_is_not_chosen():
    tries, records = tries_of([[0.5, 0.5], [0.9, None], [0.6, 0.5]])
    choice = choose(tries, records.get)
    assert (choice.number, choice.lacking, choice.trainings) == (2, [1], 5)
    assert "; number 1 failed" in choice.line
    tries, records = tries_of([[None, 0.5], [0.9, 0.9]])
    assert choose(tries, records.get) is None


def test_a_tuned_unit_follows_its_default():
    tries, records = tries_of([[0.5], [0.7]])
    choice = choose(tries, records.get)
    other = replace(SPEC, seed=1)
    units = with_tuned([(SPEC, None), (other, None)], lambda spec: choice if spec is other else None)
    assert [spec for spec, _ in units[:2]] == [SPEC, other]
    tuned = units[2][0]
    assert tuned == replace(other, options=choice.options, tuned=choice.tuned)
    assert len({spec.key for spec, _ in units}) == 3
    assert option_names([spec for spec, _ in units]) == ["toy", "toy", "toy (tuned)"]
    assert student_alone(tuned).key == student_alone(other).key


def test_a_tuned_row_has_one_name_whatever_was_chosen():
    specs = [replace(SPEC, options={**BASE, "weight": w}, tuned={"table": "t", "budget": 5}) for w in (0.1, 0.2)]
    assert option_names(specs) == ["toy (tuned)"] * 2
    specs[1] = replace(specs[1], tuned={"table": "t", "budget": 10})
    assert option_names(specs) == ["toy (tuned) budget=5", "toy (tuned) budget=10"]
