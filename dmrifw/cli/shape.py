"""A shape as what an inversion recovers: the vertices of a mesh."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import meshio
import numpy as np

from dmrifw import report
from dmrifw.cli.case import Case
from dmrifw.cli.folder import ANIMATION, FRAMES, PICTURE, SEQUENCE, SHAPE
from dmrifw.cli.subject import Arrays
from dmrifw.mesh import Grid, from_arrays
from dmrifw.metrics import Metrics
from dmrifw.report import Figure
from dmrifw.shape_metrics import Equivalents, chamfer, surface_area, vertex_rmsd, volume
from dmrifw.typing import FloatArray

if TYPE_CHECKING:
    import torch

    from dmrifw.inversion import Observer, Result
    from dmrifw.plotting import Frame


class ShapeSubject:
    """See `Subject`. A truth is compared up to what a signal cannot see: see `Equivalents`.

    Args:
        case: What is inverted; its grid is the template.
        true_fields: Fields whose signals are the target, if they are known; the truth, where they tell a shape.
    """

    facts: ClassVar[dict[str, tuple[str, str]]] = {
        "vertex_rmsd_um": ("{:.3f} µm", "from the true vertices, up to what a signal cannot see (root mean square)"),
        "chamfer_um": ("{:.3f} µm", "from one surface to the other (chamfer distance)"),
        "volume_um3": ("{:.1f} µm³", "volume"),
        "true_volume_um3": ("{:.1f} µm³", "true volume"),
    }
    table: ClassVar[tuple[str, ...]] = (
        "starts",
        "vertex_rmsd_um",
        "vertex_rmsd_plain_um",
        "chamfer_um",
        "volume_um3",
        "true_volume_um3",
        "surface_um2",
        "true_surface_um2",
    )

    def __init__(self, case: Case, true_fields: Arrays | None) -> None:
        self.case, self.grid = case, case.grid
        self.truth = None if true_fields is None else true_fields.get("points", case.grid.points)

    @cached_property
    def equivalents(self) -> Equivalents | None:
        """All shapes with the signals of the truth, if it is known."""
        return None if self.truth is None else Equivalents(self.grid, self.truth)

    def diagnostics(self, fields: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """See `Subject`: how near the truth is, where it is known; volume and surface area. Local."""
        points = fields["points"].numpy()
        sizes = {"volume_um3": volume(points, self.grid.cells), "surface_um2": surface_area(points, self.grid)}
        return self._distances(points) | sizes

    def observers(self, folder: Path) -> list[Observer]:
        """See `Subject`: the sequence for ParaView. Local."""
        return [report.FrameWriter(folder / SEQUENCE, folder / FRAMES, self.grid)]

    def judge(self, fields: Arrays) -> Metrics:
        """See `Subject`. Local."""
        points, truth = fields["points"], self.truth
        metrics: Metrics = {"volume_um3": volume(points, self.grid.cells)}
        metrics["surface_um2"] = surface_area(points, self.grid)
        if truth is not None:
            metrics |= self._distances(points) | {
                "vertex_rmsd_plain_um": vertex_rmsd(points, truth),
                "chamfer_plain_um": chamfer(*(self._surface(one) for one in (points, truth))),
                "true_volume_um3": volume(truth, self.grid.cells),
                "true_surface_um2": surface_area(truth, self.grid),
            }
        return metrics

    def variables(self, fields: Arrays) -> dict[str, Any]:
        """See `Subject`. Local."""
        variables = {
            "points": (("point", "axis"), fields["points"], {"units": "um"}),
            "template": (("point", "axis"), self.grid.points, {"units": "um"}),
        }
        if self.truth is not None:
            variables["true_points"] = (("point", "axis"), self.truth, {"units": "um"})
        return variables

    def write(self, folder: Path, fields: Arrays, result: Result) -> list[str]:
        """See `Subject`. Local; call it on one rank."""
        from dmrifw import plotting

        points, nearest = fields["points"], self._nearest(fields["points"])
        report.write_shape(folder / SHAPE, self.grid, points, nearest)
        plotting.shape_figure(folder / PICTURE, self.grid, points, nearest, result.course)
        written = [SHAPE, SEQUENCE, PICTURE]
        try:
            plotting.animate(folder / ANIMATION, self.grid, self._way(folder, points, result), nearest)
        except Exception:  # VTK fails in many ways where there is no OpenGL, and a finished inversion must be kept
            return written
        return [*written, ANIMATION]

    def summary(self, fields: Arrays) -> str:
        """See `Subject`. Local."""
        rest = self.grid.volume
        return (
            f"{len(self.grid.cells)} tetrahedra with {len(self.grid.points)} vertices; the volume went from {rest:.6g} "
            f"to {volume(fields['points'], self.grid.cells):.6g} µm³."
        )

    def pictures(self, folder: Path, fields: Arrays, notes: list[str]) -> Iterator[Figure]:
        """See `Subject`. Local."""
        try:
            pictures = self._pictures(fields["points"])
        except Exception as error:  # see `write`
            notes.append(f"The shapes could not be drawn here ({type(error).__name__}: {error}); see {SHAPE}.")
            return
        told = "The boxes are the same. "
        if self.truth is not None:
            told += "The truth is shown as that shape with its signals which is nearest: a signal does not see where a "
            told += "cell lies, nor, for symmetric pulses, whether it is the cell or its point reflection. "
        yield Figure("Shape", told.strip(), png=pictures)
        if (folder / ANIMATION).exists():
            yield Figure(
                "The way there",
                "The best start, iteration by iteration.",
                png={"": (folder / ANIMATION).read_bytes()},
            )

    def figures(self, fields: Arrays) -> Iterator[Figure]:
        """See `Subject`: none. Local."""
        yield from ()

    def _distances(self, points: FloatArray) -> dict[str, float]:
        """To the nearest equivalent of the truth; nothing where it is not known."""
        if self.equivalents is None:
            return {}
        nearest, distance = self.equivalents.nearest(points)
        surfaces = (self._surface(one - one.mean(axis=0)) for one in (points, nearest))
        return {"vertex_rmsd_um": distance, "chamfer_um": chamfer(*surfaces)}

    def _nearest(self, points: FloatArray) -> FloatArray | None:
        """The nearest equivalent of the truth, laid over a shape."""
        if self.equivalents is None:
            return None
        return self.equivalents.nearest(points)[0] + points.mean(axis=0)

    def _surface(self, points: FloatArray) -> FloatArray:
        """Vertices, and middles of edges and of faces, of the surface."""
        corners = points[self.grid.faces[self.grid.is_exterior]]
        edges = 0.5 * (corners + np.roll(corners, 1, axis=1))
        return np.concatenate([corners.reshape(-1, 3), edges.reshape(-1, 3), corners.mean(axis=1)])

    def _way(self, folder: Path, points: FloatArray, result: Result) -> list[Frame]:
        """The best start's shapes, and the one that it ended in."""
        from dmrifw.plotting import Frame

        def caption(row: Mapping[str, float]) -> str:
            distance = f", {row['vertex_rmsd_um']:.2f} um off" if "vertex_rmsd_um" in row else ""
            return f"iteration {row['iteration']:.0f}{distance}"

        rows = {row["iteration"]: row for row in result.history.rows if row.get("start", 0) == result.start}
        files = {iteration: file for iteration, file in report.frames(folder / FRAMES).items() if iteration in rows}
        way = [Frame(meshio.read(file).points, caption(rows[iteration])) for iteration, file in files.items()]
        last = self._distances(points) | {"iteration": result.iterations}
        return [*way, Frame(points, caption(last).replace("iteration", "after iteration"))]

    def _pictures(self, points: FloatArray) -> dict[str, bytes]:
        from dmrifw.plotting import Surface, scene
        from dmrifw.plotting.style import BLUE, TRUE_SURFACE

        shown = {"start" if self.truth is None else "truth": TRUE_SURFACE, "recovered": BLUE}
        nearest = self._nearest(points)
        other = self.grid.points - self.grid.points.mean(axis=0) if nearest is None else nearest
        outline = np.concatenate([other, points])
        grids = [self._moved(one) for one in (other, points)]
        pictures = {
            name: scene([Surface(grid, grid.is_exterior, colour)], outline)
            for grid, (name, colour) in zip(grids, shown.items(), strict=True)
        }
        if nearest is not None:
            both = [Surface(grids[0], grids[0].is_exterior, TRUE_SURFACE, opacity=0.45)]
            both.append(Surface(grids[1], grids[1].is_exterior, BLUE, opacity=0.45))
            pictures["both"] = scene(both, outline, edges=False)
        return pictures

    def _moved(self, points: FloatArray) -> Grid:
        return from_arrays(points, self.grid.cells, comm=self.grid.comm)
