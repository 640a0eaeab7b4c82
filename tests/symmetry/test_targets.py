"""Laws of symmetrised targets: exact where they say so, equivariant, right in every limit."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from coset.cloud import Cloud, Condition
from coset.gaussian import Gaussian, standard_normal
from coset.interfaces import Draw, Process
from coset.noise import Noise
from coset.processes.affine import Affine
from coset.processes.schedules import Cosine, Exploding, Linear, Polynomial
from coset.scales import CENTRED, FREE, Graph, Isotropic, PerAtom
from coset.symmetry.estimators import HaarDraws, Metropolis
from coset.symmetry.groups import Automorphisms, Element, Group, LikeAtoms, Rotations, Trivial
from coset.symmetry.rotations import haar
from coset.symmetry.targets import OrbitMean, plain
from example_clouds import alone, padded, random_cloud, repeated
from symmetry.test_groups import molecules

PROCESS = Affine(Cosine())
GROUPS: list[Group] = [
    Trivial(), Rotations(), Rotations(reflections=True), LikeAtoms(), Automorphisms(),
    Rotations() * LikeAtoms(), Rotations(reflections=True) * Automorphisms(),
]  # fmt: skip


def drawn(x0: Cloud, times: list[float], process: Process = PROCESS, seed: int = 0) -> Draw:
    t = torch.tensor(times, dtype=torch.float64)
    noise = Noise.from_seed(seed, torch.arange(len(x0)))
    eps = standard_normal(x0, noise, getattr(process, "subspace", CENTRED))
    return Draw(x0, eps, process.noised(x0, t).at(eps), t, noise.fork(1))


def close(first: Cloud, second: Cloud, atol: float = 1e-8) -> bool:
    return torch.allclose(first.x, second.x, rtol=0, atol=atol) and torch.allclose(first.h, second.h, rtol=0, atol=atol)


def weighted(clouds: Cloud, draw: Draw, process: Process = PROCESS) -> Cloud:
    """The mean of many clouds by their density at one molecule's z: what every orbit mean is, by brute force."""
    many = len(clouds)
    logs = process.noised(clouds, draw.t.expand(many)).log_prob(repeated(draw.z, many))
    weight = logs.softmax(0)[:, None, None]
    return replace(draw.x0, x=(weight * clouds.x).sum(0, keepdim=True), h=(weight * clouds.h).sum(0, keepdim=True))


def rows(cloud: Cloud, chosen: slice | torch.Tensor) -> Cloud:
    return Cloud(*(getattr(cloud, name)[chosen] for name in ("x", "h", "mask")))


@pytest.mark.parametrize("schedule", [Cosine(), Linear(), Polynomial(), Exploding(sigma_max=20.0)], ids=str)
@pytest.mark.parametrize("reflections", [False, True])
def test_rotations_are_averaged_exactly(schedule, reflections):
    """Against 200,000 Haar draws, at high noise, where they can tell."""
    process, x0 = Affine(schedule), random_cloud([5])
    draw = drawn(x0, [0.6 if not isinstance(schedule, Exploding) else 0.75], process)
    poses = haar(Noise.from_seed(1, torch.arange(200_000)), reflections)
    brute = weighted(repeated(x0, 200_000).rotate(poses), draw, process)
    exact = OrbitMean(Rotations(reflections))(process, draw)
    assert close(exact, brute, atol=0.05) and (exact.x - x0.x).abs().max() > 0.1


def test_the_sign_flip_is_a_tanh():
    """Data +1 and -1 on the line: tanh(alpha z / sigma^2) (TS, Tong et al. 2025, section 5.1)."""
    process = Affine(Cosine(), subspace=FREE)
    one = torch.ones(6, 1, 1, dtype=torch.float64)
    draw = drawn(Cloud(one, one[..., :0], one), [0.1, 0.3, 0.5, 0.7, 0.9, 1.0], process)
    alpha, sigma = Cosine()(draw.t)
    found = OrbitMean(Rotations(reflections=True))(process, draw).x.flatten()
    assert torch.allclose(found, torch.tanh(alpha * draw.z.x.flatten() / sigma**2), atol=1e-12)


