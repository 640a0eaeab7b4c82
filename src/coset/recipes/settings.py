"""Settings of recipes: pydantic models that refuse unknown keys. They are read here and end here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Training(BaseModel):
    """How a recipe is trained. A run ends at `molecules` seen or after `minutes`, whichever is set or comes first.

    init: a trained model, by name or path, whose network the run begins with as far as it fits (fine-tuning).
    batch: molecules a batch; tokens, where set, is a budget of padded atoms in its place, pairs one of padded pairs of
    atoms beside either. recompute: activations of the networks' layers are made again in the backward pass, so that
    larger molecules fit. accumulate: parts that a batch is worked through in, for the same gradient. warmup: optimiser
    steps of linear rise. decay: the last share of the run over which the rate falls linearly to zero. clip: "queue" is
    EDM's rule (1.5 mean + 2 std of the last 50 norms), a number a plain norm, null none. ema: decays kept side by side.
    keep: the model of the last validation, or of the best so far (lowest loss, and for autoencoders lowest error of
    positions too). optimiser: AdamW, or Muon for the matrices of hidden layers beside it; lr and weight_decay serve
    both.
    condition: what the model is told of a molecule: composition, pattern or morgan (fingerprints), properties by name;
    of a share condition_dropout nothing, of the others some of these. condition_width: hidden units of the embedding
    that every atom's token hears them by.
    target: the clean cloud, or its mean over the poses that may lie behind the noisy one: exact, or by `target_draws`
    Haar draws (haar), the true pose among them and softened (released). target_group: rotations, with reflections o3.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = "qm9"
    init: str = ""
    seed: int = 0
    molecules: int | None = Field(300_000_000, ge=1)
    minutes: float | None = Field(None, gt=0)
    batch: int = Field(64, ge=1)
    tokens: int | None = Field(None, ge=1)
    pairs: int | None = Field(None, ge=1)
    recompute: bool = False
    accumulate: int = Field(1, ge=1)
    optimiser: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(1e-4, gt=0)
    beta2: float = Field(0.999, gt=0, lt=1)
    weight_decay: float = Field(1e-12, ge=0)
    amsgrad: bool = True
    warmup: int = Field(0, ge=0)
    decay: float = Field(0.0, ge=0, le=1)
    clip: float | Literal["queue"] | None = "queue"
    ema: tuple[float, ...] = (0.9999,)
    keep: Literal["last", "best"] = "last"
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    condition: tuple[str, ...] = ()
    condition_dropout: float = Field(0.1, ge=0, le=1)
    condition_width: int = Field(128, ge=1)
    target: Literal["plain", "exact", "haar", "released"] = "plain"
    target_group: Literal["so3", "o3"] = "so3"
    target_draws: int = Field(64, ge=1)
    validate_every: int = Field(1_000_000, ge=1, description="molecules seen between validations")
    validate_molecules: int = Field(2_000, ge=1)
    sample_molecules: int = Field(100, ge=0, description="molecules drawn at each validation; 0 for none")
    sample_steps: int = Field(100, ge=1)
    yardstick_molecules: int = Field(0, ge=0, description="held-out molecules denoised at each validation; 0 for none")
    checkpoint_minutes: float = Field(5.0, gt=0)


class Scheduled(Training):
    """Recipes with the published loss: noise of a schedule, squared error of what the network predicts.

    charge: whether the nuclear charge is a channel of its own beside the types, as published for QM9.
    schedule, predict: noise levels and what the network predicts (the noise is the score times -sigma, so that its loss
    is score matching); the linear schedule (flow matching) needs velocity. padded_loss: divided by the batch's padded
    length, as published. times: uniform on [0, 1], or EDM's integer grid; time_power above 1 spends more of them at low
    noise.
    """

    charge: bool = True
    schedule: Literal["polynomial", "cosine", "linear", "exploding"] = "polynomial"
    predict: Literal["noise", "velocity"] = "noise"
    padded_loss: bool = False
    times: Literal["uniform", "grid"] = "uniform"
    time_power: float = Field(1.0, gt=0)


