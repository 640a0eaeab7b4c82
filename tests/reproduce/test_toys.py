"""The toys: the parts that only they use, what they converge to, and their commands."""

from __future__ import annotations

import json
import math
import sys

import pytest
import torch
from torch import Tensor

from coset.cli import main
from coset.cloud import Cloud
from coset.codecs.identity import Identity
from coset.interfaces import Denoiser, Draw
from coset.networks.mlp import MLP, Odd
from coset.noise import Noise
from coset.recipes.ts import LINE, LINE_POINT, PLANE, PLANE_GROUP, PLANE_POINTS, SCHEDULE, points
from coset.reproduce import toy_line, toy_plane
from coset.reproduce.toy_line import Antithetic, w2_squared
from coset.reproduce.toy_line_report import sampling_floor
from coset.reproduce.toy_plane import best_rmsd
from coset.reproduce.toy_training import Schooling, losses, noise_of, repeated, train
from coset.samplers.grids import power_grid
from coset.samplers.sample import sample
from coset.scales import FREE
from coset.symmetry.groups import Rotations
from coset.symmetry.targets import OrbitMean

TINY_LINE = toy_line.Settings(iterations=20, batch=8, steps=3, samples=40)


def on_the_line(x: Tensor) -> Cloud:
    x = x.float()[:, None, None]
    return Cloud(x, x[..., :0], torch.ones_like(x))


def away_from_the_tanh(arm: str, iterations: int) -> float:
    """Root mean squared distance of a trained estimate to tanh(alpha z / sigma^2), at middle noise."""
    diffusion, z = LINE[arm].build([0]), torch.linspace(-2, 2, 41)
    train(diffusion, points(LINE_POINT, 1), Schooling(iterations, 100, lr=2e-2, average=0.98), [0])
    t = torch.full_like(z, 0.6, dtype=torch.float64)
    alpha, sigma = SCHEDULE(t)
    with torch.no_grad():
        found = diffusion.denoiser(on_the_line(z), t).x.flatten()
    return float((found - torch.tanh(alpha * z / sigma**2)).square().mean().sqrt())


def test_the_line_is_learned_as_the_tanh_that_it_is():
    """Two points behind noise: tanh(alpha z / sigma^2) (TS, Tong et al. 2025, 5.1)."""
    before = away_from_the_tanh("nsd_enet_ts", 1)
    assert before > 0.3 and away_from_the_tanh("nsd_enet_ts", 900) < 0.15


@pytest.mark.parametrize("arm", ["nsd_enet_aug", "nsd_enet_ts_haar"])
def test_losses_made_many_at_once_are_those_of_the_diffusion(arm):
    """Noise, moved data and targets included; seeds side by side are as each alone."""
    seeds, schooling = [3, 5], Schooling(4, 6)
    found = [loss.detach() for loss in losses(LINE[arm].build(seeds), points(LINE_POINT, 1), schooling, seeds)]
    for member, seed in enumerate(seeds):
        alone = LINE[arm].build([seed])
        for iteration in range(4):
            noise = noise_of([seed], range(iteration, iteration + 1), 6)
            expected = alone(repeated(points(LINE_POINT, 1), 6), noise).detach().mean()
            assert float(found[iteration][member]) == pytest.approx(float(expected), rel=1e-5)


def test_seeds_side_by_side_are_trained_as_alone():
    """Their gradients do not mix, and each keeps the weights that were its own best."""

    def trained(seeds: list[int], choose: bool = True) -> Tensor:
        diffusion, calls = LINE["nsd_enet"].build(seeds), iter([0.0, 1.0, 2.0])
        schooling = Schooling(30, 8, lr=1e-2, window=10)
        values = torch.tensor([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])[:, [seed - 1 for seed in seeds]]
        validate = (lambda _: values[int(next(calls))]) if choose else None
        train(diffusion, points(LINE_POINT, 1), schooling, seeds, validate)
        return torch.cat([p.detach().flatten(1) for p in diffusion.parameters()], 1)

    both = trained([1, 2])
    assert torch.allclose(both[0], trained([1])[0], atol=1e-5) and torch.allclose(both[1], trained([2])[0], atol=1e-5)
    last = trained([1, 2], choose=False)  # the first seed was best after 10 iterations, the second at the end
    assert torch.equal(both[1], last[1]) and not torch.allclose(both[0], last[0], atol=1e-3)


