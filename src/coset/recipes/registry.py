"""Recipes by name: RECIPES is a dict, settings are models, the command line follows from both."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import ValidationError

from coset.diffusion import Diffusion
from coset.recipes import conformers, coset, drugs, edm, end, frames, latent, symdiff
from coset.recipes.conformer_settings import (
    Ensembled,
    Equivariant,
    OverGraph,
    ReflowedEquivariant,
    ReflowedOverGraph,
    Spectral,
)
from coset.recipes.latent_settings import Encoding, Latent
from coset.recipes.settings import (
    Canonical,
    Drifting,
    Haar,
    MessagePassing,
    Paired,
    Plain,
    Posed,
    Principal,
    Recursive,
    Student,
    Training,
    Unpaired,
    Vectorial,
)
from coset.recomputing import set_recompute


@dataclass(frozen=True)
class Recipe:
    """build: settings and number of atom types to a model. sizes: named overrides, the published one first.

    sampling: options of `Sampling` (`Drawing` for conformers) that its models are best drawn with, where they are not
    the defaults. types: elements that its parameters are counted for.
    """

    build: Callable[[Any, int], Diffusion]
    settings: type[Training]
    sizes: Mapping[str, Mapping[str, Any]]
    sampling: Mapping[str, Any] = field(default_factory=dict)
    types: int = 5

    @property
    def summary(self) -> str:
        return (self.build.__doc__ or "").strip().splitlines()[0]

    @property
    def given_graph(self) -> bool:
        """Whether its models draw conformers of molecules that they are given, not molecules."""
        return issubclass(self.settings, Ensembled)

    def resolve(self, overrides: Mapping[str, Any]) -> Training:
        """Settings from a size's overrides and the user's; `size` is a key like the others.

        Raises ValueError with the valid names for unknown keys and sizes, and for values that do not fit.
        """
        overrides = dict(overrides)
        size = str(overrides.pop("size", next(iter(self.sizes))))
        if size not in self.sizes:
            raise ValueError(f"unknown size {size!r}; this recipe has {', '.join(self.sizes)}")
        fields = self.settings.model_fields
        for key in overrides:
            if key not in fields:
                close = difflib.get_close_matches(key, fields, 1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                raise ValueError(f"unknown setting {key!r}{hint}; valid ones are size, {', '.join(fields)}")
        try:
            return self.settings(**{**self.sizes[size], **overrides})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"][:1])
            raise ValueError(f"setting {key}: got {first['input']!r}; {first['msg']}") from None


RECIPES: dict[str, Recipe] = {
    "edm": Recipe(edm.edm, MessagePassing, edm.SIZES),
    "edm_eqgat": Recipe(edm.edm_eqgat, Vectorial, edm.SIZES_EQGAT),
    "gdm": Recipe(edm.gdm, MessagePassing, edm.SIZES),
    "gdm_aug": Recipe(edm.gdm_aug, MessagePassing, edm.SIZES),
    "dit": Recipe(symdiff.dit, Plain, symdiff.SIZES),
    "dit_aug": Recipe(symdiff.dit_aug, Plain, symdiff.SIZES),
    "dit_pca": Recipe(frames.dit_pca, Principal, symdiff.SIZES),
    "dit_frames": Recipe(frames.dit_frames, Principal, symdiff.SIZES),
    "dit_canonical": Recipe(frames.dit_canonical, Canonical, symdiff.SIZES),
    "symdiff_h": Recipe(symdiff.symdiff_h, Haar, symdiff.SIZES),
    "symdiff": Recipe(symdiff.symdiff, Recursive, symdiff.SIZES_LEARNED),
    "geoldm": Recipe(latent.geoldm, Latent, latent.SIZES_GEOLDM),
    "graphldm": Recipe(latent.graphldm, Latent, latent.SIZES_PLAIN),
    "graphldm_aug": Recipe(latent.graphldm_aug, Latent, latent.SIZES_ROTATED),
    "radm_pca": Recipe(latent.radm_pca, Latent, latent.SIZES_PCA),
    "radm_gnn": Recipe(latent.radm_gnn, Latent, latent.SIZES_GNN),
    "radm_dit_s": Recipe(latent.radm_dit_s, Latent, latent.SIZES),
    "radm_dit_b": Recipe(latent.radm_dit_b, Latent, latent.SIZES_B),
    "autoencoder": Recipe(latent.autoencoder, Encoding, latent.SIZES_CODEC),
    "end": Recipe(end.end, Drifting, end.SIZES, end.SAMPLING),
    "end_scalar": Recipe(end.end_scalar, Drifting, end.SIZES, end.SAMPLING),
    "end_mu_only": Recipe(end.end_mu_only, Drifting, end.SIZES, end.SAMPLING),
    "end_fixed": Recipe(end.end_fixed, Drifting, end.SIZES, end.SAMPLING),
    "end_direct": Recipe(end.end_direct, Drifting, end.SIZES, end.SAMPLING),
    "end_symdiff": Recipe(end.end_symdiff, Posed, end.SIZES_POSED, end.SAMPLING),
    "coset": Recipe(coset.coset, Paired, coset.SIZES, coset.SAMPLING),
    "coset_plain": Recipe(coset.coset_plain, Unpaired, coset.PLAIN_SIZES, coset.SAMPLING),
    "distill": Recipe(coset.distill, Student, coset.STUDENT_SIZES, coset.SAMPLING_FEW),
    "edm_drugs": Recipe(drugs.edm_drugs, MessagePassing, drugs.SIZES_EDM, types=drugs.TYPES),
    "dit_aug_drugs": Recipe(drugs.dit_aug_drugs, Plain, drugs.SIZES_DIT, types=drugs.TYPES),
    "symdiff_drugs": Recipe(drugs.symdiff_drugs, Recursive, drugs.SIZES_SYMDIFF, types=drugs.TYPES),
    "radm_drugs_s": Recipe(drugs.radm_drugs_s, Latent, drugs.SIZES_RADM_S, types=drugs.TYPES),
    "radm_drugs_b": Recipe(drugs.radm_drugs_b, Latent, drugs.SIZES_RADM_B, types=drugs.TYPES),
    "end_drugs": Recipe(drugs.end_drugs, Drifting, drugs.SIZES_END, end.SAMPLING, drugs.TYPES),
    "coset_drugs": Recipe(drugs.coset_drugs, Paired, drugs.SIZES_COSET, coset.SAMPLING, drugs.TYPES),
    "etflow": Recipe(conformers.etflow, Equivariant, conformers.SIZES_ETFLOW),
    "etdiff": Recipe(conformers.etdiff, Equivariant, conformers.SIZES_ETDIFF),
    "etflow_ts": Recipe(conformers.etflow_ts, Equivariant, conformers.SIZES_ETFLOW_TS),
    "etdiff_ts": Recipe(conformers.etdiff_ts, Equivariant, conformers.SIZES_ETDIFF_TS),
    "dit_conf": Recipe(conformers.dit_conf, OverGraph, conformers.SIZES_DIT),
    "dit_conf_ts": Recipe(conformers.dit_conf_ts, OverGraph, conformers.SIZES_DIT_TS),
    "dit_conf_reflow": Recipe(
        conformers.dit_conf_reflow, ReflowedOverGraph, conformers.SIZES_DIT_REFLOW, conformers.SAMPLING_FEW
    ),
    "etflow_reflow": Recipe(
        conformers.etflow_reflow, ReflowedEquivariant, conformers.SIZES_ETFLOW_REFLOW, conformers.SAMPLING_FEW
    ),
    "mcf": Recipe(conformers.mcf, Spectral, conformers.SIZES_MCF),
}


def find_recipe(name: str | None) -> Recipe:
    """The recipe of that name, or a ValueError that lists them; None is what a file that names none gives."""
    if name not in RECIPES:
        close = difflib.get_close_matches(str(name), RECIPES, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(f"unknown recipe {name!r}{hint}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def build(name: str, settings: Training, types: int) -> Diffusion:
    """A freshly initialised model; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        diffusion = find_recipe(name).build(settings, types)
    set_recompute(diffusion, settings.recompute)
    return diffusion


def count_parameters(name: str, size: str, types: int | None = None) -> int:
    """Trainable parameters of a recipe's size for that many types, its own by default; nothing is allocated."""
    recipe = find_recipe(name)
    with torch.device("meta"):
        settings = recipe.resolve({"size": size})
        # Schedules compute with real numbers, so only the networks may live on the meta device.
        return sum(p.numel() for p in recipe.build(settings, types or recipe.types).parameters())