class MessagePassing(Scheduled):
    """EGNN and GNN recipes."""

    width: int = Field(256, ge=1)
    depth: int = Field(9, ge=1)


class Vectorial(Scheduled):
    """Recipes with a network of scalar and vector channels: both widths, that of pairs, number of layers."""

    width: int = Field(256, ge=1)
    vector_width: int = Field(256, ge=1)
    edge_width: int = Field(64, ge=1)
    depth: int = Field(5, ge=1)


class Plain(Scheduled):
    """Transformer recipes; the published training of SymDiff. free_noise: on all of space, not on centred clouds."""

    free_noise: bool = False

    batch: int = Field(256, ge=1)
    molecules: int | None = Field(435_000_000, ge=1)
    clip: float | Literal["queue"] | None = 2.0
    width: int = Field(384, ge=1)
    depth: int = Field(12, ge=1)
    heads: int = Field(6, ge=1)
    kernels: int = Field(184, ge=1)


class Haar(Plain):
    """Transformers symmetrised by random poses. reflections: O(3), else SO(3). draws: poses averaged a call."""

    reflections: bool = True
    draws: int = Field(1, ge=1)


class Canonical(Plain):
    """Transformers in a canonical pose that a small equivariant network finds."""

    reflections: bool = False
    pose_width: int = Field(64, ge=1)
    pose_depth: int = Field(2, ge=1)


class Principal(Plain):
    """Transformers in the molecule's principal axes."""

    reflections: bool = False


class Recursive(Haar):
    """Transformers symmetrised by learned poses. freeze_backbone: train the pose's network alone (with `init`)."""

    freeze_backbone: bool = False

    pose_width: int = Field(128, ge=1)
    pose_depth: int = Field(8, ge=1)
    pose_heads: int = Field(4, ge=1)
    pose_kernels: int = Field(184, ge=1)
    pose_noise: int = Field(3, ge=1)


