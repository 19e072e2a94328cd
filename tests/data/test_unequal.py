"""Cases of unequal length: refused, padded, cut or stretched, and what is said of it."""

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import load_file, load_own
from mmkd.data.__main__ import main as data_command

LENGTHS = np.array([16, 20, 24, 24, 18, 24])
RNG = np.random.default_rng(0)
CASES = [RNG.normal(size=(2, n)).round(4).astype(np.float32) for n in LENGTHS]
LABELS = list("ababab")
EXPECTED = {
    "pad": "3 of 6 cases, of 16 to 24 samples, padded to 24 with their last value",
    "truncate": "5 of 6 cases, of 16 to 24 samples, cut at 16",
    "resample": "3 of 6 cases, of 16 to 24 samples, stretched to 24 by linear interpolation, and have no rate",
}


def padded(value):
    x = np.full((6, 2, 24), value, np.float32)
    for row, case in zip(x, CASES, strict=True):
        row[:, : case.shape[1]] = case
    return x


def save_ts(folder):
    """Training cases in one file and test cases in another; only one of them has the longest."""
    for part, chosen in (("TRAIN", range(4)), ("TEST", (4, 5))):
        lines = ["@univariate false", "@equalLength false", "@classLabel true a b", "@data"]
        for n in chosen:
            lines.append(":".join([*(",".join(map(str, channel)) for channel in CASES[n]), LABELS[n]]))
        (folder / f"Own_{part}.ts").write_text("\n".join(lines) + "\n")
    return folder / "Own_TRAIN.ts"


def save_nan(folder):
    np.savez(folder / "own.npz", x=padded(np.nan), y=LABELS, test=[0, 0, 0, 0, 1, 1], rate_hz=10)
    return folder / "own.npz"


def save_lengths(folder):
    np.savez(folder / "own.npz", x=padded(99), y=LABELS, test=[0, 0, 0, 0, 1, 1], rate_hz=10, lengths=LENGTHS)
    return folder / "own.npz"


def naive(how):
    """The cases one by one."""
    made = []
    for case in CASES:
        n = case.shape[1]
        if how == "pad":
            made.append([[channel[min(k, n - 1)] for k in range(24)] for channel in case])
        elif how == "truncate":
            made.append([channel[:16] for channel in case])
        else:
            rows = []
            for channel in case:
                places = [k * (n - 1) / 23 for k in range(24)]
                low = [min(int(place), n - 2) for place in places]
                rows.append(
                    [channel[i] + (p - i) * (channel[i + 1] - channel[i]) for i, p in zip(low, places, strict=True)]
                )
            made.append(rows)
    return np.array(made)


@pytest.mark.parametrize("save", [save_ts, save_nan, save_lengths])
@pytest.mark.parametrize("how", ["pad", "truncate", "resample"])
def test_each_form_is_brought_to_one_length(tmp_path, save, how):
    data = load_file(save(tmp_path), unequal=how)
    np.testing.assert_allclose(data.x, naive(how), atol=1e-6)
    assert data.notes == (EXPECTED[how],)
    assert data.test.tolist() == [False] * 4 + [True] * 2
    assert data.rate_hz == (None if how == "resample" or save is save_ts else 10)


def test_without_it_they_are_refused(tmp_path):
    with pytest.raises(MmkdError, match="lengths differ from the cases before; .*--unequal pad"):
        load_file(save_ts(tmp_path))
    with pytest.raises(MmkdError, match="the cases have 16 to 24 of 24 samples; say --unequal pad"):
        load_file(save_lengths(tmp_path))
    with pytest.raises(MmkdError, match="NaN"):
        load_file(save_nan(tmp_path))


def test_it_is_part_of_the_key_where_it_changed_something(tmp_path):
    path = save_lengths(tmp_path)
    assert len({load_file(path, unequal=how).sha256 for how in EXPECTED}) == 3
    np.savez(tmp_path / "equal.npz", x=padded(0), y=LABELS)
    plain = load_file(tmp_path / "equal.npz")
    again = load_file(tmp_path / "equal.npz", unequal="pad")
    assert (again.sha256, again.notes) == (plain.sha256, ())


def test_tsv_and_what_the_command_says(tmp_path, capsys):
    for part in ("TRAIN", "TEST"):
        lines = [f"{k % 2}\t" + "\t".join(str(v) for v in RNG.normal(size=16 + k).round(3)) for k in range(8)]
        (tmp_path / f"Own_{part}.tsv").write_text("\n".join(lines))
    assert data_command(["check", str(tmp_path / "Own_TRAIN.tsv"), "--unequal", "pad"]) == 0
    assert "14 of 16 cases, of 16 to 23 samples, padded to 23 with their last value" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "how", "words"),
    [
        ({"lengths": LENGTHS * 0}, "pad", "lengths must hold whole numbers from 1 to 24"),
        ({"lengths": LENGTHS + 1}, "pad", "from 1 to 24"),
        ({"lengths": LENGTHS / 2}, "pad", "from 1 to 24"),
        ({"lengths": LENGTHS[:3]}, "pad", "lengths has shape"),
        ({"lengths": LENGTHS - 12}, "truncate", "4 to 12 samples, and 16 are needed"),
        ({"lengths": LENGTHS, "y": np.ones((6, 24), int)}, "pad", "cannot be brought to one length"),
    ],
)
def test_lengths_that_are_wrong(tmp_path, change, how, words):
    arrays = {"x": padded(0), "y": LABELS, "lengths": LENGTHS} | change
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(MmkdError, match=words):
        load_file(tmp_path / "own.npz", unequal=how)


def test_it_goes_with_files_of_windows(tmp_path):
    np.savez(tmp_path / "series.npz", series=np.zeros(99), labels=np.arange(99) > 90)
    with pytest.raises(MmkdError, match="series may have any length"):
        load_file(tmp_path / "series.npz", unequal="pad")
    with pytest.raises(MmkdError, match="goes with --data FILE"):
        load_own(tmp_path / "card.toml", unequal="pad")
