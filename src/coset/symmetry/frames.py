"""Frames: poses drawn for a cloud, in which a plain network then works."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import roma
import torch
from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud
from coset.interfaces import Frame, Network
from coset.noise import Noise
from coset.symmetry.rotations import haar, orthonormalise

SOFTEST = 1e-3  # the gradient of a nearest rotation grows with 1 / (s_i + s_j) up to the inverse of this


class HaarFrame(Frame):
    """A uniformly random pose, whatever the cloud: O(3), or SO(3) without reflections."""

    def __init__(self, reflections: bool = True) -> None:
        super().__init__()
        self.reflections = reflections

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Float[Tensor, "b 3 3"]:
        return haar(_required(noise), self.reflections).to(z.x.dtype)


class RecursiveFrame(Frame):
    """R = g f(g^T z, eta) with g Haar and f any network to 3 x 3 matrices: equivariant in law (SymDiff, section 4.1).

    The order matters. Rotating z by Q turns the law of g into that of Q g, hence R into Q R. The released code forms
    f g^T and uses it as R, which is not equivariant in law: the tests reject it.
    """

    def __init__(self, network: nn.Module, width: int = 3, reflections: bool = True) -> None:
        super().__init__()
        self.network, self.width, self.reflections = network, width, reflections

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Float[Tensor, "b 3 3"]:
        noise = _required(noise)
        g = haar(noise.fork(0), self.reflections)
        eta = noise.fork(1).normal(z.x.shape[1], self.width, dtype=z.x.dtype) * z.mask
        posed = replace(z.rotate(g.mT.to(z.x.dtype)), h=eta)
        f = orthonormalise(self.network(posed, t))
        if not self.reflections:
            f = f * torch.linalg.det(f)[:, None, None]
        return (g @ f).to(z.x.dtype)


class IdentityFrame(Frame):
    """The pose that a cloud has; it turns with the cloud, so nothing is gained or lost."""

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Float[Tensor, "b 3 3"]:
        return torch.eye(3, dtype=z.x.dtype, device=z.x.device).expand(len(z), 3, 3)


class NearestFrame(Frame):
    """The orthogonal matrix nearest to what any network makes of a cloud, 3 x 3: a rotation, or O(3) with reflections.

    How RADM aligns molecules ("special Procrustes", U diag(1, 1, det U V^T) V^T). It is as equivariant as its network,
    which for a plain one is not at all: molecules come to lie alike because what reads them learns faster so. Where the
    nearest is not unique (rank 0 or 1; for rotations also two equal smallest singular values under a negative
    determinant) one is chosen, and the gradient is bounded, never NaN.
    """

    def __init__(self, network: nn.Module, reflections: bool = False) -> None:
        super().__init__()
        self.network, self.reflections = network, reflections

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Float[Tensor, "b 3 3"]:
        own = next(self.network.parameters()).dtype
        matrix: Tensor = self.network(z.to(own), t.to(own)).double()
        pose = roma.procrustes(matrix, force_rotation=not self.reflections, gradient_eps=SOFTEST)
        assert isinstance(pose, Tensor)
        return pose.to(z.x.dtype)


class PrincipalFrame(Frame):
    """The principal axes of the positions, of the smallest spread first; which way they point is open.

    All `poses` together are equivariant as a set: 4 rotations, 8 with reflections (frame averaging, Puny et al. 2022).
    random: one of them by chance, equivariant in law; otherwise each axis points to where the third moment along it is
    positive, equivariant but where that vanishes. Where two spreads are equal the axes are arbitrary: then neither is.
    """

    def __init__(self, reflections: bool = False, random: bool = True) -> None:
        super().__init__()
        self.reflections, self.random = reflections, random

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Float[Tensor, "b 3 3"]:
        if not self.random:
            axes = _axes(z)
            along = z.center().x.double() @ axes
            signs = torch.where(along.pow(3).sum(1) < 0, -1.0, 1.0)
            return self._handed(axes * signs[:, None]).to(z.x.dtype)
        poses = self.poses(z)
        chosen = (_required(noise).uniform(dtype=torch.float64) * poses.shape[1]).long()
        return poses[torch.arange(len(poses), device=poses.device), chosen]

    def poses(self, z: Cloud) -> Float[Tensor, "b k 3 3"]:
        """All k of them."""
        signs = torch.tensor(list(product((1.0, -1.0), repeat=3)), dtype=torch.float64, device=z.x.device)
        signs = signs if self.reflections else signs[::2]
        return self._handed(_axes(z)[:, None] * signs[:, None]).to(z.x.dtype)

    def _handed(self, axes: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
        if self.reflections:
            return axes
        third = torch.linalg.cross(axes[..., 0], axes[..., 1])
        return torch.stack([axes[..., 0], axes[..., 1], third], -1)


class VectorFrame(Frame):
    """A learned canonical pose: three (two for SO(3)) vectors sum_i w_i x_i, orthonormalised (Kaba et al. 2023).

    Weights w and displacements of the x are the output of an equivariant network. Deterministic and equivariant, but
    where the vectors are too few: on a line, with reflections in a plane, or where they vanish by the molecule's own
    symmetry. There the pose is completed by an arbitrary axis.
    """

    def __init__(self, network: Network, reflections: bool = False) -> None:
        super().__init__()
        self.network, self.reflections = network, reflections

    def forward(self, z: Cloud, t: Float[Tensor, "b"], noise: Noise | None = None) -> Float[Tensor, "b 3 3"]:
        needed, out = 3 if self.reflections else 2, self.network(z, t)
        if out.h.shape[-1] < needed:
            raise ValueError(
                f"a learned pose takes its weights from {needed} feature channels; the network gives {out.h.shape[-1]}"
            )
        vectors = (z.x + out.x).mT @ out.h[..., :needed]
        if not self.reflections:
            # A third vector of zero is completed right-handed, whatever becomes of the other two.
            vectors = torch.cat([vectors, torch.zeros_like(vectors[..., :1])], -1)
        return orthonormalise(vectors).to(z.x.dtype)


def _axes(z: Cloud) -> Float[Tensor, "b 3 3"]:
    """Unit eigenvectors of the covariance of the positions, as columns, in float64; no gradient goes through them."""
    x = z.center().x.detach().double()
    return torch.linalg.eigh(x.mT @ x).eigenvectors


def _required(noise: Noise | None) -> Noise:
    if noise is None:
        raise ValueError("a random frame needs noise: call the denoiser as denoiser(z, t, noise)")
    return noise
