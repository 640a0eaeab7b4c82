"""Options that several commands share."""

from __future__ import annotations


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


def warn(sentence: str) -> None:
    """A line on standard error about what is allowed but seldom meant."""
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, highlight=False).print(f"[yellow]warning:[/yellow] {escape(sentence)}", soft_wrap=True)
