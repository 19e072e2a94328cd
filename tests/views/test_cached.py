"""Views: fitted on training windows only, cached by what shapes them, the same from the cache as fresh."""

from dataclasses import replace

import numpy as np
import pytest

from mmkd.core.progress import Progress
from mmkd.data import load_file, split_windows
from mmkd.specs.data import DataSpec
from mmkd.store.cache import Cache
from mmkd.views import GAF, make_modality
from mmkd.views.cached import CHUNK, get_view, view_configs, view_key


@pytest.fixture
def data(sines):
    return load_file(sines)


def spec(data):
    return DataSpec(data.name, data.sha256)


@pytest.mark.parametrize("name", ["sig", "gaf", "pi", "mtf", "rp", "stft", "cwt"])
def test_a_view_equals_the_modality_applied_to_all_windows(data, tmp_path, name):
    split = split_windows(data, 0)
    config = view_configs((name,), 16)[name]
    view = get_view(name, config, data, spec(data), split, cache=Cache(tmp_path), progress=Progress())
    fresh = make_modality(name, config).fit(data.x[split.train])
    np.testing.assert_array_equal(view.array, fresh.transform(data.x))
    np.testing.assert_array_equal(view.modality.transform(data.x[:3]), view.array[:3])
    assert not view.array.flags.writeable


def test_a_view_is_made_once(data, tmp_path, monkeypatch):
    split, config = split_windows(data, 0), view_configs(("gaf",), 16)["gaf"]
    first = get_view("gaf", config, data, spec(data), split, cache=Cache(tmp_path), progress=Progress())
    monkeypatch.setattr("mmkd.views.GAF.transform", lambda *_, **__: pytest.fail("made a second time"))
    again = get_view("gaf", config, data, spec(data), split, cache=Cache(tmp_path), progress=Progress())
    np.testing.assert_array_equal(first.array, again.array)


def test_fitted_views_depend_on_the_training_windows_and_others_do_not(data):
    splits = split_windows(data, 0), split_windows(data, 1)
    assert (splits[0].train.tolist()) != splits[1].train.tolist()
    for name, differ in (("sig", True), ("pi", True), ("gaf", False), ("mtf", False), ("rp", True), ("stft", True)):
        config = view_configs((name,), 16)[name]
        keys = {view_key(name, config, spec(data), split) for split in splits}
        assert (len(keys) == 2) == differ


def test_the_key_of_a_view_is_of_everything_that_shapes_it(data, monkeypatch):
    """Two views that may differ never share an entry of the cache."""
    split, own = split_windows(data, 0), spec(data)
    config = view_configs(("gaf",), 16)["gaf"]
    key = view_key("gaf", config, own, split)
    others = {
        "option": view_key("gaf", {**config, "method": "difference"}, own, split),
        "size": view_key("gaf", {**config, "size": 8}, own, split),
        "data": view_key("gaf", config, replace(own, sha256="cd" * 32), split),
        "missing values": view_key("gaf", config, replace(own, nan="impute"), split),
        "group": view_key("gaf@acc", {**config, "channels": [0]}, own, split),
        "another group": view_key("gaf@acc", {**config, "channels": [1]}, own, split),
        "fitted": view_key("gaf", {**config, "range": "train"}, own, split),
        "a plugin's source": view_key("gaf", config, own, split, {"gaf": "12" * 32}),
        "an edited plugin's source": view_key("gaf", config, own, split, {"gaf": "34" * 32}),
    }
    monkeypatch.setattr(GAF, "version", GAF.version + 1)
    others["version"] = view_key("gaf", config, own, split)
    assert len({key, *others.values()}) == 1 + len(others), others
    monkeypatch.undo()
    assert view_key("gaf", dict(reversed(config.items())), replace(own, validation=0.3), split) == key


def test_the_fit_never_sees_validation_or_test(data, tmp_path):
    """Other values outside the training windows change nothing that was fitted."""
    split = split_windows(data, 0)
    outside = np.concatenate([split.validation, split.test])
    x = data.x.copy()
    x[outside] = 1000.0
    changed = type(data)(**{**vars(data), "x": x, "sha256": "other"})
    for name in ("sig", "pi"):
        config = view_configs((name,), 16)[name]
        states = [
            get_view(name, config, d, spec(d), split, cache=Cache(tmp_path), progress=Progress()).modality.state()
            for d in (data, changed)
        ]
        assert states[0] == states[1]


def test_more_windows_than_a_chunk(windows_file, tmp_path):
    data = load_file(windows_file(tmp_path / "many.npz", n=CHUNK + 30, channels=1, length=16))
    config = view_configs(("gaf",), 8)["gaf"]
    view = get_view("gaf", config, data, spec(data), split_windows(data, 0), cache=Cache(tmp_path), progress=Progress())
    np.testing.assert_array_equal(view.array, make_modality("gaf", config).transform(data.x))


@pytest.mark.parametrize("name", ["sig", "pi"])
def test_many_training_windows_are_read_from_disk_for_the_fit(data, tmp_path, monkeypatch, name):
    split, config = split_windows(data, 0), view_configs((name,), 16)[name]
    monkeypatch.setattr("mmkd.views.cached.IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("mmkd.views.cached.CHUNK", 7)
    cache = Cache(tmp_path)
    view = get_view(name, config, data, spec(data), split, cache=cache, progress=Progress())
    assert view.modality.state() == make_modality(name, config).fit(data.x[split.train]).state()
    assert not list(tmp_path.rglob("training.npy"))
