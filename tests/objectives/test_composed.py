"""Laws of composed losses: each term by hand, invariances, noise levels, and what the network is told of itself."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from coset.bonds import bond_orders
from coset.cloud import Cloud, Condition
from coset.codecs.categories import Categories
from coset.gaussian import standard_normal
from coset.interfaces import Denoiser, Draw
from coset.molecule import QM9
from coset.noise import Noise
from coset.objectives.composed import Composed, NoiseMixture
from coset.objectives.denoising import draw_noisy
from coset.objectives.terms import BondEntropy, CrossEntropy, DistanceError, KarrasWeight, PositionError
from coset.processes.affine import Affine
from coset.processes.schedules import Exploding, Polynomial
from coset.recipes.coset import bond_limits
from coset.recipes.registry import build, find_recipe
from coset.scales import CENTRED
from coset.symmetry.rotations import haar
from coset.symmetry.targets import plain
from example_clouds import padded, random_cloud, small_molecules

SCHEDULE = Exploding(0.003, 30.0)


def flat(t):
    return torch.ones_like(t)


def draw_of(x0: Cloud, sigma: float = 0.003) -> Draw:
    t = SCHEDULE.time(torch.full((len(x0),), -2 * math.log(sigma)).double())
    return Draw(x0, x0, x0, t)


def types(cloud: Cloud, scale: float) -> Cloud:
    kinds = torch.nn.functional.one_hot(cloud.h.argmax(-1), cloud.h.shape[-1])
    return replace(cloud, h=scale * kinds.to(cloud.h.dtype) * cloud.mask)


def test_the_noise_levels_are_spread_as_said():
    """Shares of the four bands of the recipe: 21 / 41 / 35 / 3 % (log-normal and log-uniform masses by hand)."""
    mixture, share = NoiseMixture(SCHEDULE), 0.4
    noise = [Noise.from_seed(step, torch.arange(100)) for step in range(300)]
    log_sigma = torch.cat([-0.5 * SCHEDULE.log_snr(mixture(part)) for part in noise])

    def normal(sigma: float) -> float:
        return 0.5 * (1 + math.erf(math.log(sigma / 0.45) / 1.2 / math.sqrt(2)))

    def mass(low: float, high: float) -> float:
        uniform = math.log(min(max(high, 0.003), 0.3) / min(max(low, 0.003), 0.3)) / math.log(100)
        return share * uniform + (1 - share) * (normal(high) - normal(low))

    for low, high in ((1e-9, 0.03), (0.03, 0.3), (0.3, 3.0), (3.0, 1e9)):
        found = ((log_sigma >= math.log(low)) & (log_sigma < math.log(high))).double().mean()
        assert float(found) == pytest.approx(mass(low, high), abs=0.005)
    assert log_sigma.min() > math.log(0.0029) and log_sigma.max() < math.log(30.1)


def test_noise_levels_are_stratified_over_any_part_of_a_batch():
    """The first 16 of every batch hold 6 or 7 levels of the log-uniform part (0.4 * 16 = 6.4); by chance 2 to 11."""
    mixture = NoiseMixture(SCHEDULE, median=10.0, deviation=0.01)
    for step in range(50):
        t = mixture(Noise.from_seed(step, torch.arange(64)))
        low = -0.5 * SCHEDULE.log_snr(t[:16]) < math.log(0.4)
        assert 5 <= int(low.sum()) <= 8


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_either_kind_of_noise_levels_alone(share):
    log_sigma = -0.5 * SCHEDULE.log_snr(NoiseMixture(SCHEDULE, share=share)(Noise(torch.arange(2000))))
    if share:
        assert log_sigma.max() <= math.log(0.3) + 1e-6 and float(log_sigma.mean()) == pytest.approx(
            math.log(0.03), abs=0.02
        )
    else:
        assert float(log_sigma.mean()) == pytest.approx(math.log(0.45), abs=0.02)
        assert float(log_sigma.std()) == pytest.approx(1.2, abs=0.03)


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.1), (0.0, 0.3), (0.1, 0.1)])
def test_noise_levels_that_cannot_be_are_refused(low, high):
    with pytest.raises(ValueError, match=r"0 < low < high; got .*noise_low and noise_high"):
        NoiseMixture(SCHEDULE, low=low, high=high)
    with pytest.raises(ValueError, match=r"0 < sigma_min < sigma_max; got "):
        Exploding(low, high)


def test_the_weight_makes_the_error_that_of_the_network():
    """1 / c_out^2, for schedules of any signal level."""
    t = torch.linspace(0.01, 0.99, 9).double()
    for schedule in (SCHEDULE, Polynomial()):
        alpha, sigma = schedule(t)
        ratio = sigma / alpha
        torch.testing.assert_close(KarrasWeight(schedule, 1.4)(t), (ratio**2 + 1.4**2) / (ratio * 1.4) ** 2)


def test_the_position_error_by_hand():
    x0 = random_cloud([2, 3])
    estimate = replace(x0, x=x0.x + 0.1 * x0.mask)
    found = PositionError(flat)(draw_of(x0), x0, estimate)
    torch.testing.assert_close(found, torch.full((2,), 0.01).double())


def test_the_distance_error_by_hand_and_blind_to_the_pose():
    x = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0], [0.0, 2.0, 0]]]).double()
    x0 = Cloud(x, torch.zeros(1, 3, 1).double(), torch.ones(1, 3, 1).double())
    term = DistanceError(flat, SCHEDULE, fade=1e9)
    longer = replace(x0, x=1.1 * x)
    lengths = torch.tensor([1.0, 2.0, math.sqrt(5.0)]).double()
    weight = (-lengths).exp()
    right = (weight * (0.1 * lengths) ** 2).sum() / (2 * weight.sum())
    torch.testing.assert_close(term(draw_of(x0), x0, longer), right[None], rtol=1e-6, atol=0)
    pose = haar(Noise(torch.arange(1)), reflections=True)
    assert float(term(draw_of(x0), x0, x0.rotate(pose))) < 1e-12
    torch.testing.assert_close(term(draw_of(x0), x0, longer.rotate(pose)), right[None], rtol=1e-6, atol=0)


def test_the_distance_error_fades_where_noise_hides_distances():
    x0 = random_cloud([6])
    longer, term = x0.scale(1.1), DistanceError(flat, SCHEDULE)
    near, far = (float(term(draw_of(x0, sigma), x0, longer)) for sigma in (0.003, 3.0))
    assert far == pytest.approx(near / 10, rel=1e-3)


def test_for_small_independent_errors_it_equals_the_position_error():
    x0 = random_cloud([9] * 400)
    noise = standard_normal(x0, Noise(torch.arange(400)), CENTRED)
    estimate = replace(x0, x=x0.x + 1e-4 * noise.x)
    term = DistanceError(flat, SCHEDULE, fade=1e9)
    ratio = term(draw_of(x0), x0, estimate).mean() / PositionError(flat)(draw_of(x0), x0, estimate).mean()
    # Centring takes 1/9 of the noise in a coordinate, and none of that in a distance.
    assert float(ratio) == pytest.approx(9 / 8, abs=0.06)


def test_the_cross_entropy_by_hand():
    x0 = types(random_cloud([2, 3], features=2), 0.25)
    even = replace(x0, h=0.125 * x0.mask.expand_as(x0.h))
    term = CrossEntropy(0.25)
    torch.testing.assert_close(term(draw_of(x0), x0, even), torch.full((2,), math.log(2)).double())
    assert term(draw_of(x0), x0, x0).abs().max() < 1e-12
    certain_and_wrong = replace(x0, h=x0.h.flip(-1))
    assert term(draw_of(x0), x0, certain_and_wrong).isfinite().all()


@pytest.mark.parametrize(
    "term",
    [PositionError(flat), DistanceError(flat, SCHEDULE), CrossEntropy(0.25)],
    ids=lambda term: type(term).__name__,
)
def test_padding_changes_no_term(term):
    x0 = types(random_cloud([4, 6], features=3), 0.25)
    estimate = replace(types(random_cloud([4, 6], features=3, seed=1), 0.2), x=1.2 * x0.x)
    estimate = replace(estimate, h=estimate.h + 0.01 * x0.mask)
    found = term(draw_of(x0), x0, estimate)
    longer = padded(x0, 3)
    torch.testing.assert_close(term(draw_of(longer), longer, padded(estimate, 3)), found)


def test_the_bond_term_knows_the_distance_rule_and_counts_by_hand():
    clean = small_molecules(6)
    x0 = Categories(5, 0.003).encode(clean).to(torch.float64)
    term = BondEntropy(bond_limits(5), 0.25)
    numbers = (torch.tensor(QM9.numbers)[x0.h.argmax(-1)] * x0.mask[..., 0]).long().numpy()
    real = x0.mask @ x0.mask.mT
    orders = term.orders(x0)
    right = torch.as_tensor(bond_orders(numbers, clean.x.double().numpy())).long()
    assert torch.equal(orders.triu(1) * real, right.triu(1) * real) and right.max() == 3

    def told(logits):
        return replace(x0, condition=Condition(edges=logits))

    known = torch.nn.functional.one_hot(orders, 4).double() * 50
    assert term(draw_of(x0), x0, told(known)).max() < 1e-12
    nothing = term(draw_of(x0), x0, told(torch.zeros_like(known)))
    torch.testing.assert_close(nothing, math.log(4) * (x0.count - 1) / 2)  # log 4 a pair, N (N - 1) / 2 of them


def test_a_double_bond_is_looked_for_within_a_single_one_alone():
    x = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0]]]).double()
    pair = Cloud(x, torch.ones(1, 2, 1).double(), torch.ones(1, 2, 1).double())
    never, always = torch.full((1, 1), -math.inf), torch.full((1, 1), 2.0)
    for limits, order in (((always, always), 2), ((always, never), 1), ((never, always), 0)):
        assert BondEntropy(torch.stack(limits), 1.0).orders(pair)[0, 0, 1] == order


def test_bonds_of_unknown_elements_are_refused():
    with pytest.raises(ValueError, match="bond_weight knows the bonds of QM9's 5 elements; got 4 types"):
        build("coset", find_recipe("coset").resolve({"width": 12, "heads": 3, "depth": 1, "bond_weight": 1.0}), types=4)


class Spy(Denoiser):
    """Returns z, and remembers what it was told of an earlier estimate."""

    def __init__(self) -> None:
        super().__init__()
        self.told, self.weight = [], torch.nn.Parameter(torch.ones(()))

    def forward(self, z, t, noise=None):
        self.told.append((len(z), None if z.condition is None else z.condition.previous))
        return replace(z.scale(self.weight), condition=None)


def test_half_of_a_batch_is_told_a_first_estimate_without_gradient():
    x0, spy = random_cloud([4, 6, 5], features=3), Spy()
    terms = ((2.0, PositionError(flat)), (0.5, DistanceError(flat, SCHEDULE)))
    loss = Composed(terms, plain, NoiseMixture(SCHEDULE), self_conditioning=True)
    process, noise = Affine(SCHEDULE), Noise(torch.arange(3))
    found = loss(process, spy, x0, noise)
    (first, nothing), (rows, previous) = spy.told
    assert (first, nothing, rows) == (2, None, 3) and not previous.x.requires_grad
    told = previous.mask.sum((1, 2)) > 0
    assert told.sum() == 2 and torch.equal(previous.mask[told], x0.mask[told])
    z = draw_noisy(loss.times, loss.subspace, process, x0, noise).z
    torch.testing.assert_close(previous.x[told], z.x[told])
    torch.testing.assert_close(previous.h[told], z.h[told])
    assert not previous.x[~told].any() and not previous.h[~told].any()
    # And the loss is the weighted sum of its terms.
    draw = draw_noisy(loss.times, loss.subspace, process, x0, noise)
    apart = [weight * term(draw, x0, draw.z) for weight, term in terms]
    torch.testing.assert_close(found, apart[0] + apart[1])
    Composed(terms, plain, NoiseMixture(SCHEDULE))(process, spy, x0, noise)
    assert spy.told[2:] == [(3, None)]


def test_lots_decide_who_is_told_whatever_the_place_in_the_batch():
    x0, spy, count = random_cloud([4] * 10, features=3), Spy(), torch.zeros(10)
    loss = Composed(((1.0, PositionError(flat)),), plain, NoiseMixture(SCHEDULE), self_conditioning=True)
    for step in range(200):
        loss(Affine(SCHEDULE), spy, x0, Noise(torch.arange(10), step))
        count += spy.told[-1][1].mask[:, 0, 0]
    assert count.sum() == 1000 and count.min() > 70 and count.max() < 130  # 100 each, deviation 7
