"""Converters, each on files written here as the originals are, and on pieces of the real sets where they are."""

import itertools

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import data_root
from mmkd.data.cards import find_card
from mmkd.data.converters.dsads import DSADS_STEPS, convert_dsads
from mmkd.data.converters.motionsense import MOTIONSENSE_CLASSES, MOTIONSENSE_COLUMNS, convert_motionsense
from mmkd.data.converters.pamap2 import PAMAP2_CLASSES, convert_pamap2
from mmkd.data.converters.uci_har import HAPT_CLASSES, convert_hapt, convert_uci_har
from mmkd.data.converters.wisdm import convert_wisdm
from mmkd.data.prepare import doubts

RNG = np.random.default_rng(0)


def write(path, rows, separator=" ", head=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "".join(separator.join(map(str, row)) + "\n" for row in rows))


def real(name):
    path = data_root() / name
    if not path.is_file():
        pytest.skip(f"no {name} in the data folder")
    with np.load(path, allow_pickle=False) as z:
        return {key: z[key] for key in z.files}


# -- UCI HAR

AXES = [f"{signal}_{axis}" for signal in ("body_acc", "body_gyro", "total_acc") for axis in "xyz"]


@pytest.fixture
def uci(tmp_path):
    """The folder, and x, y, subject of what is in it, training part first."""
    x = np.round(RNG.normal(size=(7, 9, 128)), 4)
    y, subject = np.array([1, 6, 2, 3, 5, 4, 1]), np.array([1, 1, 3, 3, 2, 2, 4])
    for part, rows in (("train", slice(0, 4)), ("test", slice(4, 7))):
        folder = tmp_path / "UCI HAR Dataset" / part
        for k, axis in enumerate(AXES):
            lines = [[f"  {value: .7e}" for value in row] for row in x[rows, k]]
            write(folder / "Inertial Signals" / f"{axis}_{part}.txt", lines, "")
        write(folder / f"y_{part}.txt", y[rows, None])
        write(folder / f"subject_{part}.txt", subject[rows, None])
    return tmp_path, x, y, subject


def test_uci_har(uci):
    folder, x, y, subject = uci
    found = convert_uci_har(folder)
    np.testing.assert_array_equal(found["x"], x.astype(np.float32))
    np.testing.assert_array_equal(found["y"], y - 1)
    np.testing.assert_array_equal(found["subject"], subject)
    assert found["test"].tolist() == [False] * 4 + [True] * 3
    assert found["class_names"].tolist() == list(HAPT_CLASSES[1:7])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("y_test.txt", "1\n2\n", r"body_acc_x_test\.txt has 3 lines and y_test\.txt 2; they go together line by line"),
        ("y_test.txt", "1\n2.5\n3\n", r"y_test\.txt: line 2 holds something else than whole numbers"),
        (
            "subject_train.txt",
            "1\n1\n3\n",
            r"subject_train\.txt has 3 lines and y_train\.txt 4; .* subject_train\.txt is probably cut off: unpack the",
        ),
        ("y_train.txt", "1\n2\n7\n1\n", r"y_train\.txt: labels go from 1 to 7"),
        ("body_gyro_y_train.txt", "1 2\n", r"body_gyro_y_train\.txt: 2 numbers a line in 1 lines; there should be 128"),
        ("body_gyro_y_train.txt", "1 x\n", r"body_gyro_y_train\.txt: not 128 numbers a line"),
        ("subject_test.txt", None, r"there is no subject_test\.txt among these files"),
    ],
)
def test_uci_har_that_is_damaged(uci, name, change, message):
    (path,) = uci[0].rglob(name)
    path.unlink() if change is None else path.write_text(change)
    with pytest.raises(MmkdError, match=message):
        convert_uci_har(uci[0])


def test_uci_har_twice_in_a_folder(uci):
    (path,) = uci[0].rglob("y_train.txt")
    (uci[0] / "copy").mkdir()
    copy = uci[0] / "copy" / "y_train.txt"
    copy.write_text(path.read_text())
    convert_uci_har(uci[0])
    copy.write_text("1\n1\n1\n1\n")
    with pytest.raises(MmkdError, match=r"two different files y_train\.txt: .*; name the folder of one of them"):
        convert_uci_har(uci[0])


# -- HAPT


