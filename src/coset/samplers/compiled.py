"""Compiled sampling: the sampler's step and its last call by `torch.compile`, on a GPU as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from coset.cloud import Cloud
from coset.samplers.sample import Function

BACKEND = "inductor"
GRAIN = 4  # atoms: a graph is captured once a shape, and QM9 has 8 lengths so, at 4 % more atoms


def compiled(graphs: bool) -> Callable[[Function], Function]:
    """What `sample` runs its parts `through`. graphs: as CUDA graphs, of which there is one a shape.

    A part is compiled once for all shapes, and again where the estimate of a step before comes in, where one molecule
    is alone and where a batch has as many molecules as atoms. A graph's results lie in buffers that its next run writes
    over, and so are copied out of them.
    """

    def through(function: Function) -> Function:
        fast = _compiled(function, graphs, BACKEND)
        if not graphs:
            return fast

        def call(*parts: Any) -> Any:
            torch.compiler.cudagraph_mark_step_begin()
            return copied(fast(*parts))

        return call

    return through


@cache
def _compiled(function: Function, graphs: bool, backend: str) -> Function:
    return torch.compile(function, dynamic=True, backend=backend, mode="reduce-overhead" if graphs else None)


def copied(part: Any) -> Any:
    """The same with tensors of its own: clouds, times, and tuples of them."""
    if isinstance(part, tuple):
        return tuple(copied(each) for each in part)
    if isinstance(part, Cloud):
        before = part.condition and part.condition.previous
        condition = replace(part.condition, previous=copied(before)) if part.condition and before else part.condition
        return replace(part.map(torch.clone), condition=condition)
    return part.clone() if isinstance(part, torch.Tensor) else part
