"""Guidance: 0 is the model without conditions, 1 the one with them; one pose for both; linear where that is exact."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coset.cloud import Condition
from coset.interfaces import Denoiser
from coset.noise import Noise
from coset.processes.affine import Affine
from coset.processes.neural import Neural
from coset.processes.schedules import Geometric, LinearLogSNR, Polynomial
from coset.processes.spreads import Matrix
from coset.processes.steps import EulerMaruyama, Renewal
from coset.processes.transforms import Learned
from coset.processes.volatility import OfSchedule
from coset.samplers.guidance import Guided, GuidedStep, guided
from coset.samplers.solvers import Ancestral, Multistep
from coset.symmetry.frames import HaarFrame
from coset.symmetry.symmetrised import Symmetrised
from example_clouds import random_cloud
from example_fields import SmallField

T, S = torch.tensor([0.6, 0.4]).double(), torch.tensor([0.5, 0.35]).double()
NOISE = Noise(torch.arange(2))


class Told(Denoiser):
    """Leans towards the first scalar where there is one; not equivariant."""

    def forward(self, z, t, noise=None):
        scalars = z.condition.scalars if z.condition else None
        lean = 0.0 if scalars is None else scalars[:, 0, None, None]
        return replace(z, x=(0.5 * z.x + lean * z.x.roll(1, -1)) * z.mask, h=(z.h * 0.2 + lean) * z.mask).center()


def cloud(told=True):
    z = random_cloud([4, 3])
    return replace(z, condition=Condition(scalars=torch.tensor([[0.3], [-0.7]]).double())) if told else z


def same(first, second, atol=1e-12):
    torch.testing.assert_close(first.x, second.x, atol=atol, rtol=0)
    torch.testing.assert_close(first.h, second.h, atol=atol, rtol=0)


def test_its_ends_are_the_model_without_and_with_conditions():
    free, told = Told()(cloud(False), T), Told()(cloud(), T)
    assert (free - told).x.abs().max() > 0.1
    same(Guided(Told(), 0.0)(cloud(), T), free)
    same(Guided(Told(), 1.0)(cloud(), T), told)
    same(Guided(Told(), 3.0)(cloud(), T), told + (told - free).scale(2.0))
    assert Guided(Told(), 0.0)(cloud(), T).condition is not None  # it goes on with the condition


def test_one_pose_serves_both_calls():
    """With another pose a denoiser that heeds no condition would differ from itself."""

    class Deaf(Told):
        def forward(self, z, t, noise=None):
            return super().forward(replace(z, condition=Condition(scalars=z.x.new_ones(len(z), 1))), t, noise)

    symmetrised = Symmetrised(Deaf(), HaarFrame())
    same(Guided(symmetrised, 5.0)(cloud(), T, NOISE), symmetrised(cloud(), T, NOISE))
    assert (symmetrised(cloud(), T, NOISE) - symmetrised(cloud(), T, NOISE.fork(1))).x.abs().max() > 0.1


@pytest.mark.parametrize("solver", [Ancestral(), Multistep()])
def test_guiding_the_step_is_guiding_the_estimate_where_that_is_linear(solver):
    process, z = Affine(Polynomial()), cloud()
    process = process if isinstance(solver, Ancestral) else process.with_eta(0)
    found = GuidedStep(solver, 2.5).step(process, Told(), z, T, S, None, NOISE)[0]
    expected = solver.step(process, Guided(Told(), 2.5), z, T, S, None, NOISE)[0]
    assert torch.allclose(found.x, expected.x, atol=1e-12, rtol=0)
    assert torch.allclose(found.h, expected.h, atol=1e-12, rtol=0)


def learned(step):
    transform = Learned(SmallField(6, 13, 4), Geometric(0.01), Matrix())
    return Neural(transform, OfSchedule(LinearLogSNR()), step)


@torch.no_grad()
def test_the_drift_of_a_learned_process_is_guided():
    process, z = learned(EulerMaruyama()), cloud()
    found = GuidedStep(Ancestral(), 2.0).step(process, Told(), z, T, S, None, NOISE)[0]
    drifts = [process.drift(z, T, Told()(each, T)) for each in (cloud(False), cloud())]
    drift = drifts[0] + (drifts[1] - drifts[0]).scale(2.0)
    noise = process.reverse(z, T, S, z).sample(NOISE.fork(0)) - process.reverse(z, T, S, z).mean
    same(found, z + drift.scale(S - T) + noise, atol=1e-9)
    linear = Ancestral().step(process, Guided(Told(), 2.0), z, T, S, None, NOISE)[0]
    assert (linear - found).x.abs().max() > 1e-3  # and that is something else


@pytest.mark.parametrize("process", [Affine(Polynomial()), learned(Renewal(LinearLogSNR()))])
def test_which_of_the_two_is_guided_depends_on_the_process(process):
    denoiser, solver = guided(process, Told(), Ancestral(), 2.0)
    assert isinstance(denoiser, Guided) == isinstance(process, Affine)
    assert isinstance(solver, GuidedStep) != isinstance(process, Affine)
    assert solver.calls == (1 if isinstance(process, Affine) else 2)
    plain = Told()
    assert guided(process, plain, Ancestral(), 1.0) == (plain, Ancestral())
    with pytest.raises(ValueError, match="the strength of guidance is a finite number; got nan"):
        guided(process, plain, Ancestral(), float("nan"))
