"""What an inversion leaves behind: numbers, files and pictures, those of its subject among them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from dmrifw import report, surface
from dmrifw.cli.case import Case
from dmrifw.cli.folder import METRICS, RECOVERY, REPORT
from dmrifw.cli.page import page_of
from dmrifw.cli.stopwatch import Stopwatch
from dmrifw.cli.subject import Arrays, Subject
from dmrifw.metrics import Metrics
from dmrifw.typing import ComplexArray, FloatArray

if TYPE_CHECKING:
    import xarray

    from dmrifw.inversion import InversionProblem, Result


@dataclass(frozen=True)
class Outcome:
    """A finished inversion, replicated on all ranks.

    Attributes:
        case: What was inverted.
        target: Where the target came from, in words.
        subject: What was recovered.
        problem: Target and comparison.
        result: What the inversion returned.
        fields: The recovered fields.
        signal: (n,) complex, of the recovered fields, um^3.
        unweighted: (n_sequences,) its magnitude at b = 0, um^3.
        relative: (n,) complex, the same relative to S0, as they are compared.
        options: Every option of the plugins in use, by plugin name.
        metrics: What goes into metrics.json.
    """

    case: Case
    target: str
    subject: Subject
    problem: InversionProblem
    result: Result
    fields: Arrays
    signal: ComplexArray
    unweighted: FloatArray
    relative: ComplexArray
    options: Mapping[str, Mapping[str, Any]]
    metrics: Metrics

    @classmethod
    def of(
        cls,
        case: Case,
        target: str,
        subject: Subject,
        problem: InversionProblem,
        result: Result,
        options: Mapping[str, Mapping[str, Any]],
    ) -> Outcome:
        """Judge what an inversion found. Collective."""
        import torch

        with torch.no_grad():
            found = problem.simulator(**result.fields)
        signal, relative = found.numpy(), problem.relative(found)
        at_zero = case.protocol.bvals == 0
        sequence = case.protocol.sequence[at_zero]
        unweighted = np.bincount(sequence, np.abs(signal[at_zero])) / np.bincount(sequence)
        metrics: Metrics = {
            "loss_initial": result.loss_initial,
            "loss_final": result.loss_final,
            "iterations": result.iterations,
            "wall_seconds": result.wall_seconds,
            "signal_relative_error": problem.distance(relative),
        }
        if problem.sigma is not None:
            noise = problem.sigma * (1.0 if problem.magnitude else np.sqrt(2.0))
            metrics |= {"noise_sigma": problem.sigma, "signal_error_over_noise": problem.distance(relative) / noise}
        if "start" in result.history.columns:
            metrics |= {"starts": len(np.unique(result.history.column("start"))), "best_start": result.start}
        fields = {name: value.numpy() for name, value in result.fields.items()}
        metrics |= {name: float(value) for name, value in fields.items() if value.ndim == 0}
        metrics |= subject.judge(fields)
        return cls(case, target, subject, problem, result, fields, signal, unweighted, relative, options, metrics)

    def write(self, folder: Path, watch: Stopwatch) -> list[str]:
        """Write the files, each replaced in one step, metrics.json last: where it is, the results are complete.

        Args:
            folder: The run folder.
            watch: What was measured so far; the report tells it.

        Returns:
            Their names.

        Local; call it on one rank.
        """
        with watch.lap("result files"):
            report.write_dataset(folder / RECOVERY, self.dataset())
            written = [*self.subject.write(folder, self.fields, self.result), RECOVERY, REPORT]
        report.write_page(folder / REPORT, page_of(self, folder, watch))
        with surface.replacing(folder / METRICS) as temporary:
            temporary.write_text(json.dumps(self.metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return [METRICS, *written]

    def dataset(self) -> xarray.Dataset:
        """The recovered fields with their grid, and the signals that they give. Local."""
        case = self.case
        dataset = report.signal_dataset(
            case.protocol,
            self.signal,
            self.unweighted,
            grid=case.grid,
            method=case.config.solver.method,
            tolerance=case.tolerance,
            config=case.config.text,
        )
        return dataset.assign(
            target=("measurement", self.problem.target, {"units": self._unit}),
            cells=(("cell", "cell_vertex"), case.grid.cells),
            faces=(("face", "face_vertex"), case.grid.faces),
            **self.subject.variables(self.fields),
        )

    @property
    def _unit(self) -> str:
        return "arbitrary" if self.problem.arbitrary_unit else "um^3"

    def table(self) -> Table:
        """The metrics that tell at a glance how it went. Local."""
        table = Table(show_header=False)
        for name in (
            "iterations",
            "wall_seconds",
            "loss_initial",
            "loss_final",
            "signal_relative_error",
            "signal_error_over_noise",
            *self.subject.table,
        ):
            if name in self.metrics:
                value = self.metrics[name]
                table.add_row(name, "none" if value is None else f"{value:.4g}")
        return table
