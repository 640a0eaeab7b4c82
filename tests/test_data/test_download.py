"""Downloads arrive whole and checked, however the server behaves. Everything stays on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from coset.data import qm9_archive
from coset.data.download import Remote, fetch

DATA = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves DATA under every name.

    breaks: after how many bytes of each answer, in turn, the connection is cut. ranges: whether it knows Range.
    codes: answers to give before the file, in turn. starts: where each answer began, as seen from outside.
    """

    daemon_threads = True

    def __init__(self, data: bytes = DATA) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.breaks, self.ranges, self.codes = data, [], True, []
        self.starts: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, data = self.server, self.server.data
        if server.codes:
            self.send_response(server.codes.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if start >= len(data):
            self.send_error(416)
            return
        server.starts.append(start)
        self.send_response(206 if wanted and server.ranges else 200)
        if wanted and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        until = start + server.breaks.pop(0) if server.breaks else len(data)
        self.wfile.write(data[start:until])

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def serve(monkeypatch) -> Iterator[Callable[..., Server]]:
    monkeypatch.setenv("no_proxy", "*")
    running = []

    def start(data: bytes = DATA, **behaviour) -> Server:
        server = Server(data)
        for name, value in behaviour.items():
            setattr(server, name, value)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


def get(server: Server, folder: Path, size: int | None = len(DATA), md5: str | None = MD5, **options) -> Path:
    return fetch(Remote("file.bin", f"{server.url}/file.bin", size, md5), folder, pause=0, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_and_is_not_fetched_twice(tmp_path, serve):
    server, told = serve(), []
    path = get(server, tmp_path / "new", progress=lambda share, note: told.append((share, note)))
    assert path.read_bytes() == DATA and names(path.parent) == ["file.bin"]
    assert told[-1][0] == 1 and told[-1][1].startswith("0.3 MB")
    get(server, tmp_path / "new")
    assert server.starts == [0]


def test_a_broken_connection_goes_on_where_it_broke_off(tmp_path, serve):
    server = serve(breaks=[1000, 0, 70_000])
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.starts == [0, 1000, 1000, 71_000]


def test_another_call_goes_on_from_the_part(tmp_path, serve):
    server = serve(breaks=[5000, 0, 0])
    with pytest.raises(ConnectionError, match=r"after 5,000 of 300,000 bytes; 5,000 bytes are kept in .*part"):
        get(server, tmp_path, attempts=2)
    assert names(tmp_path) == ["file.bin.part"] and (tmp_path / "file.bin.part").read_bytes() == DATA[:5000]
    server.breaks.clear()
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.starts == [0, 5000, 5000]


def test_a_server_that_knows_no_range_starts_again(tmp_path, serve):
    server = serve(breaks=[40_000, 20_000], ranges=False)
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.starts == [0, 0, 0]


def test_a_server_that_breaks_for_ever_is_left(tmp_path, serve):
    server = serve(breaks=[40_000, 20_000] * 20, ranges=False)
    with pytest.raises(ConnectionError, match="cannot download"):
        get(server, tmp_path, attempts=4)
    assert len(server.starts) == 4


@pytest.mark.parametrize("known", [{}, {"size": None}, {"md5": None}])
def test_wrong_bytes_are_told_and_removed(tmp_path, serve, known):
    wrong = DATA[:-1] if "md5" in known else DATA[:-1] + bytes([DATA[-1] ^ 1])
    sentence = "has 299,999 bytes, 300,000 expected" if "md5" in known else f"has the md5 .*, {MD5} expected"
    with pytest.raises(ValueError, match=rf"what http.* gave {sentence}; it was removed"):
        get(serve(wrong), tmp_path, **known)
    assert not names(tmp_path)


def test_without_sums_the_length_of_the_answer_counts(tmp_path, serve):
    server = serve(breaks=[10])
    assert get(server, tmp_path, size=None, md5=None).read_bytes() == DATA and server.starts == [0, 10]


def test_a_part_of_another_file_is_given_up(tmp_path, serve):
    (tmp_path / "file.bin.part").write_bytes(b"x" * (len(DATA) + 7))
    assert get(serve(), tmp_path).read_bytes() == DATA  # 416, then from the start
    (tmp_path / "file.bin").unlink()
    (tmp_path / "file.bin.part").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="it was removed"):
        get(serve(), tmp_path)
    assert not names(tmp_path)


def test_a_whole_part_needs_no_server(tmp_path):
    (tmp_path / "file.bin.part").write_bytes(DATA)
    assert fetch(Remote("file.bin", "http://127.0.0.1:1/", len(DATA), MD5), tmp_path).read_bytes() == DATA


def test_answers_that_pass_are_tried_again_and_others_are_not(tmp_path, serve):
    assert get(serve(codes=[503, 429]), tmp_path).read_bytes() == DATA
    for code in (404, 403, 202):  # 202: a page that asks whether one is human
        server = serve(codes=[code] * 2)
        with pytest.raises(ConnectionError, match=rf"answered {code}.* download it by hand as .*file.bin"):
            get(server, tmp_path / str(code))
        assert len(server.codes) == 1


def test_no_server_and_no_address(tmp_path):
    with pytest.raises(ConnectionError, match="no connection"):
        fetch(Remote("a", "http://127.0.0.1:1/a"), tmp_path, attempts=2, pause=0)
    with pytest.raises(ValueError, match="expected http"):
        fetch(Remote("a", "file:///etc/passwd"), tmp_path)


def test_a_full_disk_is_no_broken_connection(tmp_path, serve):
    server = serve()

    def full(share, note):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        get(server, tmp_path, progress=full)
    assert len(server.starts) == 1


def test_a_file_of_its_owner_is_left_alone(tmp_path):
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"file.bin has 4 bytes, 300,000 expected; remove it"):
        fetch(Remote("file.bin", "http://127.0.0.1:1/", len(DATA), MD5), tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == b"mine"


def test_qm9_comes_from_figshare_or_a_mirror(tmp_path, serve, monkeypatch):
    assert qm9_archive.ARCHIVE.url.endswith("figshare.com/files/3195389")
    assert qm9_archive.EXCLUDED.url.endswith("figshare.com/files/3195404")
    server = serve()
    with pytest.raises(ValueError, match=r"/mirror/uncharacterized.txt gave has|--mirror or COSET_QM9_MIRROR"):
        qm9_archive.download(tmp_path, f"{server.url}/mirror/")
    for name in ("ARCHIVE", "EXCLUDED"):
        remote = getattr(qm9_archive, name)
        monkeypatch.setattr(qm9_archive, name, Remote(remote.name, remote.url, len(DATA), MD5))
    monkeypatch.setenv("COSET_QM9_MIRROR", server.url)
    paths = qm9_archive.download(tmp_path)
    assert [path.name for path in paths] == ["dsgdb9nsd.xyz.tar.bz2", "uncharacterized.txt"]
