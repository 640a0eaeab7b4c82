"""A frame of one's own: axes from moments of the molecule, such as the dipole of its nuclear charges."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from coset.cloud import Cloud
from coset.interfaces import Frame
from coset.noise import Noise
from coset.symmetry.rotations import orthonormalise


class MomentFrame(Frame):
    """R from three sums of positions, weighed by features and distances, made orthonormal. Equivariant under O(3).

    No random numbers and nothing learned. Where the three sums lie in a plane (every planar molecule, many symmetric
    ones) the last axis is arbitrary, and the frame not equivariant.
    """

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Float[Tensor, "b 3 3"]:
        x = z.center().x
        distance = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        weights = torch.cat([z.h[..., -1:], distance, distance.square() * z.h[..., :1]], -1)  # charge comes last in h
        return orthonormalise(x.mT @ weights).to(x.dtype)


def check() -> None:
    """Any network becomes equivariant in this frame, and was not before."""
    from coset.networks.dit import DiT
    from coset.networks.outputs import FromClean
    from coset.symmetry.checks import assert_equivariant
    from coset.symmetry.symmetrised import Symmetrised

    torch.manual_seed(0)
    sizes = (2, 9)
    like = (torch.randn(*sizes, 3), torch.randn(*sizes, 6), torch.ones(*sizes, 1))
    cloud, t = Cloud(*like).to(torch.float64).center(), torch.tensor([0.2, 0.7])
    network = DiT(6, width=16, depth=1, heads=2, kernels=4).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    plain = FromClean(network)
    assert_equivariant(Symmetrised(plain, MomentFrame()), cloud, t, atol=1e-9)
    try:
        assert_equivariant(plain, cloud, t, atol=1e-2)
    except AssertionError:
        return
    raise AssertionError("the bare network should not be equivariant")


if __name__ == "__main__":
    check()
