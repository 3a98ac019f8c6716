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

from dmrifw import report, surface
from dmrifw.cli.case import Case, build_case, smallest_cell_height
from dmrifw.cli.config import load
from dmrifw.cli.folder import MAGNETIZATION, SIGNAL_FILES, SIGNAL_TABLE, SIGNALS, RunFolder
from dmrifw.cli.parallel import is_first, together
from dmrifw.cli.tissue import mean_diffusivity
from dmrifw.errors import InputError
from dmrifw.mesh.spacing import wall_spacing
from dmrifw.sequences import Protocol
from dmrifw.typing import ComplexArray, FloatArray

if TYPE_CHECKING:
    import xarray

    from dmrifw.simulator import SignalModel


def simulate(
    config_file: Path, output: Path, *, format: str, magnetization: str | None, force: bool, console: Console
) -> None:
    """Simulate the signals of a config and write them to a folder.

    Args:
        config_file: The config.
        output: The run folder.
        format: A key of `SIGNALS`: how the dataset is kept.
        magnetization: Rows of the measurements whose field is written too, such as "0,5"; None for no field.
        force: Whether results in it may be overwritten.
        console: Where to tell what was done.

    Raises:
        InputError: The config or a row is at fault, or the folder holds results; nothing is then written.

    Collective.
    """
    folder = RunFolder(output, config_file, SIGNAL_FILES)
    case, rows = together(lambda: _checked(config_file, folder, force, magnetization))
    started = time.perf_counter()
    with _progress(console, f"{len(case.protocol)} signals on {len(case.grid.cells)} tetrahedra"):
        model = case.signal_model(with_unweighted(case.protocol))
        parts, unweighted = signals(case, model)
        fields = model.magnetization(case.required_permeability(), rows) if rows else None
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
        if fields is not None:
            surface.write_magnetization(output / MAGNETIZATION, case.grid, fields, rows)
    written = [SIGNALS[format], SIGNAL_TABLE, *([MAGNETIZATION] if rows else [])]
    console.print(summary(case, dataset))
    console.print(geometry_line(case), soft_wrap=True)
    console.print(
        f"{len(case.protocol)} signals in {seconds:.1f} s, written to {output}/: {', '.join(written)}",
        soft_wrap=True,
    )


def _checked(config_file: Path, folder: RunFolder, force: bool, magnetization: str | None) -> tuple[Case, list[int]]:
    folder.refuse_unwritable()
    if not force:
        folder.refuse_results()
    config = load(config_file)
    folder.refuse_to_remove_sources(config.model_dump(exclude={"inversion"}), config_file)
    case = build_case(config)
    case.required_permeability()
    return case, [] if magnetization is None else measurement_rows(magnetization, len(case.protocol))


def measurement_rows(text: str, count: int) -> list[int]:
    """Rows of `count` measurements, from numbers with commas between them; each once, in their order.

    Raises:
        InputError: Something else stands there, or there is no such row.

    Local.
    """
    mend, rows = f"give rows from 0 to {count - 1}, with commas between them, such as 0,5", []
    for word in text.split(","):
        if not word.strip().isdecimal():
            raise InputError(f"{word.strip()!r} is no row of the measurements", mend, key="--magnetization")
        if int(word) >= count:
            raise InputError(f"there is no row {int(word)}", mend, key="--magnetization")
        rows.append(int(word))
    return list(dict.fromkeys(rows))


def with_unweighted(protocol: Protocol) -> Protocol:
    """A protocol, and after it one measurement at b = 0 of each waveform of which it has none. Local."""
    unmeasured = np.setdiff1d(np.arange(len(protocol.waveforms)), protocol.sequence[protocol.bvals == 0])
    return reduce(add, [_unweighted(protocol, number) for number in unmeasured], protocol)


def signals(case: Case, model: SignalModel) -> tuple[ComplexArray, FloatArray]:
    """Signals of a case, and |S| at b = 0 of each of its sequences.

    Args:
        case: The case.
        model: Its model for its protocol `with_unweighted`.

    Returns:
        (n, C) complex signals of the compartments, and (n_sequences,) unweighted magnitudes of their sum, um^3,
        replicated.

    Collective.
    """
    extended, permeability = model.protocol, case.required_permeability()
    if case.grid.compartment_count > 1:
        parts = model.compartment_signal(permeability)
    else:
        parts = model.signal(permeability, keep=False)[0][:, None]
    at_zero = extended.bvals == 0
    magnitudes = np.abs(parts.sum(axis=1)[at_zero])
    sequence = extended.sequence[at_zero]
    unweighted = np.bincount(sequence, magnitudes) / np.bincount(sequence)
    return parts[: len(case.protocol)], unweighted


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
    """Size of the grid, how close its walls are, and the smallest cell height, in words. Local."""
    grid = case.grid
    walls = np.zeros(len(grid.faces), dtype=bool) if case.true_barrier is None else case.true_barrier
    told = "" if case.true_barrier is None else f", {int(walls.sum())} of them walls"
    return (
        f"{len(grid.cells)} tetrahedra, {len(grid.faces)} faces{told}; volume {grid.volume:.6g} um³; smallest wall "
        f"spacing {wall_spacing(grid, walls):.3g} um, smallest cell height {smallest_cell_height(grid):.3g} um"
    )


def _span(values: FloatArray, form: str) -> str:
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"
