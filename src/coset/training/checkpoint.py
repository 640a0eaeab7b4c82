"""Checkpoints: one safetensors file with everything a run needs to go on, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from coset.files import atomic_write, file_mode

STATE = "coset"  # the one key of the file's own JSON header


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Tensors and a JSON state in one file: written beside, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, temporary, metadata={STATE: json.dumps(state)})
        temporary.chmod(file_mode())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote. Raises FileNotFoundError, or ValueError for a file that is not whole or not ours."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; check the path, or train a model first")
    try:
        with safe_open(path, framework="pt", device=device) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); copy or write it again") from None
    if STATE not in metadata:
        raise ValueError(f"{path} was not written by coset: its header has no {STATE!r} entry")
    return tensors, json.loads(metadata[STATE])


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def strip_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(prefix + "/")}


def write_json(path: Path, value: Any) -> None:
    """JSON, indented; whole or not at all."""
    with atomic_write(path) as file:
        file.write(json.dumps(value, indent=1) + "\n")
