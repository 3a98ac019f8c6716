"""Walls as what an inversion recovers: permeabilities of faces, and the surface that the lowest of them form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dmrifw import surface
from dmrifw.cli.case import Case
from dmrifw.cli.folder import FIELDS, INTERFACE, PICTURE
from dmrifw.cli.subject import Arrays
from dmrifw.mesh import from_arrays
from dmrifw.mesh.spacing import wall_spacing
from dmrifw.metrics import Metrics, barrier_metrics, barrier_scores, chamfer_distance
from dmrifw.report import Figure
from dmrifw.surface import barrier_faces
from dmrifw.typing import BoolArray, FloatArray

if TYPE_CHECKING:
    import torch

    from dmrifw.inversion import Observer, Result


class WallSubject:
    """See `Subject`.

    Args:
        case: What is inverted.
        truth: The tissue on another mesh whose signals are the target, if it is such.
    """

    facts: ClassVar[dict[str, tuple[str, str]]] = {
        "barrier_recall": ("{:.1%}", "of the true walls are found (recall)"),
        "barrier_precision": ("{:.1%}", "of the walls found are true (precision)"),
        "barrier_f1_symmetric": ("{:.3f}", "F1, up to point reflection"),
        "chamfer_um": ("{:.2f} µm", "from true to recovered surface, centred (chamfer distance)"),
        "bad_edge_fraction": ("{:.1%}", "of the surface's edges are open or branch"),
    }
    table: ClassVar[tuple[str, ...]] = (
        "barrier_recall",
        "barrier_precision",
        "barrier_f1",
        "barrier_f1_symmetric",
        "chamfer_um",
        "bad_edge_fraction",
    )

    def __init__(self, case: Case, truth: Case | None) -> None:
        self.case, self.truth = case, truth

    def diagnostics(self, fields: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """See `Subject`: recall and precision, where the barriers are known. Local."""
        truth, part = self.case.true_barrier, self.case.judged_faces
        if truth is None:
            return {}
        scores = barrier_scores(barrier_faces(fields["permeability"].numpy())[part], truth[part])
        return {name: scores[name] for name in ("barrier_recall", "barrier_precision")}

    def observers(self, folder: Path) -> list[Observer]:
        """See `Subject`: nobody. Local."""
        return []

    def judge(self, fields: Arrays) -> Metrics:
        """See `Subject`. Local."""
        case, permeability = self.case, fields["permeability"]
        metrics: Metrics = {}
        if case.true_barrier is not None:
            metrics |= barrier_metrics(case.grid, permeability, case.true_barrier, faces=case.judged_faces)
        if self.truth is not None:
            metrics |= distance_to_truth(case, self.truth, permeability)
        return metrics

    def variables(self, fields: Arrays) -> dict[str, Any]:
        """See `Subject`. Local."""
        case = self.case
        variables: dict[str, Any] = {
            "permeability": ("face", fields["permeability"], {"units": "um/ms"}),
            "points": (("point", "axis"), case.grid.points, {"units": "um"}),
        }
        if case.true_barrier is not None:
            variables["true_barrier"] = ("face", case.true_barrier.astype(np.int8))
        return variables

    def write(self, folder: Path, fields: Arrays, result: Result) -> list[str]:
        """See `Subject`. Local; call it on one rank."""
        case, permeability = self.case, fields["permeability"]
        surface.write_interface(folder / INTERFACE, case.grid, self.walls(fields), permeability)
        surface.write_fields(folder / FIELDS, case.grid, permeability, case.true_barrier)
        if case.true_barrier is None:
            return [INTERFACE, FIELDS]
        from dmrifw import plotting

        plotting.recovery_figure(
            folder / PICTURE, case.grid, case.true_barrier, permeability, result.course, faces=case.judged_faces
        )
        return [INTERFACE, FIELDS, PICTURE]

    def summary(self, fields: Arrays) -> str:
        """See `Subject`. Local."""
        grid, walls = self.case.grid, self.walls(fields)
        spacing = f"; the smallest spacing between them is {wall_spacing(grid, walls):.3g} µm" if walls.any() else ""
        return (
            f"{len(grid.cells)} tetrahedra of {grid.volume:.6g} µm³ with {len(grid.faces)} faces, of which "
            f"{int(walls.sum())} became walls{spacing}."
        )

    def pictures(self, folder: Path, fields: Arrays, notes: list[str]) -> Iterator[Figure]:
        """See `Subject`. Local."""
        pictures = self._pictures(self.walls(fields), notes)
        if pictures:
            yield Figure("Surface", self._caption(), png=pictures)

    def figures(self, fields: Arrays) -> Iterator[Figure]:
        """See `Subject`. Local."""
        from dmrifw import plotting

        part, true = self.case.judged_faces, self.case.true_barrier
        yield Figure(
            "Permeabilities",
            "How many faces have which permeability. What lies left of the threshold is a wall.",
            svg=plotting.permeability_figure(fields["permeability"][part], None if true is None else true[part]),
        )

    def walls(self, fields: Arrays) -> BoolArray:
        """(F,) True on the recovered walls. Local."""
        return barrier_faces(fields["permeability"]) & self.case.judged_faces

    def _pictures(self, walls: BoolArray, notes: list[str]) -> dict[str, bytes]:
        """The true surface and the recovered one, from the same place; a note where this machine draws none."""
        from dmrifw.plotting import Surface, scene
        from dmrifw.plotting.style import BLUE, TRUE_SURFACE, VERMILLION, YELLOW

        case, truth, grid = self.case, self.truth, self.case.grid
        true = case.true_barrier
        scenes = {}
        if truth is not None:
            faces = barrier_faces(truth.required_permeability()) & truth.judged_faces
            scenes["truth"] = [Surface(truth.grid, faces, TRUE_SURFACE)]
        elif true is not None:
            scenes["truth"] = [Surface(grid, true & case.judged_faces, TRUE_SURFACE)]
        if true is None:
            scenes["recovered"] = [Surface(grid, walls, BLUE)]
        else:
            true = true & case.judged_faces
            wrong = [Surface(grid, walls & ~true, VERMILLION), Surface(grid, true & ~walls, YELLOW, opacity=0.7)]
            scenes["recovered"] = [Surface(grid, walls & true, BLUE), *wrong]
            if (walls != true).any():
                scenes["what is wrong with it"] = wrong
        try:
            return {
                name: scene(surfaces, grid.points, edges=name != "truth" or truth is None)
                for name, surfaces in scenes.items()
            }
        except Exception as error:  # VTK fails in many ways without OpenGL, and a finished inversion must be kept
            notes.append(f"The surfaces could not be drawn here ({type(error).__name__}: {error}); see interface.ply.")
            return {}

    def _caption(self) -> str:
        low, high = self.case.grid.points.min(axis=0), self.case.grid.points.max(axis=0)
        box = " x ".join(f"{extent:.4g}" for extent in high - low)
        told = f"The box is that of the grid, {box} µm."
        if self.case.true_barrier is not None:
            told += (
                " Recovered walls are blue where they are true and vermillion where they are not; what is missing is "
            )
            told += "yellow."
        return told


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
