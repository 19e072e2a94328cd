"""The user's own series for anomaly detection: what a file may hold, and what is refused in one line."""

import json

import numpy as np
import pytest

import mmkd
from mmkd import MmkdError
from mmkd.bench import main
from mmkd.cli.data import main as data_main
from mmkd.compare import main as compare
from mmkd.data import load_file
from mmkd.data.own_series import ARRAYS, load_series_file
from mmkd.store.records import Records

N = 900
EVENT = (600, 640)


def values(seed=0, channels=None):
    rng = np.random.default_rng(seed)
    x = np.sin(np.arange(N) / 5)[:, None] + 0.1 * rng.normal(size=(N, channels or 1))
    x[slice(*EVENT)] += 2.5
    return x if channels else x[:, 0]


def labels(*events, n=N):
    y = np.zeros(n, bool)
    for start, stop in events or [EVENT]:
        y[start:stop] = True
    return y


def one(**changes):
    """The arrays of one series; a change to None leaves an array out."""
    arrays = {"series": values(), "labels": labels()} | changes
    return {name: array for name, array in arrays.items() if array is not None}


def three(**changes):
    """The arrays of three series of two channels, with everything that a file may say."""
    events = [(i * N + EVENT[0], i * N + EVENT[1]) for i in range(3)]
    arrays = {
        "series": np.concatenate([values(seed, 2) for seed in range(3)]),
        "events": events,
        "lengths": [N] * 3,
        "names": np.array(["a", "b", "c"]),
        "train": [500, 400, 300],
        "gap": [False, True, False],
        "window": 24,
        "step": 8,
        "rate_hz": 50.0,
        "channels": np.array(["left", "right"]),
    } | changes
    return {name: array for name, array in arrays.items() if array is not None}


@pytest.fixture
def save(tmp_path):
    def write(arrays, name="mine"):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        return tmp_path / f"{name}.npz"

    return write


def test_one_series_without_anything_else(save):
    data = load_file(save(one()))
    assert (data.task, data.name, data.window, data.rate_hz, data.channels) == (
        "anomaly", "mine", 32, None, ("channel_0",),
    )  # fmt: skip
    (series,) = data.series.scored
    assert (series.name, series.prefix_end) == ("mine", 450), "at most the first half"
    np.testing.assert_array_equal(series.labels, labels())
    fitted = values()[: series.train_end]
    np.testing.assert_allclose(series.x[0], (values() - fitted.mean()) / fitted.std(), atol=1e-5)


def test_everything_that_a_file_may_say(save):
    data = load_file(save(three()))
    assert (data.window, data.rate_hz, data.channels) == (24, 50.0, ("left", "right"))
    assert [(s.name, s.prefix_end, s.has_gap) for s in data.series.scored] == [
        ("a", 500, False), ("b", 400, True), ("c", 300, False),
    ]  # fmt: skip
    for seed, series in enumerate(data.series.scored):
        fitted = values(seed, 2)[: series.train_end]
        np.testing.assert_allclose(series.x.T, (values(seed, 2) - fitted.mean(0)) / fitted.std(0), atol=1e-5)
        np.testing.assert_array_equal(series.labels, labels())


def test_events_and_labels_say_the_same(save):
    by_events = load_file(save(one(labels=None, events=[EVENT]), "events"))
    by_labels = load_file(save(one(labels=labels().astype(int)), "labels"))
    np.testing.assert_array_equal(by_events.series.scored[0].labels, by_labels.series.scored[0].labels)
    assert by_events.series.scored[0].labels.sum() == 40, "the step after the last is outside"
    assert by_events.sha256 != by_labels.sha256


def test_an_offset_does_not_eat_the_signal(save):
    """float32 has 24 bits: a signal of 1 on an offset of 1e9 must be standardised before the cast."""
    plain, shifted = (load_file(save(one(series=values() + c), f"at{c}")) for c in (0.0, 1e9))
    np.testing.assert_allclose(shifted.x, plain.x, atol=1e-4)


def test_a_number_of_train_holds_for_all(save):
    data = load_file(save(three(train=400, gap=True)))
    assert [(s.prefix_end, s.has_gap) for s in data.series.scored] == [(400, True)] * 3


def test_series_that_cannot_be_scored_are_left_out_with_the_reason(save):
    arrays = three(train=None, gap=None, events=[EVENT, (N + 10, N + 20)])
    data = load_file(save(arrays))
    assert [s.name for s in data.series.scored] == ["a"]
    assert dict(data.series.excluded) == {"b": "0 of 900 steps before the first event", "c": "no event"}
    assert data.warnings == tuple(f"series {name!r} is left out: {why}" for name, why in data.series.excluded.items())


