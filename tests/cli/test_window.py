"""`python -m mmkd.data window`: what it says and writes; and input that is wrong, one line each, nothing written."""

import contextlib
import gzip
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mmkd
from mmkd.bench import main as bench
from mmkd.data import load_file
from mmkd.data.__main__ import main
from mmkd.data.unlabelled import add_unlabelled

PEOPLE = ("ann", "ben", "eve", "joe")
LONGEST = 300  # characters of a message, without the paths in it


def rows_of(user, n=400):
    """A recording of one person at 50 Hz: two activities, in pieces of 100 samples."""
    rng = np.random.default_rng(len(user) + ord(user[0]))
    activity = np.where(np.arange(n) // 100 % 2, "run", "walk")
    phase = np.cumsum(np.where(activity == "run", 4, 1.5)) / 50 * 2 * np.pi
    columns = {"acc_x": np.sin(phase), "acc_y": np.cos(phase), "acc_z": np.ones(n)}
    table = pd.DataFrame({name: values + rng.normal(0, 0.1, n) for name, values in columns.items()})
    table.insert(0, "t", np.arange(n) / 50)
    return table.assign(activity=activity, user=user)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the recordings of four people, which is the current one."""
    (tmp_path / "rec").mkdir()
    for user in PEOPLE:
        rows_of(user).to_csv(tmp_path / "rec" / f"{user}.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


GOOD = {
    "--channels": "acc_x,acc_y,acc_z",
    "--label": "activity",
    "--subject": "user",
    "--time": "t",
    "--window": "1s",
    "--step": "0.5s",
    "--out": "mine.npz",
}


def command(*files, **flags):
    """The arguments of the command: those of GOOD, others in their place, None to leave one out."""
    chosen = GOOD | {f"--{name.replace('_', '-')}": value for name, value in flags.items()}
    words = [
        word
        for flag, value in chosen.items()
        if value is not None
        for word in ([flag] if value is True else [flag, value])
    ]
    return ["window", *map(str, files or ("rec",)), *words]


def run(arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def test_from_recordings_to_a_distilled_student(folder, shared_cache):
    code, out, err = run(command(groups="acc=acc_x,acc_y,acc_z"))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "4 files: 1,600 samples of 3 channels; 4 subjects",
        "time: column 't' in seconds; 50 Hz; measured 50 Hz, 95 % of the steps within 0 ms of their mean",
        "gaps: 0 gaps longer than 0.08 s (0 s in all); 4 parts to cut",
        "labels of samples: run: 800, walk: 800; none 0",
        "windows: 50 samples (1 s at 50 Hz), every 25; 60 kept (run: 36, walk: 24)",
        "mine.npz: 60 windows of 3 channels x 50 samples (1 s at 50 Hz); 2 classes; split by subject: 3 train (ann, "
        "ben, joe), 1 test (eve; 25 % of the windows)",
        "next: python -m mmkd.bench --method student,kd --data mine.npz",
    ]
    data = load_file("mine.npz")
    assert data.classes == ("run", "walk")
    assert data.channels == ("acc_x", "acc_y", "acc_z")
    assert data.groups == {"acc": (0, 1, 2)}
    assert (data.rate_hz, data.window_s) == (50, 1)
    ann = rows_of("ann")[["acc_x", "acc_y", "acc_z"]].to_numpy(np.float32).T
    np.testing.assert_array_equal(data.x[data.subject == "ann"][3], ann[:, 75:125])
    unit = ["--method", "kd", "--data", "mine.npz", "--student", "sig@acc", "--teachers", "sig", "--epochs", "2"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert bench([*unit, "--cache", str(shared_cache), "--quiet"]) == 0


def test_the_commands_of_the_page_run(folder, shared_cache):
    section = (Path(__file__).parents[2] / "docs" / "own-recordings.md").read_text(encoding="utf-8")
    first, second = re.findall(r"python -m mmkd\.(?:data|bench) (.*)", section.replace("\\\n", " "))
    assert run(first.split())[0] == 0
    flags = ["--epochs", "1", "--cache", str(shared_cache), "--quiet"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert bench([*second.split(), *flags]) == 0
    known = run(["window", "--help"])[1] + " --data --method --student --teachers"
    assert [flag for flag in re.findall(r"--[a-z][a-z-]*", section) if flag not in known] == []


def test_a_dry_run_says_the_same_and_writes_nothing(folder):
    before = sorted(folder.rglob("*"))
    code, out, _ = run(command(dry_run=True))
    assert code == 0
    assert out.splitlines()[-1].startswith("not written, as of --dry-run: 60 windows of 3 channels")
    assert sorted(folder.rglob("*")) == before


def test_what_was_written_is_replaced_only_by_force(folder):
    assert run(command())[0] == 0
    first = (folder / "mine.npz").read_bytes()
    assert run(command(step="1s"))[0] == 2
    assert (folder / "mine.npz").read_bytes() == first
    assert run(command(step="1s", force=True))[0] == 0
    assert len(load_file("mine.npz").x) == 32
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_windows_without_labels_are_for_unlabelled(folder):
    assert run(command())[0] == 0
    code, out, _ = run(command("rec/joe.csv", label="none", subject="none", out="more.npz"))
    assert code == 0
    assert out.splitlines()[-2:] == [
        "more.npz: 15 windows of 3 channels x 50 samples without labels; for --unlabelled",
        "next: python -m mmkd.bench --method student,kd --data LABELLED.npz --unlabelled more.npz",
    ]
    data = add_unlabelled(load_file("mine.npz"), "more.npz")
    np.testing.assert_array_equal(data.unlabelled, load_file("mine.npz").x[45:])


def test_labels_of_samples_are_for_segmentation(folder):
    code, out, _ = run(command(label_rule="per-sample"))
    assert code == 0
    assert "a label a sample" in out.splitlines()[-2]
    assert out.splitlines()[-1].startswith("next: python -m mmkd.bench --task segmentation --method student,kd")
    data = load_file("mine.npz")
    assert data.form == "step"
    assert data.classes == ("none", "run", "walk")
    walk = np.array(data.classes) == "walk"
    assert data.y[0].tolist() == [int(np.flatnonzero(walk)[0])] * 50


def test_help_shows_every_flag(capsys):
    assert main(["window", "--help"]) == 0
    text = capsys.readouterr().out
    assert [flag for flag in GOOD if flag not in text] == []
    assert main(["--help"]) == 0
    assert "window" in capsys.readouterr().out


# -- input that is wrong

CASES = []


def case(name, make, *words):
    CASES.append(pytest.param(make, words, id=name))


def flags(**changed):
    return lambda folder: command(**changed)


def changed(change, files=("ann",), **more):
    """The recordings of some people changed by a function of their rows."""

    def make(folder):
        for user in files:
            path = folder / "rec" / f"{user}.csv"
            change(rows_of(user)).to_csv(path, index=False)
        return command(**more)

    return make


def content(data, name="odd.csv", **more):
    """One more file of these bytes, which alone is read."""

    def make(folder):
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
        return command(name, **more)

    return make


def saved(name, save, **more):
    def make(folder):
        save(folder / name)
        return command(name, **more)

    return make


def class_each(folder):
    for number, user in enumerate(PEOPLE):
        rows_of(user).assign(activity=f"class {number}").to_csv(folder / "rec" / f"{user}.csv", index=False)
    return command()


def at(column, row, value):
    def change(rows):
        rows = rows.astype({column: object})
        rows.loc[row, column] = value
        return rows

    return change


for flag in ("--channels", "--label", "--subject", "--window", "--out"):
    case(f"no {flag}", flags(**{flag[2:]: None}), f"{flag} is missing")
for flag in ("label", "subject", "recording", "time"):
    case(f"empty --{flag}", flags(**{flag: ""}), f"--{flag}: the name is empty")
    case(f"--{flag} among the channels", flags(**{flag: "acc_x"}), "among --channels too")
for flag in ("window", "step"):
    for text in ("", "2.56", "0s", "-1s", "1 h 2", "s", "1e3s", "0", "nan"):
        case(f"--{flag} {text!r}", flags(**{flag: text}), f"--{flag}")
for flag in ("max_gap", "stuck"):
    for text in ("0.2", "0s", "soon"):
        case(f"--{flag} {text!r}", flags(**{flag: text}), f"--{flag.replace('_', '-')}")
for flag in ("rate", "resample"):
    for text in ("0", "-50", "fast", "inf", "nan", "50Hz"):
        case(f"--{flag} {text!r}", flags(**{flag: text}), f"--{flag}", "number of Hz")
for flag, text in {
    "label_rule": "majorty", "grid": "labels", "missing": "mean", "duplicates": "last", "backward": "drop",
    "time_unit": "sec", "allow": "unit",
}.items():  # fmt: skip
    case(f"--{flag} {text}", flags(**{flag: text}), "unknown", text)
case("unknown flag", flags(chanels="a"), "unknown option --chanels", "--channels")
case("window not first", lambda folder: ["--quiet", "window", "rec"], "window goes first")
case("no files", lambda folder: command()[:1] + command()[2:], "needs FILES")
case("no such file", lambda folder: command("rec/zoe.csv"), "rec/zoe.csv", "no such file")
case("a zero byte", lambda folder: command("rec\0"), "zero byte")
case("an empty folder", lambda folder: (folder / "none").mkdir() or command("none"), "no file in this folder")
case("unknown suffix", content("a", "notes.xlsx"), ".xlsx suffix; what is read is .csv")
case("--out without suffix", flags(out="mine"), "ends in .npz")
case("--out in no folder", flags(out="no/mine.npz"), "no folder no")
case("--out is a folder", lambda folder: (folder / "m.npz").mkdir() or command(out="m.npz"), "it is a folder")
case("a channel twice", flags(channels="acc_x,acc_x"), "'acc_x' stands there twice")
case("an empty channel", flags(channels="acc_x,,acc_y"), "a name is empty")
case("unknown channel", flags(channels="acc_x,acc_w"), "no column 'acc_w'", "did you mean 'acc_", "--allow channels")
case("unknown label", flags(label="activty"), "no column 'activty'; did you mean 'activity'")
case("label is subject", flags(label="user"), "--label and --subject are both 'user'")
case("time is label", flags(time="activity"), "column of labels or names too")
case("groups without =", flags(groups="acc_x,acc_y"), "--groups", "must be like")
case("groups of unknown channel", flags(groups="acc=acc_x,gyro"), "'gyro' is not among --channels")
case("groups with a channel twice", flags(groups="acc=acc_x,acc_x"), "a channel stands there twice")
case("groups called like a channel", flags(groups="acc_x=acc_y"), "no channel")
case("null without per-sample", flags(null="walk"), "--null goes with --label-rule per-sample")
case("grid with per-sample", flags(grid="label", label_rule="per-sample"), "--grid label cuts windows of one label")
case("rule without labels", flags(label="none", label_rule="last"), "--label none has no labels")
case("max gap without time", flags(time=None, rate="50", max_gap="1s"), "--max-gap goes with --time")
case("unit without time", flags(time=None, rate="50", time_unit="s"), "--time-unit goes with --time")
case("no rate", flags(time=None), "nothing says its rate; name --time COLUMN, or say --rate HZ")
case("max gap below a period", flags(max_gap="10ms"), "shorter than the period of 50 Hz")
case("unknown --no-label", flags(no_label="sit"), "'sit': no sample has this label; there are", "walk")
case("a path without that", flags(subject=r"@path:sub_(\d+)"), "rec/ann.csv has no such part")
case("a path with two groups", flags(subject=r"@path:(s)(\d+)"), "one group in brackets")
case("no regular expression", flags(subject="@path:sub_("), "no regular expression")
case("an unknown @", flags(subject="@user"), "@file, @folder or @path:REGEX")
case("one subject", lambda folder: command("rec/ann.csv"), "could not be trained on: one subject only")
case("one class", flags(no_label="run"), "every window is of class 'walk'")
case("a class for each subject", class_each, "could not be trained on", "one subject only")
case("window too short", flags(window="0.2s"), "10 samples at 50 Hz; it needs 16", "--window 16 (which is 0.32 s)")
case("window too long", flags(window="9s"), "no window is left of 4 parts", "as long as a window", "shorter than 450")
case("step below a sample", flags(step="1ms"), "less than a sample")
case("stuck below two samples", flags(stuck="10ms"), "--stuck 0.01s is less than 2 samples")
case("odd ratio of rates", flags(resample="49.9873"), "no ratio of whole numbers")
case(
    "wrong rate", flags(rate="100", time_unit="s"), "its stamps come at 50 Hz, and the rate said is 100; say --rate 50"
)
case("steps of no unit", changed(lambda rows: rows.assign(t=rows["t"] * 7), rate="50"), "none is 50 Hz")
case("stamps of two units", changed(lambda rows: rows.assign(t=rows["t"] * 1000)), "in seconds in", "--time-unit")
case("a stamp is missing", changed(at("t", 7, None)), "ann.csv", "missing in 1 of 400 rows, the first is row 8")
case("a stamp is a word", changed(at("t", 7, "noon")), "ann.csv", "noon")
case("a local date", changed(lambda rows: rows.assign(t="05/01/2026 12:00")), "ISO stamps such as")
case("time runs backward", changed(at("t", 200, 0.5)), "runs backward in 1 place, the first is row 201", "--backward")
case("time repeats", changed(at("t", 200, 199 / 50)), "repeats with other values in 1 rows", "--duplicates")
case("coarse clock", changed(lambda rows: rows.assign(t=rows["t"] // 1), PEOPLE), "clock coarser than the samples")
case("files of two rates", changed(lambda rows: rows.assign(t=rows["t"] / 2)), "--resample HZ")
case("a value is missing", changed(at("acc_y", 3, None)), "acc_y 1", "row 4 of ann.csv", "--missing linear")
case("a value is infinite", changed(at("acc_y", 3, "inf")), "acc_y 1", "--missing")
case("a value is a word", changed(at("acc_y", 3, "off")), "ann.csv", "channel 'acc_y' holds 'off' in row 4")
case("decimal commas", changed(at("acc_y", 3, "1,5")), "channel 'acc_y' holds '1,5' in row 4")
case("nobody's rows", changed(at("user", 5, None)), "--subject user is missing in 1 of 400 rows, the first is row 6")
case("no label at all", changed(lambda rows: rows.assign(activity=None), PEOPLE), "no sample has a label in activity")
case(
    "measured labels", changed(lambda rows: rows.assign(activity=rows["acc_x"]), PEOPLE), "different labels", "measured"
)
case("fractions", changed(lambda rows: rows.assign(activity=rows.index % 3 / 2), PEOPLE), "fractions such as 0.5")
case("unknown is -1", changed(lambda rows: rows.assign(activity=rows.index // 99 % 3 - 1), PEOPLE), "--no-label -1")
case(
    "labels are in another file",
    changed(lambda rows: rows.drop(columns="activity")),
    "ann.csv: no column 'activity'",
    "if another file has it, join the two first",
)
case("wrong unit of time", flags(time_unit="ms", window="1s"), "no window is left", "is --time-unit ms right?")
case("too short by a wrong unit", flags(time_unit="us", window="0.0000001s"), "needs 16", "is --time-unit us right?")
case("a channel is not in a file", changed(lambda rows: rows.drop(columns="acc_z")), "ann.csv: no column 'acc_z'")
case("a channel is stuck", changed(lambda rows: rows.assign(acc_z=1.0)), "never change in a file: acc_z in ann.csv")
case(
    "m/s2 beside g",
    changed(lambda rows: rows.assign(**rows[["acc_x", "acc_y", "acc_z"]] * 9.81)),
    "g and m/s2",
    "units",
)
case("a copy", changed(lambda rows: rows_of("ben")), "ben.csv has the same content as", "ann.csv")
case("two columns of a name", content("t,acc_x,acc_x,acc_y,acc_z,activity,user\n"), "two columns are called 'acc_x'")
case("an empty file", content(""), "odd.csv", "it holds no line")
case("no rows", content("t,acc_x,acc_y,acc_z,activity,user\n"), "odd.csv", "it holds no sample")
case(
    "no header",
    content("0,1,2,3,walk,ann\n" * 99),
    "odd.csv: its first line holds values (0, 1, 2, 3,",
    "write the names",
)
case(
    "a longer line",
    content("t,acc_x,acc_y,acc_z,activity,user\n0,1,2,3,a,b\n0,1,2,3,a,b,c\n"),
    "odd.csv: 1 of 2 rows have more entries",
    "row 2",
)
case(
    "not UTF-8",
    content("t,acc_x,acc_y,acc_z,activity,user\n0,1,2,3,gehört,b\n".encode("latin-1")),
    "it is not UTF-8; save it",
)
case("UTF-16", content("t,acc_x\n".encode("utf-16")), "it is UTF-16; save it as UTF-8")
case("bytes", content(bytes(range(256)) * 20), "odd.csv")
case("a cut-off gzip", content(gzip.compress(rows_of("zoe").to_csv().encode())[:200], "odd.csv.gz"), "odd.csv.gz")
case("no gzip", content("t,acc_x\n", "odd.csv.gz"), "damaged or cut off")
case("no parquet", content("PAR1 and more", "odd.parquet"), "not an intact parquet file")
case(
    "parquet without a column",
    saved("odd.parquet", lambda path: rows_of("zoe").drop(columns="t").to_parquet(path)),
    "'t'",
)
case("a nested parquet", saved(
    "odd.parquet", lambda path: rows_of("zoe").assign(acc_x=[[1, 2]] * 400).to_parquet(path)
), "odd.parquet", "acc_x")  # fmt: skip
case("no npz", content("PK and more", "odd.npz"), "not an .npz file")
case("pickles in npz", saved("odd.npz", lambda path: np.savez(path, t=np.array([{}], object))), "never loaded")
case("pickles in npy", saved("odd.npy", lambda path: np.save(path, np.array([{}], object))), "never loaded")
case("no npy", content("nothing", "odd.npy"), "not an intact .npy file")
case("a cube", saved("odd.npy", lambda path: np.save(path, np.zeros((4, 4, 4)))), "shape (4, 4, 4)")
case(
    "numbers of no columns", saved("odd.npy", lambda path: np.save(path, np.zeros((99, 3)))), "its columns are 0, 1, 2"
)
case("short arrays", saved("odd.npz", lambda path: np.savez(path, t=np.arange(9), acc_x=np.arange(3))), "'acc_x'")
case("complex numbers", saved("odd.npz", lambda path: np.savez(
    path, **{name: np.arange(99) * 1j for name in ("t", "acc_x", "acc_y", "acc_z", "activity", "user")}
)), "holds complex128")  # fmt: skip
case("no mat", content("nothing", "odd.mat"), "odd.mat: not an intact")
case("no HDF5", content("nothing", "odd.h5"), "not an intact HDF5 file")
case("no EDF", content("nothing", "odd.edf"), "not an intact EDF file")
case("no WFDB", content("nothing", "odd.hea"), "not an intact WFDB record")
case("a header without its signal", content("odd 1 50 100\nodd.dat 16 200 16 0 0 0 0 a\n", "odd.hea"), "odd.hea")
case("a signal without its header", content("nothing", "odd.dat"), "its header odd.hea is missing")


def test_there_are_many_cases():
    assert len(CASES) >= 80
    assert len({param.id for param in CASES}) == len(CASES)


@pytest.mark.parametrize(("make", "words"), CASES)
def test_what_is_wrong_is_one_line_and_nothing_is_written(make, words, folder):
    arguments = make(folder)
    before = {path: path.is_file() and path.read_bytes() for path in sorted(folder.rglob("*"))}
    code, out, err = run(arguments)
    assert code == 2, out
    assert out == ""
    assert err.startswith("mmkd.data: ")
    assert err.count("\n") == 1, err
    assert err.rstrip("\n").isprintable(), repr(err)
    assert len(re.sub(r"/\S+", "", err)) <= LONGEST or " ... " in err, err
    for word in words:
        assert word in err, err
    assert {path: path.is_file() and path.read_bytes() for path in sorted(folder.rglob("*"))} == before


def test_public_errors_are_those_of_mmkd():
    assert issubclass(mmkd.MmkdError, Exception)
