"""Shapes that mark cells of an ambient grid: a cell is inside when all of its vertices are.

The barrier of a shape is the boundary of the set of its cells, faces on the grid's exterior included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh.grid import Grid
from dmrifw.typing import BoolArray, FloatArray

_SLACK = 1e-9
"""Relative slack on radii, so that a vertex exactly on a surface counts as inside on every machine."""


class Shape(Protocol):
    """A solid in space."""

    def contains(self, points: FloatArray) -> BoolArray:
        """(n,) True for the points, (n, 3) in um, that lie in the solid or on its surface. Local."""


@dataclass(frozen=True)
class Sphere:
    """A ball of `radius` um around `centre`."""

    radius: float
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def contains(self, points: FloatArray) -> BoolArray:
        """See `Shape.contains`. Local."""
        distance: FloatArray = np.linalg.norm(points - np.asarray(self.centre), axis=1)
        return np.less_equal(distance, self.radius * (1 + _SLACK))


@dataclass(frozen=True)
class Cylinder:
    """A cylinder of `radius` um around the line through `centre` along `axis`, `length` um long (infinite if None)."""

    radius: float
    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)
    length: float | None = None
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def contains(self, points: FloatArray) -> BoolArray:
        """See `Shape.contains`. Local."""
        along, across = _split(points - np.asarray(self.centre), self.axis)
        inside = across <= self.radius * (1 + _SLACK)
        if self.length is not None:
            inside &= np.abs(along) <= 0.5 * self.length * (1 + _SLACK)
        return inside


@dataclass(frozen=True)
class Torus:
    """A torus of `major` and `minor` radius um around `axis`."""

    major: float
    minor: float
    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def contains(self, points: FloatArray) -> BoolArray:
        """See `Shape.contains`. Local."""
        along, across = _split(points - np.asarray(self.centre), self.axis)
        distance: FloatArray = np.hypot(across - self.major, along)
        return distance <= self.minor * (1 + _SLACK)


SHAPES: dict[str, type[Sphere] | type[Cylinder] | type[Torus]] = {
    "sphere": Sphere,
    "cylinder": Cylinder,
    "torus": Torus,
}
"""Shapes by the name that a config uses."""


def cells_inside(grid: Grid, shape: Shape) -> BoolArray:
    """(E,) True for the cells whose four vertices all lie in `shape`. Local.

    Source: Spinverse, arXiv 2603.04638 (all-vertices-inside rule).
    """
    return np.all(shape.contains(grid.points)[grid.cells], axis=1)


def shape_barrier(grid: Grid, shape: Shape) -> BoolArray:
    """(F,) True for the faces that bound the cells inside `shape`, faces on the grid's exterior included.

    Raises:
        InputError: No cell of the grid lies inside the shape.

    Local.
    """
    inside = cells_inside(grid, shape)
    if not inside.any():
        raise InputError(
            f"no cell of the grid lies inside {shape}", "enlarge the shape or refine the grid", key="geometry.barrier"
        )
    return grid.boundary_faces(inside)


def _split(offsets: FloatArray, axis: tuple[float, float, float]) -> tuple[FloatArray, FloatArray]:
    """Signed distance along an axis and distance from it."""
    direction = np.asarray(axis, dtype=float)
    length = np.linalg.norm(direction)
    if not length > 0:
        raise InputError(f"axis = {axis} has no length", "give a non-zero vector", key="axis")
    direction = direction / length
    along = offsets @ direction
    across: FloatArray = np.linalg.norm(offsets - along[:, None] * direction, axis=1)
    return along, across
