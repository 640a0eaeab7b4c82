"""Files of models: weights in safetensors with their card, written and read, and those that come with the package."""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

import coset
from coset.diffusion import Diffusion
from coset.networks.precision import set_trunk_precision
from coset.training.checkpoint import load_tensors, save_tensors, write_json
from coset.training.state import load_parameters

WEIGHTS = Path(__file__).parent / "weights"
SUFFIX = ".safetensors"
CONFORMERS = "conformers"  # what a card's `draws` says of models that are given a molecule's graph


def save_model(diffusion: Diffusion, card: dict[str, Any], path: str | Path, dtype: torch.dtype) -> None:
    """Writes PATH.safetensors, and beside it PATH.json: the card, with the SHA-256 of the weights."""
    stem = str(path).removesuffix(SUFFIX)  # and not Path.with_suffix, which would cut a name such as run.v2
    weights, beside = Path(stem + SUFFIX), Path(stem + ".json")
    tensors = {name: p.detach().to(dtype).cpu() for name, p in diffusion.named_parameters()}
    save_tensors(weights, tensors, {"card": card})
    with weights.open("rb") as file:
        write_json(beside, {**card, "sha256": hashlib.file_digest(file, "sha256").hexdigest()})


def list_models() -> dict[str, dict[str, Any]]:
    """Cards of the packaged models by name. Raises ValueError naming a card that is no JSON object."""
    return {path.stem: read_card(path) for path in sorted(WEIGHTS.glob("*.json"))}


def read_model(name_or_path: str | Path) -> tuple[dict[str, Any], dict[str, torch.Tensor], Path]:
    """Card and weights of any model by its name or path, and its path. Raises as `load` does."""
    path = _find(str(name_or_path))
    tensors, state = load_tensors(path)
    if not isinstance(state, dict) or "card" not in state:
        raise ValueError(f"{path} is a training checkpoint, not a model; load the model.safetensors of its folder")
    return state["card"], tensors, path


def fill(diffusion: Diffusion, tensors: dict[str, torch.Tensor], path: Path, device: str) -> Diffusion:
    """The diffusion with these weights, on the device. Raises ValueError for those that do not fit or are infinite."""
    load_parameters(diffusion, tensors, path)
    for name, parameter in diffusion.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ValueError(f"{path}: the weights {name} hold NaN or infinity; train again or load other weights")
    set_trunk_precision(diffusion, "bf16" if device.startswith("cuda") else "fp32")
    return diffusion.eval().to(device)


def unfit(path: Path, card: Any, error: Exception) -> ValueError:
    """For a card that nothing can be built from."""
    version = card.get("version") if isinstance(card, dict) else None
    return ValueError(
        f"{path}: its card does not fit ({_reason(error)}); it was written by coset {version or '?'}, this is "
        f"{coset.__version__}"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def read_card(path: Path) -> dict[str, Any]:
    """A card's values. Raises ValueError for a file that is not whole."""
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"the card {path} is not whole JSON ({error}); copy it again with its weights") from None
    if not isinstance(card, dict):
        raise ValueError(f"the card {path} is no JSON object; copy it again with its weights")
    return card


def _find(name: str) -> Path:
    packaged = WEIGHTS / f"{name}{SUFFIX}"
    path = Path(name)
    if packaged.is_file() and not path.exists():
        return packaged
    if path.is_dir():
        path = path / f"model{SUFFIX}"
    if not path.is_file():
        names = [weights.stem for weights in sorted(WEIGHTS.glob(f"*{SUFFIX}"))]
        close = difflib.get_close_matches(name, names, 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise FileNotFoundError(
            f"no model {name!r}{hint}: not a file, not a run's folder, and not packaged ({', '.join(names) or 'none'})"
        )
    return path
