"""Cards: each one whole and true, and what is said of a broken one or of files that are not the card's."""

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

import mmkd.data.cards
from mmkd import MmkdError
from mmkd.data import data_root, find_cards, load_dataset
from mmkd.data.cards import TASKS, cards_folder, find_card, read_card
from mmkd.data.checksums import file_sha256, files_exist, verify_checksums
from mmkd.data.converters import CONVERTERS
from mmkd.data.readers import READERS

CARDS = sorted(cards_folder().glob("*/card.toml"))
GOOD = """
title = "Two classes"
task = "classification"
reader = "pyts"
classes = ["a", "b"]
split = "as it comes"

[signal]
channels = ["x"]

[source]
where = "nowhere"
home = "https://example.org"

[source.sha256]
"one.txt" = "{one}"
"two.txt" = "{two}"
"""


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of cards of our own, with one good card, `good`."""
    cards = tmp_path / "cards"
    write_card(cards, "good", GOOD.format(one=sha("1"), two=sha("2")))
    monkeypatch.setattr(mmkd.data.cards, "cards_folder", lambda: cards)
    return cards


@pytest.fixture
def root(tmp_path):
    """A data folder with the two files of that card."""
    (tmp_path / "one.txt").write_text("1")
    (tmp_path / "two.txt").write_text("2")
    return tmp_path


def write_card(cards: Path, name: str, text: str) -> Path:
    path = cards / name / "card.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_there_are_cards():
    assert {"basic-motions", "coffee", "gunpoint", "hapt", "hapt6", "pigcvp"} <= set(find_cards()[0])
    cards, broken = find_cards()
    assert [p.parent.name for p in CARDS] == sorted(cards)
    assert not broken


def test_a_broken_card_is_listed_and_stops_nobody(tmp_path):
    for name, text in (("bad", "title = "), ("good", CARDS[0].read_text(encoding="utf-8"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.toml").write_text(text, encoding="utf-8")
    cards, broken = find_cards(tmp_path)
    assert set(cards) == {"good"}
    assert [Path(source).parent.name for source in broken] == ["bad"]


@pytest.mark.parametrize("path", CARDS, ids=lambda p: p.parent.name)
def test_each_card_is_whole(path):
    card = read_card(path)
    if card.reader == "archive":
        assert find_card(f"{card.name}.GunPoint").title == card.title
    else:
        assert card == find_card(path.parent.name)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", card.name)
    assert card.task in TASKS
    assert card.reader in READERS
    assert len(set(card.classes)) == len(card.classes)
    assert len(card.classes) >= 2 or card.reader == "archive"
    assert card.subjects is None or card.subjects > 1
    assert not card.prepare or card.prepare["converter"] in CONVERTERS
    assert card.title
    assert card.split
    for key in ("home", "where", "licence", "citation"):
        assert card.source[key].strip(), key
    assert card.source["home"].startswith("https://")
    assert re.search(r"\b(19|20)\d\d\b|arXiv", card.source["citation"]), "who published it, and when"
    assert card.sha256
    for name, checksum in card.sha256.items():
        known = bool(re.fullmatch(r"[0-9a-f]{64}", checksum))
        assert known or card.raw, "what nobody told is made here of what is fetched"
        assert not Path(name).is_absolute()
        assert ".." not in Path(name).parts
    assert card.notes["flaws"], "no data set is without one"
    assert all(isinstance(flaw, str) and flaw for flaw in card.notes["flaws"])
    assert len(card.channels) == len(set(card.channels))
    assert len(card.channels) == len(card.signal.get("units", card.channels))
    for members in card.groups.values():
        assert set(members) <= set(card.channels)
    if card.reader != "archive":
        assert card.signal["window"] >= 8
    assert card.rate_hz is None or card.rate_hz > 0


@pytest.mark.parametrize("path", CARDS, ids=lambda p: p.parent.name)
def test_no_data_of_others_is_committed(path):
    assert {p.name for p in path.parent.iterdir()} == {"card.toml"}


@pytest.mark.parametrize("path", CARDS, ids=lambda p: p.parent.name)
def test_subjects_of_a_card_and_its_split_go_together(path):
    subjects = tomllib.loads(path.read_text(encoding="utf-8")).get("subjects")
    by_person = re.match(r".*?\bby (subject|patient|record)\b", read_card(path).split.split(",")[0].split(";")[0])
    assert (by_person is not None) == (subjects is not None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("title =", "titel ="), "unknown key 'titel'; did you mean 'title'"),
        (('title = "Two classes"', ""), "missing title"),
        (('split = "as it comes"', ""), "missing split"),
        (("[signal]\nchannels", "[signal]\nchanels"), "needs channels"),
        (("[source.sha256]", "[source.md5]"), "needs sha256"),
        (('[signal]\nchannels = ["x"]', ""), "missing signal"),
        (("task =", "signal = 3\ntask ="), "not a TOML file|signal must be a table"),
        (("task =", "reader_options = 3\ntask ="), "reader_options must be a table"),
        (("title =", "title"), "not a TOML file"),
    ],
)
def test_broken_cards_name_their_file(folder, change, message):
    text = GOOD.format(one=sha("1"), two=sha("2"))
    assert change[0] in text
    path = write_card(folder, "broken", text.replace(*change))
    with pytest.raises(MmkdError, match=message) as error:
        find_card("broken")
    assert str(path) in str(error.value)


def test_a_table_that_is_none(folder):
    text = GOOD.format(one=sha("1"), two=sha("2"))
    head, tail = text.split("[signal]")
    path = write_card(folder, "broken", "signal = 3\n" + head + tail.split('channels = ["x"]')[1])
    with pytest.raises(MmkdError, match="signal must be a table"):
        read_card(path)


def test_unknown_names(folder):
    assert find_card("good").title == "Two classes"
    with pytest.raises(
        MmkdError, match=r"unknown data set 'godd'; did you mean 'good'\? \(python -m mmkd.bench --list"
    ):
        find_card("godd")
    for name in ("", ".", "..", "../cards/good", "good/", "/etc", "good\0", "..\\good"):
        with pytest.raises(MmkdError, match="unknown data set"):
            find_card(name)


def test_files_that_are_the_cards(folder, root):
    card = find_card("good")
    assert verify_checksums(card, root) == {"one.txt": sha("1"), "two.txt": sha("2")}
    assert files_exist(card, root)


def test_missing_file_says_which_and_where_it_belongs(folder, root):
    (root / "two.txt").unlink()
    card = find_card("good")
    assert not files_exist(card, root)
    with pytest.raises(MmkdError, match=r"data set 'good': .*two\.txt is missing; it is nowhere"):
        verify_checksums(card, root)


def test_changed_file_says_expected_and_found(folder, root):
    (root / "two.txt").write_text("3")
    card = find_card("good")
    with pytest.raises(MmkdError, match=r"two\.txt is not the file that the card names") as error:
        verify_checksums(card, root)
    assert f"expected sha256 {sha('2')}" in str(error.value)
    assert f"found {sha('3')}" in str(error.value)
    assert "https://example.org" in str(error.value)
    assert files_exist(card, root)


def test_checksum_of_a_file(tmp_path):
    (tmp_path / "f").write_bytes(b"abc" * 1_000_000)
    assert file_sha256(tmp_path / "f") == hashlib.sha256(b"abc" * 1_000_000).hexdigest()


def test_unknown_reader(folder):
    text = GOOD.format(one=sha("1"), two=sha("2")).replace('"pyts"', '"pyt"')
    write_card(folder, "odd", text)
    with pytest.raises(MmkdError, match="unknown reader 'pyt'; did you mean 'pyts'"):
        load_dataset("odd")


def test_data_root(monkeypatch, tmp_path):
    monkeypatch.setenv("MMKD_DATA", "/variable")
    assert data_root("/given") == Path("/given")
    assert data_root() == Path("/variable")
    monkeypatch.setenv("MMKD_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_root() == Path("/cache/mmkd/data")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root() == tmp_path / ".cache" / "mmkd" / "data"
