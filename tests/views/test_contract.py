"""What every modality promises: one suite over all that are registered."""

import json
import pickle
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numba
import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.views import CWT, GAF, MODALITIES, MTF, RP, STFT, Image, PersistenceImage, Signal, base, chunks
from mmkd.views import persistence as images

X = np.random.default_rng(1).normal(size=(23, 3, 40)).cumsum(axis=-1)
MAKE = {
    "sig": Signal,
    "img": lambda: Image(5),
    "gaf": lambda: GAF(12),
    "gaf train": lambda: GAF(12, "difference", "train"),
    "mtf": lambda: MTF(12),
    "rp": lambda: RP(12),
    "rp point": lambda: RP(12, 2, 3, threshold="point", scale="image"),
    "stft": lambda: STFT(8),
    "cwt": lambda: CWT(5),
    "cwt real": lambda: CWT(4, "morl", values="power", centre=False, scale="none"),
    "pi": lambda: PersistenceImage(12),
    "pi both": lambda: PersistenceImage(12, "both", essential="max", scale="image"),
    "pi published": lambda: PersistenceImage.published(12),
}


@pytest.fixture(params=MAKE)
def modality(request):
    return MAKE[request.param]()


def test_registry():
    assert set(MODALITIES) >= {"sig", "gaf", "pi", "mtf", "rp", "stft", "cwt"}
    for name in MODALITIES:
        assert MODALITIES.get(name).name == name
    with pytest.raises(MmkdError, match="did you mean 'gaf'"):
        MODALITIES.get("gaff")


def test_shape_type_and_determinism(modality):
    first = modality.fit(X).transform(X)
    assert first.dtype == np.float32
    assert first.shape == (len(X), *modality.shape(3, 40))
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, modality.fit(X).transform(X))


def test_windows_are_left_as_they_were(modality):
    before = X.copy()
    modality.fit(X).transform(X)
    np.testing.assert_array_equal(X, before)


def test_pure_function_of_the_window(modality):
    whole = modality.fit(X).transform(X)
    for part in (slice(0, 1), slice(5, 11), slice(None, None, -2)):
        np.testing.assert_array_equal(modality.transform(X[part]), whole[part])
    assert modality.transform(X[:0]).shape == (0, *whole.shape[1:])


def test_chunks_and_threads_change_nothing(modality, monkeypatch):
    whole = modality.fit(X).transform(X)
    state = modality.state()
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1)
    np.testing.assert_array_equal(modality.fit(X).transform(X), whole)
    assert modality.state() == state
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 1)
    np.testing.assert_array_equal(modality.fit(X).transform(X), whole)
    assert modality.state() == state


@pytest.mark.parametrize("kind", ["float32", "reversed", "memory map", "list", "float16"])
def test_kinds_of_windows(modality, kind, tmp_path):
    x = X.astype(np.float16 if kind == "float16" else np.float32)
    expected = modality.fit(x.astype(np.float64)).transform(x.astype(np.float64))
    if kind == "reversed":
        x = np.ascontiguousarray(x[::-1, :, ::-1])[::-1, :, ::-1]
    if kind == "memory map":
        np.save(tmp_path / "x.npy", x)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    if kind == "list":
        x = x.tolist()
    np.testing.assert_array_equal(modality.fit(x).transform(x), expected)


def test_out_may_be_a_memory_map(modality, tmp_path):
    expected = modality.fit(X).transform(X)
    out = np.lib.format.open_memmap(tmp_path / "o.npy", mode="w+", dtype=np.float32, shape=expected.shape)
    assert modality.transform(X, out=out) is out
    out.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy"), expected)
    part = np.full_like(expected, 7)
    modality.transform(X[:4], out=part[2:6])
    np.testing.assert_array_equal(part[2:6], expected[:4])
    assert (part[:2] == 7).all()
    assert (part[6:] == 7).all()


def test_out_that_does_not_fit_is_refused(modality):
    shape = modality.fit(X).transform(X).shape
    frozen = np.empty(shape, dtype=np.float32)
    frozen.setflags(write=False)
    strided = np.empty((*shape[:-1], 2 * shape[-1]), dtype=np.float32)[..., ::2]
    for out in (np.empty(shape), np.empty(shape[1:], dtype=np.float32), [1], frozen, strided):
        with pytest.raises(MmkdError, match="out must be"):
            modality.transform(X, out=out)


def test_pickle_config_and_state_round_trip(modality):
    expected = modality.fit(X).transform(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(modality)).transform(X), expected)
    config, state = (json.loads(json.dumps(d)) for d in (modality.config(), modality.state()))
    again = type(modality)(**config).load_state(state)
    assert again.config() == modality.config()
    np.testing.assert_array_equal(again.transform(X), expected)
    named = MODALITIES.get(modality.name).parse({k.replace("_", "-"): str(v) for k, v in config.items()})
    assert named.config() == modality.config()
    assert bool(state) == modality.fitted


