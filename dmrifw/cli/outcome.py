"""What an inversion leaves behind: numbers, surface, fields, and a picture."""

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
from dmrifw.cli.folder import FIELDS, INTERFACE, METRICS, PICTURE, RECOVERY, REPORT
from dmrifw.cli.page import page_of
from dmrifw.cli.stopwatch import Stopwatch
from dmrifw.errors import PluginError
from dmrifw.mesh import from_arrays
from dmrifw.metrics import Metrics, barrier_metrics, chamfer_distance
from dmrifw.typing import BoolArray, ComplexArray, FloatArray

if TYPE_CHECKING:
    import xarray

    from dmrifw.inversion import History, InversionProblem, Result


@dataclass(frozen=True)
class Outcome:
    """A finished inversion, replicated on all ranks.

    Attributes:
        case: What was inverted.
        truth: The tissue on another mesh whose signals were the target, if it was such.
        problem: Target and comparison.
        permeability: (F,) recovered, um/ms.
        signal: (n,) complex, of the recovered permeability, um^3.
        unweighted: (n_sequences,) its magnitude at b = 0, um^3.
        relative: (n,) complex, the same relative to S0, as they are compared.
        history: One row per iteration.
        options: Every option of the plugins in use, by plugin name.
        metrics: What goes into metrics.json.
    """

    case: Case
    truth: Case | None
    problem: InversionProblem
    permeability: FloatArray
    signal: ComplexArray
    unweighted: FloatArray
    relative: ComplexArray
    history: History
    options: Mapping[str, Mapping[str, Any]]
    metrics: Metrics

    @classmethod
    def of(
        cls,
        case: Case,
        truth: Case | None,
        problem: InversionProblem,
        result: Result,
        options: Mapping[str, Mapping[str, Any]],
    ) -> Outcome:
        """Judge what an inversion found. Collective."""
        import torch

        if "permeability" not in result.fields:
            raise PluginError("the parametrization returned no permeability, of which the results are made")
        permeability = result.fields["permeability"].numpy()
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
        if case.true_barrier is not None:
            metrics |= barrier_metrics(case.grid, permeability, case.true_barrier, faces=case.judged_faces)
        if truth is not None:
            metrics |= distance_to_truth(case, truth, permeability)
        return cls(case, truth, problem, permeability, signal, unweighted, relative, result.history, options, metrics)

    @property
    def barriers(self) -> BoolArray:
        """(F,) True on the recovered walls."""
        return surface.barrier_faces(self.permeability) & self.case.judged_faces

    def write(self, folder: Path, watch: Stopwatch) -> list[str]:
        """Write the files, each replaced in one step, metrics.json last: where it is, the results are complete.

        Args:
            folder: The run folder.
            watch: What was measured so far; the report tells it.

        Returns:
            Their names.

        Local; call it on one rank.
        """
        case, written = self.case, [INTERFACE, FIELDS, RECOVERY]
        with watch.lap("result files"):
            surface.write_interface(folder / INTERFACE, case.grid, self.barriers, self.permeability)
            surface.write_fields(folder / FIELDS, case.grid, self.permeability, case.true_barrier)
            report.write_dataset(folder / RECOVERY, self.dataset())
        if case.true_barrier is not None:
            from dmrifw import plotting

            with watch.lap("recovery.png"):
                plotting.recovery_figure(
                    folder / PICTURE,
                    case.grid,
                    case.true_barrier,
                    self.permeability,
                    self.history.rows,
                    faces=case.judged_faces,
                )
            written.append(PICTURE)
        report.write_page(folder / REPORT, page_of(self, watch))
        written.append(REPORT)
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
            target=("measurement", self.problem.target, {"units": self._unit}),
            permeability=("face", self.permeability, {"units": "um/ms"}),
            points=(("point", "axis"), case.grid.points, {"units": "um"}),
            cells=(("cell", "cell_vertex"), case.grid.cells),
            faces=(("face", "face_vertex"), case.grid.faces),
        )
        if case.true_barrier is not None:
            dataset["true_barrier"] = ("face", case.true_barrier.astype(np.int8))
        return dataset

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


def distance_to_truth(case: Case, truth: Case, permeability: FloatArray) -> Metrics:
    """How far recovered walls lie from those of a truth on a mesh of its own.

    Args:
        case: What was inverted.
        truth: The truth.
        permeability: (F,) recovered, um/ms.

    Returns:
        chamfer_um and chamfer_plain_um, centred and as they lie; None where either has no walls.

    Local.
    """
    recovered = surface.barrier_faces(permeability) & case.judged_faces
    true = surface.barrier_faces(truth.required_permeability()) & truth.judged_faces
    one, other = case.grid, truth.grid
    both = from_arrays(
        np.vstack([one.points, other.points]), np.vstack([one.cells, other.cells + len(one.points)]), comm=one.comm
    )
    none = [np.zeros(len(grid.faces), dtype=bool) for grid in (one, other)]
    masks = np.concatenate([recovered, none[1]]), np.concatenate([none[0], true])  # faces stay in the order of points
    return {
        "chamfer_um": chamfer_distance(both, *masks),
        "chamfer_plain_um": chamfer_distance(both, *masks, centred=False),
    }
