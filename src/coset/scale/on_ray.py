"""Workers on a cluster: the same files, made by actors of Ray Data, which replaces those that are lost."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

from coset.scale.job import MISTAKES, Job, Maker, Shards, in_words


def run_ray(job: Job, numbers: Sequence[int], workers: int, device: str) -> Iterator[int]:
    """Makes these files by so many actors, each with a GPU where the device is one; yields numbers as they are done.

    The cluster is that of RAY_ADDRESS or of this machine; without one, one of this machine alone is begun. Every
    machine must see the folder. Raises ValueError where Ray is missing.
    """
    ray = _ray()
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{"number": number, "items": pickle.dumps(job.part(number))} for number in numbers]
    made = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _actor(job.maker, job.shards, device), batch_size=1, num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))), num_gpus=int(device.startswith("cuda")),
    )  # fmt: skip
    for row in made.iter_rows():
        if row["error"]:
            raise ValueError(f"{job.shards.path(int(row['number'])).name}: {row['error']}")
        yield int(row["number"])


def _actor(maker: Maker, shards: Shards, device: str) -> type:
    """A worker that takes batches of one row. It carries what it needs, so that one lost can be begun anew."""

    class Actor:
        def __init__(self) -> None:
            self.make = maker.opened(device)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            number, error = int(batch["number"][0]), ""
            try:
                shards.write(number, pickle.loads(batch["items"][0]), self.make)
            except MISTAKES as mistake:
                error = in_words(mistake)
            return {"number": [number], "error": [error]}

    return Actor


def _ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError(
            "--ray needs the package ray: pip install 'coset[scale]'; on one machine --workers does without"
        ) from None
    return ray
