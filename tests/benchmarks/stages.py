"""Benchmark: where a loss and its gradient spend their time, stage by stage, beside a matrix product in the same run.

Run: ./env python tests/benchmarks/stages.py [CELLS ...] [--crisp]     (default: 4 8, which are 576 and 5376 tetrahedra)
     ./env mpirun -n 2 python tests/benchmarks/stages.py 4 8 16

Uniform permeability 1 um/ms, where modes pile up, or crisp barriers 0.01 / 100 um/ms; one sequence, 10/20 ms, 6
b-values x 30 directions, tolerance 1e-3. "first" is a simulator's first call, "next" one with every permeability 10 %
larger, on the basis held. Flop of products and solves are counted from sizes: 2 n m k for a product, 4 per entry of a
factor and right-hand side; where a stage is bound by memory, or does other work, its rate is low. The last line has the
exponent of the cost of a first call in the number of tetrahedra.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from mpi4py import MPI
from rich.console import Console
from rich.table import Table

from dmrifw import Protocol
from dmrifw.mesh import bcc_grid, shape_barrier
from dmrifw.mesh.shapes import Sphere
from dmrifw.propagators import imex, matrix_formalism
from dmrifw.propagators.factorization import Factorization
from dmrifw.propagators.modes import Modes
from dmrifw.propagators.propagator import Propagator
from dmrifw.propagators.reduced import ReducedSystem
from dmrifw.sequences import fibonacci_directions
from dmrifw.simulator import SignalModel

COMM = MPI.COMM_WORLD
Stages = dict[str, list[float]]


class Clock:
    """Times and flop by stage; a stage does not count what another does inside it."""

    def __init__(self) -> None:
        self.stages: Stages = defaultdict(lambda: [0.0, 0.0])
        self.open: list[list[float]] = []

    def watch(self, owner: Any, name: str, stage: str, flop: Callable[..., float]) -> None:
        """Count the calls of a function to a stage."""
        original = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            start, inner = time.perf_counter(), [0.0]
            self.open.append(inner)
            result = original(*arguments, **options)
            self.open.pop()
            seconds = time.perf_counter() - start
            if self.open:
                self.open[-1][0] += seconds
            self.stages[stage][0] += seconds - inner[0]
            self.stages[stage][1] += flop(result, *arguments)
            return result

        setattr(owner, name, watched)


def solve_flop(result: np.ndarray, factors: Factorization, block: np.ndarray) -> float:
    """Four per entry of the factor and column: forwards and backwards."""
    return 4.0 * factors._solver.getFactorMatrix().getMumpsInfog(29) * block.shape[1]


def steps_flop(share: float) -> Callable[..., float]:
    """72 r^2 m a step for the way there, 96 for the way back with its sums (see propagators/reduced.py)."""

    def flop(_: Any, equation: Any, first: Any, second: Any, third: Any, *rest: Any) -> float:
        if not isinstance(equation, ReducedSystem):
            return 0.0
        drive, cuts = (second, third) if share == 72 else (first, second)
        steps = sum(cut.steps for cut in cuts if not cut.still)
        return share * len(equation.rates) ** 2 * len(drive.q) * steps

    return flop


def watched() -> Clock:
    """A clock on all stages."""
    clock = Clock()
    rows = lambda modes: modes.vectors.shape[0] * COMM.size  # noqa: E731
    clock.watch(
        Factorization, "__init__", "factorization", lambda _, self, *a: self._solver.getFactorMatrix().getMumpsRinfog(3)
    )
    clock.watch(Factorization, "solve", "solves", solve_flop)
    clock.watch(
        matrix_formalism, "trial_modes", "first basis", lambda modes, *a: 8.0 * rows(modes) * len(modes.rates) ** 2
    )
    clock.watch(Modes, "enriched", "enrichment", lambda modes, *a: 8.0 * rows(modes) * len(modes.rates) ** 2)
    clock.watch(Modes, "carried", "rotation", lambda modes, *a: 8.0 * rows(modes) * len(modes.rates) ** 2)
    clock.watch(
        ReducedSystem, "__init__", "projection", lambda _, s, o, modes: 6.0 * rows(modes) * len(modes.rates) ** 2
    )
    clock.watch(imex, "evolve", "way there", steps_flop(72))
    clock.watch(imex, "pull_back", "way back", steps_flop(96))
    clock.watch(ReducedSystem, "collected", "gradient", lambda _, s, *a: 2.0 * rows(s.modes) * len(s.rates) ** 2)
    clock.watch(Propagator, "signal", "other", lambda *a: 0.0)
    return clock


def product_rate() -> float:
    """GFLOP/s of a 2000^3 product, with the threads that BLAS takes; the best of three."""
    square = np.random.default_rng(0).standard_normal((2000, 2000))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        square @ square
        seconds.append(time.perf_counter() - start)
    return 16.0 / min(seconds)


def table(title: str, stages: Stages, rate: float, console: Console) -> float:
    """Print a call's stages; its seconds."""
    out = Table(title=title)
    for name in ("stage", "s", "GFLOP", "GFLOP/s", "of the product's"):
        out.add_column(name, justify="left" if name == "stage" else "right")
    for stage, (seconds, flop) in sorted(stages.items(), key=lambda item: -item[1][0]):
        speed = flop / 1e9 / max(seconds, 1e-9)
        figures = (f"{flop / 1e9:.1f}", f"{speed:.1f}", f"{speed / rate:.0%}") if flop else ("", "", "")
        out.add_row(stage, f"{seconds:.2f}", *figures)
    total = sum(seconds for seconds, _ in stages.values())
    memory = sum(COMM.allgather(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)) / 1e6
    out.add_row("all", f"{total:.2f}", "", "", f"peak {memory:.1f} GB")
    console.print(out)
    return total


def main(cells: list[int], crisp: bool) -> None:
    """Print the tables."""
    console = Console(width=100, quiet=COMM.rank > 0)
    rate = product_rate()
    console.print(f"2000^3 product: {rate:.0f} GFLOP/s; {COMM.size} ranks")
    clock, costs = watched(), []
    protocol = Protocol.shells(np.arange(6) * 1000.0, fibonacci_directions(30), 10.0, 20.0)
    for count in cells:
        grid = bcc_grid(count, 80 / 3)
        model = SignalModel(grid, protocol, tolerance=1e-3)
        values = np.where(shape_barrier(grid, Sphere(10.0)), 0.01, 100.0) if crisp else np.ones(len(grid.faces))
        for call, factor in (("first", 1.0), ("next", 1.1)):
            clock.stages.clear()
            signal, tape = model.signal(factor * values)
            tape.pull_back(2.0 * signal)
            size = len(tape._record.system.unit)
            title = (
                f"{len(grid.cells)} tetrahedra, {model.operators.mass.rows.size_global} unknowns, {size} modes: {call}"
            )
            seconds = table(title, clock.stages, rate, console)
            if call == "first":
                costs.append((len(grid.cells), seconds))
    if len(costs) > 1:
        slope = np.polyfit(*np.log(np.array(costs)).T, 1)[0]
        console.print(f"exponent of the first call's cost in the number of tetrahedra: {slope:.2f}")


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:] if word.isdigit()] or [4, 8], "--crisp" in sys.argv)
