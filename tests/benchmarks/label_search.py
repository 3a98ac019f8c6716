"""Benchmark: what a label search spends its time on, beside a single-precision matrix product in the same run.

Run: ./env python tests/benchmarks/label_search.py

Signals and derivatives of a ball on the published grid, all 540 measurements of `spinverse`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from dmrifw_cell_labels.evolution import in_single, turned
from dmrifw_cell_labels.misfit import LEVELS, one_hot
from dmrifw_cell_labels.mixture import SOFT, Mixture, Walls
from dmrifw_cell_labels.partition import Partition
from dmrifw_cell_labels.sensitivity import Path
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from dmrifw.mesh import Sphere, bcc_grid, cell_labels
from dmrifw.sequences import Protocol, fibonacci_directions
from dmrifw.simulator import SignalModel


def best(task: Callable[[], object], repeats: int = 3) -> float:
    """Shortest of some runs, s: what the machine can do when nobody disturbs it."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def derivative_flop(mixture: Mixture, shares: np.ndarray, modes: int) -> tuple[int, float]:
    """Modes of all compartments together, and flop of the products that the derivatives are made of."""
    basis = mixture._basis(shares, modes, SOFT)
    turns = in_single(turned(basis))
    a, (count, vertices), pairs, total = len(basis.rates), basis.modes.shape[:2], len(mixture.elements.pairs), 0.0
    for part in mixture._parts:
        path = Path(basis, turns, part)
        n, ways = len(part.q), len(path.of_magnitudes().turned)
        steps = sum(len(interval.gradients) for interval in part.plan)
        evolved = steps * 4 * 4 * a**2 * n
        summed = (1 + ways) * 4 * a**2 * len(path._u) * n + ways * 2 * a**3 * n
        at_pairs = (2 + ways) * 2 * count * n * (vertices * a**2 + pairs * a) + count * (count - 1) * pairs * a * n
        total += evolved + summed + at_pairs
    return a, total


def main() -> None:
    """Print the table."""
    grid = bcc_grid()
    timings = ((5.0, 6.0), (10.0, 20.0), (10.0, 60.0))
    directions = fibonacci_directions(30)
    first, *others = (Protocol.shells(np.arange(6) * 1000.0, directions, delta, Delta) for delta, Delta in timings)
    protocol = sum(others, start=first)
    labels = cell_labels(grid, Sphere(10.0))
    tissue = SignalModel(grid, protocol, exterior="permeable").operators.tissue
    rows, walls, shares = np.arange(len(protocol)), Walls(0.01, 100.0, leaky=True), one_hot(labels, 2)
    square = np.random.default_rng(0).standard_normal((2000, 2000)).astype(np.float32)
    with threadpool_limits(1):
        rate = 16 / best(lambda: square @ square)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        alone = Mixture(grid, tissue, protocol, rows, walls)
        torch.set_num_threads(threads)
        mixture = Mixture(grid, tissue, protocol, rows, walls)
        partition = Partition(grid, mixture.elements, protocol, rows, walls)
        title = f"{len(rows)} measurements, {len(grid.cells)} tetrahedra (single-precision product: {rate:.0f} GFLOP/s)"
        table = Table(title=title)
        names = (
            "modes",
            "signal, ms",
            "derivatives, ms",
            f"by {threads} threads",
            "GFLOP",
            "GFLOP/s",
            "of the product",
        )
        for name in names:
            table.add_column(name, justify="right")
        for level in LEVELS:
            signal = best(lambda level=level: mixture.signal(shares, level.modes))
            one = best(lambda level=level: alone.jacobian(shares, level.modes, magnitude=True))
            more = best(lambda level=level: mixture.jacobian(shares, level.modes, magnitude=True))
            modes, flop = derivative_flop(alone, shares, level.modes)
            values = (1e3 * signal, 1e3 * one, 1e3 * more, flop / 1e9, flop / 1e9 / one)
            table.add_row(str(modes), *(f"{value:.3g}" for value in values), f"{flop / 1e9 / one / rate:.0%}")
        Console(width=110).print(table)
        key = labels.tobytes()
        seconds = best(lambda: partition._signal(key))
        modal = best(lambda: partition._basis(labels))
    print(f"signals of the partition: {1e3 * seconds:.1f} ms, of which its modes {1e3 * modal:.1f} ms")


if __name__ == "__main__":
    main()
