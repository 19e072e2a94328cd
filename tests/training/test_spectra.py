"""The spectra of a method's filters: measured after training, on training windows alone, and without any effect."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmkd.baselines.fam import FAM1d

import mmkd
from mmkd.cli.compare import main as compare
from mmkd.drawing.spectra import radial_mean
from mmkd.frequency import mean_power, response
from mmkd.store.spectra import NAME, read_spectra
from mmkd.training import spectra
from mmkd.training import student as units

pytestmark = pytest.mark.filterwarnings("ignore:.*mask.*:UserWarning")
OPTIONS = {"teachers": "sig,gaf", "student": "sig"}


def measured_at_once(unit):
    """The power spectra of what the filters read and put out, in one batch of all training windows."""
    method = unit.method.eval()
    positions = np.arange(len(unit.split.train))
    views = {name: torch.from_numpy(unit.views[name].array[unit.split.train]) for name in unit.spec.student}
    found = {}
    with torch.no_grad():
        student = unit.student.eval()(views)
        teachers = unit.source.outputs(positions, views)
        for route in method.routes:
            x, _ = method.bring(
                student.features[route.student_stage],
                teachers[route.modality].features[route.teacher_stage],
                route.side,
            )
            path = method.paths[route.key]
            x = torch.nn.functional.interpolate(path.embed(x), size=path.size, mode="nearest")
            after = path.attention.rate_global * path.attention.global_branch(x)
            found[route.text] = mean_power(x), mean_power(after), response(path.attention)
    return found


@pytest.fixture(scope="module")
def seen():
    """What was seen at the time of the measurement: the unit, the windows that were read, and what is expected."""
    return {}


@pytest.fixture(scope="module")
def record(tiny, tmp_path_factory, seen):
    real = spectra.measure_spectra

    def spy(unit):
        state = torch.get_rng_state()
        kind = type(unit.windows)
        load = kind.load_views
        read = seen.setdefault("read", [])
        modes = [module.training for module in (unit.student, unit.method)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "load_views", lambda self, windows: read.append(windows) or load(self, windows))
            found = real(unit)
        assert torch.equal(state, torch.get_rng_state())
        assert modes == [module.training for module in (unit.student, unit.method)]
        seen.update(unit=unit, expected=measured_at_once(unit))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "measure_spectra", spy)
        patch.setattr(spectra, "BATCH", 20)
        return mmkd.run("fam", **tiny, **OPTIONS, runs=tmp_path_factory.mktemp("runs"))


def test_the_record_has_a_picture_and_the_arrays(record, seen):
    filters = read_spectra(record.file(NAME))
    assert [one.name for one in filters] == list(seen["expected"])
    assert {one.windows for one in filters} == {48}
    picture = (record.folder / "spectra.svg").read_text()
    assert picture.count("<image") == 3 * len(filters)
    assert "fam on sines, seed 0: spectra of its filters" in picture
    assert "dashed: where the mask keeps half; heat maps: mean in the middle" in picture
    assert (record.folder / NAME).stat().st_size < 20_000


def test_the_arrays_are_those_of_the_filters_over_all_batches(record, seen):
    for one in read_spectra(record.file(NAME)):
        before, after, magnitude = (x.numpy() for x in seen["expected"][one.name])
        half = one.size[-1] // 2 + 1
        np.testing.assert_allclose(one.before, before[..., :half], rtol=1e-4, atol=1e-6 * before.max())
        np.testing.assert_allclose(one.response, magnitude, rtol=1e-5, atol=1e-7)
        assert one.removed == pytest.approx(before[0, 0] / before.sum(), rel=1e-5), "the mean alone, at these sizes"
        np.testing.assert_array_equal(np.flatnonzero(one.kept == 0), [0])
        np.testing.assert_allclose(one.after, after[..., :half], rtol=1e-4, atol=1e-6 * after.max())
        assert one.after[0, 0] < 1e-9


def test_only_training_windows_are_read(record, seen):
    read = np.concatenate(seen["read"])
    assert sorted(read) == sorted(seen["unit"].split.train)


def test_of_many_windows_some_are_read(record, seen, monkeypatch):
    monkeypatch.setattr(spectra, "MOST_WINDOWS", 10)
    found = spectra.measure_spectra(seen["unit"])
    assert {one.windows for one in found} == {10}


def test_hertz_of_a_line_are_those_of_the_window(record, seen):
    unit = seen["unit"]
    windows = replace(unit.windows, window_s=2.0)

    class Timed(type(unit.method)):
        def spectra(self, student, teachers):
            image = super().spectra(student, teachers)
            lines = {
                f"{name} line": replace(
                    one,
                    before=one.before.mean(2),
                    after=one.after.mean(2),
                    response=one.response[0],
                    kept=None,
                    timed=name.startswith("sig"),
                )
                for name, one in image.items()
            }
            return {**image, **lines}

    method = unit.method
    method.__class__ = Timed
    try:
        found = spectra.measure_spectra(replace(unit, windows=windows))
    finally:
        method.__class__ = Timed.__mro__[1]
    rates = {one.name: (one.size, one.rate_hz) for one in found}
    for name, (size, rate) in rates.items():
        assert rate == (size[0] / 2.0 if name.startswith("sig") and name.endswith("line") else None)


def test_the_result_is_the_same_without_it(record, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "measure_spectra", lambda unit: [])
    plain = mmkd.run("fam", **tiny, **OPTIONS, runs=tmp_path)
    assert plain.key == record.key
    assert not (plain.folder / NAME).exists()
    for name in ("student.safetensors", "predictions.npz"):
        assert (plain.folder / name).read_bytes() == (record.folder / name).read_bytes()
    assert plain.metrics["test"] == record.metrics["test"]


def test_a_method_without_filters_is_not_asked(record, seen, monkeypatch):
    unit = seen["unit"]
    method = mmkd.METHODS.get("kd")()
    assert not method.has_spectra
    assert unit.method.has_spectra
    monkeypatch.setattr(spectra, "_outputs", lambda *args: pytest.fail("it was"))
    assert spectra.measure_spectra(replace(unit, method=method)) == []


def test_a_fault_is_logged_and_the_record_is_written(tiny, tmp_path, monkeypatch):
    def broken(self, student, teachers):
        raise ValueError("no such thing")

    monkeypatch.setattr(FAM1d, "spectra", broken)
    record = mmkd.run("fam", **tiny, **OPTIONS, runs=tmp_path)
    assert "spectra left out: ValueError: no such thing" in (record.folder / "events.log").read_text()
    assert (record.folder / "curves.svg").exists()
    assert not (record.folder / "spectra.svg").exists()


def test_the_page_and_a_table_show_them(record, tmp_path):
    assert compare(["--runs", str(record.folder.parent), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    filters = read_spectra(record.file(NAME))
    for name in ("sig", "gaf"):
        assert f"Spectra of the filters: {name}" in page
        own = [one for one in filters if one.name.startswith(f"{name}:")]
        index = json.loads((tmp_path / "figures" / "index.json").read_text())
        (path,) = [path for path in index if path.endswith(f"method-fam-spectra-{name}.svg")]
        assert (tmp_path / path).read_text().count("<image") == 3 * len(own)
        assert "48 training windows, weights of the last epoch" in index[path]["caption"]
    with (tmp_path / "spectra.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    first = [row for row in rows if row["filter"] == filters[0].name]
    assert [float(row["frequency"]) for row in first] == pytest.approx(
        radial_mean(filters[0].before, filters[0].size)[0]
    )
    assert [float(row["response"]) for row in first] == pytest.approx(
        radial_mean(filters[0].response, filters[0].size)[1]
    )
    assert {row["key"] for row in rows} == {record.key}
    assert float(first[0]["removed"]) == pytest.approx(filters[0].removed)
