"""Clouds that many tests share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coset.cloud import Cloud
from coset.data import open_dataset
from coset.interfaces import Denoiser, Schedule
from coset.molecule import QM9


def random_cloud(
    sizes: list[int], features: int = 6, atoms: int | None = None, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Cloud:
    """Centred normal positions and normal features, padded to the largest size or to `atoms`."""
    atoms = atoms or max(sizes)
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(atoms) < torch.tensor(sizes)[:, None]).to(dtype)[..., None]
    x = torch.randn(len(sizes), atoms, 3, generator=generator, dtype=dtype)
    h = torch.randn(len(sizes), atoms, features, generator=generator, dtype=dtype)
    return Cloud(x, h * mask, mask).center()


def padded(cloud: Cloud, extra: int) -> Cloud:
    """The same molecules with more padding."""

    def longer(values: Tensor) -> Tensor:
        return torch.nn.functional.pad(values, (0, 0, 0, extra))

    return Cloud(longer(cloud.x), longer(cloud.h), longer(cloud.mask))


class Known(Denoiser):
    """Always gives one answer."""

    def __init__(self, answer: Cloud) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, z, t, noise=None):
        return self.answer


class ExactNormal(Denoiser):
    """E[x0 | z] of data that are normal with deviation `spread`."""

    def __init__(self, schedule: Schedule, spread: float) -> None:
        super().__init__()
        self.schedule, self.spread = schedule, spread

    def forward(self, z, t, noise=None):
        alpha, sigma = self.schedule(t)
        return z.scale((alpha * self.spread**2 / (alpha**2 * self.spread**2 + sigma**2)).to(z.x.dtype))


def repeated(cloud: Cloud, times: int) -> Cloud:
    """Every molecule so many times, one after the other; the condition is left out."""
    return Cloud(*(getattr(cloud, name).repeat_interleave(times, 0) for name in ("x", "h", "mask")))


def alone(cloud: Cloud, row: int) -> Cloud:
    """One molecule of the batch, without padding."""
    size = int(cloud.count[row])
    return Cloud(cloud.x[row : row + 1, :size], cloud.h[row : row + 1, :size], cloud.mask[row : row + 1, :size])


def small_molecules(count: int = 4) -> Cloud:
    """The smallest molecules of the packaged sample, in natural units."""
    store = open_dataset("qm9-sample").store
    return QM9.cloud(*store.collate(store.sizes.argsort(kind="stable")[:count]))


def awake(network: nn.Module) -> nn.Module:
    """Layers that start at zero would hide errors: gives every one some weight."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network
