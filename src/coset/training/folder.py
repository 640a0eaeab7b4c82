"""A run's folder: what its files are called, who may write them, and what a killed run left half-written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from coset.recipes.registry import find_recipe
from coset.recipes.settings import Training
from coset.training.checkpoint import load_state
from coset.training.distributed import ranks

CHECKPOINT, SETTINGS, LOG, MODEL = "checkpoint.safetensors", "settings.json", "log.jsonl", "model.safetensors"
SAMPLES, METRICS, EVENTS, LOCK = "samples.npz", "metrics.json", "tensorboard", ".lock"
# Names of `save_tensors` and of `atomic_write`, for the files of a run alone.
_STALE = re.compile(r"\.(checkpoint|model|raw|settings|log|metrics|samples|nonfinite)\.[a-z]+\.[A-Za-z0-9_]+(\.tmp)?")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Inside, no other process trains in this folder; what a killed one left half-written is removed.

    Those that train together count as one. Raises FileExistsError where another process does. The lock ends with its
    process, however that ends.
    """
    with ExitStack() as held:
        ranks().first(lambda: held.enter_context(_alone(folder)))
        yield


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        if not _locked(file):
            raise FileExistsError(f"another process trains in {folder}; wait for it, or choose another --out")
        for path in folder.iterdir():
            if _STALE.fullmatch(path.name):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield


def is_busy(folder: Path) -> bool:
    """Whether a process trains in this folder now."""
    with suppress(OSError), (folder / LOCK).open("r") as file:
        return not _locked(file)
    return False


def _locked(file: IO) -> bool:
    """Takes the lock; False where another process has it. Systems and disks without locks let everybody in."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True


def read_settings(folder: Path) -> tuple[str, Training]:
    """Recipe and settings of an earlier run. Raises FileNotFoundError, and ValueError for a damaged file."""
    path = folder / SETTINGS
    if not path.is_file():
        raise FileNotFoundError(f"no run to resume at {folder}: {SETTINGS} is missing; check --out")
    try:
        about = json.loads(path.read_text())
        return about["recipe"], find_recipe(about["recipe"]).settings(**about["settings"])
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: setting {key}: got {first['input']!r}; {first['msg']}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the settings of a run ({error}); restore it, or start a new run") from None


# Settings that change how fast a run is, not what it is: a resumed run may have others.
FREE = ("compile", "recompute", "accumulate")


def check_same(checkpoint: Path, about: dict[str, Any], but: tuple[str, ...] = ()) -> None:
    """Raises ValueError naming what a checkpoint has other than this run has; settings named in `but` may differ."""
    saved = load_state(checkpoint).get("about")
    if not isinstance(saved, dict) or not {"recipe", "settings"} <= set(saved):
        raise ValueError(f"{checkpoint} is not a checkpoint of a training; expected one that coset train wrote")
    if saved["recipe"] != about["recipe"]:
        raise ValueError(f"{checkpoint} belongs to recipe {saved['recipe']}, this run is of {about['recipe']}")
    if "data" in saved and saved["data"] != about.get("data"):
        raise ValueError(
            f"the training molecules of {about['settings']['data']} are not those that {checkpoint} was trained on; "
            "restore the data set, or start a new run in another folder"
        )
    with suppress(ValidationError):  # settings that came later have their defaults
        saved["settings"] = find_recipe(about["recipe"]).settings(**saved["settings"]).model_dump(mode="json")
    found = differences(saved["settings"], about["settings"], but)
    if found:
        raise ValueError(
            f"{checkpoint} was written with other settings: {found}; resume with the settings it was written with, or "
            "start a new run in another folder"
        )


def differences(old: dict[str, Any], new: dict[str, Any], but: tuple[str, ...] = ()) -> str:
    """`key was old and is new`, for each key that differs and matters; empty where none does."""
    keys = [key for key in {**old, **new} if key not in (*but, *FREE) and old.get(key) != new.get(key)]
    return ", ".join(f"{key} was {json.dumps(old.get(key))} and is {json.dumps(new.get(key))}" for key in keys)