def write_hapt(folder, pieces, signals):
    """`signals`: {(experiment, user): (T, 6)}; `pieces`: rows of labels.txt."""
    for (experiment, user), signal in signals.items():
        for sensor, columns in (("acc", slice(0, 3)), ("gyro", slice(3, 6))):
            rows = [[repr(float(v)) for v in row] for row in signal[:, columns]]
            write(folder / "RawData" / f"{sensor}_exp{experiment:02d}_user{user:02d}.txt", rows)
    write(folder / "RawData" / "labels.txt", pieces)


@pytest.fixture
def small_hapt(tmp_path):
    signals = {(1, 1): RNG.normal(size=(400, 6)), (2, 2): RNG.normal(size=(300, 6))}
    pieces = [[1, 1, 5, 11, 202], [1, 1, 7, 203, 393], [2, 2, 1, 1, 300], [2, 2, 3, 100, 110]]
    write_hapt(tmp_path, pieces[:3], signals)
    return tmp_path, signals


def test_hapt(small_hapt):
    folder, signals = small_hapt
    found = convert_hapt(folder)
    np.testing.assert_array_equal(found["x"], np.concatenate(list(signals.values())).astype(np.float32))
    y = np.zeros(700)
    y[10:202], y[202:393], y[400:] = 5, 7, 1
    np.testing.assert_array_equal(found["y"], y)
    assert found["experiment"].tolist() == [1] * 400 + [2] * 300
    assert found["win_start"].tolist() == [10, 74, 202, 400, 464, 528]
    assert found["win_label"].tolist() == [5, 5, 7, 1, 1, 1]
    assert found["win_subject"].tolist() == [1, 1, 1, 2, 2, 2]
    assert found["win_test"].tolist() == [False] * 3 + [True] * 3, "2 is an official test subject"
    for start, label in zip(found["win_start"], found["win_label"], strict=True):
        assert set(found["y"][start : start + 128]) == {label}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2 2 3 290 301\n", r"labels\.txt: 3 of user 2 from 290 to 301 is not in acc_exp02_user02\.txt"),
        ("2 3 3 1 200\n", "of user 3"),
        ("2 2 13 1 200\n", "13 of user 2"),
        ("2 2 1 1\n", r"labels\.txt: not 5 numbers a line"),
        ("2 2 1 1.5 200\n", r"labels\.txt: line 4 holds something else than whole numbers"),
        (
            "3 2 1 1 200\n",
            r"labels\.txt names experiment 3, and there is no acc_exp03_user\*\.txt; is the",
        ),
    ],
)
def test_hapt_with_labels_that_do_not_fit(small_hapt, row, message):
    path = small_hapt[0] / "RawData" / "labels.txt"
    path.write_text(path.read_text() + row)
    with pytest.raises(MmkdError, match=message):
        convert_hapt(small_hapt[0])


def test_hapt_without_its_gyroscope(small_hapt):
    (small_hapt[0] / "RawData" / "gyro_exp02_user02.txt").unlink()
    with pytest.raises(MmkdError, match=r"gyro_exp02_user02\.txt is missing beside acc_exp02_user02\.txt"):
        convert_hapt(small_hapt[0])


@pytest.mark.data
def test_real_hapt_as_text_gives_the_official_windows_again(tmp_path):
    z = real("hapt/hapt_stream.npz")
    signals, pieces = {}, []
    for experiment in (1, 2):
        (at,) = np.nonzero(z["experiment"] == experiment)
        user, y = int(z["subject"][at[0]]), z["y"][at]
        signals[experiment, user] = z["x"][at]
        borders = [0, *(np.flatnonzero(np.diff(y)) + 1), len(y)]
        pieces += [[experiment, user, y[a], a + 1, b] for a, b in itertools.pairwise(borders) if y[a]]
    write_hapt(tmp_path, pieces, signals)
    found = convert_hapt(tmp_path)
    length = len(found["x"])
    for name in ("x", "y", "experiment", "subject"):
        np.testing.assert_array_equal(found[name], z[name][:length])
    official = z["win_experiment"] <= 2
    for name in ("win_start", "win_label", "win_subject", "win_experiment", "win_test"):
        np.testing.assert_array_equal(found[name], z[name][official])
        assert found[name].dtype == z[name].dtype