def test_fitted_modalities_must_be_fitted(modality):
    if not modality.fitted:
        np.testing.assert_array_equal(modality.transform(X), modality.fit(X[:1]).transform(X))
        return
    for action in (lambda: modality.transform(X), modality.state):
        with pytest.raises(MmkdError, match="call fit with the training windows"):
            action()
    with pytest.raises(MmkdError, match="fitted on 3 channels and is given 2"):
        modality.fit(X).transform(X[:, :2])
    with pytest.raises(MmkdError, match="on no windows"):
        modality.fit(X[:0])


def test_fit_depends_on_the_training_windows_alone(modality):
    state = modality.fit(X[:10]).state()
    modality.transform(X)
    assert modality.state() == state
    modality.fit(X)  # a second fit forgets the first
    assert modality.fit(X[:10]).state() == state
    assert not modality.fitted or modality.fit(X[10:] * 2).state() != state


def test_damaged_state_is_refused(modality):
    state = modality.fit(X).state()
    bad = [{**state, "other": [1.0]}]
    if state:
        name = next(iter(state))
        bad += [{}, {**state, name: []}, {**state, name: [float("nan")] * len(state[name])}]
        bad += [{**state, name: state[name][1:]}] if len(state) > 1 else []
    for damaged in bad:
        with pytest.raises(MmkdError, match="cannot load a state"):
            modality.load_state(damaged)
    assert modality.state() == state


def test_bad_windows_are_refused(modality):
    modality.fit(X)
    for bad in (X[0], X[None], X[:, :0], X[:, :, :0], X.astype(complex), X.astype(str)):
        with pytest.raises(MmkdError, match="windows must"):
            modality.transform(bad)
    x = X.copy()
    x[7, 1, 3] = np.nan
    x[9, 0, :2] = -np.inf, 1e300
    for action in (modality.transform, modality.fit if modality.fitted else modality.transform):
        with pytest.raises(MmkdError, match=r"3 values .* first in window 7 "):
            action(x)


def test_memory_above_the_output_is_bounded(modality, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1 << 17)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 2)
    x = np.broadcast_to(X[:1], (4000, 3, 40))  # 3.8 MB in float64
    out = np.empty((4000, *modality.fit(X).shape(3, 40)), dtype=np.float32)
    modality.transform(x[:20], out=out[:20])
    tracemalloc.start()
    modality.transform(x, out=out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_fit_on_many_windows_samples_evenly(monkeypatch):
    monkeypatch.setattr(images, "SAMPLE", 10)
    found = PersistenceImage(8).fit(X).state()
    assert found == PersistenceImage(8).fit(X[::3]).state()


def test_signal_is_standardised():
    x = (X * [[3.0], [1e-3], [1e5]] + [[1e6], [0.0], [-4.0]]).astype(np.float32)
    made = Signal().fit(x).transform(x).astype(np.float64)
    np.testing.assert_allclose(made.mean(axis=(0, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(made.std(axis=(0, 2)), 1, atol=1e-6)
    state = Signal().fit(x).state()
    np.testing.assert_allclose(state["mean"], x.astype(np.float64).mean(axis=(0, 2)), rtol=1e-12)
    np.testing.assert_allclose(state["std"], x.astype(np.float64).std(axis=(0, 2)), rtol=1e-9)


@pytest.mark.parametrize("fill", [0.0, 0.1, 1e5 + 0.1, -1e-20, 3e38])
def test_signal_constant_channel(fill):
    x = X.copy()
    x[:, 1] = fill
    made = Signal().fit(x).transform(x)
    assert (made[:, 1] == 0).all()
    assert (Signal().fit(x).transform(X)[:, 1] == 0).all()
    assert made[:, 0].std() > 0.9


def test_a_subclass_is_a_few_lines():
    class Squares(base.Modality):
        name = "squares"

        def shape(self, channels, length):
            return (channels, length)

        def _transform_chunk(self, x, out):
            out[...] = x**2

    made = Squares()
    np.testing.assert_allclose(made.fit(X).transform(X), X**2, rtol=1e-6)
    assert made.config() == made.state() == {}


def test_import_is_light():
    heavy = "{'torch', 'pyts', 'pandas', 'mlflow', 'sklearn', 'numba', 'scipy'}"
    code = f"import sys, mmkd.views; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_modality_is_one_file(tmp_path):
    """A copy of a modality's file under another name is found without an entry anywhere else."""
    root = Path(__file__).parents[2]
    shutil.copytree(root / "mmkd", tmp_path / "mmkd", ignore=shutil.ignore_patterns("__pycache__"))
    text = (root / "mmkd" / "views" / "signal.py").read_text(encoding="utf-8")
    (tmp_path / "mmkd" / "views" / "mine.py").write_text(text.replace('"sig"', '"mine"'))
    code = "from mmkd.views import MODALITIES; print('mine' in MODALITIES, 'sig' in MODALITIES)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"
