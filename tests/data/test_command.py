"""`python -m mmkd.data`: from archives like the originals to windows, and what is said where it cannot be."""

import hashlib
import json
import zipfile

import numpy as np
import pytest

from mmkd import MmkdError
from mmkd.data import load_dataset
from mmkd.data.__main__ import main
from mmkd.data.cards import cards_folder, find_cards
from mmkd.data.checksums import PREPARED, file_sha256
from mmkd.data.page import page_text


@pytest.fixture
def run(tmp_path, capsys):
    """Runs the command on a data folder of its own; returns exit code, stdout and stderr."""

    def command(*args):
        code = main([*map(str, args), "--data-root", str(tmp_path / "data")])
        out = capsys.readouterr()
        if code:
            assert code == 2
            assert out.err.count("\n") == 1, out.err
            assert "Traceback" not in out.err
            assert not list((tmp_path / "data").glob(".*")) if (tmp_path / "data").exists() else True
        return code, out.out, out.err

    return command


def pamap2_archive(path, without_heart_rate=()):
    """A zip with a zip, as the archive has it: four subjects, each 400 samples of two activities."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path.parent / "inner.zip", "w") as z:
        for subject in (101, 102, 105, 106):
            rows = rng.normal(size=(1400, 54)).round(3)
            rows[:, 0] = np.arange(1400) / 100
            rows[:, 1] = np.repeat([1, 2, 0, 24], 350)
            rows[:, 2] = np.nan if subject in without_heart_rate else rows[:, 2] + 100
            text = "".join(" ".join(map(str, row)) + "\n" for row in rows)
            z.writestr(f"PAMAP2_Dataset/Protocol/subject{subject}.dat", text)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as z:
        z.write(path.parent / "inner.zip", "PAMAP2_Dataset.zip")


WISDM = "".join(
    f"{user},{activity},{(1 + k * 700 + n) * 50_000_000},{n % 7},{user},{k};\n"
    for user in range(25, 37)
    for k, activity in enumerate(["Walking", "Jogging", "Upstairs", "Downstairs", "Sitting", "Standing"])
    for n in range(450)
)


def test_wisdm_from_its_text_to_windows(run, tmp_path):
    (tmp_path / "WISDM_ar_v1.1_raw.txt").write_text(WISDM + "damaged\n")
    code, out, _ = run("prepare", "wisdm", "--originals", tmp_path)
    assert code == 0
    assert "made" in out
    assert "1 damaged entries were left out" in out
    data = load_dataset("wisdm", tmp_path / "data")
    assert data.x.shape == (12 * 6 * 2, 3, 200)
    assert np.bincount(data.y).tolist() == [24] * 6
    assert (data.x[:, 1] == data.subject[:, None]).all(), "no window has samples of two users"
    assert (data.x[:, 2] == data.y[:, None]).all(), "nor of two activities"
    assert set(data.subject[data.test]) == set(range(29, 37))
    assert data.groups == {"acc": (0, 1, 2)}
    code, out, _ = run("check", "wisdm", "--json")
    (found,) = json.loads(out)
    assert found["prepared_here"]
    assert found["parts"]["test"]["subjects"] == list(range(29, 37))
    assert "exists already, checksums verified" in run("prepare", "wisdm")[1]
    assert "with the checksums of the card" in run("fetch", "wisdm")[1]


def test_a_prepared_file_that_changed_is_refused(run, tmp_path):
    (tmp_path / "WISDM_ar_v1.1_raw.txt").write_text(WISDM)
    assert run("prepare", "wisdm", "--originals", tmp_path)[0] == 0
    path = tmp_path / "data" / "wisdm" / "wisdm.npz"
    first = load_dataset("wisdm", tmp_path / "data").sha256
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0")
    assert "was not made by python -m mmkd.data prepare wisdm" in run("check", "wisdm")[2]
    path.write_bytes(whole)
    beside = path.with_name(path.name + PREPARED)
    said = json.loads(beside.read_text())
    beside.write_text(json.dumps({**said, "prepare": {**said["prepare"], "longest_gap_s": 2.0}}))
    assert "another version of its card" in run("check", "wisdm")[2]
    beside.unlink()
    assert run("check", "wisdm")[0] == 2
    assert run("prepare", "wisdm", "--originals", tmp_path)[0] == 0
    assert path.read_bytes() == whole, "the same originals give the same bytes"
    assert load_dataset("wisdm", tmp_path / "data").sha256 == first


def test_pamap2_from_its_archive_to_windows(run, tmp_path):
    archive = tmp_path / "data" / "pamap2" / "pamap2+physical+activity+monitoring.zip"
    archive.parent.mkdir(parents=True)
    pamap2_archive(archive)
    code, _, err = run("prepare", "pamap2")
    assert code == 0, err
    with np.load(tmp_path / "data" / "pamap2" / "pamap2.npz", allow_pickle=False) as z:
        assert z["x"].shape == (4 * 467, 40)
        assert z["start"].tolist() == [0, 467, 934, 1401]
        stream, labels = z["x"], z["y"]
    assert sorted(set(labels.tolist())) == [-1, 0, 1, 11]
    data = load_dataset("pamap2", tmp_path / "data")
    assert data.x.shape[1:] == (40, 100)
    assert len(data.x) == 4 * 3, "one window in each stretch of 117 samples; what has no activity is left out"
    assert set(data.subject[data.test]) == {105, 106}
    first = int(np.flatnonzero(labels == 0)[0])
    np.testing.assert_array_equal(data.x[0], stream[first : first + 100].T)


def test_a_sensor_that_is_missing_in_a_recording_is_said_and_not_made_up(run, tmp_path):
    archive = tmp_path / "data" / "pamap2" / "pamap2+physical+activity+monitoring.zip"
    archive.parent.mkdir(parents=True)
    pamap2_archive(archive, without_heart_rate=(102,))
    code, out, _ = run("prepare", "pamap2")
    assert code == 0
    assert "pamap2: 4 subjects are in these files, and 9 in the data set; is the folder whole?" in out
    assert "without any value in a whole recording, and left so: heart_rate at 467 of 1,868 samples; --nan" in out
    with pytest.raises(MmkdError, match="3 of 12 windows hold NaN or inf"):
        load_dataset("pamap2", tmp_path / "data")
    data = load_dataset("pamap2", tmp_path / "data", "impute")
    filled = data.x[data.subject == 102, 0]
    assert (filled == np.median(data.x[data.subject == 101, 0])).all(), "the other training subject"
    assert "heart_rate in 3 of 12 windows" in data.warnings[0]


def test_a_set_of_the_archive(run, tmp_path):
    head = "@problemName Own\n@timestamps false\n@classLabel true a b\n@data\n"
    cases = "1,2,3:4,5,6:a\n7,8:9,10:b\n1,2,3:4,5,7:a\n7,8:9,11:b\n"
    path = tmp_path / "data" / "ucr_uea" / "Own.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("Own_TRAIN.ts", head + cases)
        z.writestr("Own_TEST.ts", head + cases)
    assert run("prepare", "ucr-uea.Own")[0] == 0
    data = load_dataset("ucr-uea.Own", tmp_path / "data")
    assert data.x.shape == (8, 2, 3)
    assert data.x[1].tolist() == [[7, 8, 0], [9, 10, 0]]
    assert (data.classes, data.name) == (("a", "b"), "ucr-uea.Own")
    assert data.channels == ("channel_0", "channel_1")
    assert "2 channels" in run("check", "ucr-uea.Own")[1]
    assert "a whole archive" in run("check", "ucr-uea")[2]


def test_tsv_where_there_is_no_ts(run, tmp_path):
    path = tmp_path / "data" / "ucr_uea" / "Own.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as z:
        for part in ("TRAIN", "TEST"):
            z.writestr(f"Own/Own_{part}.tsv", "1\t1.5\t2\n-1\t3\t4\n1\t5\t6\n-1\t7\t8\n")
    assert run("prepare", "ucr-uea.Own")[0] == 0
    data = load_dataset("ucr-uea.Own", tmp_path / "data")
    assert data.classes == ("-1", "1")
    assert data.x[:2].tolist() == [[[1.5, 2]], [[3, 4]]]
    assert data.test.tolist() == [False] * 4 + [True] * 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fetsh", "hapt"], "unknown command 'fetsh'; did you mean 'fetch'"),
        (["fetch"], "fetch needs the NAME of a data set"),
        (["fetch", "hapd"], "unknown data set 'hapd'; did you mean 'hapt'"),
        (["fetch", "mitbih12"], "cannot be downloaded from here; put mitbih12/mitbih12_beats_360hz.npz into"),
        (["prepare", "mitbih12"], "no converter makes mitbih12/mitbih12_beats_360hz.npz"),
        (["prepare", "wisdm"], "WISDM_ar_latest.tar.gz is missing; python -m mmkd.data fetch wisdm gets it"),
        (["prepare", "wisdm", "--originals", "/nowhere"], "/nowhere is missing"),
        (["check", "wisdm"], "is missing; it is wisdm/wisdm.npz in the data folder"),
        (["check", "wisdm", "--original", "x"], "unknown option --original; did you mean '--originals'"),
        (["check", "wisdm", "--originals", "x"], "--originals goes with prepare and one NAME"),
        (["prepare", "wisdm", "pamap2", "--originals", "x"], "--originals goes with prepare and one NAME"),
        (["prepare", "wisdm", "--originals", ""], "the name is empty"),
        (["check", "a\0b"], "a zero byte"),
        (["page", "hapt"], "page takes no NAME"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(run, tmp_path, words, message):
    assert message in run(*words)[2]
    assert not (tmp_path / "data").exists()


def test_originals_that_are_not_them(run, tmp_path):
    (tmp_path / "other.zip").write_bytes(b"no archive")
    assert "not an intact archive" in run("prepare", "hapt", "--originals", tmp_path / "other.zip")[2]
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as z:
        z.writestr("labels.txt", "1 1 5 1 200\n")
    said = run("prepare", "hapt", "--originals", tmp_path / "other.zip")[2]
    assert "other.zip: there is no acc_exp*_user*.txt among these files" in said
    assert not (tmp_path / "data" / "hapt").exists()


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "fetch" in capsys.readouterr().out
    assert main([]) == 2


def test_the_page_of_data_sets_is_what_the_cards_say():
    assert (cards_folder() / "README.md").read_text(encoding="utf-8") == page_text(), "python -m mmkd.data page"


def test_the_page_names_every_set_with_licence_and_flaws():
    text = page_text()
    for name, card in find_cards()[0].items():
        section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for part in (card.title, card.split, card.source["licence"], card.source["citation"], *card.notes["flaws"]):
            assert part in section
        assert all(checksum in section for checksum in card.sha256.values())


@pytest.mark.parametrize(("labels", "as_before"), [(("1", "2"), True), (("2", "10"), False)])
def test_classes_of_an_archive_are_in_the_order_of_their_numbers(tmp_path, labels, as_before):
    """Older records of a set whose numbers were sorted as texts have other class numbers: they must not answer."""
    folder = tmp_path / "ucr_uea" / "Own"
    folder.mkdir(parents=True)
    for part in ("TRAIN", "TEST"):
        rows = "".join(f"{label}\t{k}\t{k + 1}\n" for k, label in enumerate(labels * 2))
        (folder / f"Own_{part}.tsv").write_text(rows)
    data = load_dataset("ucr-uea.Own", tmp_path)
    assert data.classes == labels
    names = sorted(f"ucr_uea/Own/{path.name}" for path in folder.iterdir())
    files = "".join(f"{name}={file_sha256(tmp_path / name)};" for name in names)
    settings = ("archive", [], (), None, None, None)
    assert (data.sha256 == hashlib.sha256(files.encode() + repr(settings).encode()).hexdigest()) == as_before
