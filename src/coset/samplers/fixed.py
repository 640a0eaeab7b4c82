"""Fixed atoms: molecules drawn around atoms that are given, to grow a fragment, dress a scaffold or link two pieces.

The denoiser's estimate of these atoms is replaced by the atoms themselves, which goes with every process, solver and
way of respecting symmetry: the replacement method of Song et al. (2021) and RePaint (Lugmayr et al. 2022), whose noisy
fixed atoms have the law of the process. New atoms learn of them through the noise alone, too late to find the places
where they may join; `Growth` tells them. This is not the model's exact conditional law, and not every atom joins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.diffusion import Diffusion
from coset.interfaces import Denoiser, Schedule
from coset.molecule import Molecule, Vocabulary
from coset.noise import Noise
from coset.samplers.fragments import check_fragment
from coset.samplers.growth import Growth, bounding_schedule
from coset.samplers.motion import Motion
from coset.samplers.sizes import SizeDistribution


class Anchored(Denoiser):
    """Another denoiser, whose estimate holds k atoms that are known as its first, and grows from them.

    x (k, 3), h (k, f): of the known atoms, encoded and centred. They are one rigid body, put where the estimate of them
    is: in their own orientation where noise is all there is, which has none, in that of the estimate where there is
    none left (`Motion.between`). So turning them and the noise turns the answer. growth: moves new atoms, as far as the
    noise allows, to where they may join.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        x: Float[Tensor, "k 3"],
        h: Float[Tensor, "k f"],
        growth: Growth,
        schedule: Schedule,
    ) -> None:
        super().__init__()
        self.denoiser, self.x, self.h, self.growth, self.schedule = denoiser, x, h, growth, schedule

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Cloud:
        estimate, k = self.denoiser(z, t, noise), len(self.x)
        if not k:
            return estimate
        x, h = (known.to(estimate.x).expand(len(z), -1, -1) for known in (self.x, self.h))
        variance = self.growth.variance(*self.schedule(t))
        motion = Motion.between(x, estimate.x[:, :k], variance)
        new = self.growth(estimate.x[:, k:], z.mask[:, k:], motion, variance)
        placed = motion(x).to(new.dtype)
        return replace(estimate, x=torch.cat([placed, new], 1), h=_first(h, estimate.h)).center()


@dataclass(frozen=True)
class Fixed:
    """The atoms of a fragment as the first of every molecule.

    fragment: in Angstrom; several pieces are one rigid body. types (k, f): its features in natural units, as the codec
    gives them out.
    """

    fragment: Molecule
    types: Float[Tensor, "k f"]

    @classmethod
    def of(cls, fragment: Molecule, vocabulary: Vocabulary, width: int) -> Fixed:
        """width: of the codec. Raises ValueError for what nothing can be drawn around (`check_fragment`)."""
        check_fragment(fragment, vocabulary)
        return cls(fragment, _clean(fragment, vocabulary).h[0, :, :width])

    def anchored(self, diffusion: Diffusion, vocabulary: Vocabulary) -> Diffusion:
        """The diffusion whose every estimate holds the fragment. Its codec must encode each atom on its own."""
        device = next(diffusion.parameters()).device
        known = diffusion.codec.encode(_clean(self.fragment, vocabulary).to(device))
        growth = Growth.of(self.fragment, unit=diffusion.codec.unit).to(device)
        schedule = bounding_schedule(diffusion.process)
        denoiser = Anchored(diffusion.denoiser, known.x[0], known.h[0], growth, schedule)
        return diffusion.having(denoiser=denoiser)

    def sizes(self, sizes: SizeDistribution, atoms: int | None = None) -> SizeDistribution:
        """The size asked for, or p(N | N > k): the data's, of molecules with one new atom or several.

        Raises ValueError where that leaves no room for a new atom.
        """
        size = len(self.fragment)
        if atoms is not None and atoms <= size:
            raise ValueError(
                f"the fragment has {size} atoms, which leaves no new one in a molecule of {atoms}; ask for {size + 1} "
                "atoms or more, or fix fewer"
            )
        larger = {n: count for n, count in sizes.counts.items() if n > size} if atoms is None else {atoms: 1}
        if not larger:
            raise ValueError(
                f"the fragment has {size} atoms and the largest molecule of the model's data {sizes.largest}; fix "
                f"fewer, or give a size above {size} by hand (atoms)"
            )
        return SizeDistribution(larger)

    def restored(self, cloud: Cloud) -> Cloud:
        """Clean clouds in the fragment's own frame, in float64, its atoms to the last bit as they were given."""
        cloud = cloud.to(torch.float64)
        own = torch.as_tensor(self.fragment.positions)
        own, types = (known.to(cloud.x.device).expand(len(cloud), -1, -1) for known in (own, self.types))
        x = Motion.between(cloud.x[:, : own.shape[1]], own)(cloud.x) * cloud.mask
        return replace(cloud, x=_first(own, x), h=_first(types, cloud.h))


def _clean(fragment: Molecule, vocabulary: Vocabulary) -> Cloud:
    return vocabulary.cloud(fragment.numbers[None], fragment.positions[None])


def _first(known: Float[Tensor, "b k d"], values: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    """The values, with what is known in the place of the first of them."""
    return torch.cat([known.to(values.dtype), values[:, known.shape[1] :]], 1)
