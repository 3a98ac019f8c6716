"""Benchmark: how errors against semi-analytic signals fall with the edge length h, for each curved geometry.

Run: ./env python tests/benchmarks/convergence.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "convergence"))

from convergence_study import STUDIES, observed_order


def main() -> None:
    """Print the table."""
    table = Table(title="error in S/S0, root mean square of b = 1000 and 3000 s/mm^2 at 5/10 and 10/30 ms")
    for name in ("substrate", "h, um", "tetrahedra", "error", "s", "order"):
        table.add_column(name, justify="left" if name == "substrate" else "right")
    for study in STUDIES:
        errors = []
        for h in study.sizes:
            start = time.perf_counter()
            error, cells = study.error(h)
            errors.append(error)
            seconds = time.perf_counter() - start
            order = f"{observed_order(study.sizes, errors):.2f}" if h == study.sizes[-1] else ""
            table.add_row(study.name, f"{h:g}", f"{cells}", f"{error:.2e}", f"{seconds:.1f}", order)
        table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
