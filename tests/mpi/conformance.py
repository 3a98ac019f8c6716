"""Run under mpirun: every offer of the built-in plugins through the conformance kit, which compares the ranks."""

import sys

import numpy as np
from mpi4py import MPI
from plugin_cases import check, offers


def main(output: str) -> None:
    """All but the trainers, which run on one process."""
    checked = [(kind, name) for kind, name in offers() if kind != "trainer"]
    for kind, name in checked:
        check(kind, name)
    if MPI.COMM_WORLD.rank == 0:
        np.savez(output, ranks=MPI.COMM_WORLD.size, names=[name for _, name in checked])


if __name__ == "__main__":
    main(*sys.argv[1:])
