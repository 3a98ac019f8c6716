"""What an inversion leaves behind: numbers, surface, fields, and a picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from dmrifw import report, surface
from dmrifw.cli.case import Case
from dmrifw.cli.folder import FIELDS, INTERFACE, METRICS, PICTURE, RECOVERY
from dmrifw.errors import PluginError
from dmrifw.metrics import Metrics, barrier_metrics
from dmrifw.typing import ComplexArray, FloatArray

if TYPE_CHECKING:
    import xarray

    from dmrifw.inversion import History, InversionProblem, Result


@dataclass(frozen=True)
class Outcome:
    """A finished inversion, replicated on all ranks.

    Attributes:
        case: What was inverted.
        permeability: (F,) recovered, um/ms.
        signal: (n,) complex, of the recovered permeability, um^3.
        unweighted: (n_sequences,) its magnitude at b = 0, um^3.
        history: One row per iteration.
        metrics: What goes into metrics.json.
    """

    case: Case
    permeability: FloatArray
    signal: ComplexArray
    unweighted: FloatArray
    history: History
    metrics: Metrics

    @classmethod
    def of(cls, case: Case, problem: InversionProblem, result: Result) -> Outcome:
        """Judge what an inversion found. Collective."""
        import torch

        if "permeability" not in result.fields:
            raise PluginError("the parametrization returned no permeability, of which the results are made")
        permeability = result.fields["permeability"].numpy()
        with torch.no_grad():
            signal = problem.simulator(**result.fields).numpy()
        at_zero = case.protocol.bvals == 0
        sequence = case.protocol.sequence[at_zero]
        unweighted = np.bincount(sequence, np.abs(signal[at_zero])) / np.bincount(sequence)
        metrics: Metrics = {
            "loss_initial": result.loss_initial,
            "loss_final": result.loss_final,
            "iterations": result.iterations,
            "wall_seconds": result.wall_seconds,
            "signal_relative_error": problem.relative_error(result.fields),
        }
        if case.true_barrier is not None:
            metrics |= barrier_metrics(case.grid, permeability, case.true_barrier, faces=case.judged_faces)
        return cls(case, permeability, signal, unweighted, result.history, metrics)

    def write(self, folder: Path) -> list[str]:
        """Write the files, each replaced in one step, metrics.json last: where it is, the results are complete.

        Returns:
            Their names.

        Local; call it on one rank.
        """
        case, written = self.case, [INTERFACE, FIELDS, RECOVERY]
        barriers = surface.barrier_faces(self.permeability) & case.judged_faces
        surface.write_interface(folder / INTERFACE, case.grid, barriers, self.permeability)
        surface.write_fields(folder / FIELDS, case.grid, self.permeability, case.true_barrier)
        report.write_dataset(folder / RECOVERY, self.dataset())
        if case.true_barrier is not None:
            from dmrifw import plotting

            plotting.recovery_figure(
                folder / PICTURE,
                case.grid,
                case.true_barrier,
                self.permeability,
                self.history.rows,
                faces=case.judged_faces,
            )
            written.append(PICTURE)
        with surface.replacing(folder / METRICS) as temporary:
            temporary.write_text(json.dumps(self.metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return [METRICS, *written]

    def dataset(self) -> xarray.Dataset:
        """The recovered permeability with its grid, and the signals that it gives. Local."""
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
        dataset = dataset.assign(
            permeability=("face", self.permeability, {"units": "um/ms"}),
            points=(("point", "axis"), case.grid.points, {"units": "um"}),
            cells=(("cell", "cell_vertex"), case.grid.cells),
            faces=(("face", "face_vertex"), case.grid.faces),
        )
        if case.true_barrier is not None:
            dataset["true_barrier"] = ("face", case.true_barrier.astype(np.int8))
        return dataset

    def table(self) -> Table:
        """The metrics that tell at a glance how it went. Local."""
        table = Table(show_header=False)
        for name in (
            "iterations",
            "wall_seconds",
            "loss_initial",
            "loss_final",
            "signal_relative_error",
            "barrier_recall",
            "barrier_precision",
            "barrier_f1",
            "barrier_f1_symmetric",
            "chamfer_um",
            "bad_edge_fraction",
        ):
            if name in self.metrics:
                value = self.metrics[name]
                table.add_row(name, "none" if value is None else f"{value:.4g}")
        return table