class Composite(Training):
    """The `coset` recipes' process and loss; the defaults of their training.

    sigma_min, sigma_max: noise at both ends of the variance-exploding process, Angstrom. spread: deviation of the
    positions of the data, which the preconditioning assumes. noise_median, noise_deviation: of the log-normal noise
    levels in training, noise_share of them log-uniform on [noise_low, noise_high] in its place. type_scale: of the
    one-hot types; smaller decides them later. position_weight, distance_weight, type_weight: of the loss's terms, 0 for
    none; distance_reach: Angstrom over which the weight of a pair falls by e. self_conditioning: the network sees its
    estimate of the step before.
    """

    batch: int = Field(128, ge=1)
    molecules: int | None = Field(30_000_000, ge=1)
    lr: float = Field(2e-3, gt=0)
    beta2: float = Field(0.99, gt=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    amsgrad: bool = False
    warmup: int = Field(500, ge=0)
    decay: float = Field(0.4, ge=0, le=1)
    clip: float | Literal["queue"] | None = 1.0
    ema: tuple[float, ...] = (0.999, 0.9995, 0.9999)
    target_group: Literal["so3", "o3"] = "o3"

    sigma_min: float = Field(0.003, gt=0)
    sigma_max: float = Field(30.0, gt=0)
    spread: float = Field(1.4, gt=0)
    noise_median: float = Field(0.3, gt=0)
    noise_deviation: float = Field(1.2, gt=0)
    noise_share: float = Field(0.0, ge=0, le=1)
    noise_low: float = Field(0.003, gt=0)
    noise_high: float = Field(0.3, gt=0)
    type_scale: float = Field(0.25, gt=0)
    position_weight: float = Field(1.0, ge=0)
    distance_weight: float = Field(0.0, ge=0)
    distance_reach: float = Field(1.0, gt=0)
    type_weight: float = Field(0.2, ge=0)
    self_conditioning: bool = True


class Paired(Composite):
    """Pairformer: width, depth and heads of its tokens; pair features, hidden units of a move, stages of moves.

    At most `depth` stages are made. bond_weight: of a head that learns the bonds of the distance rule beside the rest
    (QM9's elements alone); a model trained with it has bonds used in training, and is listed so.
    """

    width: int = Field(192, ge=1)
    depth: int = Field(6, ge=1)
    heads: int = Field(6, ge=1)
    pair: int = Field(64, ge=1)
    move: int = Field(128, ge=1)
    stages: int = Field(3, ge=1)
    bond_weight: float = Field(0.0, ge=0)


class Student(Paired):
    """`coset` tuned for few steps. gap_first, gap_last: the share of the noise between the two times that are compared,
    at the start and at the end of training, counted in batches of `batch`. The network must be that of the model it
    begins with (init).
    """

    init: str = "qm9"
    molecules: int | None = Field(1_000_000, ge=1)
    lr: float = Field(5e-4, gt=0)
    target: Literal["plain"] = "plain"  # the target is the model's own estimate
    tokens: None = None  # the gap narrows by batches, whose number must be known
    bond_weight: float = Field(0.0, ge=0, le=0)
    distance_weight: float = Field(1.0, ge=0)
    noise_median: float = Field(1.0, gt=0)
    noise_deviation: float = Field(2.0, gt=0)
    gap_first: float = Field(0.5, gt=0, lt=1)
    gap_last: float = Field(0.05, gt=0, lt=1)
    sample_steps: int = Field(3, ge=1)


class Unpaired(Composite):
    """A plain transformer in the Pairformer's place, trained on molecules in random poses."""

    width: int = Field(192, ge=1)
    depth: int = Field(8, ge=1)
    heads: int = Field(6, ge=1)
    kernels: int = Field(96, ge=1)


class Drifting(Training):
    """END's recipes; its published training. Both networks have these widths.

    step: of sampling, renewal (exact marginals at every size) or euler (Euler-Maruyama, as published: below some
    hundred steps it amplifies noise). growth: of the learned scales, pinned (a power of a softplus) or exponential.
    by_atoms: the loss is a mean over atoms, as published, not over molecules. curvature: weight of the paths' squared
    second derivative, 0 for none.
    """

    target: Literal["plain"] = "plain"  # averaging the clean cloud is not averaging this process's target
    molecules: int | None = Field(100_000_000, ge=1)
    lr: float = Field(2e-4, gt=0)
    warmup: int = Field(100, ge=0)
    clip: float | Literal["queue"] | None = 1.0
    ema: tuple[float, ...] = (0.999,)

    width: int = Field(256, ge=1)
    vector_width: int = Field(256, ge=1)
    edge_width: int = Field(64, ge=1)
    depth: int = Field(5, ge=1)
    step: Literal["renewal", "euler"] = "renewal"
    growth: Literal["pinned", "exponential"] = "pinned"
    by_atoms: bool = False
    curvature: float = Field(0.0, ge=0)


class Posed(Drifting):
    """END's noising with plain transformers in the place of its networks, both in poses.

    pose_width, pose_depth: of the networks that find them, the noising's (equivariant) and the denoiser's (SymDiff's).
    """

    width: int = Field(192, ge=1)
    depth: int = Field(6, ge=1)
    heads: int = Field(6, ge=1)
    kernels: int = Field(96, ge=1)
    pose_width: int = Field(64, ge=1)
    pose_depth: int = Field(3, ge=1)
    pose_heads: int = Field(4, ge=1)
    pose_kernels: int = Field(32, ge=1)


def parse_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """`key=value` pairs; a value is JSON where it parses as such (3, 1e-4, true, null, [0.999]), else text.

    Words in brackets need no quotes: [composition,pattern].
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"--set expects key=value; got {pair!r}")
        settings[key.strip()] = _value(text)
    return settings


def _value(text: str) -> Any:
    with suppress(json.JSONDecodeError):
        return json.loads(text)
    words = text.strip()
    if words.startswith("[") and words.endswith("]"):
        return [word.strip() for word in words[1:-1].split(",")]
    return text
