"""A target of one's own: the clean molecule, turned to lie as near to the noisy one as it can."""

from __future__ import annotations

import torch

from coset.cloud import Cloud, squared_norm
from coset.gaussian import standard_normal
from coset.interfaces import Draw, Process
from coset.noise import Noise
from coset.processes.affine import Affine
from coset.processes.schedules import Polynomial
from coset.symmetry.rotations import haar


def aligned(process: Process, draw: Draw) -> Cloud:
    """R x0 with the rotation R that minimises |z - R x0| (Kabsch 1976).

    The likeliest pose behind z, where `OrbitMean` takes the mean over all poses: less variance than the plain target,
    but biased, more so the noisier z is.
    """
    overlap = draw.z.x.mT.double() @ draw.x0.x.double()  # sum over atoms of z_i x0_i^T
    u, _, vt = torch.linalg.svd(overlap)
    proper = torch.ones_like(overlap[:, 0])
    proper[:, 2] = torch.linalg.det(u @ vt)  # -1 where the best fit would be a mirror image
    rotation = (u * proper[:, None]) @ vt
    return draw.x0.rotate(rotation.to(draw.x0.x.dtype))


def check() -> None:
    """The target forgets the pose of x0, no other pose is nearer to z, and the molecule is not mirrored."""
    process, noise = Affine(Polynomial()), Noise(torch.arange(32))
    like = Cloud(*(torch.ones(32, 9, width, dtype=torch.float64) for width in (3, 6, 1)))
    x0, t = standard_normal(like, noise, process.subspace), torch.linspace(0.1, 1.0, 32, dtype=torch.float64)
    z = process.noised(x0, t).sample(noise.at(1))
    found = aligned(process, Draw(x0, x0, z, t))
    for trial in range(20):
        turned = x0.rotate(haar(noise.at(trial + 2), reflections=False))
        assert squared_norm(aligned(process, Draw(turned, turned, z, t)) - found).max() < 1e-20
        assert (squared_norm(turned - z) >= squared_norm(found - z)).all()
    volumes = [torch.linalg.det(cloud.x[:, :3]) for cloud in (found, x0)]
    assert torch.allclose(*volumes) and torch.equal(found.h, x0.h)  # turned, not mirrored


if __name__ == "__main__":
    check()
