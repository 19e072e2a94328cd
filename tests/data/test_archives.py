"""Archives that are damaged, or would leave their folder."""

import contextlib
import hashlib
import io
import stat
import tarfile
import zipfile

import pytest

import mmkd.data.archives
from mmkd import MmkdError
from mmkd.data.archives import unpack


def zipped(members, nested=False):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as z:
        for name, content in members.items():
            z.writestr(name, content)
    return zipped({"inner.zip": data.getvalue(), "README": "x"}) if nested else data.getvalue()


def tarred(members, mode="w:gz"):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as t:
        for name, content in members.items():
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            t.addfile(info, io.BytesIO(content))
    return data.getvalue()


@pytest.fixture
def take(tmp_path):
    """Unpacks these bytes; returns {name: content} of what came."""

    def unpacked(data, **options):
        (tmp_path / "archive").write_bytes(data)
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        unpack(tmp_path / "archive", folder, **options)
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    return unpacked


MEMBERS = {"a/one.txt": b"1", "a/b/two.txt": b"22"}


@pytest.mark.parametrize("make", [zipped, tarred, lambda m: tarred(m, "w"), lambda m: tarred(m, "w:xz")])
def test_archives(take, make):
    assert take(make(MEMBERS)) == MEMBERS


def test_a_zip_in_a_zip(take):
    assert take(zipped(MEMBERS, nested=True)) == MEMBERS | {"README": b"x"}


BAD = ["../out.txt", "/out.txt", "a/../../out.txt", "C:/out.txt", "a\\..\\out.txt", ".."]


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("make", [zipped, tarred, lambda m: zipped(m, nested=True)])
def test_names_that_lead_out(take, tmp_path, make, name):
    with pytest.raises(MmkdError, match=r"leads out of its folder; nothing was taken from it"):
        take(make({name: b"evil"}))
    assert not [p for p in tmp_path.rglob("*") if "out.txt" in p.name]


def link(kind, name="link", target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar(take, kind):
    with pytest.raises(MmkdError, match=r"'link' in it is a link or no file"):
        take(tarred({link(kind): b""}))


def test_a_link_in_a_zip(take):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as z:
        z.writestr(info, "/etc/passwd")
    with pytest.raises(MmkdError, match="is a link or no file"):
        take(data.getvalue())


@pytest.mark.parametrize("make", [zipped, tarred, lambda m: zipped(m, nested=True)])
def test_too_much(take, make):
    with pytest.raises(MmkdError, match="unpacks to more than it may"):
        take(make({"zeros": bytes(100_000)}), max_bytes=50_000)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_twice(take):
    data = io.BytesIO(zipped({"a": b"1"}))
    with zipfile.ZipFile(data, "a") as z:
        z.writestr("a", b"2")
    with pytest.raises(MmkdError, match="archive"):
        take(data.getvalue())


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_cut_off(take, make, cut):
    whole = make({f"{n}.txt": hashlib.sha256(bytes([n])).digest() * 50 for n in range(30)})
    with pytest.raises(MmkdError, match="not an intact archive"):
        take(whole[: int(cut * len(whole))])


@pytest.mark.parametrize("make", [zipped, tarred])
def test_with_a_bit_flipped_it_is_whole_or_refused(take, tmp_path, make):
    whole = make({"one.txt": hashlib.sha256(b"").digest() * 200})
    for at in range(0, len(whole), 97):
        data = bytearray(whole)
        data[at] ^= 4
        with contextlib.suppress(MmkdError):
            take(bytes(data))
        for p in (tmp_path / "folder").rglob("*"):
            if p.is_file():
                p.unlink()


def test_neither_zip_nor_tar(take):
    for data in (b"", b"text", b"\x1f\x8b123"):
        with pytest.raises(MmkdError, match="not an intact archive"):
            take(data)


def test_the_limit_is_there():
    assert 0 < mmkd.data.archives.LARGEST_BYTES < 1 << 40