@pytest.mark.parametrize("reflections", [False, True])
def test_the_plane_with_permutations_is_exact(reflections):
    """SO(2) x S_4 on the paper's four points, against 24 permutations at 1,440 angles, both hands if asked for."""
    x = torch.tensor([[[-1.0, 0], [-0.5, 0], [0.5, 0.1], [1.0, -0.1]]], dtype=torch.float64)
    x0 = Cloud(x, x[..., :0], torch.ones(1, 4, 1, dtype=torch.float64)).center()
    draw = drawn(x0, [0.4])
    angle = torch.arange(1440, dtype=torch.float64) * 2 * torch.pi / 1440
    turns = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    mirror = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    turns = torch.cat([turns, turns @ mirror]) if reflections else turns
    orders = torch.tensor(list(itertools.permutations(range(4))))
    many = repeated(x0, len(turns) * 24).permute(orders.repeat(len(turns), 1)).rotate(turns.repeat_interleave(24, 0))
    assert close(OrbitMean(Rotations(reflections) * LikeAtoms())(PROCESS, draw), weighted(many, draw), atol=1e-10)


def test_permutations_are_averaged_exactly():
    x0 = random_cloud([4], features=1)
    x0 = replace(x0, h=torch.ones_like(x0.h))
    draw, orders = drawn(x0, [0.5]), torch.tensor(list(itertools.permutations(range(4))))
    assert close(OrbitMean(LikeAtoms())(PROCESS, draw), weighted(repeated(x0, 24).permute(orders), draw), atol=1e-12)


@pytest.mark.parametrize("group", GROUPS, ids=str)
@pytest.mark.parametrize("time", [0.05, 0.4, 0.9])
def test_targets_are_equivariant_and_forget_the_pose_of_the_data(group, time):
    """target(g z) = g target(z) (TS, B.2), and g x0 in x0's place changes nothing: only the orbit counts."""
    x0 = molecules()
    target, draw = OrbitMean(group), drawn(x0, [time, time])
    element = group.sample(x0, Noise.from_seed(9, torch.arange(2)))
    known = target(PROCESS, draw)
    moved = target(PROCESS, replace(draw, z=element.act(draw.z)))
    assert close(moved, element.act(known))
    posed = element.act(replace(x0, condition=None))
    assert close(target(PROCESS, replace(draw, x0=replace(posed, condition=x0.condition))), known)