# -- PAMAP2


def pamap2_rows(count, activity, begin=0.0, rng=RNG):
    """Lines of 54 columns; columns of the orientation hold 999, which must not be taken."""
    rows = rng.normal(size=(count, 54))
    rows[:, 0] = begin + np.arange(count) / 100
    rows[:, 1] = activity
    for sensor in (3, 20, 37):
        rows[:, sensor + 13 : sensor + 17] = 999
    return np.round(rows, 4)


KEPT = [2, *range(3, 16), *range(20, 33), *range(37, 50)]


def test_pamap2_takes_every_third_sample_of_forty_columns(tmp_path):
    rows = pamap2_rows(30, 4)
    rows[:7, 1], rows[20:, 1] = 0, 24
    write(tmp_path / "PAMAP2_Dataset" / "Protocol" / "subject101.dat", rows)
    write(tmp_path / "PAMAP2_Dataset" / "Optional" / "subject101.dat", pamap2_rows(9, 1))
    found = convert_pamap2(tmp_path)
    assert len(KEPT) == 40
    np.testing.assert_array_equal(found["x"], rows[::3, KEPT].astype(np.float32))
    names = [*PAMAP2_CLASSES.values()]
    expected = {0: -1, 4: names.index("walking"), 24: names.index("rope_jumping")}
    assert found["y"].tolist() == [expected[int(code)] for code in rows[::3, 1]]
    assert (found["start"].tolist(), found["subject"].tolist()) == ([0], [101])


def test_pamap2_fills_within_a_recording_and_ends_it_at_a_gap(tmp_path):
    rows = np.concatenate([pamap2_rows(9, 1), pamap2_rows(9, 1, 5.0)])
    rows[:, 2] = np.nan  # a heart rate comes now and then
    rows[[1, 7, 10], 2] = [60, 66, 90]
    write(tmp_path / "Protocol" / "subject102.dat", rows)
    write(tmp_path / "Protocol" / "subject103.dat", pamap2_rows(6, 2))
    found = convert_pamap2(tmp_path)
    assert found["start"].tolist() == [0, 3, 6]
    assert found["subject"].tolist() == [102, 102, 103]
    assert found["x"][:6, 0].tolist() == [60, 62, 65, 90, 90, 90]
    held = convert_pamap2(tmp_path, missing="hold")["x"][:6, 0].tolist()
    assert held == [60, 60, 60, 90, 90, 90]
    assert np.isnan(convert_pamap2(tmp_path, missing="keep")["x"][0, 0])
    assert len(convert_pamap2(tmp_path, every=1)["x"]) == 24
    assert convert_pamap2(tmp_path, longest_gap_s=10)["start"].tolist() == [0, 6]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("subject101.dat", "1 2 3\n", r"subject101\.dat: 3 columns; there should be 54"),
        ("subject101.dat", "1 " * 53 + "x\n", r"subject101\.dat: not 54 numbers a line"),
        ("subject101.dat", "1 NaN " + "1 " * 52 + "\n", r"subject101\.dat: an activity in column 2"),
        ("subject101.dat", "", r"subject101\.dat: not 54 numbers a line"),
        ("subject_x.dat", "1\n", r"subject_x\.dat: its name should be subject101\.dat"),
        ("other.dat", "1\n", r"there is no subject\*\.dat"),
    ],
)
def test_pamap2_that_is_damaged(tmp_path, name, line, message):
    (tmp_path / "Protocol").mkdir()
    (tmp_path / "Protocol" / name).write_text(line)
    with pytest.raises(MmkdError, match=message):
        convert_pamap2(tmp_path)


def test_pamap2_in_pieces_is_the_same(tmp_path, monkeypatch):
    write(tmp_path / "subject101.dat", pamap2_rows(50, 3))
    whole = convert_pamap2(tmp_path)
    monkeypatch.setattr("mmkd.data.converters.pamap2.ROWS", 7)
    np.testing.assert_array_equal(convert_pamap2(tmp_path)["x"], whole["x"])


# -- WISDM


