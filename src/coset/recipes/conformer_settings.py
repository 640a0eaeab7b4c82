"""Settings of recipes for conformers: the molecule is given, its positions are drawn."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from coset.recipes.settings import Training


class Ensembled(Training):
    """Flow matching on a molecule's positions, given its graph; trained on ensembles of conformers.

    data: an .npz of ensembles, or xtb or drug-like. prior: noise at t = 1, harmonic (of springs in the place of bonds)
    or isotropic. coupling: of noise and conformers in training, independent or aligned. path_noise: of the bridge
    beside the straight paths, Angstrom. loss: the error of the velocity squared, or its distance of each atom.
    orbit: what a symmetrised target averages over beside rotations, where it does: nothing, the automorphisms of the
    graph, or those alone without rotations. most_automorphisms: of a molecule, beyond which a subgroup serves.
    conformers: of the same molecule that a target averages over, itself among them. seen_stereo: hands and E or Z that
    a training SMILES leaves open are told as its conformers have them; without, a network learns no marks from those.
    mirrored: half of the training molecules are their mirror images, told with the other hands, so that marks have to
    be read: data that hold one isomer of each graph let a network know the hand by the graph.
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
    seen_stereo: bool = True
    mirrored: bool = True

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
    """Plain transformer that pairs of the graph bias, trained on molecules in random poses.

    hands: corners of stereocentres are told where their hand would have them (`networks.hands`).
    """

    width: int = Field(384, ge=1)
    depth: int = Field(12, ge=1)
    heads: int = Field(6, ge=1)
    hands: bool = True


class Spectral(OverGraph):
    """Plain transformer that knows the graph by eigenvectors of its Laplacian alone, on diffusion that keeps variance.

    modes: eigenvectors. rotated: whether training molecules are turned at random.
    """

    modes: int = Field(32, ge=1)
    hands: Literal[False] = False
    rotated: bool = True
    prior: Literal["isotropic"] = "isotropic"
    target: Literal["plain"] = "plain"


class Reflowed(Ensembled):
    """Flow matching between noise and what a trained model makes of it, which straightens paths: few steps are enough.

    teacher: a conformer model with the same network and prior, by name or path; the student begins with its weights
    where init names no other. teacher_steps: of its deterministic chain. teacher_conformers: drawn once of each
    training molecule. only_right: those with broken bonds or clashes are left out, and those of the wrong stereo where
    the mirror image of both ends is wrong too. time_lean: training times t have density exp(time_lean t), so that more
    of them are near the noise, where few steps are decided (AvgFlow, Cao et al. 2025). network: settings that the
    teacher must share. kin: its recipes.
    """

    network: ClassVar[tuple[str, ...]]
    kin: ClassVar[tuple[str, ...]]

    teacher: str = "conformers"
    teacher_steps: int = Field(25, ge=1, le=1000)
    teacher_conformers: int = Field(10, ge=1, le=1_000_000)
    only_right: bool = True
    time_lean: float = Field(1.2, ge=-20, le=20)
    molecules: int | None = Field(1_000_000, ge=1)
    lr: float = Field(5e-4, gt=0)
    sample_steps: int = Field(4, ge=1)
    path_noise: float = Field(0.0, ge=0)
    target: Literal["plain"] = "plain"  # the two ends of a path belong together: no other could lie behind it
    coupling: Literal["independent"] = "independent"  # of the teacher's noise, before it draws
    conformers: Literal[1] = 1

    @model_validator(mode="before")
    @classmethod
    def _begins_with_its_teacher(cls, values: Any) -> Any:
        return {"init": values.get("teacher", cls.model_fields["teacher"].default), **values}


class ReflowedEquivariant(Reflowed, Equivariant):
    """The equivariant transformer, tuned for few steps."""

    network = ("prior", "width", "depth", "heads", "radial", "cutoff", "reflections")
    kin = ("etflow", "etflow_ts", "etdiff", "etdiff_ts", "etflow_reflow")


class ReflowedOverGraph(Reflowed, OverGraph):
    """The plain transformer, tuned for few steps."""

    network = ("prior", "width", "depth", "heads", "hands")
    kin = ("dit_conf", "dit_conf_ts", "dit_conf_reflow")