@pytest.mark.parametrize("group", GROUPS[1:], ids=str)
def test_the_plain_target_is_neither(group):
    x0 = molecules()
    draw = drawn(x0, [0.4, 0.4])
    element = group.sample(x0, Noise.from_seed(9, torch.arange(2)))
    moved = plain(PROCESS, replace(draw, z=element.act(draw.z)))
    assert not close(moved, element.act(x0), atol=1e-2)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_limits(group):
    """Without noise the clean cloud; without signal the mean over the orbit; both ends exactly 0."""
    process, x0 = Affine(Linear(sigma_min=0.0)), molecules()
    if isinstance(group, Automorphisms | LikeAtoms) or group.permutations(x0)[0].shape[1] > 1:
        assert not torch.allclose(x0.x[:, 0], x0.x[:, 1])
    assert close(OrbitMean(group)(process, drawn(x0, [0.0, 0.0], process)), x0, atol=1e-6)
    end = OrbitMean(group)(process, drawn(x0, [1.0, 1.0], process))
    orders, there = group.permutations(x0)
    mean = torch.stack([x0.x[row, orders[row][there[row]]].mean(0) for row in range(2)])
    expected = 0 * mean if group.rotations else mean
    assert (end.x - expected).abs().max() < 1e-12 and close(replace(end, x=x0.x), x0)


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_padding_company_and_precision_change_no_target(group):
    x0 = molecules()
    draw = drawn(x0, [0.3, 0.6])
    known = OrbitMean(group)(PROCESS, draw)
    longer = replace(padded(x0, 2), condition=None)
    automorphisms = x0.condition and x0.condition.automorphisms
    assert automorphisms is not None
    extra = torch.where(automorphisms[..., :1] < 0, -1, torch.tensor([5, 6]))
    longer = replace(longer, condition=Condition(automorphisms=torch.cat([automorphisms, extra], -1)))
    wide = OrbitMean(group)(PROCESS, replace(draw, x0=longer, z=padded(draw.z, 2), eps=padded(draw.eps, 2)))
    assert (wide.x[:, :5] - known.x).abs().max() < 1e-12 and wide.x[:, 5:].abs().max() == 0
    one = replace(alone(x0, 1), condition=Condition(automorphisms=automorphisms[1:, :2, :4]))
    single = OrbitMean(group)(PROCESS, Draw(one, alone(draw.eps, 1), alone(draw.z, 1), draw.t[1:]))
    assert (single.x - known.x[1:, :4]).abs().max() < 1e-12
    narrow = replace(draw, x0=draw.x0.to(torch.float32), z=draw.z.to(torch.float32))
    found = OrbitMean(group)(PROCESS, narrow)
    assert found.x.dtype == torch.float32 and close(found.to(torch.float64), known, atol=1e-4)


def flat(positions: list[list[float]]) -> Cloud:
    x = torch.tensor([positions], dtype=torch.float64)
    return Cloud(x, torch.ones(1, len(positions), 1, dtype=torch.float64), torch.ones_like(x[..., :1])).center()


@pytest.mark.parametrize("reflections", [False, True])
@pytest.mark.parametrize(
    "positions",
    [
        [[0.3, 0.2, 0.1]],
        [[1.0, 1, 1], [1.0, 1, 1], [1, 1, 1]],
        [[0.0, 0, -1], [0, 0, 0.2], [0, 0, 1.3]],
        [[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1.5, 0]],
    ],
    ids=["one atom", "one place", "line", "plane"],
)
def test_degenerate_molecules(positions, reflections):
    """One atom, atoms at one place, on a line, in a plane: finite at every noise, and what brute force says."""
    x0 = flat(positions)
    for time in (0.0, 1e-4, 0.02, 0.5, 1.0):
        found = OrbitMean(Rotations(reflections))(PROCESS, drawn(x0, [time]))
        assert torch.isfinite(found.x).all() and found.x.norm() <= x0.x.norm() + 1e-6
    draw, poses = drawn(x0, [0.6]), haar(Noise.from_seed(1, torch.arange(100_000)), reflections)
    brute = weighted(repeated(x0, 100_000).rotate(poses), draw)
    assert close(OrbitMean(Rotations(reflections))(PROCESS, draw), brute, atol=0.03)


def test_a_mirror_image_is_another_molecule_for_rotations_alone():
    """In a plane a reflection is a rotation; elsewhere SO(3) keeps the hand that O(3) averages away."""
    chiral, planar = random_cloud([6]), flat([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1.5, 0]])
    for x0, same in ((chiral, False), (planar, True)):
        draw = drawn(x0, [0.6])
        proper, both = (OrbitMean(Rotations(r))(PROCESS, draw) for r in (False, True))
        assert close(proper, both, atol=1e-9) == same


class Harmonic(Affine):
    """alpha x0 + sigma U eps with one matrix over the atoms, as a harmonic prior has."""

    def __init__(self, matrix: torch.Tensor) -> None:
        super().__init__(Cosine())
        self.matrix = matrix

    def noised(self, x0: Cloud, t: torch.Tensor) -> Gaussian:
        alpha, sigma = self.schedule(t)
        scale = Graph(sigma[:, None, None] * self.matrix.expand(len(x0), -1, -1))
        return Gaussian(x0.scale(alpha), scale, Isotropic(sigma), CENTRED)


