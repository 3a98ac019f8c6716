"""Run under mpirun: steps of Gauss-Newton and L-BFGS, which follow rank 0; all ranks must hold the same."""

import sys

import numpy as np
import torch
from mpi4py import MPI

from dmrifw import Protocol, Simulator
from dmrifw.inversion import GaussNewtonSettings, InversionProblem, LbfgsSettings, OptimizerSettings, Result, invert
from dmrifw.mesh import bcc_grid
from dmrifw.schedules import Stage


class Tissue(torch.nn.Module):
    """Logarithms of a diffusivity and of permeabilities: one of all faces, or one of each."""

    def __init__(self, faces: int, count: int) -> None:
        super().__init__()
        self.diffusivity = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.permeability = torch.nn.Parameter(torch.zeros(count, dtype=torch.float64))
        self.faces = faces

    def forward(self) -> dict[str, torch.Tensor]:
        return {
            "diffusivity": 2.0 * self.diffusivity.exp(),
            "permeability": 0.1 * self.permeability.exp().expand(self.faces),
        }


def solve(many: bool, settings: OptimizerSettings, iterations: int) -> Result:
    """Some steps towards the signals of another diffusivity and of permeabilities that differ from face to face."""
    grid = bcc_grid(cells=2, size=20)
    protocol = Protocol.shells([0, 1000, 3000], [[1, 0, 0], [0, 0.6, 0.8], [0.6, 0.8, 0]], 5, 30)
    simulator = Simulator(grid, protocol, tolerance=1e-6)
    faces = len(grid.faces)
    with torch.no_grad():
        truth = 0.1 * torch.linspace(-1.0, 1.0, faces, dtype=torch.float64).exp()
        target = simulator(permeability=truth, diffusivity=1.6).numpy()
    problem = InversionProblem(simulator, target)
    model = Tissue(faces, faces if many else 1)
    return invert(problem, model, {}, lambda iteration: Stage((1.0,)), settings, iterations)


def main(output: str) -> None:
    """Gauss-Newton by the whole Jacobian and by products alone, and L-BFGS."""
    results = {
        "few": solve(False, GaussNewtonSettings(damping=0.1), 3),
        "many": solve(True, GaussNewtonSettings(damping=0.1), 3),
        "l-bfgs": solve(True, LbfgsSettings(), 8),
    }
    found = {}
    for case, result in results.items():
        found[f"loss {case}"] = result.history.column("loss")
        found |= {f"{name} {case}": value.numpy() for name, value in result.fields.items()}
    for everywhere in MPI.COMM_WORLD.allgather(found):
        assert all(np.array_equal(everywhere[key], found[key]) for key in found)
    if MPI.COMM_WORLD.rank == 0:
        np.savez(output, ranks=MPI.COMM_WORLD.size, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
