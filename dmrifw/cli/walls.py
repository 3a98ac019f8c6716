"""Walls as what an inversion recovers: permeabilities of faces, and the surface that the lowest of them form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dmrifw import surface
from dmrifw.cli.case import Case
from dmrifw.cli.folder import FIELDS, INTERFACE, PICTURE
from dmrifw.cli.subject import Arrays
from dmrifw.mesh import Grid, from_arrays
from dmrifw.mesh.spacing import wall_spacing
from dmrifw.metrics import (
    Equivalents,
    Metrics,
    barrier_metrics,
    barrier_scores,
    chamfer_distance,
    edge_fractions,
    enclosed_volume,
)
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
        "barrier_f1_symmetric": ("{:.3f}", "F1, up to what signals cannot tell apart"),
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
        walls = barrier_faces(fields["permeability"].numpy()) & part
        scores = barrier_scores(walls[part], truth[part])
        plain = {name: scores[name] for name in ("barrier_recall", "barrier_precision")}
        return plain | {"barrier_f1_symmetric": self._equivalents.nearest(walls)[1]["barrier_f1"]}

    def observers(self, folder: Path) -> list[Observer]:
        """See `Subject`: nobody. Local."""
        return []

    def judge(self, fields: Arrays) -> Metrics:
        """See `Subject`. Local."""
        case, permeability = self.case, fields["permeability"]
        if case.true_barrier is None:
            metrics = edge_fractions(case.grid, self.walls(fields), case.judged_faces)
        else:
            metrics = barrier_metrics(case.grid, permeability, case.true_barrier, faces=case.judged_faces)
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

        picture, (truth, told) = folder / PICTURE, self._comparable(fields)
        plotting.recovery_figure(picture, case.grid, truth, permeability, result.course, told, faces=case.judged_faces)
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
        truth, told = (None, None) if self.case.true_barrier is None else self._comparable(fields)
        pictures = self._pictures(self.walls(fields), truth, notes)
        if pictures:
            yield Figure("Surface", self._caption(told), png=pictures)

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

    @cached_property
    def _equivalents(self) -> Equivalents:
        assert self.case.true_barrier is not None
        return Equivalents.of(self.case.grid, self.case.true_barrier, self.case.judged_faces)

    def _comparable(self, fields: Arrays) -> tuple[BoolArray, str | None]:
        """(F,) True on the walls with which recovered ones are compared in pictures, and what is to be told of them.

        Where signals cannot tell the truth from its images, the nearest of these.
        """
        truth, inversion = self._equivalents.truth, self.case.config.inversion
        if inversion is not None and not inversion.magnitude:
            return truth, None
        image, _ = self._equivalents.nearest(self.walls(fields))
        if np.array_equal(image, truth):
            return truth, None
        return image, "The truth is shown as its image that is nearest: signals cannot tell them apart"

    def _pictures(self, walls: BoolArray, true: BoolArray | None, notes: list[str]) -> dict[str, bytes]:
        """The true surface and the recovered one, from the same place; a note where this machine draws none."""
        from dmrifw.plotting import Surface, scene
        from dmrifw.plotting.style import BLUE, TRUE_SURFACE, VERMILLION, YELLOW

        truth, grid = self.truth, self.case.grid
        scenes = {}
        if truth is not None:
            faces = barrier_faces(truth.required_permeability()) & truth.judged_faces
            scenes["truth"] = [Surface(truth.grid, faces, TRUE_SURFACE)]
        elif true is not None:
            scenes["truth"] = [Surface(grid, true, TRUE_SURFACE)]
        if true is None:
            scenes["recovered"] = [Surface(grid, walls, BLUE)]
        else:
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

    def _caption(self, told: str | None) -> str:
        low, high = self.case.grid.points.min(axis=0), self.case.grid.points.max(axis=0)
        box = " x ".join(f"{extent:.4g}" for extent in high - low)
        words = f"The box is that of the grid, {box} µm."
        if self.case.true_barrier is not None:
            words += (
                " Recovered walls are blue where they are true and vermillion where they are not; what is missing is "
                "yellow."
            )
        return f"{words} {told}." if told else words


def distance_to_truth(case: Case, truth: Case, permeability: FloatArray) -> Metrics:
    """How far recovered walls lie from those of a truth on a mesh of its own.

    Args:
        case: What was inverted.
        truth: The truth.
        permeability: (F,) recovered, um/ms.

    Returns:
        chamfer_um, centred, and chamfer_plain_um, as they lie; None where either has no walls. The same with
        `_symmetric`, where the truth's point reflection counts as well. signed_volume_error.

    Local.
    """
    recovered = surface.barrier_faces(permeability) & case.judged_faces
    true = surface.barrier_faces(truth.required_permeability()) & truth.judged_faces
    volumes = [enclosed_volume(one.grid, walls, one.judged_faces) for one, walls in ((case, recovered), (truth, true))]
    plain, turned = (_apart(case.grid, recovered, truth.grid, true, sign) for sign in (1, -1))
    nearest = {key: None if one is None else min(one, turned[key] or 0.0) for key, one in plain.items()}
    return {
        **plain,
        **{f"{key}_symmetric": one for key, one in nearest.items()},
        "signed_volume_error": volumes[0] / volumes[1] - 1 if volumes[1] else None,
    }


def _apart(one: Grid, recovered: BoolArray, other: Grid, true: BoolArray, sign: int) -> dict[str, float | None]:
    """Distances from the walls of a truth, or of its point reflection."""
    points, cells = sign * other.points, other.cells if sign > 0 else other.cells[:, [1, 0, 2, 3]]
    both = from_arrays(np.vstack([one.points, points]), np.vstack([one.cells, cells + len(one.points)]), comm=one.comm)
    none = [np.zeros(len(grid.faces), dtype=bool) for grid in (one, other)]
    masks = np.concatenate([recovered, none[1]]), np.concatenate([none[0], true])  # faces stay in the order of points
    return {
        "chamfer_um": chamfer_distance(both, *masks),
        "chamfer_plain_um": chamfer_distance(both, *masks, centred=False),
    }
