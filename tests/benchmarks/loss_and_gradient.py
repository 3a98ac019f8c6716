"""Benchmark: one loss and gradient on the published grid, beside a matrix product on one thread in the same run.

Run: ./env python tests/benchmarks/loss_and_gradient.py [--all]

`--all` adds the sequence 5/6 ms, whose short strong pulses need hundreds of modes: minutes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from dmrifw import Protocol, Simulator
from dmrifw.mesh import bcc_grid, shape_barrier
from dmrifw.mesh.shapes import Sphere
from dmrifw.sequences import fibonacci_directions


def best(task: Callable[[], object], repeats: int = 3) -> float:
    """Shortest of some runs, s: what the machine can do when nobody disturbs it."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def gradient_flop(simulator: Simulator, permeability: np.ndarray) -> tuple[int, float]:
    """Modes held and flop of the matrix products of signal, adjoint and sensitivity (see propagators/reduced.py)."""
    record = simulator.signal(permeability)[1]._record
    modes = len(record.system.unit)
    if not record.system.divided:  # full order: its work is sparse solves
        return modes, np.nan
    steps = sum(len(batch.damping) * sum(cut.steps for cut in batch.cuts if not cut.still) for batch in record.batches)
    return modes, (72 + 72 + 24) * modes**2 * steps


def main(timings: tuple[tuple[float, float], ...], tolerance: float = 1e-3) -> None:
    """Print the table."""
    grid = bcc_grid()
    square = np.random.default_rng(0).standard_normal((2000, 2000))
    with threadpool_limits(1):
        product = best(lambda: square @ square)
    tissues = {
        "crisp sphere, 0.01 / 100": np.where(shape_barrier(grid, Sphere(10.0)), 0.01, 100.0),
        "uniform, 1": np.ones(len(grid.faces)),
        "random, 0.01 to 100": 10 ** np.random.default_rng(0).uniform(-2, 2, len(grid.faces)),
    }
    table = Table(
        title=f"loss + gradient, 576 tetrahedra, 6 b x 30 directions, tolerance {tolerance:g} "
        f"(2000^3 product on one thread: {product:.3f} s, {16 / product:.0f} GFLOP/s)"
    )
    for name in ("exterior", "permeability, um/ms", "delta/Delta, ms", "modes"):
        table.add_column(name)
    for name in ("signal, s", "with gradient, s", "ratio", "products, GFLOP", "GFLOP/s", "over the product"):
        table.add_column(name, justify="right")
    for exterior in ("reflecting", "permeable"):
        for delta, Delta in timings:
            protocol = Protocol.shells(np.arange(6) * 1000.0, fibonacci_directions(30), delta, Delta)
            simulator = Simulator(grid, protocol, exterior=exterior, tolerance=tolerance)
            for tissue, values in tissues.items():
                leaf = torch.tensor(values, requires_grad=True)

                def loss_and_gradient(simulator: Simulator = simulator, leaf: torch.Tensor = leaf) -> None:
                    torch.autograd.grad((simulator(leaf).abs() ** 2).sum(), leaf)

                forward = best(lambda s=simulator, v=values: s.signal(v, keep=False), 2)
                both = best(loss_and_gradient, 2)
                modes, flop = gradient_flop(simulator, values)
                row = (exterior, tissue, f"{delta:g}/{Delta:g}", str(modes), f"{forward:.2f}", f"{both:.2f}")
                rates = (
                    f"{both / forward:.2f}",
                    f"{flop / 1e9:.1f}",
                    f"{flop / 1e9 / both:.0f}",
                    f"{both / product:.1f}",
                )
                table.add_row(*row, *rates)
    Console(width=160).print(table)


if __name__ == "__main__":
    main(((10.0, 20.0), (10.0, 60.0), *(((5.0, 6.0),) if "--all" in sys.argv else ())))
