"""What to tell when a loss or a gradient is not finite: where, for which molecules, and what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from coset.training.checkpoint import write_json
from coset.training.distributed import ranks
from coset.training.state import State, last_good

if TYPE_CHECKING:
    from coset.training.loop import Run

NAMED = 16  # molecules in the message; all of them are in the file
FILE = "nonfinite.json"


def tell_nonfinite(run: Run, state: State, rows: Int[NDArray, "b"], losses: Float[Tensor, "b"], norm: float) -> str:
    """One sentence; FILE in the run's folder holds each molecule's loss.

    It names the molecules whose own loss is not finite, or the whole batch if there are none such.
    """
    ids = run.rows.ids[rows].tolist()
    finite = losses.isfinite().tolist()
    bad = [i for i, good in zip(ids, finite, strict=True) if not good] or ids
    loss, step = losses.mean().item(), state.counters.step
    path = run.checkpoint.with_name(FILE)
    batch = [[i, str(value)] for i, value in zip(ids, losses.tolist(), strict=True)]
    told = {"step": step, "loss": str(loss), "gradient_norm": str(norm), "molecules": batch}
    ranks().first(lambda: write_json(path, told))
    named = ", ".join(map(str, bad[:NAMED])) + (f" and {len(bad) - NAMED} more" if len(bad) > NAMED else "")
    return (
        f"training broke at step {step}: loss {loss}, gradient norm {norm}, molecules {named} (all in {path}); "
        f"{last_good(state, run.checkpoint)}; resuming would repeat the step, so start a new run with a lower lr "
        "or with clip set"
    )
