"""Which students cost the same, so that one measurement stands for all of them."""

from dataclasses import asdict, replace
from pathlib import Path

from mmkd.specs.data import DataSpec
from mmkd.specs.unit import Training, UnitSpec
from mmkd.store.record import Record
from mmkd.units import costs

SPEC = UnitSpec(
    data=DataSpec("sines", "ab" * 32),
    seed=0,
    method="kd",
    options={"temperature": 4.0},
    views={"sig": {}, "gaf": {"size": 16}},
    teachers={"sig": "WRN16-1"},
    teacher_training=Training(),
    student=("sig",),
    student_net="small",
    fusion=None,
    training=Training(),
)


def cost_key(spec=SPEC, channels=("x", "y"), window=32, classes=("a", "b"), deploys="student"):
    """The key of the cost of a student on record, made by hand."""
    data = {"channels": list(channels), "window": window, "classes": list(classes)}
    views = {name: {"config": spec.views[name], "state": {}} for name in spec.student}
    result = {"kind": "student", "key": spec.key, "spec": asdict(spec), "data": data, "views": views}
    return costs.cost_key(Record(Path(spec.key), {**result, "deploys": deploys}))


def test_students_share_a_measurement_only_where_they_cost_the_same():
    same = [
        replace(SPEC, seed=1),
        replace(SPEC, method="aver", options={}),
        replace(SPEC, training=Training(epochs=3)),
        replace(SPEC, teachers={"gaf": "WRN16-3"}),
    ]
    assert {cost_key(spec) for spec in same} == {cost_key()}
    others = {
        "net": cost_key(replace(SPEC, student_net="WRN16-1")),
        "modality": cost_key(replace(SPEC, student=("gaf",))),
        "branches": cost_key(replace(SPEC, student=("sig", "gaf"), fusion="concat")),
        "fusion": cost_key(replace(SPEC, student=("sig", "gaf"), fusion="attention")),
        "view": cost_key(replace(SPEC, student=("gaf",), views={**SPEC.views, "gaf": {"size": 32}})),
        "task": cost_key(replace(SPEC, task="segmentation")),
        "channels": cost_key(channels="xyz"),
        "window": cost_key(window=64),
        "classes": cost_key(classes="abc"),
        "own network": cost_key(deploys="method"),
        "own network of another method": cost_key(replace(SPEC, method="simkd"), deploys="method"),
        "own network by other teachers": cost_key(replace(SPEC, teachers={"gaf": "WRN16-1"}), deploys="method"),
    }
    assert len({cost_key(), *others.values()}) == 1 + len(others)


def test_the_middle_of_the_steady_measurements_stands_for_all(monkeypatch):
    """Of two in the middle the lower; where none is steady, of all. Steady: the 95th percentile is up to 2 medians."""
    monkeypatch.setattr(costs, "UNSTEADY", 2.0)  # in other tests everything is steady

    def middle(*times):
        return costs.middle([{"latency_ms": ms, "latency_p95_ms": p95} for ms, p95 in times])["latency_ms"]

    assert middle((3, 4), (1, 9), (5, 6), (2, 3)) == 3
    assert middle((5, 6), (2, 3), (3, 4), (4, 4)) == 3
    assert middle((1, 9)) == 1
    assert middle((3, 9), (1, 9), (2, 9)) == 2
    assert costs.is_steady({"latency_ms": 2.0, "latency_p95_ms": 4.0})
    assert not costs.is_steady({"latency_ms": 2.0, "latency_p95_ms": 4.1})
