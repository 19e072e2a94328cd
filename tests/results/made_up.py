"""A small protocol and made-up records of its units: their specs are those that the runner makes of its suites."""

from dataclasses import asdict, replace
from functools import cache

import numpy as np

from mmkd.core.registry import METHODS
from mmkd.data import Dataset
from mmkd.data.cards import find_card
from mmkd.peers import PEERS
from mmkd.results.protocol import read_protocol, version_line
from mmkd.specs.unit import PeerSpec, TeacherSpec
from mmkd.store.travelling import TravellingRecord, line_of
from mmkd.training.teacher_record import describe_data
from mmkd.units.expansion import expand
from mmkd.units.splits import split_for

PROTOCOL = """version = "v1"
seeds = [0, 1, 2]
metric = "macro_f1"

[datasets.basic-motions]

[datasets.ECG200]
name = "ucr-uea.ECG200"

[datasets.hapt6]
units = "subjects"

[datasets.natops]
development = true

[regimes.A]
title = "few labels"
datasets = ["hapt6", "ECG200"]
what = "Labels of two subjects, or of three windows a class."

[regimes.C]
suites = ["C", "C-wide"]
datasets = ["basic-motions", "ECG200"]
metric = "accuracy"
"""
HEAD = """preset = "standard"
methods = ["student", "kd"]
with_controls = {controls}
seeds = [0, 1, 2]
students = "sig"
teachers = "sig"
peers = "random-forest"
records = ["records"]
"""
SUITES = {
    "A": HEAD.format(controls="true")
    + """student_net = "micro"
[[parts]]
name = "hapt6"
datasets = ["hapt6"]
rate = 25
labelled_subjects = 2
[[parts]]
name = "ECG200"
datasets = ["ucr-uea.ECG200"]
labelled_windows = 3
""",
    "C": HEAD.format(controls="false")
    + """student_net = "micro"
datasets = ["basic-motions", "ucr-uea.ECG200"]
""",
    "C-wide": HEAD.format(controls="false")
    + """student_net = "small"
datasets = ["basic-motions", "ucr-uea.ECG200"]
""",
    "A-dev": HEAD.format(controls="false") + 'datasets = ["natops"]\n',
}


@cache
def dataset(name):
    """Windows of the right names and facts: what they hold does not matter."""
    rng = np.random.default_rng(len(name))
    subjects = name == "hapt6"
    n = 240
    data = Dataset.from_arrays(
        rng.normal(size=(n, 6, 32)),
        np.arange(n) // 2 % 3,
        subject=np.arange(n) % 8 if subjects else None,
        test=np.arange(n) % 8 < 3,
        rate_hz=25 if subjects else 10,
        name=name,
    )
    triads = {} if name.startswith("ucr") else {"waist": ((0, 1, 2), (3, 4, 5))}
    augment = tuple(find_card(name).augment)
    return replace(data, triads=triads, augment=augment, resampled=subjects)


def write_protocol(folder):
    """The protocol in a folder, frozen."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "protocol.toml").write_text(PROTOCOL)
    for name, text in SUITES.items():
        (folder / f"{name}.toml").write_text(text)
    protocol = read_protocol(folder)
    (folder / "VERSION").write_text(version_line(protocol) + "\n")
    return protocol


def units(request, name):
    """(spec, data) of each unit of a part of a suite on a data set, as the runner makes them."""
    return list(expand(replace(request, datasets=(name,), plugins=()), dataset(name)))


def record(spec, data, score, teachers=(), **more):
    """A record that travelled, with made-up scores around `score`."""
    kind = {TeacherSpec: "teacher", PeerSpec: "reference"}.get(type(spec), "student")
    scores = {"accuracy": score, "macro_f1": score - 0.01, "balanced_accuracy": score - 0.02, "nll": 1.5, "ece": 0.1}
    result = {
        "key": spec.key,
        "kind": kind,
        "status": "done",
        "spec": asdict(spec),
        "metrics": {"test": scores},
        "parameters": 2052,
        "seconds": 12.345678,
        "data": describe_data(data, split_for(data, spec.data, spec.seed)),
        "environment": {"device": "cpu", "threads": 1, "processor": "x86_64", "git": {"commit": "ab" * 20}},
    }
    if kind == "student":
        taught = {name: spec.teacher(name).key for name in spec.teachers}
        result |= {"teachers": taught, "method_status": METHODS.get(spec.method).status}
        result |= {"views": {}, "deploys": "student"}
    result |= more
    return TravellingRecord(None, result)


def records_of(protocol, regime, score_of=lambda spec: 0.5):
    """Records of all units of a regime, of their teachers and peers, one of each key."""
    found = {}
    for name in protocol.regimes[regime].datasets:
        for request in protocol.regimes[regime].requests_of(name):
            for spec, data in units(request, name):
                peer = PeerSpec.beside(spec, "random-forest", PEERS["random-forest"].revision)
                for own in (spec, peer, *(spec.teacher(modality) for modality in spec.teachers)):
                    found.setdefault(own.key, record(own, data, score_of(own)))
    return list(found.values())


def score_of(spec):
    """A score that depends on data set, method and seed."""
    method = spec.net if isinstance(spec, TeacherSpec) else spec.method
    gain = {"student": 0.0, "kd": 0.04, "random-forest": 0.2}.get(method, 0.01)
    return round(0.5 + gain + 0.003 * spec.seed + 0.01 * len(spec.data.name), 4)


def write_records(path, records):
    """A file of records; a line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line_of(one)}\n" for one in sorted(records, key=lambda one: one.key)))
    return path
