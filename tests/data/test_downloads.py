"""Downloads from a server of our own, broken off and damaged."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmkd import MmkdError
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
    with pytest.raises(MmkdError, match=r"expected sha256 0.*remove it and fetch it again$"):
        verify_download(path, "0" * 64)


def test_what_cannot_be_reached(server, path):
    with pytest.raises(MmkdError, match="the server answers 404"):
        download(server.url + "/gone", path)
    with pytest.raises(MmkdError, match="cannot be reached"):
        download("http://127.0.0.1:9/file", path)
    with pytest.raises(MmkdError, match="no-address: "):
        download("no-address", path)
    assert not path.parent.exists(), "nothing is left behind"
