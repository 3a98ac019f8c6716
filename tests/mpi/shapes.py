"""Run under mpirun: a shape from its signals, by Gauss-Newton from two starts; all ranks must hold the same."""

import sys

import numpy as np
import torch
from dmrifw_spectral_latent import FAMILIES, FamilyShape, ScaledJacobian, Template
from mpi4py import MPI

from dmrifw import Protocol, Simulator
from dmrifw.inversion import GaussNewtonSettings, InversionProblem, Restarts, invert
from dmrifw.parametrizations import Setting
from dmrifw.schedules import Stage


def main(output: str) -> None:
    """Two starts of two steps each."""
    template = Template.shipped()
    grid = template.grid()
    protocol = Protocol.shells([0, 3000], [[1, 0, 0], [0, 0.6, 0.8], [0.6, 0.8, 0]], 5, 25)
    closed = np.zeros(len(grid.faces), dtype=bool)
    simulator = Simulator(grid, protocol, interfaces=closed, tolerance=1e-4, method="matrix-formalism")
    truth = FAMILIES["bending"].shape(template, torch.tensor([0.1, 0.2], dtype=torch.float64))
    with torch.no_grad():
        target = simulator(points=truth).numpy()
    setting = Setting(grid, protocol)
    result = invert(
        InversionProblem(simulator, target),
        FamilyShape(setting, family="bending", rotation=False),
        {"scaled-jacobian": ScaledJacobian(setting)},
        lambda iteration: Stage((1.0,)),
        GaussNewtonSettings(),
        2,
        restarts=Restarts(count=1, enough=1e-9),
    )
    found = {"loss": result.history.column("loss"), "starts": result.history.column("start")}
    found |= {"points": result.fields["points"].numpy(), "start": np.array(result.start)}
    for everywhere in MPI.COMM_WORLD.allgather(found):
        assert all(np.array_equal(everywhere[key], found[key]) for key in found)
    if MPI.COMM_WORLD.rank == 0:
        np.savez(output, ranks=MPI.COMM_WORLD.size, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
