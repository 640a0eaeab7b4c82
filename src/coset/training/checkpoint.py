"""Checkpoints: one safetensors file with everything a run needs to go on, whole and unchanged or refused."""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from coset.files import atomic_write, file_mode

STATE, FORMAT, SUMS = "coset", "format", "crc32"  # keys of the file's own header
VERSION = 2  # version 1 had neither version nor checksums; it is read too


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Tensors and a JSON state in one file, each with its CRC-32: written beside, then renamed.

    Raises OSError where the disk is full or the folder closed; a file that stood at `path` is then as it was.
    """
    host = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state)
    metadata = {STATE: text, FORMAT: str(VERSION), SUMS: json.dumps(_checksums(host, text))}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # save_file keeps a half-written file of its own beside its target; in a folder of ours it is found again.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp") as temporary:
            written = Path(temporary) / path.name
            save_file(host, written, metadata=metadata)
            written.chmod(file_mode())
            # A rename may reach the disk before the bytes it names, and a name before its folder: without these two
            # a power cut could leave an empty file where a whole checkpoint was.
            sync(written)
            os.replace(written, path)
            sync(path.parent)
    except (SafetensorError, OSError) as error:
        reason = str(error).rpartition("error: ")[2]  # without the path that it took through the library
        raise OSError(f"cannot write {path}: {reason}; the file that was there, if any, is whole; make room") from None


def load_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote. Raises FileNotFoundError, or ValueError for a file that is not whole or not ours."""
    metadata, tensors = _read(path, device, with_tensors=True)
    return tensors, _checked(path, metadata, tensors)


def load_state(path: Path) -> dict[str, Any]:
    """The JSON state alone, without reading the tensors. Raises as `load_tensors` does."""
    return _checked(path, _read(path, "cpu", with_tensors=False)[0], None)


def _read(path: Path, device: str, with_tensors: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; check the path, or train a model first")
    try:
        with safe_open(path, framework="pt", device=device) as file:
            names = file.keys() if with_tensors else ()
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        with path.open("rb") as file:
            start = file.read(4)
        if start == b"PK\3\4" or (start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5")):
            raise ValueError(
                f"{path} is a pickle or a zip, as torch.save writes them; expected a .safetensors file of coset, since "
                "nothing that could run code is loaded"
            ) from None
        raise ValueError(f"{path} is not a whole safetensors file ({error}); copy or write it again") from None


def _checked(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor] | None) -> dict[str, Any]:
    """The state of a file whose version is known and whose checksums are right; those of tensors if there are any."""
    if STATE not in metadata:
        raise ValueError(f"{path} was not written by coset: its header has no {STATE!r} entry")
    version = metadata.get(FORMAT, str(VERSION) if SUMS in metadata else "1")
    if version not in ("1", str(VERSION)):
        raise ValueError(
            f"{path} has format version {version}, this coset reads 1 and {VERSION}; use the version that wrote it"
        )
    damaged = f"{path} is damaged: {{}} is not what was written; copy it again or go back to an earlier file"
    if not metadata.keys() <= {STATE, FORMAT, SUMS}:  # a flipped bit in one of the names
        raise ValueError(damaged.format("its header"))
    try:
        state, sums = json.loads(metadata[STATE]), json.loads(metadata.get(SUMS, "null"))
    except json.JSONDecodeError:
        raise ValueError(damaged.format("its header")) from None
    if version == "1" and SUMS not in metadata:
        return state
    found = _checksums(tensors or {}, metadata[STATE])
    expected = sums if tensors is not None else {STATE: sums.get(STATE)} if isinstance(sums, dict) else None
    if found != expected:
        wrong = sorted(name for name in found if not isinstance(expected, dict) or expected.get(name) != found[name])
        raise ValueError(damaged.format(wrong[0] if wrong else "its list of tensors"))
    return state


def _checksums(tensors: Mapping[str, Tensor], state: str) -> dict[str, int]:
    """CRC-32 of the state and of each tensor with its type and shape: a fifth of a second for 1 GB."""
    sums = {STATE: zlib.crc32(state.encode())}
    for name, tensor in tensors.items():
        about = zlib.crc32(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        sums[name] = tensor_crc(tensor, about)
    return sums


def tensor_crc(tensor: Tensor, start: int = 0) -> int:
    """CRC-32 of a tensor's bytes in order, going on from `start`."""
    return zlib.crc32(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data, start)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk. Folders cannot be waited for on Windows."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def strip_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(prefix + "/")}


def write_json(path: Path, value: Any) -> None:
    """JSON, indented; whole or not at all."""
    with atomic_write(path) as file:
        file.write(json.dumps(value, indent=1) + "\n")
