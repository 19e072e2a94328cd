"""Results that others sent in stand on the board; a file that the check refuses is left out with a note."""

import shutil
from dataclasses import replace

import pytest

from mmkd.cli.results import main
from mmkd.core.errors import MmkdError
from mmkd.results.columns import csv_text
from mmkd.results.making import Made
from mmkd.results.protocol import read_protocol
from mmkd.results.scores import regime_scores
from mmkd.results.submission.joining import submitted_lines
from mmkd.results.tables import write_results
from tests.results.made_up import write_protocol
from tests.results.test_check import PLACES, submitted, unit


@pytest.fixture
def protocol(tmp_path):
    """A protocol in a folder `v1` with results of the student alone."""
    made = write_protocol(tmp_path / "v1")
    lines = [
        line for place in PLACES for seed in made.seeds for line in unit(made, place, "student", "student", seed, 0)
    ]
    write_results(made, [Made(name, [own for own in lines if own.regime == name], 1) for name in made.regimes])
    return made


def send(protocol, name, lines):
    folder = protocol.submissions / name
    folder.mkdir(parents=True)
    (folder / "results.csv").write_text(csv_text(lines))


def test_right_results_join_in_and_are_marked_as_not_verified(protocol, tmp_path, capsys):
    send(protocol, "someone", submitted(protocol))
    lines, notes = submitted_lines(protocol)
    assert not notes
    assert {line.row for line in lines} == {"mine"}
    assert main(["page", "--folder", str(protocol.folder), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err == ""
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "mine" in page
    assert "not verified" in page


def test_wrong_results_are_left_out_and_said(protocol, tmp_path, capsys):
    right = submitted(protocol)
    send(protocol, "a-first", right)
    send(protocol, "b-ours", [replace(line, row="student", kind="method") for line in right])
    send(protocol, "c-wrong", [replace(line, regime="Z", row="other", method="other") for line in right[:3]])
    send(protocol, "d-old", [replace(line, protocol="v0-0123456789ab", row="older", method="older") for line in right])
    (protocol.submissions / "e-binary").mkdir()
    (protocol.submissions / "e-binary" / "results.csv").write_bytes(b"\0\1")
    lines, notes = submitted_lines(protocol)
    assert len(lines) == len(right)
    assert [note.split("/")[0] for note in notes] == ["b-ours", "c-wrong", "d-old", "e-binary"]
    assert main(["page", "--folder", str(protocol.folder), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count(" is left out: ") == 4


def test_a_method_belongs_to_one_sender_whatever_the_folders_are_called(protocol, tmp_path, capsys):
    right = submitted(protocol)
    send(protocol, "m-older", [line for line in right if line.regime == "A"])
    for name, own in {
        "a-newer": right,
        "z-newer": [line for line in right if line.regime == "C"],
        "b-newer": [replace(line, method="Mine", row="Mine weight=2") for line in right],
    }.items():
        send(protocol, name, own)
        first, second = sorted((name, "m-older"))
        with pytest.raises(MmkdError) as caught:
            submitted_lines(protocol)
        assert f"{first}/results.csv and {second}/results.csv both have the method" in str(caught.value)
        assert main(["page", "--folder", str(protocol.folder), "--out", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not (tmp_path / "out").exists()
        shutil.rmtree(protocol.submissions / name)
    assert {line.regime for line in submitted_lines(protocol)[0]} == {"A"}


def test_the_check_refuses_a_method_of_another_folder(protocol, tmp_path, capsys):
    right = submitted(protocol)
    send(protocol, "m-older", right)
    send(protocol, "a-newer", [replace(line, method="MINE", row="MINE weight=2") for line in right])
    send(protocol, "b-wrong", [replace(line, regime="Z", method="free", row="free") for line in right])
    newer = protocol.submissions / "a-newer" / "results.csv"
    folder = ["--folder", str(protocol.folder)]
    assert main(["check", str(newer), *folder]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "results.csv, line 2: the method 'MINE' is that of m-older/results.csv in " in err
    to_add = tmp_path / "mine.csv"
    to_add.write_text(newer.read_text())
    assert main(["check", str(to_add), *folder]) == 2
    assert "the method 'MINE' is that of m-older/results.csv" in capsys.readouterr().err
    to_add.write_text(newer.read_text().replace("MINE", "free"))  # a file that is refused holds no name
    assert main(["check", str(to_add), *folder]) == 0
    shutil.rmtree(newer.parent)
    second = protocol.submissions / "m-older" / "second.csv"
    second.write_text(csv_text(replace(line, row="mine weight=2") for line in right))
    assert main(["check", str(second), *folder]) == 0
    assert len(submitted_lines(protocol)[0]) == 2 * len(right)


def test_a_row_of_the_protocol_is_left_out_and_a_link_is_not_followed(protocol, tmp_path):
    right = submitted(protocol)
    send(protocol, "alice", [line for line in right if line.regime == "A"])
    verified = [
        replace(line, method="known", row="known", verified=True)
        for place in PLACES
        for seed in protocol.seeds
        for line in unit(protocol, place, "method", "known", seed, 0)
    ]
    write_results(protocol, [Made(name, [own for own in verified if own.regime == name], 1) for name in "C"])
    send(protocol, "carol", [replace(line, method="known", row="known") for line in right if line.regime == "C"])
    secret = tmp_path / "secret.csv"
    secret.write_text("root:x:0:0\n")
    (protocol.submissions / "dave").mkdir()
    (protocol.submissions / "dave" / "results.csv").symlink_to(secret)
    lines, notes = submitted_lines(protocol)
    assert {line.regime for line in lines} == {"A"}
    assert [note.split("/")[0] for note in notes] == ["carol", "dave"]
    assert "the row 'known' is that of v1" in notes[0]
    assert "it is a link" in notes[1]
    assert "root" not in " ".join(notes)


def test_submissions_are_found_from_within_the_protocol(protocol, monkeypatch):
    send(protocol, "someone", submitted(protocol))
    monkeypatch.chdir(protocol.folder)
    assert len(submitted_lines(read_protocol("."))[0]) == len(submitted(protocol))


def test_extra_data_on_one_set_marks_the_row(protocol):
    send(
        protocol,
        "someone",
        [replace(line, extra_data=line.dataset != "hapt6") for line in submitted(protocol) if line.regime == "A"],
    )
    lines, _ = submitted_lines(protocol)
    for ordered in (lines, lines[::-1]):
        row = regime_scores(ordered, "A", "macro_f1").find("mine")
        assert row.extra_data
        assert not row.verified


def test_all_that_was_sent_in_passes_the_check():
    assert submitted_lines(read_protocol("v1"))[1] == []
