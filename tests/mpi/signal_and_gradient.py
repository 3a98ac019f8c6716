"""Run under mpirun: write one signal, its gradient and its homogenized ADC, in the caller's numbering, from rank 0."""

import sys

import numpy as np
import torch

from dmrifw import Protocol, Simulator
from dmrifw.mesh import bcc_grid
from dmrifw.propagators import homogenized_adc
from dmrifw.sequences import fibonacci_directions


def main(output: str, exterior: str) -> None:
    """Signal and gradient of a random permeability at tolerance 1e-8 on 48 tetrahedra.

    With `exterior` = "walls" the exterior reflects and the field jumps only between two halves of the grid.
    """
    grid = bcc_grid(cells=2, size=40 / 3)
    protocol = Protocol.shells([0, 1000, 3000], fibonacci_directions(3), 5.0, 8.0)
    permeability = 10 ** np.random.default_rng(0).uniform(-2, 1, len(grid.faces))
    leaf = torch.tensor(permeability, requires_grad=True)
    left = grid.points[grid.cells][:, :, 0].mean(axis=1) < 0
    walls = grid.boundary_faces(left) & ~grid.is_exterior
    space = {"interfaces": walls} if exterior == "walls" else {"exterior": exterior}
    simulator = Simulator(grid, protocol, tolerance=1e-8, **space)
    signal = simulator(leaf)
    (signal.abs() ** 2).sum().backward()
    everywhere = grid.comm.allgather((signal.detach().numpy(), leaf.grad.numpy()))
    assert all(np.array_equal(s, everywhere[0][0]) and np.array_equal(g, everywhere[0][1]) for s, g in everywhere)
    adc = np.zeros(0) if exterior == "permeable" else homogenized_adc(simulator.operators, protocol, permeability)
    if grid.comm.rank == 0:
        np.savez(output, adc=adc, signal=everywhere[0][0], gradient=everywhere[0][1], ranks=grid.comm.size)


if __name__ == "__main__":
    main(*sys.argv[1:])
