"""Training in several processes: what they share out, what they tell each other, and who writes.

Each step's batch is the one that a single process would train on, and so are its noise and its gradient: the processes
take turns among its molecules and add their gradients up. So nothing of a run depends on how many there are.
Gradients are summed by one call after the backward pass rather than by torch's `DistributedDataParallel`, whose mean
over processes takes shares to be equal and every parameter to be used: a share may be empty here, and a network may
look at an estimate that only some molecules have. What overlapping the two would hide is small for networks of
1 to 135 million parameters (540 MB, 2 ms between GPUs of one machine).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

T = TypeVar("T")
PATIENCE = timedelta(days=1)  # of processes that wait while the first one validates
FAILED = 2  # exit code of those that another one speaks for
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # as torchrun sets them
LOST = "another process of this training ended; go on from the last checkpoint with --resume"


class Elsewhere(RuntimeError):
    """Something went wrong in another process of the training, which tells it."""


class Lost(ConnectionError):
    """Another process of the training is gone."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a training as one of them sees them; a single one by default.

    rank: its number; the first one, 0, writes and speaks. count: of all. Every call but `share` is to be made by all of
    them, and raises an error of one on all: itself there, `Elsewhere` on the others.
    """

    rank: int = 0
    count: int = 1
    talk: Any = None  # the group in which they speak by way of the host, whatever their gradients are on

    def share(self, part: int, parts: int) -> slice:
        """Which molecules of a batch are a part of this process's share; as batches are sorted, all get like sizes."""
        return slice(self.rank + self.count * part, None, self.count * parts)

    def agree(self, clock: float, stop: bool) -> tuple[float, bool]:
        """The first process's clock, and whether any is to stop: all that a loop decides by, beside its counters."""
        if self.count == 1:
            return clock, stop
        told = torch.tensor([clock if self.rank == 0 else 0.0, float(stop)], dtype=torch.float64)
        with _heard():
            dist.all_reduce(told, group=self.talk)
        return float(told[0]), bool(told[1])

    def first(self, work: Callable[[], T]) -> T | None:
        """What work gives, done by the first process alone while the others wait; None there."""
        if self.count == 1:
            return work()
        return self._told(lambda: work() if self.rank == 0 else None)

    def in_turn(self, work: Callable[[], T]) -> T:
        """What work gives, by the first process before the others, which find what it made."""
        found = self.first(work)
        if self.count == 1:
            return found  # type: ignore[return-value]
        return self._told(lambda: found if self.rank == 0 else work())  # type: ignore[return-value]

    def summed(self, work: Callable[[], Tensor], parameters: Sequence[nn.Parameter]) -> tuple[Tensor, Tensor]:
        """What work gives, losses of this process's share, and their sum over all processes; so are the gradients.

        A parameter that has a gradient nowhere has none afterwards.
        """
        if self.count == 1:
            losses = work()
            return losses, losses.sum()
        error, losses = _caught(work)
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        like = trained[0]
        known = [float(parameter.grad is not None) for parameter in trained]
        tail = torch.tensor([*known, float(error is not None)], device=like.device)
        total = like.new_zeros(1) if losses is None else losses.sum().reshape(1).to(like)
        grads = [p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in trained]
        flat = torch.cat([*grads, tail, total])
        with _heard():
            dist.all_reduce(flat)
        *there, failed = flat[-len(tail) - 1 : -1].tolist()
        if failed:
            self._told(lambda: _raised(error))
        at = 0
        for parameter, has in zip(trained, there, strict=True):
            parameter.grad = flat[at : at + parameter.numel()].view_as(parameter) if has else None
            at += parameter.numel()
        assert losses is not None
        return losses, flat[-1]

    def joined(self, losses: Tensor) -> Tensor:
        """Losses of all molecules of a batch, in its order, from those of each process's whole share."""
        if self.count == 1:
            return losses
        found = self._gathered(losses.cpu())
        joined = torch.empty(sum(map(len, found)), dtype=losses.dtype)
        for rank, each in enumerate(found):
            joined[rank :: self.count] = each
        return joined

    def check_alike(self, what: Any) -> None:
        """Raises ValueError where processes begin from different states."""
        if self.count > 1 and len(set(self._gathered(what))) > 1:
            raise ValueError(
                "the processes of this training begin with different weights or steps; let all machines see the same "
                "folders of runs and data, and the same version of coset"
            )

    def _gathered(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.count
        with _heard():
            dist.all_gather_object(found, value, group=self.talk)
        return found

    def _told(self, work: Callable[[], T]) -> T:
        error, value = _caught(work)
        errors = [each for each in self._gathered(None if error is None else _in_words(error)) if each]
        if error is not None:
            raise error
        if errors:
            raise Elsewhere(errors[0])
        return value  # type: ignore[return-value]


_now = Ranks()


def ranks() -> Ranks:
    """Those of the training that this process is in."""
    return _now


def launched() -> bool:
    """Whether torchrun, or what sets the same variables, started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and all(name in os.environ for name in VARIABLES)


def restarted() -> bool:
    """Whether torchrun started the processes again after one was lost (`--max-restarts`)."""
    return launched() and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


@contextmanager
def together(device: str) -> Iterator[str]:
    """Inside, `ranks` are those that torchrun started, with gradients summed between them; yields this one's device.

    Without torchrun nothing changes. However many processes end by errors, one of them raises its own, to be told, and
    the others raise SystemExit. Raises ValueError for more processes on a machine than it has GPUs.
    """
    global _now
    if not launched() or _now.count > 1:
        yield device
        return
    shared, rank, count = next(rendezvous("env://"))
    # What those before a restart left in torchrun's store is not for these.
    store = PrefixStore(f"coset/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", shared)
    backend = "nccl" if device.startswith("cuda") else "gloo"
    try:
        with _heard():
            if backend == "nccl":
                device = _own_gpu()
            dist.init_process_group(backend, store=PrefixStore("group", store), rank=rank, world_size=count)
            _now = Ranks(rank, count, dist.new_group(backend="gloo", timeout=PATIENCE))
        yield device
    except Elsewhere:
        raise SystemExit(FAILED) from None
    except (Exception, KeyboardInterrupt) as error:
        if _spoken_for(store, error):
            raise SystemExit(FAILED) from None
        raise
    else:  # after an error others may still wait in a call that is never made
        dist.destroy_process_group()
    finally:
        _now = Ranks()


def _own_gpu() -> str:
    local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= there:
        raise ValueError(f"more processes were started on this machine than it has GPUs; give --nproc-per-node {there}")
    torch.cuda.set_device(local)
    return f"cuda:{local}"


def _spoken_for(store: Store, error: BaseException) -> bool:
    """Whether another process has told why all of them end; else this one is to."""
    try:
        return store.add("told", 1) > 1
    except RuntimeError:  # without torchrun the first process keeps the store, and takes it along when it has spoken
        return not isinstance(error, Lost)


def _caught(work: Callable[[], T]) -> tuple[Exception | None, T | None]:
    try:
        return None, work()
    except Exception as error:
        return error, None


def _raised(error: Exception | None) -> None:
    if error is not None:
        raise error


def _in_words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _heard() -> Iterator[None]:
    """Inside, what torch says where another process is gone is one sentence."""
    try:
        yield
    except RuntimeError as error:
        raise Lost(LOST) from error
