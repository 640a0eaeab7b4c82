"""Settings of recipes for conformers: the molecule is given, its positions are drawn."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from coset.recipes.settings import Training


class Ensembled(Training):
    """Flow matching on a molecule's positions, given its graph; trained on ensembles of conformers.

    data: an .npz of ensembles, or xtb or drug-like. prior: noise at t = 1, harmonic (of springs in the place of bonds)
    or isotropic. coupling: of noise and conformers in training, independent or aligned. path_noise: of the bridge
    beside the straight paths, Angstrom. loss: the error of the velocity squared, or its distance of each atom.
    orbit: what a symmetrised target averages over beside rotations, where it does: nothing, the automorphisms of the
    graph, or those alone without rotations. most_automorphisms: of a molecule, beyond which a subgroup serves.
    conformers: of the same molecule that a target averages over, itself among them.
    """

    data: str = "xtb"
    molecules: int | None = Field(256_000_000, ge=1)
    batch: int = Field(128, ge=1)
    lr: float = Field(7e-4, gt=0)
    weight_decay: float = Field(1e-8, ge=0)
    ema: tuple[float, ...] = (0.999,)
    sample_molecules: int = Field(50, ge=0, description="held-out molecules whose ensembles are drawn at validation")
    sample_steps: int = Field(20, ge=1)
    condition: tuple[str, ...] = Field((), max_length=0)

    prior: Literal["harmonic", "isotropic"] = "harmonic"
    coupling: Literal["independent", "aligned"] = "independent"
    path_noise: float = Field(0.1, ge=0)
    loss: Literal["squared", "per_atom"] = "squared"
    orbit: Literal["rotations", "automorphisms", "both"] = "both"
    most_automorphisms: int = Field(24, ge=1)
    conformers: int = Field(1, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _no_average_of_coupled_ends(cls, values: Any) -> Any:
        if values.get("coupling") == "aligned" and values.get("target", "plain") != "plain":
            raise ValueError(
                "aligned ends have no orbit mean in closed form: a noisy cloud tells of its pose by more than "
                "its likelihood; set coupling=independent, or target=plain"
            )
        return values


class Equivariant(Ensembled):
    """Equivariant transformer: channels, layers, heads, radial functions. reflections: O(3), else SO(3), which alone
    can tell the hands of stereocentres apart. cutoff: Angstrom."""

    width: int = Field(160, ge=1)
    depth: int = Field(20, ge=1)
    heads: int = Field(8, ge=1)
    radial: int = Field(64, ge=1)
    cutoff: float = Field(10.0, gt=0)
    reflections: bool = False


class OverGraph(Ensembled):
    """Plain transformer that pairs of the graph bias, trained on molecules in random poses."""

    width: int = Field(384, ge=1)
    depth: int = Field(12, ge=1)
    heads: int = Field(6, ge=1)


class Spectral(OverGraph):
    """Plain transformer that knows the graph by eigenvectors of its Laplacian alone, on diffusion that keeps variance.

    modes: eigenvectors. rotated: whether training molecules are turned at random.
    """

    modes: int = Field(32, ge=1)
    rotated: bool = True
    prior: Literal["isotropic"] = "isotropic"
    target: Literal["plain"] = "plain"
