"""The composed recipes: their parts are those asked for, and an earlier estimate travels from step to step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from coset.cloud import Cloud, Condition
from coset.codecs.categories import Categories
from coset.interfaces import Denoiser
from coset.noise import Noise
from coset.objectives.terms import CrossEntropy
from coset.recipes.registry import build, find_recipe
from coset.samplers.grids import karras_grid
from coset.samplers.sample import empty_cloud, sample
from coset.samplers.solvers import SOLVERS, Churned
from coset.symmetry.targets import OrbitMean, plain
from example_clouds import awake, small_molecules

TINY = {"width": 24, "depth": 2, "heads": 3}


def tiny(name: str = "coset", **settings: Any) -> Any:
    return build(name, find_recipe(name).resolve(TINY | settings), types=5)


class Counting(Denoiser):
    """Says how often it was called: the positions of its estimate are that number. Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[float | None] = []

    def forward(self, z, t, noise=None):
        before = z.condition.previous if z.condition else None
        assert before is None or before.condition is None  # or every estimate would hold all those before it
        self.told.append(None if before is None else float(before.x[0, 0, 0]))
        return replace(z, x=torch.full_like(z.x, float(len(self.told))), h=0 * z.h)


@pytest.mark.parametrize(
    ("solver", "told"),
    [
        ("ancestral", [None, 1, 2, 3]),
        ("multistep", [None, 1, 2, 3]),
        ("heun", [None, None, 1.5, 1.5, 3.5, 3.5, 5.5]),
        ("churned", [None, 1, 2, 3]),
    ],
)
def test_each_step_is_told_the_estimate_of_the_one_before(solver, told):
    diffusion, denoiser = tiny(), Counting()
    diffusion.denoiser = denoiser
    chosen = Churned(SOLVERS["ancestral"], 1.4) if solver == "churned" else SOLVERS[solver]
    schedule = diffusion.process.schedule
    noise = Noise(torch.arange(1))
    sample(diffusion.with_eta(0), empty_cloud(torch.tensor([4]), 5), noise, karras_grid(schedule, 3), solver=chosen)
    assert denoiser.told == told


def test_settings_decide_the_parts():
    objective = tiny().objective
    assert objective.target is plain and objective.self_conditioning
    assert [weight for weight, _ in objective.terms] == [1.0, 0.2]
    other = tiny(target="exact", self_conditioning=False, distance_weight=2.0, type_scale=0.5)
    assert isinstance(other.objective.target, OrbitMean) and not other.objective.self_conditioning
    assert [weight for weight, _ in other.objective.terms] == [1.0, 2.0, 0.2]
    assert other.objective.terms[2][1] == CrossEntropy(0.5)
    assert other.codec.scale == other.denoiser.types.scale == 0.5
    assert tiny().augment is None and tiny("coset_plain").augment is not None


@pytest.mark.parametrize("name", ["coset", "coset_plain"])
def test_a_network_trained_without_it_never_looks_at_an_earlier_estimate(name):
    """Its weights for one would be those it began with."""
    x0 = tiny().codec.encode(small_molecules(3))
    z = replace(x0, condition=Condition(previous=x0.scale(2.0)))
    t, changed = torch.tensor([0.2, 0.4, 0.6]), {}
    for wanted in (True, False):
        model = tiny(name, self_conditioning=wanted)
        awake(model)
        denoiser = model.denoiser
        changed[wanted] = not torch.equal(denoiser(z, t).x, denoiser(x0, t).x)
    assert changed == {True: True, False: False}


def test_a_recipe_recommends_a_sampler_that_its_models_have():
    from coset.samplers.generate import Sampling

    assert Sampling(**find_recipe("coset").sampling).churn == 1.4


def categories(clean: Cloud, scale: float = 0.25, std: float = 0.01) -> tuple[Categories, Cloud]:
    codec = Categories(5, std, scale)
    return codec, codec.encode(clean)


def test_encoding_and_output_are_each_others_inverse():
    clean = small_molecules(4)
    codec, x0 = categories(clean)
    assert codec.width == 5 and x0.h.max() == 0.25
    back = codec.output(x0, x0).mode()
    torch.testing.assert_close(back.h, clean.h[..., :5])
    torch.testing.assert_close(back.x, clean.center().x)


def test_the_output_is_a_distribution_that_its_samples_follow():
    """Types by their probabilities, positions normal on the centred subspace; log_prob is that of the samples."""
    clean = small_molecules(1)
    x, h, mask = (part.expand(4000, *part.shape[1:]) for part in (clean.x, clean.h, clean.mask))
    many = Cloud(x, h, mask)
    codec, x0 = categories(many, std=0.1)
    p = torch.tensor([0.5, 0.3, 0.1, 0.07, 0.03])
    estimate = replace(x0, h=0.25 * p * x0.mask)
    output = codec.output(x0, estimate)
    drawn = output.sample(Noise(torch.arange(4000)))
    assert (drawn.h.mean(0)[: int(clean.count[0])] - p).abs().max() < 0.04
    dimension = 3 * (clean.count[0] - 1)
    spread = (drawn.x - estimate.x).square().sum((1, 2)).mean() / dimension
    assert float(spread) == pytest.approx(0.01, rel=0.05)
    # E[log p] is the negative entropy.
    entropy = (
        0.5 * dimension * (1 + torch.log(torch.tensor(2 * torch.pi * 0.01))) - clean.count[0] * (p * p.log()).sum()
    )
    assert float(output.log_prob(drawn).mean()) == pytest.approx(-float(entropy), abs=0.2)


def test_the_loss_compiles_to_one_graph_for_all_shapes():
    """Without a break, and without one more for another number of molecules or atoms."""
    counter, diffusion = CompileCounter(), tiny(target="plain", depth=1)
    torch.compiler.reset()
    compiled = torch.compile(diffusion, backend=counter, fullgraph=True, dynamic=True)
    for molecules in (4, 7):
        clean, noise = small_molecules(molecules), Noise(torch.arange(molecules)).at(torch.tensor(molecules))
        torch.testing.assert_close(compiled(clean, noise), diffusion(clean, noise))
    assert counter.frame_count == 1