def test_wisdm_with_its_damaged_lines(tmp_path):
    second = 1_000_000_000
    text = (
        f"33,Jogging,{10 * second},-0.6946377,12.680544,0.50395286;\n"
        f"33,Jogging,{10 * second + 50_000_000},5.012288,11.264028,0.95342433;33,Walking,{10 * second + 10**8},1,2,3;\n"
        "\n"
        f"33,Jogging,{10 * second},1,2,\n"
        f"33,Jogging,{10 * second},1,,2;\n"
        f"33,Flying,{10 * second},1,2,3;\n"
        f"33,Walking,{13 * second},4,5,6e-1,;\n"
        f"33,Walking,0,7,8,9;\n"
        f"7,Sitting,{20 * second},-1,-.5,0;\n"
    )
    (tmp_path / "WISDM_ar_v1.1_raw.txt").write_text(text)
    found = convert_wisdm(tmp_path)
    x = [[-0.6946377, 12.680544, 0.50395286], [5.012288, 11.264028, 0.95342433], [1, 2, 3], [4, 5, 0.6], [7, 8, 9]]
    np.testing.assert_array_equal(found["x"], np.array([*x, [-1, -0.5, 0]], np.float32))
    assert [found["class_names"][k] for k in found["y"]] == ["Jogging"] * 2 + ["Walking"] * 3 + ["Sitting"]
    assert found["start"].tolist() == [0, 3, 4, 5], "a gap of 3 s, a step back in time, another user"
    assert found["subject"].tolist() == [33, 33, 33, 7]
    assert int(found["damaged"]) == 3


def test_wisdm_without_entries(tmp_path):
    (tmp_path / "WISDM_ar_v1.1_raw.txt").write_text("nothing;\n")
    with pytest.raises(MmkdError, match=r"WISDM_ar_v1\.1_raw\.txt: no entry of the form"):
        convert_wisdm(tmp_path)


# -- MotionSense

HEAD = "," + ",".join(["attitude.roll", "attitude.pitch", "attitude.yaw", *MOTIONSENSE_COLUMNS]) + "\n"


def write_motionsense(folder, sequences):
    for (activity, trial, subject), values in sequences.items():
        rows = [[n, 9, 9, 9, *map(repr, map(float, row))] for n, row in enumerate(values)]
        write(folder / "A_DeviceMotion_data" / f"{activity}_{trial}" / f"sub_{subject}.csv", rows, ",", HEAD)


def test_motionsense(tmp_path):
    keys = [("dws", 1, 1), ("dws", 1, 2), ("dws", 11, 10), ("dws", 2, 1), ("std", 6, 2), ("ups", 3, 1)]
    sequences = {key: RNG.normal(size=(n + 5, 9)) * np.arange(1, 10) for n, key in enumerate(keys)}
    write_motionsense(tmp_path, dict(reversed(sequences.items())))
    found = convert_motionsense(tmp_path)
    values = np.concatenate(list(sequences.values()))
    assert found["xq"].dtype == np.int16
    assert np.abs(found["xq"]).max(axis=0).tolist() == [32767] * 9
    assert (np.abs(found["xq"] * found["scale"] - values) <= found["scale"] * 0.51).all()
    assert found["seq_len"].tolist() == [5, 6, 7, 8, 9, 10]
    assert found["seq_start"].tolist() == [0, 5, 11, 18, 26, 35]
    said = [
        (MOTIONSENSE_CLASSES[k], int(t), int(s))
        for k, t, s in zip(*(found[f"seq_{n}"] for n in ("label", "trial", "subject")), strict=True)
    ]
    assert said == keys


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("fly_1/sub_1.csv", HEAD, r"fly_1/sub_1\.csv: it should be like dws_1/sub_1\.csv"),
        ("dws_1/sub_1.csv", "a,b\n1,2\n", r"dws_1/sub_1\.csv: not the table it should be"),
        ("dws_1/sub_1.csv", HEAD, r"dws_1/sub_1\.csv: no samples, or missing values"),
        ("dws_1/sub_1.csv", HEAD + "0," + "1," * 11 + "\n", "no samples, or missing values"),
        ("dws_1/sub_1.csv", HEAD + "0," + "1," * 11 + "x\n", "not the table it should be"),
    ],
)
def test_motionsense_that_is_damaged(tmp_path, path, text, message):
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text(text)
    with pytest.raises(MmkdError, match=message):
        convert_motionsense(tmp_path)