def test_noise_that_couples_atoms_keeps_the_closed_form():
    """Sigma x I3: the harmonic prior's targets are exact too, here with a permutation that the noise commutes with."""
    swap = torch.tensor([[0, 1, 2, 3], [1, 0, 2, 3]])
    matrix = torch.tensor([[1.0, 0.2, 0.3, 0], [0.2, 1, 0.3, 0], [0.3, 0.3, 1.2, 0.4], [0, 0, 0.4, 0.8]]).double()
    process, x0 = Harmonic(matrix), replace(random_cloud([4]), condition=Condition(automorphisms=swap[None]))
    x0 = replace(x0, h=torch.ones_like(x0.h))
    draw = drawn(x0, [0.6], process)
    poses = haar(Noise.from_seed(1, torch.arange(100_000)), reflections=False)
    many = repeated(x0, 200_000).permute(swap.repeat(100_000, 1)).rotate(poses.repeat_interleave(2, 0))
    found = OrbitMean(Rotations() * Automorphisms())(process, draw)
    assert close(found, weighted(many, draw, process), atol=0.05)


def test_noise_that_tells_directions_apart_is_refused():
    class Skewed(Harmonic):
        def noised(self, x0, t):
            return replace(super().noised(x0, t), x_scale=PerAtom(torch.eye(3).double().expand(1, 4, 3, 3)))

    process = Skewed(torch.eye(4).double())
    with pytest.raises(ValueError, match="noise that acts on atoms alone; got PerAtom"):
        OrbitMean(Rotations())(process, drawn(random_cloud([4]), [0.5]))


def test_a_molecule_s_own_conformers_are_part_of_the_mean():
    """The mean over all three conformers of a molecule, and with permutations over all orders of each."""
    clouds = [replace(random_cloud([4, 3], seed=seed), h=torch.ones(2, 4, 6).double()) for seed in range(3)]
    clouds = [replace(cloud, h=cloud.h * cloud.mask) for cloud in clouds]
    draw = drawn(clouds[0], [0.5, 0.3])
    x, h, mask = (torch.stack([getattr(c, n) for c in clouds[1:]], 1).flatten(0, 1) for n in ("x", "h", "mask"))
    draw = replace(draw, siblings=Cloud(x, h, mask))
    for row in range(2):
        own = Cloud(*(torch.stack([getattr(cloud, n)[row] for cloud in clouds]) for n in ("x", "h", "mask")))
        here = slice(row, row + 1)
        single = Draw(*(rows(cloud, here) for cloud in (draw.x0, draw.eps, draw.z)), draw.t[here])
        for group, copies in ((Trivial(), own), (LikeAtoms(), _all_orders(own, 4 - row))):
            found = OrbitMean(group)(PROCESS, draw)
            brute = weighted(copies, single)
            assert (found.x[row] - brute.x[0]).abs().max() < 1e-10


def _all_orders(own: Cloud, atoms: int) -> Cloud:
    orders = [list(order) + list(range(atoms, 4)) for order in itertools.permutations(range(atoms))]
    return repeated(own, len(orders)).permute(torch.tensor(orders).repeat(len(own), 1))


def test_the_published_estimator_tends_to_the_exact_mean_at_high_noise_alone():
    """Algorithm 1 with 2,000 draws; at low noise no draw is near the true pose, and it is far off."""
    x0, many = random_cloud([5]), HaarDraws(2000)
    for time, near in ((0.85, True), (0.03, False)):
        draw = drawn(x0, [time])
        exact, found = OrbitMean(Rotations())(PROCESS, draw), OrbitMean(Rotations(), many)(PROCESS, draw)
        assert ((found.x - exact.x).norm() < 0.1 * x0.x.norm()) == near
    assert (found.x - exact.x).norm() > (x0.x - exact.x).norm()  # worse than no averaging at all


