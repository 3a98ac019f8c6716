"""Who watches an inversion: a progress bar, and a table that grows on disk."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch
from mpi4py import MPI
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dmrifw.inversion.collective import on_root
from dmrifw.inversion.history import History


class Observer(Protocol):
    """Something that watches. It is called on rank 0 only, so it must not communicate with other ranks.

    What it raises ends the inversion on all ranks.
    """

    def on_start(self, iterations: int, history: History) -> None:
        """The inversion begins, or goes on.

        Args:
            iterations: Iterations planned.
            history: What a resumed inversion has behind it; empty at a fresh start.

        Local.
        """

    def on_iteration(self, row: Mapping[str, float], fields: Mapping[str, torch.Tensor]) -> None:
        """An iteration is done.

        Args:
            row: Its row of the history.
            fields: The fields that the row speaks of, detached: those before the step.

        Local.
        """

    def on_end(self, history: History) -> None:
        """The inversion is over, be it done, interrupted or failed. Local."""


class ProgressBar:
    """A live line on a terminal: iteration, loss, how near the truth is. Elsewhere, a line for every tenth.

    Args:
        console: Where to write; standard error by default.
        unit: What one row is called.
    """

    def __init__(self, console: Console | None = None, unit: str = "iteration") -> None:
        self.console, self.unit = console or Console(stderr=True), unit

    def on_start(self, iterations: int, history: History) -> None:
        """Draw the bar. Local."""
        self._total = iterations
        self._bar = Progress(
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[summary]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=iterations, completed=len(history), summary="")
        self._bar.start()

    def on_iteration(self, row: Mapping[str, float], fields: Mapping[str, torch.Tensor]) -> None:
        """Move the bar on, or print a line when another tenth is done. Local."""
        done = int(row["iteration"]) + 1
        self._bar.update(self._task, completed=done, summary=_summary(row))
        if not self.console.is_terminal and done * 10 // self._total > (done - 1) * 10 // self._total:
            self.console.print(f"{self.unit} {done}/{self._total}  {_summary(row)}", highlight=False, soft_wrap=True)

    def on_end(self, history: History) -> None:
        """Leave the terminal as it was. Local."""
        self._bar.stop()


class HistoryWriter:
    """Writes the history to a CSV file, a row as soon as its iteration is done.

    A resumed inversion writes the file anew from the checkpoint's history, so that rows of iterations that were not
    kept do not stay behind. The columns are those of the first row.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: TextIO | None = None
        self._table: csv.DictWriter[Any] | None = None

    def on_start(self, iterations: int, history: History) -> None:
        """Open the file and write the rows of a resumed inversion. Local."""
        self._file, self._table = self.path.open("w", newline="", encoding="utf-8"), None
        for row in history.rows:
            self._write(row)

    def on_iteration(self, row: Mapping[str, float], fields: Mapping[str, torch.Tensor]) -> None:
        """Write a row and flush it. Local."""
        self._write(row)

    def on_end(self, history: History) -> None:
        """Close the file. Local."""
        if self._file is not None:
            self._file.close()

    def _write(self, row: Mapping[str, float]) -> None:
        assert self._file is not None
        if self._table is None:
            self._table = csv.DictWriter(self._file, list(row), restval="nan", extrasaction="ignore")
            self._table.writeheader()
        self._table.writerow(row)
        self._file.flush()


@contextmanager
def observing(comm: MPI.Comm, observers: Sequence[Observer], iterations: int, history: History) -> Iterator[None]:
    """Start observers on rank 0, and end those that were started, whatever happens. Collective."""
    started: list[Observer] = []

    def start() -> None:
        for observer in observers:
            observer.on_start(iterations, history)
            started.append(observer)

    try:
        on_root(comm, start)
        yield
    finally:
        for observer in started:
            observer.on_end(history)


def _summary(row: Mapping[str, float]) -> str:
    parts = [f"start {row['start']:.0f}"] if "start" in row else []
    parts.append(f"loss {row['loss']:.4g}")
    if "vertex_rmsd_um" in row:
        parts.append(f"RMSD {row['vertex_rmsd_um']:.3g} um")
    for name in ("barrier_recall", "barrier_precision"):
        if name in row:
            parts.append(f"{name.replace('_', ' ')} {row[name]:.3f}")
    if "barrier_f1_symmetric" in row:
        parts.append(f"F1 of any image {row['barrier_f1_symmetric']:.3f}")
    return "  ".join(parts)