@pytest.mark.data
def test_real_motionsense_as_csv_comes_back_within_a_step(tmp_path):
    z = real("motionsense/motionsense_9ch_int16.npz")
    sequences = {}
    for row in (0, 1, 24, 359):
        part = slice(z["seq_start"][row], z["seq_start"][row] + z["seq_len"][row])
        key = (str(z["class_names"][z["seq_label"][row]]), int(z["seq_trial"][row]), int(z["seq_subject"][row]))
        sequences[key] = z["xq"][part].astype(np.float64) * z["scale"]
    write_motionsense(tmp_path, sequences)
    found = convert_motionsense(tmp_path)
    assert found["seq_label"].tolist() == [0, 0, 0, 2]
    values = np.concatenate(list(sequences.values()))
    np.testing.assert_allclose(found["xq"] * found["scale"], values, atol=found["scale"].max() * 0.51)


# -- DSADS


def test_dsads(tmp_path):
    values = RNG.normal(size=(3, 125, 45)) * np.tile(np.repeat([30, 5, 1], 3), 5)
    for (activity, person, segment), each in zip([(1, 1, 1), (1, 2, 60), (19, 8, 7)], values, strict=True):
        path = tmp_path / "data" / f"a{activity:02d}" / f"p{person}" / f"s{segment:02d}.txt"
        write(path, np.round(each, 7), ",")
    found = convert_dsads(tmp_path)
    steps = (found["hi"].astype(np.int16) << 8) | found["lo"]
    decoded = np.cumsum(steps, axis=2, dtype=np.int16) * found["scale"][:, None]
    error = np.abs(decoded - values.transpose(0, 2, 1))
    assert (error <= 0.51 * DSADS_STEPS[:, None]).all()
    assert (found["y"].tolist(), found["subject"].tolist(), found["segment"].tolist()) == (
        [0, 0, 18],
        [1, 2, 8],
        [1, 60, 7],
    )


@pytest.mark.parametrize(
    ("path", "rows", "message"),
    [
        ("a01/p1/s01.txt", np.zeros((124, 45)), "a01/p1/s01.txt: 124 lines; there should be 125"),
        ("a01/p1/s01.txt", np.zeros((125, 44)), "44 numbers a line"),
        ("a01/p1/s01.txt", np.full((125, 45), 1e4), "a value past what 16 bits hold"),
        ("a20/p1/s01.txt", np.zeros((1, 1)), "a20/p1/s01.txt: it should be like a01/p1/s01.txt"),
    ],
)
def test_dsads_that_is_damaged(tmp_path, path, rows, message):
    write(tmp_path / path, rows, ",")
    with pytest.raises(MmkdError, match=message):
        convert_dsads(tmp_path)


@pytest.mark.data
def test_real_dsads_as_text_comes_back_byte_for_byte(tmp_path):
    z = real("dsads/dsads_all45_delta16.npz")
    rows = [0, 61, 9119]
    for row in rows:
        steps = (z["hi"][row].astype(np.int16) << 8) | z["lo"][row]
        values = np.cumsum(steps, axis=1, dtype=np.int16) * z["scale"][:, None].astype(np.float64)
        activity, person, segment = int(z["y"][row]) + 1, int(z["subject"][row]), int(z["segment"][row])
        write(tmp_path / f"a{activity:02d}" / f"p{person}" / f"s{segment:02d}.txt", np.round(values.T, 6), ",")
    found = convert_dsads(tmp_path)
    for name in ("hi", "lo", "y", "subject", "segment"):
        np.testing.assert_array_equal(found[name], z[name][rows])
        assert found[name].dtype == z[name].dtype
    np.testing.assert_array_equal(found["scale"], z["scale"])
    assert found["class_names"].tolist() == z["class_names"].tolist()


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"subject": np.arange(8).repeat(3), "segment": np.zeros(24)}, None),
        ({"subject": np.arange(8).repeat(3)[1:], "segment": np.zeros(23)}, "its subjects have 2 to 3 recordings"),
        (
            {"subject": np.arange(7).repeat(3), "segment": np.zeros(21)},
            "7 subjects are in these files, and 8 in the data",
        ),
    ],
)
def test_what_suggests_that_original_files_are_not_whole(arrays, line):
    found = list(doubts(find_card("dsads"), arrays))
    assert len(found) == (line is not None)
    assert line is None or found[0].startswith(line)
