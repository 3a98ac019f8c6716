"""The space around a closed cell: a box, or a shell that follows its convex hull, meshed against the cell's wall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial import ConvexHull

from dmrifw.errors import InputError
from dmrifw.mesh.extrude import spaced
from dmrifw.mesh.generators.checks import affordable_volume, positive
from dmrifw.mesh.generators.layers import rectangle
from dmrifw.mesh.gmsh_session import Arrays
from dmrifw.mesh.implicit import fill_implicit
from dmrifw.mesh.surfaces import TriangleSurface, exterior_surface, fill, together
from dmrifw.typing import FloatArray

_LATTICE_PER_EDGE = 1.4
"""Lattice spacing per edge: the triangles that a surface cuts out of a lattice are smaller than its cubes."""

_LATTICE_PER_GAP = 1.5
"""Largest spacing, so that edges of the hull, which the lattice rounds off, stay clear of the wall."""

_AT_ONCE = 10_000_000
"""Numbers in the largest table of distances from planes."""


@dataclass(frozen=True)
class Extracellular:
    """What surrounds a cell; it becomes the last compartment, and the cell's outer wall the last interface.

    Attributes:
        kind: "box", along the axes, with sides whose meshes match; or "hull", everything within `gap` of the faces of
            the cell's convex hull.
        gap: Distance from the cell to the outside of the space, um.
    """

    kind: Literal["box", "hull"] = "box"
    gap: float = 1.0

    def __post_init__(self) -> None:
        positive(self.gap, "extracellular.gap")
        if self.kind not in ("box", "hull"):
            raise InputError(f"there is no {self.kind!r}", "choose 'box' or 'hull'", key="extracellular.kind")


def surrounded(cell: Arrays, space: Extracellular | None, h: float) -> Arrays:
    """A cell with the space around it.

    Args:
        cell: The tetrahedra of the cell, in one piece or several.
        space: What is around it; nothing if None.
        h: Edge length of the elements at the outside of the space, um.

    Returns:
        The cell's points and tetrahedra as they were, and after them those of the space.

    Raises:
        InputError: Gmsh gives up, or changes the wall.

    Local, on one rank.
    """
    if space is None:
        return cell
    wall, used = exterior_surface(cell)
    shell = _box(wall.points, space.gap, h) if space.kind == "box" else _hull(wall.points, space.gap, h)
    around = fill(together(wall, shell), hollow=range(int(wall.pieces.max()) + 1))
    # The wall's points come first, as they are numbered first: they are the cell's own.
    number = np.append(used, len(cell.points) + np.arange(len(around.points) - len(used)))
    mesh = Arrays(
        np.concatenate([cell.points, around.points[len(used) :]]),
        np.concatenate([cell.cells, number[around.cells]]),
        np.append(cell.cell_tags, np.full(len(around.cells), cell.cell_tags.max() + 1)),
    )
    kept = np.array_equal(around.points[: len(used)], wall.points)
    if not kept or len(exterior_surface(mesh)[0].triangles) != len(shell.triangles):
        raise InputError("gmsh cannot fill the space without changing the wall", "change h or gap", key="extracellular")
    return mesh


def _box(points: FloatArray, gap: float, h: float) -> TriangleSurface:
    """The sides of the box around points, triangulated alike on opposite sides."""
    low, high = points.min(axis=0) - gap, points.max(axis=0) + gap
    affordable_volume(float(np.prod(high - low)), h)
    lines = [spaced(high[axis] - low[axis], h, low[axis]) for axis in range(3)]
    corners = []
    for axis in range(3):
        right, up = (axis + 1) % 3, (axis + 2) % 3
        flat = rectangle(lines[right], lines[up])
        for wall, turn in ((lines[axis][0], -1), (lines[axis][-1], 1)):
            side = np.empty((len(flat.points), 3))
            side[:, axis], side[:, right], side[:, up] = wall, flat.points[:, 0], flat.points[:, 1]
            corners.append(side[flat.cells[:, ::turn]])
    vertices, triangles = np.unique(np.concatenate(corners).reshape(-1, 3), axis=0, return_inverse=True)
    return TriangleSurface(vertices, triangles.reshape(-1, 3))


def _hull(points: FloatArray, gap: float, h: float) -> TriangleSurface:
    """Where the largest distance from the planes of the convex hull of points is the gap."""
    low, high = points.min(axis=0) - gap, points.max(axis=0) + gap
    lattice = min(_LATTICE_PER_EDGE * h, _LATTICE_PER_GAP * gap)
    affordable_volume(float(np.prod(high - low)), lattice)
    planes = np.unique(ConvexHull(points).equations.round(12), axis=0)  # a flat side has one for each of its triangles
    step = max(1, _AT_ONCE // len(planes))

    def distance(places: FloatArray) -> FloatArray:
        parts = (places[start : start + step] for start in range(0, len(places), step))
        return np.concatenate([(part @ planes[:, :3].T + planes[:, 3]).max(axis=1) for part in parts]) - gap

    return exterior_surface(fill_implicit(distance, low, high, lattice))[0]
