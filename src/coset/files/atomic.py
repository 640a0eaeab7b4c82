"""Files that are whole or not there: written under a temporary name beside the target, then renamed."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO]:
    """Opens a temporary file beside `path` that takes its place when the block ends without an error.

    Whatever stood at `path` stays as it was after any error, Ctrl-C included. A link is written through. Raises
    FileNotFoundError for a missing folder, ValueError for a target that is no regular file, PermissionError for a
    folder that cannot be written to, OSError for a full disk: one sentence each.
    """
    target = Path(os.path.realpath(path))
    check_writable(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
    except OSError as error:
        raise _sentence(path, error) from None
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power cut after the rename may leave an empty file
        os.chmod(temporary, file_mode())
        os.replace(temporary, target)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        if error.errno in _FULL and error.filename is None:
            raise _sentence(path, error) from None
        raise
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raises what `atomic_write` would raise for this path, as far as can be told before the work is done."""
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"Cannot write {path}: the folder {target.parent} does not exist; create it first.")
    if target.is_dir():
        raise ValueError(f"Cannot write {path}: it is a folder; give the name of a file.")
    if target.exists() and not target.is_file():
        raise ValueError(f"Cannot write {path}: it is no regular file; give another name.")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise _sentence(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _sentence(path: str | os.PathLike[str], error: OSError) -> OSError:
    """The same kind of error, with the file it concerns and the state it leaves."""
    advice = "free some space" if error.errno in _FULL else "choose another folder"
    reason = (error.strerror or str(error)).lower()
    told = type(error)(f"Cannot write {path}: {reason}; nothing was half-written, {advice}.")
    told.errno = error.errno
    return told


@cache
def file_mode() -> int:
    """Permissions of a new file by the user's umask, which temporary files do not follow."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
