"""`dmrifw simulate`: signals of a config, as a dataset and as a table."""

from __future__ import annotations

import time
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from dmrifw import report
from dmrifw.cli.case import Case, build_case, smallest_wall_spacing
from dmrifw.cli.config import load
from dmrifw.cli.folder import SIGNAL_FILES, SIGNAL_TABLE, SIGNALS, RunFolder
from dmrifw.cli.parallel import is_first, together
from dmrifw.cli.tissue import mean_diffusivity
from dmrifw.sequences import Protocol
from dmrifw.typing import ComplexArray, FloatArray

if TYPE_CHECKING:
    import xarray


def simulate(config_file: Path, output: Path, *, format: str, force: bool, console: Console) -> None:
    """Simulate the signals of a config and write them to a folder.

    Args:
        config_file: The config.
        output: The run folder.
        format: A key of `SIGNALS`: how the dataset is kept.
        force: Whether results in it may be overwritten.
        console: Where to tell what was done.

    Raises:
        InputError: The config is at fault, or the folder holds results; nothing is then written.

    Collective.
    """
    folder = RunFolder(output, config_file, SIGNAL_FILES)
    case = together(lambda: _checked(config_file, folder, force))
    started = time.perf_counter()
    with _progress(console, f"{len(case.protocol)} signals on {len(case.grid.cells)} tetrahedra"):
        parts, unweighted = signals(case)
    seconds = time.perf_counter() - started
    dataset = report.signal_dataset(
        case.protocol,
        parts.sum(axis=1),
        unweighted,
        compartment_signal=parts,
        grid=case.grid,
        method=case.config.solver.method,
        tolerance=case.tolerance,
        config=case.config.text,
    )
    if is_first():
        folder.start(case.config.text)
        report.write_dataset(output / SIGNALS[format], dataset)
        report.write_csv(output / SIGNAL_TABLE, dataset)
    console.print(summary(case, dataset))
    console.print(geometry_line(case), soft_wrap=True)
    console.print(
        f"{len(case.protocol)} signals in {seconds:.1f} s, written to {output}/: {SIGNALS[format]}, {SIGNAL_TABLE}",
        soft_wrap=True,
    )


def _checked(config_file: Path, folder: RunFolder, force: bool) -> Case:
    folder.refuse_unwritable()
    if not force:
        folder.refuse_results()
    case = build_case(load(config_file))
    case.required_permeability()
    return case


def signals(case: Case) -> tuple[ComplexArray, FloatArray]:
    """Signals of a case, and |S| at b = 0 of each of its sequences, which is simulated where it is not measured.

    Returns:
        (n, C) complex signals of the compartments, and (n_sequences,) unweighted magnitudes of their sum, um^3,
        replicated.

    Collective.
    """
    protocol = case.protocol
    unmeasured = np.setdiff1d(np.arange(len(protocol.waveforms)), protocol.sequence[protocol.bvals == 0])
    extended = reduce(add, [_unweighted(protocol, number) for number in unmeasured], protocol)
    model, permeability = case.signal_model(extended), case.required_permeability()
    if case.grid.compartment_count > 1:
        parts = model.compartment_signal(permeability)
    else:
        parts = model.signal(permeability, keep=False)[0][:, None]
    at_zero = extended.bvals == 0
    magnitudes = np.abs(parts.sum(axis=1)[at_zero])
    sequence = extended.sequence[at_zero]
    unweighted = np.bincount(sequence, magnitudes) / np.bincount(sequence)
    return parts[: len(protocol)], unweighted


def _progress(console: Console, told: str) -> Progress:
    """What is being done and for how long, on a terminal, until it is done."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    progress = Progress(*columns, console=console, transient=True, disable=console.quiet or not console.is_terminal)
    progress.add_task(told, total=None)
    return progress


def _unweighted(protocol: Protocol, number: int) -> Protocol:
    """One measurement at b = 0 of a protocol's waveform."""
    return Protocol((protocol.waveforms[number],), np.zeros(1, dtype=np.int64), np.zeros(1), np.zeros((1, 3)))


def summary(case: Case, dataset: xarray.Dataset | None = None) -> Table:
    """A row for each sequence: b-values, timing, how far water diffuses, and the range of the attenuation. Local."""
    table = Table()
    columns = ["b, s/mm²", "delta, ms", "Delta, ms", "diffusion, um", "signals"]
    for name in [*columns, *(["|S|/S(b=0)"] if dataset is not None else [])]:
        table.add_column(name, justify="right")
    protocol, diffusivity = case.protocol, mean_diffusivity(case.config.tissue)
    for number in range(len(protocol.waveforms)):
        rows = np.flatnonzero(protocol.sequence == number)
        if not len(rows):
            continue
        waveform = protocol.waveforms[number]
        cells = [
            _span(protocol.bvals[rows], "g"),
            f"{protocol.delta[rows[0]]:g}",
            f"{protocol.Delta[rows[0]]:g}",
            f"{np.sqrt(6 * diffusivity * waveform.diffusion_time):.3g}",
            f"{len(rows)}",
        ]
        if dataset is not None:
            cells.append(_span(dataset["attenuation"].values[rows], ".3g"))
        table.add_row(*cells)
    return table


def geometry_line(case: Case) -> str:
    """Size of the grid and the smallest wall spacing, in words. Local."""
    grid = case.grid
    walls = "" if case.true_barrier is None else f", {int(case.true_barrier.sum())} of them walls"
    return (
        f"{len(grid.cells)} tetrahedra, {len(grid.faces)} faces{walls}; volume {grid.volume:.6g} um³; "
        f"smallest wall spacing {smallest_wall_spacing(grid):.3g} um"
    )


def _span(values: FloatArray, form: str) -> str:
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"
