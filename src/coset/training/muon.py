"""Muon: momentum whose matrices are made orthogonal before the step (Jordan et al. 2024), for hidden layers alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, steepest at 0 (Jordan et al. 2024)
UPDATE_RMS = 0.2  # of AdamW's updates, so that its rate and decay serve here too (Liu et al. 2025, section 2.2)
CONDITIONING = {"modulation", "time"}
FEWEST = 4  # rows and columns of a matrix that is more than some vectors


def orthogonal(matrices: Float[Tensor, "m r c"], steps: int = 5) -> Float[Tensor, "m r c"]:
    """U V^T of each matrix U S V^T, roughly: singular values between 0.7 and 1.2 but for those near 0.

    Newton-Schulz iteration, in bf16 on a GPU. A matrix of zeros stays one.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    values = matrices.mT if tall else matrices
    values = values / torch.linalg.matrix_norm(values, keepdim=True).clamp_min(1e-7)
    values = values.to(torch.bfloat16) if values.is_cuda else values
    for _ in range(steps):
        gram = values @ values.mT
        values = torch.baddbmm(values, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), values, beta=a)
    return (values.mT if tall else values).to(matrices.dtype)


def hidden_matrices(model: nn.Module) -> dict[Tensor, int]:
    """The weights that Muon steps, each with the number of maps that lie in it one below the other.

    They are those of linear layers inside of a `nn.ModuleList`, the blocks of a network. Not among them: those of fewer
    than four rows or columns, which are vectors (gates, weights of moves); and what computes the blocks' modulation
    from the time (`CONDITIONING`), whose gradient is of low rank, for times make a curve, and would have its noise
    blown up to full rank. A layer whose name spells its parts (qkv, kv, qkvg) holds as many maps. Raises ValueError
    where the rows cannot be shared among those.
    """
    blocks = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, nn.ModuleList))
    found: dict[Tensor, int] = {}
    for name, module in model.named_modules():
        path = name.split(".")
        if not isinstance(module, nn.Linear) or not name.startswith(blocks) or CONDITIONING & set(path):
            continue
        if min(module.weight.shape) >= FEWEST:
            parts = len(path[-1]) if set(path[-1]) <= set("qkvg") else 1
            if len(module.weight) % parts:
                raise ValueError(f"{name} should hold {parts} maps of equal size; got {len(module.weight)} rows")
            found[module.weight] = parts
    return found


class Muon(torch.optim.Optimizer):
    """Steps hidden matrices by the orthogonal factor of their momentum, everything else by another optimiser.

    W <- (1 - lr decay) W - lr 0.2 sqrt(max(rows, columns)) orthogonal(g + momentum (m - g)), with m the mean of the
    gradients: that of torch.optim.Muon with adjust_lr_fn="match_rms_adamw", which torch has from 2.9 on and which knows
    no matrices of several parts. Each part is made orthogonal by itself; matrices of one shape in one call.

    hidden: see `hidden_matrices`. others: of all other parameters. From outside the two are one: their groups and
    their state are those of this optimiser.
    """

    def __init__(
        self,
        hidden: Mapping[Tensor, int],
        others: torch.optim.Optimizer,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        if not hidden:
            raise ValueError("optimiser=muon needs linear layers inside of a network's blocks, and found none")
        super().__init__(list(hidden), {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.others, self.parts = others, dict(hidden)
        self.own = self.param_groups[0]
        self.param_groups = [self.own, *others.param_groups]
        others.state = self.state  # the keys, which are parameters, are not shared

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One step of all parameters that have a gradient. Raises ValueError for a closure."""
        if closure is not None:
            raise ValueError("this optimiser takes no closure; compute the loss before the step")
        self.others.step()
        alike: dict[tuple[torch.Size, int], list[Tensor]] = {}
        for parameter in self.own["params"]:
            if parameter.grad is not None:
                alike.setdefault((parameter.shape, self.parts[parameter]), []).append(parameter)
        for (shape, parts), parameters in alike.items():
            updates = orthogonal(self._momenta(parameters).unflatten(1, (parts, -1)).flatten(0, 1))
            updates = updates.unflatten(0, (-1, parts)).flatten(1, 2)
            rate = self.own["lr"] * UPDATE_RMS * math.sqrt(max(shape[0] // parts, shape[1]))
            for parameter, update in zip(parameters, updates, strict=True):
                parameter.mul_(1 - self.own["lr"] * self.own["weight_decay"]).sub_(update, alpha=rate)

    def _momenta(self, parameters: Sequence[Tensor]) -> Float[Tensor, "m r c"]:
        """Nesterov's: the mean of the gradients, moved once more by the last of them."""
        looked_ahead = []
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            assert gradient is not None
            mean = state.setdefault("momentum_buffer", torch.zeros_like(gradient))
            mean.lerp_(gradient, 1 - self.own["momentum"])
            looked_ahead.append(gradient.lerp(mean, self.own["momentum"]))
        return torch.stack(looked_ahead)
