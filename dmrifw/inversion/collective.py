"""Work that one rank does for all, and whose fault all ranks learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from dmrifw.errors import DmrifwError, InputError

if TYPE_CHECKING:
    from mpi4py import MPI

T = TypeVar("T")


def on_root(comm: MPI.Comm, task: Callable[[], T]) -> T:
    """Do something on rank 0 only and share what came of it.

    Args:
        comm: The ranks that take part.
        task: Called on rank 0; what it returns must pickle.

    Returns:
        What the task returned, on every rank.

    Raises:
        Exception: Whatever the task raised, on rank 0; on the others an InputError of the same content for an
            InputError, and a DmrifwError that quotes it for anything else.

    Collective.
    """
    result: T | None = None
    fault: Exception | None = None
    if comm.rank == 0:
        try:
            result = task()
        except Exception as error:  # raised again below, once the other ranks know
            fault = error
    told = vars(fault) if isinstance(fault, InputError) else fault and f"rank 0: {fault}"
    result, told = comm.bcast((result, told), root=0)
    if fault is not None:
        raise fault
    if isinstance(told, dict):
        raise InputError(**told)
    if told is not None:
        raise DmrifwError(told)
    return result
