"""No run fails on an inverted element: python tests/benchmarks/random_starts.py [COUNT].

Short inversions of a bent, twisted cell from random latents of the joint model, far outside of what it was trained on,
with large steps, by Gauss-Newton and Adam in turn. A line for each run: its smallest scaled Jacobian on the way, steps
that were tried, and the loss.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np
import torch
from dmrifw_spectral_latent import FAMILIES, LatentShape, ScaledJacobian, Template, smallest_scaled_jacobian

from dmrifw import Protocol, Simulator
from dmrifw.inversion import AdamSettings, GaussNewtonSettings, InversionProblem, OptimizerSettings, Result, invert
from dmrifw.parametrizations import Setting
from dmrifw.schedules import Stage
from dmrifw.sequences import PGSE, fibonacci_directions

COUNT = 50
JITTER = 2.0
"""Of the start; 1 is a standard deviation of the training shapes."""

ITERATIONS = 4
OPTIMIZERS: tuple[OptimizerSettings, ...] = (GaussNewtonSettings(damping=1e-6), AdamSettings(learning_rate=1.0))


def make_problem() -> InversionProblem:
    """A target of a few measurements."""
    template = Template.shipped()
    grid, protocol = template.grid(), Protocol.product(PGSE(5, 25), [0, 2000, 6000], fibonacci_directions(6))
    closed = np.zeros(len(grid.faces), dtype=bool)
    simulator = Simulator(grid, protocol, interfaces=closed, tolerance=1e-2, method="matrix-formalism")
    truth = FAMILIES["bending"].shape(template, torch.tensor([0.1, 0.2], dtype=torch.float64))
    with torch.no_grad():
        return InversionProblem(simulator, simulator(points=truth).numpy())


def solve(problem: InversionProblem, seed: int) -> Result:
    """One short run; its history tells the `smallest_scaled_jacobian` of each iteration."""
    grid, protocol = problem.simulator.grid, problem.simulator.protocol
    setting = Setting(grid, protocol, seed=seed)
    shape = LatentShape(setting, model="joint", jitter=JITTER, size=True)

    def watch(fields: Mapping[str, torch.Tensor]) -> dict[str, float]:
        return {"smallest_scaled_jacobian": smallest_scaled_jacobian(fields["points"], grid.cells)}

    return invert(
        problem,
        shape,
        {"scaled-jacobian": ScaledJacobian(setting)},
        lambda iteration: Stage((1.0,)),
        OPTIMIZERS[seed % len(OPTIMIZERS)],
        ITERATIONS,
        diagnostics=watch,
    )


def worst(problem: InversionProblem, result: Result) -> float:
    """The smallest scaled Jacobian of a run, its last shape included."""
    last = smallest_scaled_jacobian(result.fields["points"], problem.simulator.grid.cells)
    return min(last, float(result.history.column("smallest_scaled_jacobian").min()))


def main(count: int) -> None:
    """Measure, and count."""
    problem, smallest = make_problem(), []
    for seed in range(count):
        result = solve(problem, seed)
        smallest.append(worst(problem, result))
        tried = np.nan_to_num(result.history.column("trials"), nan=1.0).sum()
        print(
            f"seed {seed}: smallest scaled Jacobian {smallest[-1]:.4f}, {tried:.0f} steps tried, "
            f"loss {result.loss_initial:.3g} -> {result.loss_final:.3g}",
            flush=True,
        )
    inverted = sum(one <= 0 for one in smallest)
    print(f"{count} runs, {inverted} with an inverted element; the worst scaled Jacobian is {min(smallest):.4f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT)
