"""The cache: an entry is whole or not there, made once, and the old ones leave first."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mmkd import MmkdError
from mmkd.core.errors import DamageWarning
from mmkd.store.cache import Cache
from mmkd.store.files import DAMAGED_LIMIT, temporary_folder

ROOT = Path(__file__).parents[2]
MAKER = """
import os, sys, time
from pathlib import Path
from mmkd.store.cache import Cache

root = Path(sys.argv[1])

def make(folder):
    (root / f"made-by-{os.getpid()}").touch()
    (folder / "half").write_text("1")
    time.sleep(0.3)
    (folder / "value").write_text("whole")

(root / f"ready-{os.getpid()}").touch()
while len(list(root.glob("ready-*"))) < 2:
    time.sleep(0.005)
print((Cache(root / "cache").get_or_create("views", "k", make) / "value").read_text())
"""


def write(text: str, name: str = "value"):
    return lambda folder: (folder / name).write_text(text)


def hidden(folder: Path) -> list[str]:
    return [p.name for p in folder.glob(".making*")]


def test_made_once_and_then_read(tmp_path):
    cache = Cache(tmp_path)
    calls = []

    def make(folder):
        calls.append(folder)
        assert list(folder.iterdir()) == []
        (folder / "value").write_text("1")

    first = cache.get_or_create("views", "k", make)
    assert cache.get_or_create("views", "k", make) == first == cache.path("views", "k")
    assert (first / "value").read_text() == "1"
    assert len(calls) == 1
    assert hidden(tmp_path / "views") == []


def test_kinds_and_keys_are_apart(tmp_path):
    cache = Cache(tmp_path)
    places = [("views", "a"), ("views", "b"), ("teachers", "a")]
    for kind, key in places:
        cache.get_or_create(kind, key, write(f"{kind}/{key}"))
    for kind, key in places:
        assert (cache.path(kind, key) / "value").read_text() == f"{kind}/{key}"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MmkdError])
def test_failing_make_leaves_nothing(tmp_path, error):
    cache = Cache(tmp_path)

    def make(folder):
        (folder / "half").write_text("1")
        raise error("stop")

    with pytest.raises(error, match="stop"):
        cache.get_or_create("views", "k", make)
    assert not cache.path("views", "k").exists()
    assert hidden(tmp_path / "views") == []
    assert (cache.get_or_create("views", "k", write("2")) / "value").read_text() == "2"


def test_full_disk_is_one_line(tmp_path):
    def make(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(MmkdError, match=r"cache .*: No space left on device; --cache names another folder"):
        Cache(tmp_path).get_or_create("views", "k", make)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MmkdError, match="--cache names another folder"):
        Cache(tmp_path / "file").get_or_create("views", "k", write("1"))
    assert (tmp_path / "file").read_text() == "in the way"


def test_entries_of_a_cache_that_may_only_be_read(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    cache.get_or_create("views", "k", write("1"))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    assert (cache.get_or_create("views", "k", write("2")) / "value").read_text() == "1"


def test_entries_can_be_read_by_whom_the_user_lets(tmp_path):
    entry = Cache(tmp_path).get_or_create("views", "k", write("1"))
    (tmp_path / "plain").mkdir()
    assert entry.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_made_once_under_two_processes(tmp_path):
    work = [
        subprocess.Popen([sys.executable, "-c", MAKER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[0] for process in work] == ["whole\n", "whole\n"]
    assert len(list(tmp_path.glob("made-by-*"))) == 1


def test_made_once_under_threads(tmp_path):
    made, found, together = [], [], threading.Barrier(4)

    def make(folder):
        made.append(folder)
        time.sleep(0.1)
        (folder / "value").write_text("whole")

    def work():
        together.wait()
        found.append((Cache(tmp_path).get_or_create("views", "k", make) / "value").read_text())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["whole"] * 4
    assert len(made) == 1


def fill(cache: Cache, sizes: dict[str, int]) -> None:
    """Entries of these sizes, the first the oldest."""
    for age, (key, size) in enumerate(sizes.items()):
        entry = cache.get_or_create("features", key, write("x" * size))
        os.utime(entry, (1e9 + age, 1e9 + age))


def left(cache: Cache) -> set[str]:
    return {p.name for p in (cache.root / "features").iterdir() if p.is_dir()}


@pytest.mark.parametrize(
    ("budget", "keep", "expected"),
    [
        (300, (), "abc"),
        (299, (), "bc"),
        (100, (), "c"),
        (99, (), ""),
        (0, (), ""),
        (100, ("a",), "ac"),  # what is kept does not count
        (0, ("b",), "b"),
        (0, ("a", "b", "c"), "abc"),
        (150, ("a", "zzz"), "ac"),
    ],
)
def test_shrink_removes_the_least_recently_used(tmp_path, budget, keep, expected):
    cache = Cache(tmp_path)
    fill(cache, {"a": 100, "b": 100, "c": 100})
    cache.evict("features", budget, keep)
    assert left(cache) == set(expected)


def test_use_makes_an_entry_young(tmp_path):
    cache = Cache(tmp_path)
    fill(cache, {"a": 100, "b": 100})
    cache.get_or_create("features", "a", write("never"))
    cache.evict("features", 100, ())
    assert left(cache) == {"a"}


def test_shrink_leaves_other_kinds_and_work_in_progress(tmp_path):
    cache = Cache(tmp_path)
    cache.get_or_create("teachers", "t", write("x" * 100))
    fill(cache, {"a": 100})
    with temporary_folder(tmp_path / "features") as making:
        (making / "half").write_text("x" * 100)
        cache.evict("features", 0, ())
        assert making.is_dir()
    assert not making.exists()
    assert left(cache) == set()
    assert cache.path("teachers", "t").is_dir()
    cache.evict("nothing of this kind", 0, ())


def test_shrink_beside_another_that_shrinks(tmp_path):
    cache = Cache(tmp_path)
    fill(cache, {"a": 100, "b": 100})
    (cache.path("features", "a") / "gone").symlink_to(tmp_path / "nowhere")  # a file that vanishes while it is measured
    cache.evict("features", 0, ())
    assert "b" not in left(cache)


def test_temporary_folder_that_was_renamed_away(tmp_path):
    with temporary_folder(tmp_path) as folder:
        (folder / "value").write_text("1")
        folder.rename(tmp_path / "final")
    assert (tmp_path / "final" / "value").read_text() == "1"
    assert os.listdir(tmp_path) == ["final"]


def test_files_are_hashed_once_a_process_and_again_when_they_change(tmp_path, monkeypatch):
    cache, hashed = Cache(tmp_path), []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda stream, how: hashed.append(stream.name) or real(stream, how))
    entry = cache.get_or_create("views", "k", write("one"))
    assert len(hashed) == 1
    for _ in range(3):
        Cache(tmp_path).get_or_create("views", "k", write("never"))
    assert len(hashed) == 1
    monkeypatch.setattr("mmkd.store.files._checksums", {})  # as a new process
    cache.get_or_create("views", "k", write("never"))
    assert len(hashed) == 2
    os.utime(entry / "value", (1e9, 1e9))  # copied, say
    assert (cache.get_or_create("views", "k", write("never")) / "value").read_text() == "one"
    assert len(hashed) == 3


def test_large_entries_are_hashed_where_they_were_touched(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    monkeypatch.setattr("mmkd.store.cache.HASHED_BYTES", 2)

    def changed(text, when=None):
        path = cache.get_or_create("views", "k", write("one")) / "value"
        made = path.stat().st_mtime_ns
        path.write_text(text)
        os.utime(path, ns=(made, made + (when or 0)))
        return cache.find_damage("views", "k")

    assert changed("two") is None, "the price of not reading it"
    assert "another checksum" in changed("two", when=1)
    with pytest.warns(DamageWarning):
        assert "has 2 bytes instead of 3" in changed("on")


def test_an_entry_that_cannot_be_read_is_set_aside_and_made_once_more(tmp_path):
    cache = Cache(tmp_path)
    cache.get_or_create("views", "k", write("of an older version"))
    with pytest.warns(DamageWarning, match=r"views/k is damaged \(ValueError: invalid literal.* is made again"):
        assert cache.load_or_create("views", "k", write("7"), lambda folder: int((folder / "value").read_text())) == 7
    assert (tmp_path / "damaged" / "views-k-1" / "value").read_text() == "of an older version"


def test_an_entry_that_another_process_has_just_made_again_is_not_set_aside(tmp_path, recwarn):
    cache = Cache(tmp_path)
    cache.get_or_create("views", "k", write("of an older version"))

    def load(folder):
        text = (folder / "value").read_text()
        if not text.isdecimal():
            shutil.rmtree(folder)
            Cache(tmp_path).get_or_create("views", "k", write("7"))
        return int(text)

    assert cache.load_or_create("views", "k", write("8"), load) == 7
    assert not recwarn.list


def test_a_few_damaged_entries_are_kept(tmp_path):
    cache = Cache(tmp_path)
    for turn in range(DAMAGED_LIMIT + 3):
        (cache.get_or_create("views", "k", write(str(turn))) / "value").write_text("spoilt")
        with pytest.warns(DamageWarning):
            cache.get_or_create("views", "k", write(str(turn)))
    kept = sorted((tmp_path / "damaged").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert len(kept) == DAMAGED_LIMIT
    assert all(path.name.startswith("views-k-") for path in kept)


def test_a_failing_rebuild_leaves_the_damaged_entry_aside(tmp_path):
    cache = Cache(tmp_path)
    (cache.get_or_create("views", "k", write("1")) / "value").write_text("spoilt")

    def make(folder):
        raise KeyboardInterrupt

    with pytest.warns(DamageWarning), pytest.raises(KeyboardInterrupt):
        cache.get_or_create("views", "k", make)
    assert not cache.path("views", "k").exists()
    assert (tmp_path / "damaged" / "views-k-1" / "value").read_text() == "spoilt"


def test_an_entry_holds_files_only(tmp_path):
    with pytest.raises(ValueError, match="inner is no plain file"):
        Cache(tmp_path).get_or_create("views", "k", lambda folder: (folder / "inner").mkdir())
    assert not Cache(tmp_path).path("views", "k").exists()
