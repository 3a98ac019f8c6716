"""Parts of a task by the ranks there are, and an error in one of them, told on every rank."""

import sys

import numpy as np
from mpi4py import MPI

from dmrifw.errors import DmrifwError, InputError
from dmrifw.inversion import Workers

COMM = MPI.COMM_WORLD


def share(tools: np.ndarray, number: int) -> tuple[float, int]:
    if number == 100:
        raise InputError("100 is too much", "give less", key="number")
    return float(tools.sum() * number), COMM.rank


def main() -> None:
    workers = Workers(COMM, np.arange(3.0))
    found = workers.on_root(lambda: workers.map(share, [(one,) for one in range(7)]))
    again = workers.on_root(lambda: [workers.map(share, [(one,)])[0][0] for one in range(3)])
    fault = ""
    try:
        workers.on_root(lambda: workers.map(share, [(1,), (100,), (2,)]))
    except DmrifwError as error:
        fault = str(error)
    told = COMM.gather("100 is too much" in fault)
    if COMM.rank == 0:
        values, ranks = np.array(found).T
        np.savez(sys.argv[1], values=values, ranks=ranks, again=again, told=told)


main()
