"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

PRECISION = "Of the network's inside; fp32 on a CPU and bf16 on a GPU without."
Precision = Annotated[Literal["fp32", "bf16"] | None, typer.Option(help=PRECISION)]
COMPILE = "Compile the steps: minutes to begin, for thousands of molecules."
Compile = Annotated[bool, typer.Option("--compile", help=COMPILE)]


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


def check_precision(precision: str | None, device: str) -> None:
    """Warns of bf16 on a CPU that only emulates it."""
    from coset.networks.precision import usable_precision

    if precision is not None and usable_precision(precision, device) != precision:
        warn("this CPU only emulates bf16, which is many times slower than --precision fp32")


def warn(sentence: str) -> None:
    """A line on standard error about what is allowed but seldom meant."""
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, highlight=False).print(f"[yellow]warning:[/yellow] {escape(sentence)}", soft_wrap=True)
