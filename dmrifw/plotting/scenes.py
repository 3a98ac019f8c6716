"""Surfaces in space as PNG pictures, drawn by PyVista without a display."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib.image
import numpy as np

from dmrifw.mesh import Grid
from dmrifw.plotting.style import INK, RULE
from dmrifw.typing import ArrayLike, FloatArray

if TYPE_CHECKING:
    import pyvista

_SIZE = (760, 700)
_VIEW = np.array([0.75, -1.0, 0.55])


@dataclass(frozen=True)
class Surface:
    """Faces of a grid that are drawn alike.

    Attributes:
        grid: The grid.
        faces: (F,) True for the faces.
        colour: Their colour.
        opacity: 1 for opaque.
    """

    grid: Grid
    faces: ArrayLike
    colour: str
    opacity: float = 1.0


def scene(surfaces: Sequence[Surface], outline: FloatArray, edges: bool = True) -> bytes:
    """A picture of surfaces, in the box around points, which sets the place and the scale of the view.

    Args:
        surfaces: What to draw; those without faces are left out.
        outline: (n, 3) um, points whose box is drawn thinly around them. Pictures with the same one can be compared
            side by side.
        edges: Draw the edges of the faces too.

    Returns:
        PNG.

    Local; call it on one rank.
    """
    import pyvista

    plotter = pyvista.Plotter(off_screen=True, window_size=_SIZE, lighting="light kit")
    try:
        stage(plotter, outline)
        for surface in surfaces:
            if np.any(surface.faces):
                add_surface(plotter, _triangles(surface.grid, surface.faces), surface.colour, surface.opacity, edges)
        plotter.enable_anti_aliasing("ssaa")
        image: FloatArray = plotter.screenshot(return_img=True)
    finally:
        plotter.close()
    stream = io.BytesIO()
    matplotlib.image.imsave(stream, image, format="png")
    return stream.getvalue()


def stage(plotter: pyvista.Plotter, outline: FloatArray) -> None:
    """Set the view of a plotter on the box around points, (n, 3) um, and draw the box thinly. Local."""
    plotter.set_background("white")
    low, high = outline.min(axis=0), outline.max(axis=0)
    plotter.add_mesh(_back_of_box(low, high), color=RULE, line_width=2, lighting=False)
    middle, reach = 0.5 * (low + high), float(np.linalg.norm(high - low))
    plotter.camera_position = [tuple(middle + 3 * reach * _VIEW), tuple(middle), (0.0, 0.0, 1.0)]
    plotter.enable_parallel_projection()
    plotter.camera.parallel_scale = 0.46 * reach
    plotter.add_axes(color=INK, viewport=(0, 0, 0.18, 0.18), line_width=2)


def add_surface(plotter: pyvista.Plotter, mesh: pyvista.PolyData, colour: str, opacity: float, edges: bool) -> None:
    """Draw triangles. Local."""
    plotter.add_mesh(mesh, color=colour, opacity=opacity, show_edges=edges, edge_color=INK, line_width=1, ambient=0.25)


def _triangles(grid: Grid, faces: ArrayLike) -> pyvista.PolyData:
    import pyvista

    rows = grid.faces[np.asarray(faces, dtype=bool)]
    used, corners = np.unique(rows, return_inverse=True)
    return pyvista.PolyData.from_regular_faces(grid.points[used], corners.reshape(-1, 3))


def _back_of_box(low: FloatArray, high: FloatArray) -> pyvista.PolyData:
    """The edges of a box, without the three that would pass in front of what is in it."""
    import pyvista

    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(-1, 3)
    one, other = np.triu_indices(len(corners), 1)
    is_edge = np.abs(corners[one] - corners[other]).sum(axis=1) == 1
    nearest = int(np.argmax(corners @ _VIEW))
    edges = np.column_stack([one, other])[is_edge & (one != nearest) & (other != nearest)]
    return pyvista.PolyData(low + corners * (high - low), lines=np.insert(edges, 0, 2, axis=1))