def test_labels_the_wrong_way_round_are_suspicious(save):
    assert load_file(save(one())).warnings == ()
    (line,) = load_file(save(one(labels=~labels((0, 650)), train=600), "turned")).warnings
    assert "83% of the scored steps of series 'turned'" in line


WRONG = [
    ("three axes", one(series=values()[None, None]), ("(1, 1, 900)", "lengths")),
    ("texts", one(series=np.array(["a"] * N)), ("series", "real numbers")),
    ("empty", one(series=np.zeros(0)), ("(0,)",)),
    ("swapped axes", one(series=values(0, 2).T, labels=labels(n=2)), ("(2, 900)", "more channels than steps")),
    ("missing values", one(series=np.where(np.arange(N) == 7, np.nan, values())), ("1 NaN", "step 7")),
    ("no events", one(labels=None), ("no events", "labels (T,)", "events (E, 2)")),
    ("both", one(events=[EVENT]), ("both labels and events",)),
    ("short labels", one(labels=labels()[:-1]), ("(899,)", "(900,)")),
    ("labels of texts", one(labels=np.array(["no"] * N)), ("labels holds <U2",)),
    ("labels of scikit-learn", one(labels=np.where(labels(), -1, 1)), ("values other than 0 and 1",)),
    ("missing labels", one(labels=np.where(np.arange(N) == 7, np.nan, labels())), ("values other than 0 and 1",)),
    ("events in seconds", one(labels=None, events=[(6.0, 6.4)]), ("float64", "whole numbers")),
    ("flat events", one(labels=None, events=list(EVENT)), ("(2,)", "(E, 2)")),
    ("three columns", one(labels=None, events=[(0, *EVENT)]), ("(1, 3)", "(E, 2)")),
    ("empty event", one(labels=None, events=[(600, 600)]), ("600 to 600", "step after its last")),
    ("past the end", one(labels=None, events=[(600, 901)]), ("600 to 901", "0 to 900")),
    ("before the start", one(labels=None, events=[(-5, 40)]), ("-5 to 40",)),
    ("swapped events", one(labels=None, events=[(600, 700), (640, 760)]), ("640 to 760", "overlaps")),
    ("lengths that do not add up", three(lengths=[N, N, N + 1]), ("2701", "2700")),
    ("no length", three(lengths=[N, N, N, 0]), ("lengths", "1 or more")),
    ("too few names", three(names=np.array(["a", "b"])), ("names", "3 texts")),
    ("a name twice", three(names=np.array(["a", "b", "a"])), ("one twice",)),
    ("numbers as names", three(names=[1, 2, 3]), ("names holds int64",)),
    ("train too short a list", three(train=[500, 400]), ("train", "3 series")),
    ("train as a share", three(train=0.5), ("train holds float64", "whole number")),
    ("all for training", three(train=N), ("train is 900", "900 steps")),
    ("an event in training", three(train=[500, 700, 300]), ("'b'", "700", "step 600")),
    ("gap as a number", three(gap=1), ("gap holds int64", "True or False")),
    ("gap without train", three(train=None), ("gap", "'train'")),
    ("window too short", one(window=4), ("window is 4", "16 or more")),
    ("window as a list", one(window=[32, 32]), ("window is [32, 32]",)),
    ("window of a fraction", one(window=32.0), ("window is 32.0", "whole number")),
    ("step of nothing", one(step=0), ("step is 0",)),
    ("rate below zero", one(rate_hz=-1.0), ("rate_hz is -1.0", "samples per second")),
    ("rate without end", one(rate_hz=np.inf), ("rate_hz is inf",)),
    ("too few channels", three(channels=np.array(["left"])), ("channels is ['left']", "2 different names")),
    ("a channel twice", three(channels=np.array(["x", "x"])), ("2 different names",)),
    ("unknown array", one(lenghts=[N]), ("'lenghts'", "did you mean 'lengths'")),
    ("objects", one(names=np.array([None])), ("pickled",)),
    ("window past the prefix", one(window=200), ("400 of 900 steps", "1000 normal steps")),
    ("no event at all", one(labels=labels((0, 0))), ("no event",)),
    ("nothing but an event", one(labels=labels((0, N))), ("0 of 900 steps",)),
]


