"""Stages: a latent model's codec is trained, or taken from a trained model, before its diffusion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

from coset.diffusion import Diffusion
from coset.model import Model
from coset.recipes.latent_settings import Encoded, Latent
from coset.recipes.settings import Training
from coset.training.distributed import ranks
from coset.training.latents import FILE, encoded, latent_codec
from coset.training.molecule_run import MoleculeRun

FOLDER = "codec"  # of stage one, in the run's


def needs_codec(settings: Training) -> TypeGuard[Latent]:
    """Whether a codec is to be trained before the diffusion."""
    return isinstance(settings, Latent) and not settings.joint and settings.encoder != "none"


def take_codec(diffusion: Diffusion, run: MoleculeRun, model: Model) -> None:
    """Gives the diffusion the codec of a trained model.

    Raises ValueError for a model without an autoencoder, for one of other elements, and for one that is built otherwise
    than the run's settings say.
    """
    s = run.settings
    assert isinstance(s, Latent)
    if latent_codec(model.diffusion.codec) is None:
        raise ValueError(
            f"codec={s.codec}: {model.name} is of recipe {model.card['recipe']} and holds no autoencoder; give a run "
            "of autoencoder or of a latent recipe, or leave codec out to have one trained"
        )
    if model.vocabulary != run.vocabulary:
        raise ValueError(
            f"the codec {model.name} knows {', '.join(model.vocabulary.symbols)}, and {s.data} has "
            f"{', '.join(run.vocabulary.symbols)}; train one on data with the same elements"
        )
    theirs = model.card["settings"]
    for name in set(Encoded.model_fields) - {"rotated"}:
        if name in theirs and theirs[name] != getattr(s, name):
            raise ValueError(
                f"the codec {model.name} has {name}={theirs[name]}, and this run asks for {name}={getattr(s, name)}; "
                f"set {name} to the former, or leave codec out to have one trained"
            )
    diffusion.codec.load_state_dict(model.diffusion.codec.state_dict())


def with_latents(run: MoleculeRun, diffusion: Diffusion, folder: Path) -> MoleculeRun:
    """The run with the latents of all its molecules, from the folder or computed now."""
    made = ranks().in_turn(lambda: encoded(diffusion.codec, run.dataset, run.cloud, folder / FILE, run.about["data"]))
    return replace(run, latents=made)
