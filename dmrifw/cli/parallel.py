"""Command lines under mpirun: one voice, one exit status, and errors that no rank keeps to itself."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from dmrifw.errors import InputError

T = TypeVar("T")

_RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK")
"""Where launchers tell a process its rank before it starts MPI."""

PATIENCE_SECONDS = 10.0
"""Seconds that a rank which failed waits for the others to fail too, before it ends them."""


def world() -> Any:
    """The world communicator. Starts MPI on first use. Local."""
    from mpi4py import MPI

    return MPI.COMM_WORLD


def is_first() -> bool:
    """Whether this process is the one that speaks: rank 0, asked of MPI only where MPI already runs. Local."""
    if "mpi4py.MPI" in sys.modules:
        return bool(world().rank == 0)
    return not _is_launched() or next(os.environ[name] for name in _RANK_VARIABLES if name in os.environ) == "0"


def _is_launched() -> bool:
    """Whether mpirun, or one of its kind, started this process."""
    return any(name in os.environ for name in _RANK_VARIABLES)


def together(work: Callable[[], T]) -> T:
    """What `work` returns, or on every rank the first rank's InputError when it raised one on any.

    For work that is the same on all ranks and communicates with none, such as reading files: one rank may see a file
    that another does not.

    Collective.
    """
    fault: InputError | None = None
    try:
        result = work()
    except InputError as error:
        fault = error
    faults = [fault for fault in world().allgather(fault) if fault is not None]
    if faults:
        raise fault or faults[0]
    return result


def settle(status: int, message: str = "") -> int:
    """Agree on the exit status of the job, the largest of all ranks, and tell on stderr why it is not 0.

    The first rank with that status speaks, alone. A rank that failed waits a while for the others, since most errors
    reach every rank. If they do not come, they are inside a collective call that this rank will never join: then it
    speaks for itself and aborts the job.

    Collective, as far as the ranks come.
    """
    if _is_launched():
        open_exit_channel()  # a rank that left early would have the launcher end the others before they speak
    if not _channel:
        if status:
            _say(message)
        return status
    import numpy as np

    comm = _channel[-1]
    everyone = np.zeros(comm.size, dtype=np.int64)
    request = comm.Iallgather(np.array([status], dtype=np.int64), everyone)
    deadline = time.monotonic() + PATIENCE_SECONDS if status else float("inf")
    while not request.Test():
        if time.monotonic() > deadline:
            _say(f"rank {comm.rank}: {message}")
            comm.Abort(status)
        time.sleep(0.01)
    worst = int(everyone.max())
    if worst and comm.rank == int(everyone.argmax()):
        _say(message)
    return worst


def _say(message: str) -> None:
    print("dmrifw:", " ".join(message.split()), file=sys.stderr, flush=True)


def open_exit_channel() -> None:
    """Start MPI, and make the communicator on which `settle` meets, apart from all traffic of the work. Collective."""
    if world().size > 1 and not _channel:
        _channel.append(world().Dup())


_channel: list[Any] = []