def test_with_the_true_pose_among_the_draws_it_leans_to_the_plain_target():
    x0 = random_cloud([5])
    draw = drawn(x0, [0.1])
    leaning = OrbitMean(Rotations(), HaarDraws(50, with_drawn=True))(PROCESS, draw)
    exact = OrbitMean(Rotations())(PROCESS, draw)
    assert (leaning.x - x0.x).norm() < 0.05 * (exact.x - x0.x).norm()
    soft = OrbitMean(Rotations(), HaarDraws(50, with_drawn=True, soften=True))(PROCESS, replace(draw, t=draw.t * 8))
    hard = OrbitMean(Rotations(), HaarDraws(50, with_drawn=True))(PROCESS, replace(draw, t=draw.t * 8))
    assert not close(soft, hard, atol=1e-6)


def test_sampled_targets_ask_for_noise():
    draw = replace(drawn(random_cloud([3]), [0.5]), noise=None)
    for estimator in (HaarDraws(2), Metropolis(2)):
        with pytest.raises(ValueError, match="needs noise"):
            OrbitMean(LikeAtoms(), estimator)(PROCESS, draw)


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("group", [LikeAtoms(), Rotations() * LikeAtoms()], ids=str)
def test_a_chain_of_any_length_is_unbiased(group, steps):
    """In law: z held and the clean cloud drawn from the posterior, the mean of the chains is the exact mean."""
    copies, x0 = 20_000, random_cloud([4], features=1)
    x0 = replace(x0, h=torch.ones_like(x0.h))
    draw = drawn(x0, [0.4])
    exact = OrbitMean(group)(PROCESS, draw)
    poses, noise = _posterior_draws(group, draw, copies), Noise.from_seed(3, torch.arange(copies))
    z = repeated(draw.z, copies)
    many = Draw(poses, z, z, draw.t.expand(copies), noise)
    found = OrbitMean(group, Metropolis(steps))(PROCESS, many).x
    error = found.std(0) / copies**0.5
    assert ((found.mean(0) - exact.x[0]).abs() < 4.5 * error + 1e-9).all()


def _posterior_draws(group: Group, draw: Draw, copies: int) -> Cloud:
    """Orders of the atoms behind z, by their exact probability (rotations integrated out: any pose will do)."""
    from coset.symmetry.posterior import Evidence, listed

    clouds, there = listed(LikeAtoms(), draw)
    weight = Evidence.of(PROCESS, draw).of_candidates(clouds, there, group).log_weight[0].softmax(0)
    chosen = torch.multinomial(weight, copies, replacement=True, generator=torch.Generator().manual_seed(0))
    return rows(clouds, chosen)


def test_longer_chains_scatter_less_and_short_ones_no_more_than_one_draw():
    """Against the scatter of the plain target, which is one posterior draw; measured at n = 6."""
    copies, x0 = 2000, random_cloud([6], features=1)
    x0 = replace(x0, h=torch.ones_like(x0.h))
    draw = drawn(x0, [0.6])
    exact = OrbitMean(LikeAtoms())(PROCESS, draw).x
    poses, noise = _posterior_draws(LikeAtoms(), draw, copies), Noise.from_seed(3, torch.arange(copies))
    z = repeated(draw.z, copies)
    many = Draw(poses, z, z, draw.t.expand(copies), noise)
    scatter = [
        float((OrbitMean(LikeAtoms(), Metropolis(k))(PROCESS, many).x - exact).square().sum((1, 2)).mean())
        for k in (0, 20, 200)
    ]
    assert scatter[0] > 1.5 * scatter[1] > 3 * scatter[2]
    single = float((poses.x - exact).square().sum((1, 2)).mean())
    assert scatter[0] == pytest.approx(single)


def test_a_chain_refuses_noise_that_couples_atoms():
    process = Harmonic(torch.eye(4).double())
    with pytest.raises(ValueError, match="isotropic noise"):
        OrbitMean(LikeAtoms(), Metropolis(2))(process, drawn(random_cloud([4]), [0.5]))


def test_elements_are_values():
    assert Element() == Element()
