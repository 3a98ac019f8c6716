"""Run under mpirun: write signals, gradients, compartment signals and fields of three cases from rank 0."""

import sys

import numpy as np
import torch
from mpi4py import MPI

from dmrifw import Protocol, Simulator
from dmrifw.mesh import from_arrays, layers
from dmrifw.propagators.held_steps import HeldSteps
from dmrifw.propagators.steps import Steps
from dmrifw.sequences import PGSE, BTensor

OPTIONS = {
    "closed": {"exterior": "permeable", "surface_relaxivity": 0.01},
    "periodic": {"periodic": True},
    "quadratic": {"degree": 2, "periodic": (False, True, False)},
}


def results(options: dict) -> dict[str, np.ndarray]:
    """A bar in a box of 32 small cubes, on fixed steps so that none depends on rounding; the same on every rank."""
    grid = layers([4.0], [4.0, 2.0], 1.0, 1.0)
    inside = (np.abs(grid.points[grid.cells].mean(axis=1)[:, :2] - 2.0) < 1.0).all(axis=1)
    grid = from_arrays(grid.points, grid.cells, inside.astype(int))
    waveforms = (PGSE(1.0, 1.5), BTensor(2.0, 0.0))
    protocol = sum(
        (Protocol.product(waveform, [1000], [[0.6, 0.0, 0.8]]) for waveform in waveforms),
        Protocol.product(waveforms[0], [0], [[1.0, 0.0, 0.0]]),
    )
    permeability = 10 ** np.random.default_rng(0).uniform(-2, 0, len(grid.faces))
    HeldSteps.of = lambda *_: Steps(3.0, 2.0)
    simulator = Simulator(
        grid,
        protocol,
        [2.0, 1.0],
        T2=[np.inf, 20.0],
        density=[1.0, 0.6],
        interfaces=grid.is_interface,
        method="full-order",
        tolerance=1e-3,
        **options,
    )
    leaf = torch.tensor(permeability, requires_grad=True)
    signal = simulator(leaf)
    (signal.abs() ** 2).sum().backward()
    found = {
        "signal": signal.detach().numpy(),
        "gradient": leaf.grad.numpy(),
        "compartments": simulator.compartment_signal(permeability),
        "magnetization": simulator.magnetization(permeability, rows=[1, 2]),
    }
    for everywhere in grid.comm.allgather(found):
        assert all(np.array_equal(everywhere[key], found[key]) for key in found)
    return found


def main(output: str) -> None:
    """All cases."""
    found = {f"{name} {key}": value for name in OPTIONS for key, value in results(OPTIONS[name]).items()}
    if MPI.COMM_WORLD.rank == 0:
        np.savez(output, ranks=MPI.COMM_WORLD.size, **found)


if __name__ == "__main__":
    main(sys.argv[1])
