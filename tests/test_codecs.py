"""Laws of the features' codec: what is encoded comes back, and its densities are densities."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from coset.cloud import Cloud
from coset.codecs.features import Features
from coset.gaussian import Gaussian, standard_normal
from coset.noise import Noise
from coset.scales import Centred
from example_clouds import padded, small_molecules

STD = 1e-5**0.5
CHARGE = [True, False]


@pytest.fixture(params=CHARGE, ids=["charge", "no charge"])
def charge(request) -> bool:
    return request.param


def molecules(charge: bool) -> Cloud:
    """Real molecules in which every class, the last one too, has an atom."""
    cloud = padded(small_molecules(), 2).to(torch.float64)
    kinds = torch.nn.functional.one_hot(torch.arange(cloud.h.shape[1]) % 5, 5).double()
    charges = torch.tensor([1.0, 6.0, 7.0, 8.0, 9.0]).double()
    h = torch.cat([kinds, kinds @ charges[:, None]], -1)[:, : 5 + charge]
    return replace(cloud, h=h[None, :, : 5 + charge] * cloud.mask)


def test_what_is_encoded_comes_back(charge):
    clean, codec = molecules(charge), Features(5, STD, charge, scale_x=1.7)
    z0 = codec.encode(clean)
    back = codec.output(z0, z0).mode()
    assert torch.allclose(back.x, clean.center().x) and torch.equal(back.h, clean.h)
    assert codec.width == clean.h.shape[-1]


def test_encoded_values_are_scaled_as_published():
    clean = molecules(True)
    z0 = Features(5, STD).encode(clean)
    assert torch.allclose(z0.h[..., :5] * 4, clean.h[..., :5]) and torch.allclose(z0.h[..., 5] * 10, clean.h[..., 5])
    assert torch.allclose(z0.x, clean.center().x)


def test_every_class_survives_the_chain_s_last_noise(charge):
    """The released decoding drops the last class when charges are off: fluorine could never be made."""
    clean, codec = molecules(charge), Features(5, STD, charge)
    z0 = Gaussian.isotropic(codec.encode(clean), torch.full((4,), STD).double(), Centred()).sample(
        Noise(torch.arange(4))
    )
    output = codec.output(z0, z0)
    assert torch.equal(output.mode().h, clean.h)
    assert torch.equal(output.sample(Noise(torch.arange(4))).h, clean.h)
    assert (output.mode().h[..., 4].sum() > 0) and (output.mode().h * (1 - clean.mask)).abs().sum() == 0


def doubtful_output(codec: Features, clean: Cloud, spread: float):
    """Types and charges that z_0 leaves in doubt."""
    z0 = codec.encode(clean)
    blur = standard_normal(z0, Noise(torch.arange(4)), Centred()).scale(spread)
    return codec.output(replace(z0, h=z0.h + blur.h), z0)


def test_type_probabilities_sum_to_one(charge):
    codec, clean = Features(5, STD, charge), molecules(charge)
    output = doubtful_output(codec, clean, 0.12)
    total = torch.zeros(4, dtype=torch.float64)
    for kind in range(5):  # the class of the first atom, everything else as it is
        h = clean.h.clone()
        h[:, 0, :5] = torch.nn.functional.one_hot(torch.tensor(kind), 5).double()
        total = total + (output.log_prob(replace(clean, h=h)) - _without_first_type(output, clean)).exp()
    assert torch.allclose(total, torch.ones(4, dtype=torch.float64))


def _without_first_type(output, clean: Cloud):
    h = clean.h.clone()
    h[:, 0, :5] = 0  # no class chosen: its term is absent
    return output.log_prob(replace(clean, h=h))


def test_charge_probabilities_sum_to_one():
    codec, clean = Features(5, STD), molecules(True)
    output = doubtful_output(codec, clean, 0.003)
    certain = 0.0
    for value in range(-3, 16):
        h = clean.h.clone()
        h[:, 0, 5] = value
        certain = certain + output.log_prob(replace(clean, h=h)).exp() / _charge_scale(output, clean)
    assert torch.allclose(certain, torch.ones(4, dtype=torch.float64), atol=1e-6)


def _charge_scale(output, clean: Cloud):
    """The probability of everything but the first atom's charge."""
    first = replace(output, features=output.features.clone())
    first.features[:, 0, 5] = clean.h[:, 0, 5]  # as certain as can be
    return first.log_prob(clean).exp()


def test_the_density_of_positions_is_the_gaussian_of_the_last_step(charge):
    """On the centred subspace, in Angstrom whatever the scale inside."""
    clean, codec = molecules(charge), Features(5, STD, charge, scale_x=2.0)
    z0 = codec.encode(clean)
    estimate = replace(z0, x=z0.x + standard_normal(z0, Noise(torch.arange(4)), Centred()).x * STD)
    mean = replace(estimate, x=estimate.x * 2.0, h=estimate.h[..., :0])
    std = torch.full((4,), 2.0 * STD).double()
    expected = Gaussian.isotropic(mean, std, Centred()).log_prob(replace(clean.center(), h=mean.h))
    types = codec.output(z0, z0).log_prob(clean) - Gaussian.isotropic(
        replace(clean.center(), h=mean.h), std, Centred()
    ).log_prob(replace(clean.center(), h=mean.h))
    assert torch.allclose(types, torch.zeros(4, dtype=torch.float64), atol=1e-6)  # certain, given z_0
    assert torch.allclose(codec.output(z0, estimate).log_prob(clean), expected + types)


def test_sampled_positions_have_the_last_step_s_spread():
    clean, codec = molecules(True), Features(5, STD)
    z0 = codec.encode(clean)
    output, draws = codec.output(z0, z0), 500
    away = torch.stack([output.sample(Noise(torch.arange(4)).at(k)).x - clean.center().x for k in range(draws)])
    dimension = 3 * (clean.count - 1) * draws
    variance = away.square().sum((0, 2, 3)) / dimension
    assert ((variance / STD**2 - 1) * (dimension / 2).sqrt()).abs().max() < 4
    assert away.sum(2).abs().max() < 1e-12


def test_padding_changes_no_probability(charge):
    codec, clean = Features(5, STD, charge), molecules(charge)
    output = doubtful_output(codec, clean, 0.05)
    wide = replace(
        output, positions=padded(output.positions, 3), features=torch.nn.functional.pad(output.features, (0, 0, 0, 3))
    )
    assert torch.allclose(wide.log_prob(padded(clean, 3)), output.log_prob(clean))


def test_features_too_small_for_the_final_noise_are_refused():
    """8 std below the distance of two classes: 0.1 for charges divided by 10, 0.25 for types divided by 4."""
    Features(5, 0.0124)
    with pytest.raises(ValueError, match="8 x noise"):
        Features(5, 0.0126)
    Features(5, 0.0126, charge=False)
    with pytest.raises(ValueError, match="8 x noise"):
        Features(5, 0.032, charge=False)


def test_the_shipped_noise_leaves_types_certain():
    """log p of the true types and charges given z_0 at the schedule's own noise is nearly 0."""
    clean, codec = molecules(True), Features(5, STD)
    output = doubtful_output(codec, clean, STD)
    flat = -0.5 * math.log(2 * math.pi * STD**2) * 3 * (clean.count - 1)
    assert (output.log_prob(clean) - flat).abs().max() < 1e-6
