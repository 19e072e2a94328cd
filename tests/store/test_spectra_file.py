"""`spectra.npz`: it is read as it was written, and what is no such file is refused."""

import json

import numpy as np
import pytest

from mmkd.comparison.spectra import record_spectra
from mmkd.drawing.spectra import FilterSpectra
from mmkd.store.record import Record
from mmkd.store.spectra import NAME, read_spectra, write_spectra


def filters():
    rng = np.random.default_rng(0)
    plane, line = rng.uniform(size=(3, 6, 5)), rng.uniform(size=(4, 6))
    return [
        FilterSpectra("gaf: a to b", (6, 8), *plane, removed=0.25, facts={"global gain": 0.5}, windows=7),
        FilterSpectra("sig: a to b", (11,), *line, removed=0.5, rate_hz=50.0, windows=7),
    ]


def test_what_was_written_is_read(tmp_path):
    write_spectra(tmp_path / NAME, filters())
    found = read_spectra(tmp_path / NAME)
    for one, other in zip(found, filters(), strict=True):
        for name in ("name", "size", "removed", "rate_hz", "facts", "windows"):
            assert getattr(one, name) == getattr(other, name)
        for name in ("before", "after", "response", "kept"):
            if getattr(other, name) is None:
                assert getattr(one, name) is None
            else:
                np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6)
    assert (tmp_path / NAME).stat().st_size < 5000


def changed(tmp_path, change):
    write_spectra(tmp_path / NAME, filters())
    with np.load(tmp_path / NAME) as z:
        arrays = dict(z)
    facts = json.loads(str(arrays["filters"]))
    change(arrays, facts)
    arrays["filters"] = np.array(json.dumps(facts))
    np.savez(tmp_path / NAME, **arrays)
    return tmp_path / NAME


CHANGES = {
    "is of shape": lambda arrays, facts: arrays.update({"0/before": arrays["0/before"][1:]}),
    "not finite": lambda arrays, facts: arrays["1/kept"].fill(np.nan),
    "1/after": lambda arrays, facts: arrays.pop("1/after"),
    "is of size": lambda arrays, facts: facts[0].update(size=[1 << 20, 8]),
    "no list": lambda arrays, facts: facts.extend(facts * 200),
    "name": lambda arrays, facts: facts[1].pop("name"),
}


@pytest.mark.parametrize("word", CHANGES)
def test_another_file_is_refused_and_noted(tmp_path, word):
    path = changed(tmp_path, CHANGES[word])
    with pytest.raises((ValueError, KeyError), match=word):
        read_spectra(path)
    (tmp_path / "key").mkdir()
    path.rename(tmp_path / "key" / NAME)
    size = (tmp_path / "key" / NAME).stat().st_size
    notes = []
    files = {NAME: {"bytes": size, "sha256": ""}}
    assert record_spectra(Record(tmp_path / "key", {"key": "key", "files": files}), notes) == []
    assert len(notes) == 1
    assert "spectra" in notes[0]


def test_a_record_without_spectra_says_nothing(tmp_path):
    notes = []
    assert record_spectra(Record(tmp_path, {"key": "key", "files": {}}), notes) == []
    assert notes == []
