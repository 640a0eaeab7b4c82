"""Downloads that go on where they broke off and are checked before they take their name."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[float, str], None]  # the share done in [0, 1], and a note on the rate

_BLOCK = 1 << 18  # bytes
_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # answers that may be another one the next time


@dataclass(frozen=True)
class Remote:
    """A file to fetch. size: bytes; md5: hex digest; both as its publisher states them, None where unknown."""

    name: str
    url: str
    size: int | None = None
    md5: str | None = None

    def check(self, path: Path) -> str | None:
        """What is wrong with the file at path, or None."""
        if self.size is not None and path.stat().st_size != self.size:
            return f"has {path.stat().st_size:,} bytes, {self.size:,} expected"
        if self.md5 is None:
            return None
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        return None if found == self.md5 else f"has the md5 {found}, {self.md5} expected"


def fetch(
    remote: Remote, folder: Path, progress: Progress | None = None, attempts: int = 5, pause: float = 2.0
) -> Path:
    """The file in the folder, downloaded unless it is there already; checked by size and md5 in both cases.

    What has arrived lies in NAME.part, from which another attempt, or another call, goes on if the server can
    (HTTP Range), and starts again if not. attempts: how many in a row may bring nothing new; pause: seconds
    after the first of them, doubled each time. Raises ValueError where the file is another one than expected
    (a wrong NAME.part is removed, a wrong NAME is left to its owner), ConnectionError where it cannot be had.
    """
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    if target.is_file():
        if fault := remote.check(target):
            raise ValueError(f"{target} {fault}; remove it to download it again.")
        return target
    if not remote.url.startswith(("http://", "https://")):
        raise ValueError(f"{remote.url!r} is no address to download from; expected http:// or https://.")
    folder.mkdir(parents=True, exist_ok=True)
    failures, most = 0, _size(part)
    while not _size(part) or _size(part) != remote.size:
        try:
            _receive(remote, part, progress)
            break
        except _Broken as error:
            failures = failures + 1 if _size(part) <= most else 1
            most = max(most, _size(part))
            if failures >= attempts or not error.again:
                raise ConnectionError(_told(remote, folder, part, error)) from error
            time.sleep(pause * 2 ** (failures - 1))
    if fault := remote.check(part):
        part.unlink()
        raise ValueError(f"what {remote.url} gave {fault}; it was removed. {_by_hand(remote, folder)}")
    part.replace(target)
    return target


class _Broken(Exception):
    """A download did not come to its end. again: whether another attempt may."""

    def __init__(self, reason: str, again: bool = True) -> None:
        super().__init__(reason)
        self.again = again


def _receive(remote: Remote, part: Path, progress: Progress | None) -> None:
    """One attempt: appends to `part` until it is whole, or raises _Broken."""
    start = _size(part)
    headers = {"User-Agent": "coset", "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with closing(_open(urllib.request.Request(remote.url, headers=headers), part)) as answer:
        if answer.status == 206 and not (answer.headers["Content-Range"] or "").startswith(f"bytes {start}-"):
            part.unlink(missing_ok=True)
            raise _Broken("the server went on at another place than asked for")
        if answer.status not in (200, 206):
            raise _Broken(f"the server answered {answer.status} in place of the file", again=False)
        done = start if answer.status == 206 else 0  # 200 is the whole file: a server that knows no Range
        length = answer.headers["Content-Length"]
        total = done + int(length) if length else remote.size
        clock, first = time.monotonic(), done
        with part.open("ab" if done else "wb") as file:
            for block in _blocks(answer):
                file.write(block)
                done += len(block)
                if progress and total:
                    rate = (done - first) / max(time.monotonic() - clock, 1e-9)
                    progress(min(done / total, 1.0), f"{done / 1e6:.1f} MB, {rate / 1e6:.1f} MB/s")
    if total is not None and done < total:
        raise _Broken(f"the connection broke off after {done:,} of {total:,} bytes")


def _open(request: urllib.request.Request, part: Path) -> http.client.HTTPResponse:
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing lies beyond what is here: it is whole, or of another file
            part.unlink(missing_ok=True)
            raise _Broken("the server has no more than was here already; it was removed") from error
        raise _Broken(f"the server answered {error.code} {error.reason}", again=error.code in _AGAIN) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Broken(f"no connection ({getattr(error, 'reason', error)})") from error


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """What the server sends. Only reading is caught here: an error of the disk is another matter."""
    while True:
        try:
            block = answer.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(f"the connection broke off ({error or type(error).__name__})") from error
        if not block:
            return
        yield block


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _told(remote: Remote, folder: Path, part: Path, error: _Broken) -> str:
    kept = f"; {_size(part):,} bytes are kept in {part}, run the same again to go on from there" if _size(part) else ""
    return f"cannot download {remote.url}: {error}{kept}. {_by_hand(remote, folder)}"


def _by_hand(remote: Remote, folder: Path) -> str:
    return f"Name another address, or download it by hand as {folder / remote.name}"
