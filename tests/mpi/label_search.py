"""Some iterations of a label search by the ranks there are, each of which must end in the same state."""

import sys

import numpy as np
from dmrifw_cell_labels import CellLabels, LabelSearchSettings
from mpi4py import MPI

from dmrifw import mesh
from dmrifw.bridge import Simulator
from dmrifw.inversion import InversionProblem
from dmrifw.inversion.optimizer import Objective
from dmrifw.parametrizations import Setting
from dmrifw.schedules import Stage
from dmrifw.sequences import Protocol, fibonacci_directions

COMM = MPI.COMM_WORLD
ITERATIONS = 9


def main() -> None:
    grid = mesh.bcc_grid(2, 13.4)
    protocol = Protocol.shells([0.0, 2000.0, 5000.0], fibonacci_directions(9), 10.0, 20.0)
    target = np.load(sys.argv[2])["target"]  # the same to the last digit, whoever simulated it
    problem = InversionProblem(Simulator(grid, protocol, exterior="permeable"), target)
    objective = Objective(problem, CellLabels(Setting(grid, protocol, "permeable")), {})
    search = LabelSearchSettings(descent=3).start(objective)
    losses, stage = [], Stage((1.0,))
    for iteration in range(ITERATIONS):
        losses.append(search.look(iteration, stage).loss)
        search.move()
    states = COMM.gather((vars(search.state), search.converged, objective.parametrization.labels.tobytes()))
    if states is not None:
        first = states[0]
        alike = all(
            converged == first[1]
            and labels == first[2]
            and all(np.array_equal(one, first[0][name]) for name, one in state.items())
            for state, converged, labels in states
        )
        np.savez(sys.argv[1], losses=losses, best=search.state.best, error=search.state.error, alike=alike)


main()
