"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """`key=value` pairs; a value is JSON where it parses as such (3, 1e-4, true, null, [0.999]), else text."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"--set expects key=value; got {pair!r}")
        try:
            settings[key.strip()] = json.loads(text)
        except json.JSONDecodeError:
            settings[key.strip()] = text
    return settings


def resolve_device(device: str) -> str:
    """ "auto" is the GPU if there is one. Raises ValueError for a GPU that is not there."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} asked for, but torch sees no CUDA GPU; use --device cpu")
    if device.split(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda; got {device!r}")
    return device
