"""Benchmark: 20 packed axons with T2 and permeable walls under the HCP WU-Minn protocol, on grids of growing size.

Run: ./env python tests/benchmarks/packed_axons.py [--periodic] [--tolerance 1e-3]

Prints seconds and peak memory against the number of tetrahedra, and the exponent of the cost.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from dmrifw import Protocol
from dmrifw.mesh import packed_cylinders
from dmrifw.simulator import SignalModel

SIZES = ((1.0, 2.5), (0.7, 1.2), (0.5, 0.6), (0.4, 0.4), (0.32, 0.3))
"""Edge lengths across and along the axons, um."""


def measure(h: float, axial_h: float, periodic: bool, tolerance: float) -> None:
    """Print tetrahedra, unknowns, basis, seconds of assembly and of the signals, and peak memory in GB."""
    grid = packed_cylinders(20, h=h, axial_h=axial_h, periodic=periodic)
    started = time.perf_counter()
    model = SignalModel(
        grid,
        Protocol.preset("hcp-wu-minn"),
        T2=np.append(np.full(20, 80.0), 60.0),
        interfaces=grid.is_interface,
        periodic=periodic,
        tolerance=tolerance,
    )
    assembled = time.perf_counter()
    signal, tape = model.signal(np.where(grid.is_interface, 0.02, 0.0), keep=False)
    done = time.perf_counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    attenuation = float(np.abs(signal[-1] / signal[0]))
    unknowns, basis = model.operators.mass.rows.size_global, len(tape._record.system.unit)
    print(len(grid.cells), unknowns, basis, assembled - started, done - assembled, memory, attenuation)


def main() -> None:
    """Print the table; every size runs in a process of its own, so that peak memory is its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--periodic", action="store_true")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--size", type=float, nargs=2)
    chosen = parser.parse_args()
    if chosen.size:
        measure(*chosen.size, chosen.periodic, chosen.tolerance)
        return
    table = Table(
        title=f"288 signals, 20 axons, {'periodic' if chosen.periodic else 'reflecting'}, {chosen.tolerance:g}"
    )
    for name in ("tets", "unknowns", "basis", "assembly, s", "signals, s", "memory, GB", "S/S0"):
        table.add_column(name, justify="right")
    rows = []
    for size in SIZES:
        command = [sys.executable, __file__, "--tolerance", str(chosen.tolerance), "--size", *map(str, size)]
        command += ["--periodic"] if chosen.periodic else []
        line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        rows.append([float(entry) for entry in line])
        table.add_row(*line[:3], *(f"{float(entry):.3g}" for entry in line[3:6]), f"{float(line[6]):.5f}")
    cells, seconds = np.array(rows)[:, 0], np.array(rows)[:, 3:5].sum(axis=1)
    slope = np.polyfit(np.log(cells), np.log(seconds), 1)[0]
    Console().print(table)
    Console().print(
        f"{cells[-1] / cells[0]:.0f} times the tetrahedra; cost grows with the power {slope:.2f} of their number"
    )


if __name__ == "__main__":
    main()
