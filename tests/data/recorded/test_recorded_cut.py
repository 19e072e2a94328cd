"""From recordings to windows: where they begin, which label they get, and what they never cross."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmkd import MmkdError
from mmkd.data import load_file
from mmkd.data.recorded.cut import cut_recordings
from mmkd.data.recorded.options import Length, WindowOptions
from mmkd.data.recordings import Recording, window_labels, window_starts
from mmkd.data.resampling import resample

RNG = np.random.default_rng(0)


def table(n=400, user="ann", start=0.0, rate=50, seed=0, **more):
    """Rows of one person: two channels, a count of samples as a third one, and labels of 100 samples each."""
    rng = np.random.default_rng(seed)
    columns = {"t": start + np.arange(n) / rate, "a": rng.normal(size=n), "b": rng.normal(size=n), "n": np.arange(n)}
    return pd.DataFrame({**columns, "y": np.arange(n) // 100 % 3, "who": user, **more})


def cut(folder, tables, **more):
    """The windows of tables, each a CSV file."""
    paths = []
    for number, rows in enumerate(tables):
        paths.append(Path(folder) / f"rec{number}.csv")
        rows.to_csv(paths[-1], index=False)
    settings = {"channels": ("a", "b", "n"), "label": "y", "subject": "who", "time": "t"}
    settings |= {"window": Length(32, True), "step": Length(16, True)}
    return cut_recordings(paths, WindowOptions(**settings | more))


def said(made, word):
    (line,) = [line for line in (*made.lines, *made.warnings) if word in line]
    return line


@pytest.mark.parametrize("rule", ["majority", "last", "strict"])
def test_windows_equal_those_of_the_readers(tmp_path, rule):
    tables = [table(user="ann"), table(user="ben", seed=1, n=333)]
    tables[1].loc[50:80, "y"] = np.nan
    made = cut(tmp_path, tables, label_rule=rule)
    x, y, subject = [], [], []
    for rows in tables:
        labels = rows["y"].fillna(-1).to_numpy(np.int64)
        starts = window_starts(labels, 32, 16)
        own = window_labels(labels, starts, 32, rule)
        signal = rows[["a", "b", "n"]].to_numpy().T
        x += [signal[:, start : start + 32] for start, label in zip(starts, own, strict=True) if label >= 0]
        y += own[own >= 0].tolist()
        subject += [rows["who"].iloc[0]] * int((own >= 0).sum())
    np.testing.assert_array_equal(made.arrays["x"], np.array(x, np.float32))
    assert made.arrays["classes"][made.arrays["y"]].tolist() == [str(label) for label in y]
    assert made.arrays["subject"].tolist() == subject
    assert f"{len(y)} kept" in said(made, "windows:")
    assert "dropped" in said(made, "windows:")


def test_windows_that_begin_with_a_label(tmp_path):
    rows = table(n=300)
    rows["y"] = np.where(np.arange(300) < 90, "p", np.where(np.arange(300) < 100, "", "q"))
    made = cut(tmp_path, [rows, table(user="ben", seed=1).assign(y="p")], grid="label", step=Length(32, True))
    firsts = made.arrays["x"][made.arrays["subject"] == "ann", 2, 0]
    assert firsts.tolist() == [0, 32, 100, 132, 164, 196, 228, 260]


def windows_of(rows, length=32):
    """The first counted sample of each window, which must go on without a step."""
    counted = rows[:, 2]
    assert (np.diff(counted, axis=1) == 1).all()
    return counted[:, 0].tolist()


def test_windows_cross_no_gap_subject_recording_or_file(tmp_path):
    rows = table(n=200)
    gap = rows.drop(index=range(70, 90))
    assert windows_of(cut(tmp_path, [gap], step=Length(32, True)).arrays["x"]) == [0, 32, 90, 122, 154]
    two = rows.assign(who=np.where(np.arange(200) < 70, "ann", "ben"))
    made = cut(tmp_path, [two], step=Length(32, True))
    assert windows_of(made.arrays["x"]) == [0, 32, 70, 102, 134, 166]
    assert made.arrays["subject"].tolist() == ["ann"] * 2 + ["ben"] * 4
    session = rows.assign(session=np.arange(200) // 70)
    made = cut(tmp_path, [session], step=Length(32, True), recording="session")
    assert windows_of(made.arrays["x"]) == [0, 32, 70, 102, 140]
    parts = [rows[:70], rows[70:].reset_index(drop=True)]
    assert windows_of(cut(tmp_path, parts, step=Length(32, True)).arrays["x"]) == [0, 32, 70, 102, 134, 166]


def test_without_stamps_a_change_of_subject_ends_a_recording_even_if_it_comes_back(tmp_path):
    rows = table(n=200).assign(who=np.where(np.arange(200) // 70 == 1, "ben", "ann"))
    made = cut(tmp_path, [rows], step=Length(32, True), time=None, rate_hz=50)
    assert windows_of(made.arrays["x"]) == [0, 32, 140, 70, 102] or windows_of(made.arrays["x"]) == [
        0,
        32,
        70,
        102,
        140,
    ]
    assert "gaps are not seen" in said(made, "time:")


def test_with_stamps_interleaved_subjects_are_taken_apart(tmp_path):
    halves = np.arange(100) // 50
    both = pd.concat([table(n=100, y=halves), table(n=100, user="ben", seed=1, y=halves)]).sort_values(
        "t", kind="stable"
    )
    made = cut(tmp_path, [both], step=Length(32, True))
    assert windows_of(made.arrays["x"]) == [0, 32, 64] * 2
    assert made.arrays["subject"].tolist() == ["ann"] * 3 + ["ben"] * 3


def test_labels_of_samples(tmp_path):
    rows = table(n=90).assign(y=np.repeat(["rest", "", "up"], 30))
    made = cut(tmp_path, [rows, table(n=60, user="ben", seed=1, y="up")], label_rule="per-sample", null="rest")
    assert made.arrays["classes"].tolist() == ["rest", "up"]
    assert made.arrays["start"].tolist() == [0, 16, 32, 48, 58, 0, 16, 28]
    assert made.arrays["recording"].tolist() == [0] * 5 + [1] * 3
    codes = np.repeat([0, -1, 1], 30)
    assert made.arrays["y"][:5].tolist() == [codes[start : start + 32].tolist() for start in (0, 16, 32, 48, 58)]
    without = cut(tmp_path, [rows], label_rule="per-sample")
    assert without.arrays["classes"].tolist() == ["none", "rest", "up"]


def test_resampling_is_that_of_data_sets(tmp_path):
    rows = table(n=300)
    made = cut(tmp_path, [rows], resample_hz=25.0, window=Length(0.8, False), step=Length(0.8, False))
    whole = resample(Recording(rows[["a", "b", "n"]].to_numpy().T, rows["y"].to_numpy(), 0), 50, 25)
    expected = [whole.signal[:, start : start + 20] for start in range(0, 131, 20)]
    np.testing.assert_allclose(made.arrays["x"], expected, rtol=1e-6, atol=1e-6)
    assert made.arrays["rate_hz"] == 25


def test_resampling_keeps_what_float32_cannot_hold(tmp_path):
    """A pressure of 101,325 Pa that varies by a hundredth: float32 has steps of 0.008 there."""
    wave = 0.01 * np.sin(2 * np.pi * np.arange(400) / 50)
    pressures = [table(user=user, seed=seed).assign(a=101_325 + wave) for seed, user in enumerate(["ann", "ben"])]
    made = cut(tmp_path, pressures, resample_hz=25.0)
    expected = np.stack([wave[::2][start : start + 32] for start in range(0, 169, 16)] * 2)
    np.testing.assert_allclose(made.arrays["x"][:, 0] - 101_325, expected, atol=3e-4)


def test_files_of_two_rates_are_brought_to_one(tmp_path):
    tables = [table(n=400), table(n=400, user="ben", rate=100, seed=1)]
    with pytest.raises(MmkdError, match="rec0.csv has 50 Hz and rec1.csv 100; --resample"):
        cut(tmp_path, tables)
    made = cut(tmp_path, tables, resample_hz=50.0)
    assert np.unique(made.arrays["subject"], return_counts=True)[1].tolist() == [24, 11]


def test_stamps_that_repeat_or_run_backward(tmp_path):
    rows = table(n=200)
    twice = pd.concat([rows[:100], rows[99:]])
    made = cut(tmp_path, [twice], step=Length(32, True))
    assert windows_of(made.arrays["x"]) == [0, 32, 64, 96, 128, 160]
    assert "1 row that repeat the one before left out" in said(made, "gaps:")
    other = twice.reset_index(drop=True)
    other.loc[100, "a"] += 2
    with pytest.raises(MmkdError, match="repeats with other values in 1 rows, the first is row 101; say --duplicates"):
        cut(tmp_path, [other])
    first = cut(tmp_path, [other], duplicates="first").arrays["x"]
    mean = cut(tmp_path, [other], duplicates="mean").arrays["x"]
    assert (mean - first).max() == pytest.approx(1, abs=1e-6)
    assert ((mean != first).any(axis=(0, 2))).tolist() == [True, False, False]
    back = pd.concat([rows[100:], rows[:100]])
    with pytest.raises(MmkdError, match="runs backward in 1 place, the first is row 101"):
        cut(tmp_path, [back])
    assert windows_of(cut(tmp_path, [back], backward="split", step=Length(32, True)).arrays["x"]) == [
        100,
        132,
        164,
        0,
        32,
        64,
    ]
    made = cut(tmp_path, [back], backward="sort", step=Length(32, True))
    assert windows_of(made.arrays["x"]) == [0, 32, 64, 96, 128, 160]


def test_a_clock_of_whole_seconds(tmp_path):
    rows = table()
    with pytest.raises(MmkdError, match="clock coarser than the samples; leave --time out"):
        cut(tmp_path, [rows.assign(t=rows["t"].astype(int))])


def test_missing_values(tmp_path):
    rows = table(n=200)
    rows.loc[70:71, "a"] = np.nan
    rows.loc[150:180, "b"] = np.inf
    with pytest.raises(MmkdError, match=r"values are missing .*: a 2, b 31; the first is row 71 of rec0.csv"):
        cut(tmp_path, [rows])
    made = cut(tmp_path, [rows], missing="linear", step=Length(32, True))
    assert windows_of(made.arrays["x"]) == [0, 32, 64, 96]
    left, right = rows["a"][69], rows["a"][72]
    np.testing.assert_allclose(
        made.arrays["x"][2, 0, 6:8], [left + (right - left) / 3, left + 2 * (right - left) / 3], rtol=1e-6
    )
    assert windows_of(cut(tmp_path, [rows], missing="gap", step=Length(32, True)).arrays["x"]) == [0, 32, 72, 104]


def test_units_that_change_between_files(tmp_path):
    def file(user, scale, seed):
        rng = np.random.default_rng(seed)
        axes = scale * (rng.normal(size=(3, 200)) * 0.3 + np.array([[0], [0], [1]]))
        return table(n=200, user=user, acc_x=axes[0], acc_y=axes[1], acc_z=axes[2])

    channels = ("acc_x", "acc_y", "acc_z")
    good = [file("ann", 1, 0), file("ben", 1.05, 1), file("eve", 0.9, 2)]
    assert cut(tmp_path, good, channels=channels).warnings == []
    bad = [*good, file("joe", 9.81, 3)]
    with pytest.raises(
        MmkdError, match=r"acc is [\d.]+ times as large in 1 of 4 files as in the others, like g and m/s2"
    ):
        cut(tmp_path, bad, channels=channels)
    assert "like g and m/s2" in said(
        cut(tmp_path, bad, channels=channels, allow=frozenset({"units"})), "times as large"
    )
    moving = [file("ann", 0.05, 0), file("ben", 0.3, 1), file("eve", 0.9, 2), file("joe", 3, 3)]
    assert cut(tmp_path, moving, channels=channels).warnings == []


def test_stuck_channels(tmp_path):
    tables = [table(), table(user="ben", seed=1)]
    tables[0].loc[100:199, "a"] = 3.0
    made = cut(tmp_path, tables, stuck=Length(1, False))
    assert said(made, "constant for 1 s").endswith("a 1 time (2 s)")
    assert cut(tmp_path, tables, stuck=Length(3, False)).warnings == []
    filtered = cut(tmp_path, tables, stuck=Length(1, False), resample_hz=40.0)  # after which no value repeats
    assert said(filtered, "constant for 1 s").endswith("a 1 time (2 s)")
    with pytest.raises(MmkdError, match="--stuck 0.02s is less than 2 samples at 50 Hz"):
        cut(tmp_path, tables, stuck=Length(0.02, False))
    tables[0]["a"] = 3.0
    with pytest.raises(MmkdError, match="never change in a file: a in rec0.csv; leave .* or say --allow stuck"):
        cut(tmp_path, tables)
    assert "a in rec0.csv" in said(cut(tmp_path, tables, allow=frozenset({"stuck"})), "never change")


def test_a_file_without_a_channel(tmp_path):
    tables = [table(), table(user="ben").drop(columns="b")]
    with pytest.raises(MmkdError, match=r"rec1.csv: no column 'b'.* --allow channels"):
        cut(tmp_path, tables)
    made = cut(tmp_path, tables, allow=frozenset({"channels"}))
    assert said(made, "without a column").endswith("left out: rec1.csv")
    assert set(made.arrays["subject"]) == {"ann"}


@pytest.mark.parametrize("name", ["²", "--5", "-", "007", "-0", "9" * 19])
def test_subjects_that_only_look_like_numbers_are_texts(tmp_path, name):
    made = cut(tmp_path, [table(user=name), table(user="ben", seed=1), table(user="2", seed=2)])
    assert list(dict.fromkeys(made.arrays["subject"].tolist())) == [name, "ben", "2"]
    made = cut(tmp_path, [table(user=name), table(user="2", seed=2)])
    assert list(dict.fromkeys(made.arrays["subject"].tolist())) == [name, "2"]
    made = cut(tmp_path, [table(user="-3"), table(user="2", seed=2)])
    assert list(dict.fromkeys(made.arrays["subject"].tolist())) == [-3, 2]


def test_names_of_paths(tmp_path):
    for name in ("walk_1/sub_7.csv", "sit_2/sub_8.csv", "walk_2/sub_8.csv"):
        (tmp_path / name).parent.mkdir()
        table(n=64, seed=len(name) + int(name[-5])).to_csv(tmp_path / name, index=False)
    made = cut_recordings(
        sorted(tmp_path.rglob("*.csv")),
        WindowOptions(("a",), r"@path:([a-z]+)_\d/", r"@path:sub_(\d)", Length(32, True), Length(32, True), time="t"),
    )
    assert made.arrays["classes"][made.arrays["y"]].tolist() == ["sit"] * 2 + ["walk"] * 4
    assert made.arrays["subject"].tolist() == [8, 8, 7, 7, 8, 8]


def test_large_offsets_are_kept(tmp_path):
    rows = table()
    made = cut(tmp_path, [rows.assign(a=101325 + rows["a"] / 100), table(user="ben", seed=1)])
    assert made.arrays["x"].dtype == np.float64
    np.testing.assert_array_equal(made.arrays["x"][0, 0], 101325 + rows["a"][:32] / 100)


def test_labels_that_stand_for_none(tmp_path):
    rows = table().assign(y=np.arange(400) // 100 % 4 - 1)
    with pytest.raises(MmkdError, match="the label of 100 samples is -1, beside larger labels: .*--no-label -1"):
        cut(tmp_path, [rows])
    assert cut(tmp_path, [rows], no_label=("-1",)).arrays["classes"].tolist() == ["0", "1", "2"]


@pytest.mark.data
def test_windows_of_a_published_set_are_those_of_its_card(tmp_path):
    """Three people of MotionSense, as CSV and back."""
    from mmkd.data import data_root, load_dataset

    root = data_root()
    try:
        card = load_dataset("motionsense")
    except MmkdError as error:
        pytest.skip(str(error))
    with np.load(root / "motionsense/motionsense_9ch_int16.npz") as z:
        values, names = z["xq"] * z["scale"], [str(name) for name in z["class_names"]]
        columns = [z[f"seq_{key}"] for key in ("start", "len", "label", "subject")]
    tables = {4: [], 12: [], 21: []}
    for number, (start, length, label, subject) in enumerate(zip(*columns, strict=True)):
        if subject in tables:
            rows = pd.DataFrame(values[start : start + length], columns=card.channels)
            more = {"t": np.arange(length) / 50, "y": names[label], "who": subject, "session": number}
            tables[subject].append(rows.assign(**more))
    made = cut(
        tmp_path,
        [pd.concat(parts) for parts in tables.values()],
        channels=card.channels,
        recording="session",
        window=Length(2.56, False),
        step=Length(1.28, False),
    )
    chosen = np.isin(card.subject, list(tables))
    order = np.argsort(card.subject[chosen], kind="stable")
    np.testing.assert_array_equal(made.arrays["x"], card.x[chosen][order])
    classes = np.array(card.classes)[card.y[chosen][order]]
    assert made.arrays["classes"][made.arrays["y"]].tolist() == classes.tolist()
    np.savez(tmp_path / "mine.npz", **made.arrays)
    assert load_file(tmp_path / "mine.npz").channels == card.channels


def test_labels_go_with_their_samples_when_a_run_is_sorted(tmp_path):
    rows = table(n=200)
    ordered = cut(tmp_path, [rows]).arrays
    swapped = cut(tmp_path, [pd.concat([rows[100:], rows[:100]])], backward="sort").arrays
    for name in ("x", "y"):
        np.testing.assert_array_equal(swapped[name], ordered[name])