def test_odd_networks_are_odd():
    network, z, t = Odd(MLP(4, 2)), repeated(points(PLANE_POINTS, 1), 3), torch.rand(3)
    assert torch.equal(network(z.scale(-1.0), t).x, -network(z, t).x) and network(z, t).x.abs().max() > 0
    with pytest.raises(ValueError, match="built for 4 points in 2 dimensions"):
        network(on_the_line(t), t)


def test_antithetic_starts_come_in_pairs():
    """Normal as the others, and an odd model's samples are then even on both sides."""
    drawn = Antithetic.from_seed(0, torch.arange(20_000)).normal(1).flatten()
    assert torch.equal(drawn[::2], -drawn[1::2]) and float(drawn.square().mean()) == pytest.approx(1, abs=0.03)
    found = toy_line.drawn_points(LINE["nsd_enet"].build([0]), [7], 200, 5, Antithetic)
    assert float(found.sum().abs()) < 1e-4 < float(found.abs().sum())


def test_w2_of_points_is_what_it_costs_to_move_them():
    even = torch.tensor([[1.0, -1, 1, -1]])
    assert float(w2_squared(even)) == 0 and float(w2_squared(1.1 * even)) == pytest.approx(0.01)
    uneven = torch.tensor([[1.0, 1, 1, -1], [1, 1, 1, 1]])
    assert w2_squared(uneven).tolist() == [1.0, 2.0]  # one of four, two of four over a distance of 2
    assert torch.allclose(w2_squared(uneven[:, [3, 0, 2, 1]]), w2_squared(uneven))


def test_the_sampling_floor_is_that_of_a_fair_coin():
    coins = torch.where(Noise(torch.arange(4000)).uniform(100) < 0.5, 1.0, -1.0)
    assert float(w2_squared(coins).mean()) == pytest.approx(sampling_floor(100), rel=0.05)
    assert sampling_floor(100_000) == pytest.approx(4 / math.sqrt(2 * math.pi * 100_000), rel=1e-4)


