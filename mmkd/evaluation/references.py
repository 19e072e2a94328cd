"""Peers as reference rows: usual classifiers in every table of windows, fitted on exactly the windows of the students.

They read the channels that the student reads, as the standardised signal; of images, the pixels. Augmented copies are
not among their training windows, nor are windows without a label.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmkd.core.errors import MmkdError, describe_error
from mmkd.core.keys import seed_for
from mmkd.core.progress import duration
from mmkd.data import Dataset
from mmkd.metrics.registry import checksum_field
from mmkd.metrics.reproduction import prediction_scores
from mmkd.peers import PEERS
from mmkd.peers.base import Signals, softmax
from mmkd.peers.forest import pixels
from mmkd.specs.unit import PeerSpec, UnitSpec
from mmkd.store.environment import environment
from mmkd.store.record import Record, write_history
from mmkd.training.teacher_record import describe_data
from mmkd.training.teachers import peak_memory
from mmkd.training.workspace import Workspace
from mmkd.units.splits import split_for
from mmkd.views import make_modality
from mmkd.views.cached import view_configs


def reference_records(
    unit: UnitSpec, data: Dataset, workspace: Workspace, names: Sequence[str], make: bool
) -> tuple[list[Record], list[str]]:
    """The records of peers on the windows of a unit, and one line for each that failed.

    Args:
        names: of the peers.
        make: whether those that are not on record are fitted first.
    """
    records = workspace.records
    problems = []
    specs = {name: PeerSpec.beside(unit, name, PEERS[name].revision) for name in names}
    for name, spec in specs.items():
        if not make or records.get(spec.key) is not None:
            continue
        if data.grid is not None and not PEERS[name].images:
            problems.append(f"{name} on {data.name}: it reads signals, and these data are images")
            continue
        with records.lock(spec.key):
            if records.get(spec.key) is not None:
                continue
            start = time.perf_counter()
            try:
                records.write(spec.key, partial(_write_files, spec=spec, data=data))
            except Exception as error:  # a row that is missing must not cost the table
                reason = str(error) if isinstance(error, MmkdError) else describe_error(error)
                problems.append(f"{name} on {data.name}: {reason}")
                continue
            workspace.progress.say(f"{data.name}, {name}: fitted in {duration(time.perf_counter() - start)}")
    return [record for spec in specs.values() if (record := records.get(spec.key)) is not None], problems


def peer_signals(names: Sequence[str], data: Dataset, train: Any) -> Signals:
    """What a peer reads of all N windows: an array (N, C, W) a modality, standardised on the training windows.

    Args:
        names: modalities of signals, such as "sig@acc"; or "img", whose pixels (N, F) are returned as they are.
        train: indices of the training windows.

    Raises:
        MmkdError: images have too many pixels.
    """
    x = np.asarray(data.x, np.float32)
    if data.grid is not None:
        return [pixels(x)]
    configs = view_configs(tuple(names), 0, None, data)
    return [make_modality(name, configs[name]).fit(x[train]).transform(x) for name in names]


def _write_files(folder: Path, spec: PeerSpec, data: Dataset) -> Mapping[str, Any]:
    split = split_for(data, spec.data, spec.seed)
    signals = peer_signals(spec.student, data, split.train)
    y = data.y[split.train]
    start = time.perf_counter()
    peer = PEERS[spec.method]()
    peer.fit([x[split.train] for x in signals], y, len(data.classes), seed_for(spec.seed, f"peer/{spec.method}"))
    seconds = time.perf_counter() - start
    logits = peer.logits([x[split.test] for x in signals])
    arrays: dict[str, Any] = {"window": split.test, "true": data.y[split.test], "predicted": logits.argmax(1)}
    if peer.has_probabilities:
        arrays["probabilities"] = softmax(logits).astype(np.float32)
    if data.subject is not None:
        arrays["subject"] = data.subject[split.test]
    np.savez(folder / "predictions.npz", **arrays)
    write_history(folder / "history.csv", [])
    return {
        "kind": "reference",
        "key": spec.key,
        "status": "done",
        "spec": asdict(spec),
        "metrics": {"test": prediction_scores(arrays, data.classes)},
        **checksum_field(),
        "parameters": 0,
        "seconds": seconds,
        "process_peak_memory_mib": peak_memory(),
        "made_with": peer.made_with,
        "notes": peer.notes,
        "data": describe_data(data, split),
        "environment": environment("cpu", 1),
    }