@pytest.mark.parametrize(("arrays", "words"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_is_wrong_is_one_line_that_says_what_is_wanted(save, arrays, words):
    with pytest.raises(MmkdError) as caught:
        load_file(save(arrays))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert "mine.npz" in message
    assert all(word in message for word in words), message


def test_other_files_are_told_what_is_wanted(save, sines, tmp_path):
    (tmp_path / "some.ts").write_text("@data\n1,2:a\n")
    for path in (sines, tmp_path / "some.ts", save({"y": labels()}, "bare")):
        with pytest.raises(MmkdError, match=r"series \(T,\) or \(T, C\), and labels \(T,\)"):
            load_file(path, form="series")
    damaged = save(one(), "damaged")
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(MmkdError, match="cut off"):
        load_file(damaged, form="series")


def test_the_docstring_has_every_array():
    text = load_series_file.__doc__
    assert all(name in text for name in ARRAYS)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_series_under_another_task_name_the_task(save, tmp_path, capsys, task):
    assert main(["--task", task, "--data", str(save(one())), "--method", "kd", "--runs", str(tmp_path / "runs")]) == 2
    assert "--task anomaly" in capsys.readouterr().err


def test_windows_under_this_task_are_refused_before_anything_is_written(sines, tmp_path, capsys):
    runs = tmp_path / "runs"
    assert main(["--task", "anomaly", "--data", str(sines), "--method", "kd", "--runs", str(runs)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "'subject, x, y'" in error
    assert not list(runs.glob("*/result.json"))


def test_own_series_train_score_compare_and_load(save, tmp_path, capsys):
    path, runs = save(three()), tmp_path / "runs"
    args = ["--task", "anomaly", "--data", str(path), "--runs", str(runs), "--epochs", "1", "--image-size", "16"]
    assert main([*args, "--method", "reverse-kd,feature-kd", "--teacher-net", "gaf=WRN10-1"]) == 0
    assert "mine, 3 series, 0 left out, 1 seed" in capsys.readouterr().out
    records = {record.spec.method: record for record in Records(runs) if record.kind == "student"}
    assert sorted(records) == ["feature-kd", "reverse-kd"]
    for record in records.values():
        assert record.data["rate_hz"] == 50.0
        assert record.data["channels"] == ["left", "right"]
        model = mmkd.load_student(record)
        assert model.predict(load_file(path).x[:3]).shape == (3,)
    assert compare(["--runs", str(runs)]) == 0
    table = capsys.readouterr().out.split("Over ")[0]
    assert "reverse-kd" in table
    assert "test part as in the file" not in table, "the file names what is normal"
    pytest.importorskip("mlflow")
    assert compare(["--runs", str(runs), "--experiment", "mmkd/mine/anomaly"]) == 0
    assert capsys.readouterr().out.split("Over ")[0].splitlines()[:8] == table.splitlines()[:8]


def test_stuck_channels_and_those_that_are_there_twice(save):
    x = values(channels=4)
    x[:, 1] = 0
    x[:450, 2] = 7
    x[:, 3] = x[:, 0]
    names = np.array(["a", "b", "c", "d"])
    arrays = one(series=np.concatenate([x, values(1, 4)]), labels=np.tile(labels(), 2), lengths=[N, N], channels=names)
    assert load_file(save(arrays)).warnings == (
        "channels that are constant: b in 1 of 2 series",
        "channels that are constant where networks learn, and vary later: c in 1 of 2 series",
    )
    assert "channels that are identical: a = d" in load_file(save(one(series=x, channels=names))).warnings
    assert load_file(save(one(series=values(channels=4)))).warnings == ()


def test_check_says_what_is_in_a_series(save, capsys):
    assert data_main(["check", str(save(one(labels=labels((600, 640), (700, 720)), rate_hz=50.0)))]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mine: anomaly",
        "  1 series of 1 channel and 900 steps at 50 Hz; 2 events, 60 steps (7 %); normal prefix of 450 steps; "
        "46 segments of 32 samples to learn from; split in time: 30 to train on, 8 to choose the epoch, 8 to set the "
        "threshold",
        "  series mine: 900 steps, normal prefix 450; 2 events, the first at step 600; 13 % of 450 scored steps in "
        "events",
    ]
    assert data_main(["check", "--json", str(save(three()))]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["parts"] == {}, "counts of disturbances are no classes of the data"
    assert found["series"][1] == {
        "name": "b",
        "steps": 900,
        "normal_prefix": 400,
        "scored_steps": 500,
        "events": 1,
        "event_steps": 40,
        "first_event": 600,
    }
