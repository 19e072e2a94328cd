"""Downloads from a server of our own, broken off and damaged; archives that would leave their folder."""

import contextlib
import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import mmkd.data.archives
from mmkd import MmkdError
from mmkd.data.archives import unpack
from mmkd.data.downloads import download, verify_download

CONTENT = bytes(range(256)) * 40
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content` under any path; `cut` is how many bytes of an answer come before the connection breaks off."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag, self.cut, self.ranges, self.asked = CONTENT, '"one"', [], True, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/file.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        body, code = server.content, 200
        if wanted and server.ranges and self.headers.get("If-Range") == server.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
            body, code = body[start:], 206
        self.send_response(404 if "gone" in self.path else code)
        self.send_header("Content-Length", str(len(body)))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(body[: server.cut.pop(0)] if server.cut else body)
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "file.zip"


def others(path):
    return sorted(p.name for p in path.parent.iterdir()) if path.parent.exists() else []


def test_a_file_comes_whole_with_its_checksum(server, path):
    told = []
    assert download(server.url, path, SHA, lambda *now: told.append(now)) == SHA
    assert path.read_bytes() == CONTENT
    assert others(path) == ["file.zip"]
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_broken_off_it_goes_on_by_itself(server, path):
    server.cut = [3000, 10]
    assert download(server.url, path, SHA) == SHA
    assert server.asked == [None, "bytes=3000-", "bytes=3010-"]
    assert others(path) == ["file.zip"]


def test_broken_off_for_good_the_next_try_goes_on(server, path):
    server.cut = [5000, 0]
    with pytest.raises(MmkdError, match=r"the connection broke off .*repeat the command to resume"):
        download(server.url, path, SHA)
    assert others(path) == ["file.zip.part", "file.zip.part.tag"]
    assert download(server.url, path, SHA) == SHA
    assert server.asked[-1] == "bytes=5000-"
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("how", ["changed", "no tag", "no ranges"])
def test_what_cannot_go_on_begins_anew(server, path, how):
    server.cut = [5000, 0]
    if how == "no tag":
        server.tag = ""
    with pytest.raises(MmkdError):
        download(server.url, path)
    if how == "changed":
        server.content, server.tag = CONTENT[::-1], '"two"'
    server.ranges = how != "no ranges"
    download(server.url, path)
    assert path.read_bytes() == server.content


def test_a_part_that_is_whole_already(server, path):
    server.cut = [5000, 0]
    with pytest.raises(MmkdError):
        download(server.url, path)
    path.with_name("file.zip.part").write_bytes(CONTENT)
    assert download(server.url, path, SHA) == SHA


def test_a_part_with_wrong_bytes_is_thrown_away(server, path):
    server.cut = [5000, 0]
    with pytest.raises(MmkdError):
        download(server.url, path, SHA)
    path.with_name("file.zip.part").write_bytes(b"x" * 5000)
    with pytest.raises(MmkdError, match=f"expected sha256 {SHA}, found"):
        download(server.url, path, SHA)
    assert others(path) == []
    assert download(server.url, path, SHA) == SHA


def test_a_checksum_that_nobody_told_is_noted_and_holds(server, path):
    assert download(server.url, path) == SHA
    assert (path.parent / "file.zip.sha256").read_text() == SHA + "\n"
    assert verify_download(path, "") == SHA
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(MmkdError, match=rf"expected sha256 {SHA}, found .*with file\.zip\.sha256 if its authors"):
        verify_download(path, "")
    with pytest.raises(MmkdError, match=r"expected sha256 0.*remove it and fetch it anew$"):
        verify_download(path, "0" * 64)


def test_what_cannot_be_reached(server, path):
    with pytest.raises(MmkdError, match="the server answers 404"):
        download(server.url + "/gone", path)
    with pytest.raises(MmkdError, match="cannot be reached"):
        download("http://127.0.0.1:9/file", path)
    with pytest.raises(MmkdError, match="no-address: "):
        download("no-address", path)
    assert not path.parent.exists(), "nothing is left behind"


# -- archives


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