def test_best_rmsd_forgets_pose_and_order():
    """Against a fine grid of angles, too."""
    x = torch.randn(5, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x - x.mean(1, keepdim=True)
    known = best_rmsd(x, PLANE_POINTS)
    moved = PLANE_GROUP.sample(points(PLANE_POINTS, 5), Noise(torch.arange(5))).act(Cloud(x, x[..., :0], x[..., :1]))
    assert torch.allclose(best_rmsd(moved.x, PLANE_POINTS), known) and (known > 0.1).all()
    poses = PLANE_GROUP.sample(points(PLANE_POINTS, 20_000), Noise(torch.arange(20_000))).act(
        repeated(points(PLANE_POINTS, 1), 20_000)
    )
    assert best_rmsd(poses.x, PLANE_POINTS).max() < 1e-3  # float32 under a root
    other = torch.tensor([[0.0, 1.0], [2.0, 0.0], [-2.0, 0.5], [0.0, -1.5]])  # not its own mirror image
    turned = other[[2, 0, 3, 1]] @ torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    assert best_rmsd(turned[None], other) < 1e-3 and best_rmsd(turned[None] * torch.tensor([1, -1.0]), other) > 0.1
    brute = (x[:, None] - poses.x.double()).square().sum((2, 3)).div(4).sqrt().amin(1)
    assert (brute >= known - 1e-6).all() and torch.allclose(brute, known, atol=0.01)


class PosteriorMean(Denoiser):
    """What every network of the plane is trained towards."""

    def __init__(self, process) -> None:
        super().__init__()
        self.process, self.target = process, OrbitMean(PLANE_GROUP)

    def forward(self, z: Cloud, t: Tensor, noise: Noise | None = None) -> Cloud:
        return self.target(self.process, Draw(repeated(points(PLANE_POINTS, 1), len(z)), z, z, t))


@pytest.mark.parametrize("steps", [10, 50])
def test_a_perfect_denoiser_has_no_error_in_the_plane(steps):
    """So that all error of the table is the networks'."""
    diffusion = PLANE["nsd"].build([0])
    diffusion.denoiser = PosteriorMean(diffusion.process)
    like = repeated(points(torch.zeros(4, 2), 1), 50)
    drawn = sample(diffusion, like, Noise(torch.arange(50)), power_grid(steps - 1))
    assert best_rmsd(drawn.x, PLANE_POINTS).max() < 1e-3


def test_a_plain_network_needs_rotated_data_beside_the_exact_target():
    """TS without them meets no pose but one in training, and its sampler all (the counterexample of Eq. 4)."""
    settings = toy_plane.Settings(iterations=1500, samples=100)
    one_pose, rotated = (toy_plane.run_row(arm, settings, 0)["rmsd"]["50"] for arm in ("nsd_ts", "sd_ts"))
    assert rotated < 0.1 < one_pose and one_pose > 2 * rotated


def test_identity_is_normal_around_the_last_estimate():
    codec, clean = Identity(0.1, subspace=FREE), on_the_line(torch.linspace(-1, 1, 5))
    output = codec.output(codec.encode(clean).scale(9.0), clean)
    assert torch.equal(output.mode().x, clean.x) and codec.width == 0
    density = torch.distributions.Normal(clean.x, 0.1).log_prob(clean.x + 0.05).flatten()
    assert torch.allclose(output.log_prob(on_the_line(clean.x.flatten() + 0.05)), density)
    assert float((output.sample(Noise(torch.arange(5))).x - clean.x).std()) == pytest.approx(0.1, rel=0.9)


@pytest.fixture
def reproduce(monkeypatch, capsys):
    """Runs `coset reproduce ...`; gives exit code and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["coset", "reproduce", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, capsys.readouterr().err

    return call


LINE_COMMAND = ("ts-toy-1d", "--iterations", 20, "--samples", 40, "--steps", 5, "--seeds", "0,1")
PLANE_COMMAND = ("ts-toy-2d", "--iterations", 2, "--samples", 6, "--batch", 3)


@pytest.mark.parametrize("command", [LINE_COMMAND, PLANE_COMMAND], ids=lambda command: command[0])
def test_commands_write_all_files_and_go_on_where_they_were(reproduce, tmp_path, monkeypatch, command):
    seeds = () if "--seeds" in command else ("--seeds", "0")
    code, said = reproduce(*command, *seeds, "-o", tmp_path, "--rows", "nsd_enet")
    assert code == 0 and said.startswith("NSD+Enet")
    first = json.loads((tmp_path / "rows.json").read_text())["rows"]
    module = toy_line if command is LINE_COMMAND else toy_plane
    trained, run_row = [], module.run_row
    monkeypatch.setattr(module, "run_row", lambda *given: trained.append(given[0]) or run_row(*given))
    assert reproduce(*command, *seeds, "-o", tmp_path, "--rows", "nsd_enet_ts,nsd_enet")[0] == 0
    found = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert trained == ["nsd_enet_ts"] and len(found) == 2 and found | first == found
    report = (tmp_path / "report.md").read_text()
    assert all(word in report for word in ("budget", "seeds: 0", "sha256", "NSD+Enet+TS, exact", "commit"))
    if command is LINE_COMMAND:
        assert "x of the paper's" in report
    assert (tmp_path / "figure.svg").exists() or "matplotlib is not installed" in report


def test_a_report_without_matplotlib_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    toy_line.run(tmp_path, TINY_LINE, [0], ["nsd_enet"])
    assert "matplotlib is not installed" in (tmp_path / "report.md").read_text()
    assert not (tmp_path / "figure.svg").exists()


def test_the_same_seed_gives_the_same_numbers():
    """And another gives others."""
    one, again, other = (toy_line.run_row("nsd_enet_ts_haar", TINY_LINE, [seed]) for seed in (0, 0, 1))
    assert one == again and one["curve"]["loss"] != other["curve"]["loss"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (("ts-toy-1d", "--seeds", "0,0"), "--seeds expects"),
        (("ts-toy-1d", "--rows", "tanh"), "unknown row 'tanh'"),
        (("ts-toy-1d", "--samples", "41"), "samples must be even"),
        (("ts-toy-2d", "--lr", "0"), "--lr must be positive"),
        (("ts-toy-2d", "--iterations", "300", "--lr", "1e30", "--rows", "nsd"), "lower the learning rate"),
    ],
)
def test_mistakes_are_one_sentence(reproduce, tmp_path, wrong, sentence):
    code, said = reproduce(*wrong, "-o", tmp_path)
    assert code == 2 and sentence in said and "Traceback" not in said


def test_rows_of_other_settings_are_refused(reproduce, tmp_path):
    toy_line.run(tmp_path, TINY_LINE, [0], ["nsd_enet"])
    code, said = reproduce("ts-toy-1d", "-o", tmp_path)
    assert code == 2 and "rows of other settings" in said


def test_the_group_of_the_line_is_a_sign():
    """The augmentation puts half of the data on the other side."""
    moved = Rotations(reflections=True).sample(on_the_line(torch.ones(2000)), Noise(torch.arange(2000)))
    signs = moved.act(on_the_line(torch.ones(2000))).x.flatten()
    assert set(signs.tolist()) == {1.0, -1.0} and abs(float(signs.mean())) < 0.1
