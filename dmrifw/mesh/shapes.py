"""Shapes that mark cells of an ambient grid: a cell is inside when all of its vertices are.

The barrier of a shape is the boundary of the set of its cells, faces on the grid's exterior included, and the walls
between its parts where it has several.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh.grid import Grid
from dmrifw.typing import BoolArray, FloatArray, IntArray

Vector = tuple[float, float, float]

_SLACK = 1e-9
"""Relative slack on radii, so that a vertex exactly on a surface counts as inside on every machine."""


class Shape(Protocol):
    """Something that owns cells of a grid, in one part or several."""

    @property
    def parts(self) -> int:
        """How many parts it has, each with a wall around it."""

    def label(self, grid: Grid) -> IntArray:
        """(E,) part that owns each cell, from 1; 0 for the cells outside. Local."""


class Solid(ABC):
    """A shape of one part that is known by the points in it."""

    @property
    def parts(self) -> int:
        """One."""
        return 1

    @abstractmethod
    def contains(self, points: FloatArray) -> BoolArray:
        """(n,) True for the points, (n, 3) in um, that lie in the solid or on its surface. Local."""

    def label(self, grid: Grid) -> IntArray:
        """(E,) 1 for the cells whose four vertices all lie in the solid, 0 for the others. Local.

        Source: Spinverse, arXiv 2603.04638 (all-vertices-inside rule).
        """
        return np.all(self.contains(grid.points)[grid.cells], axis=1).astype(np.int64)


@dataclass(frozen=True)
class Sphere(Solid):
    """A ball of `radius` um around `centre`."""

    radius: float
    centre: Vector = (0.0, 0.0, 0.0)

    def contains(self, points: FloatArray) -> BoolArray:
        """See `Solid.contains`. Local."""
        distance: FloatArray = np.linalg.norm(points - np.asarray(self.centre), axis=1)
        return np.less_equal(distance, self.radius * (1 + _SLACK))


@dataclass(frozen=True)
class Cylinder(Solid):
    """A cylinder of `radius` um around the line through `centre` along `axis`, `length` um long (infinite if None)."""

    radius: float
    axis: Vector = (0.0, 0.0, 1.0)
    length: float | None = None
    centre: Vector = (0.0, 0.0, 0.0)

    def contains(self, points: FloatArray) -> BoolArray:
        """See `Solid.contains`. Local."""
        along, across = self.split(points)
        inside = across <= self.radius * (1 + _SLACK)
        if self.length is not None:
            inside &= np.abs(along) <= 0.5 * self.length * (1 + _SLACK)
        return inside

    def split(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(n,) signed distances along the axis from `centre`, and (n,) distances from it, um. Local."""
        return _split(points - np.asarray(self.centre), self.axis)


@dataclass(frozen=True)
class Torus(Solid):
    """A torus of `major` and `minor` radius um around `axis`."""

    major: float
    minor: float
    axis: Vector = (0.0, 0.0, 1.0)
    centre: Vector = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if not self.minor < self.major:
            raise InputError(f"{self.minor:g} um leaves no hole", "give less than major", key="minor")

    def contains(self, points: FloatArray) -> BoolArray:
        """See `Solid.contains`. Local."""
        along, across = _split(points - np.asarray(self.centre), self.axis)
        distance: FloatArray = np.hypot(across - self.major, along)
        return distance <= self.minor * (1 + _SLACK)


def cell_labels(grid: Grid, shape: Shape) -> IntArray:
    """(E,) part of a shape that owns each cell, from 1; 0 for the cells outside.

    Raises:
        InputError: No cell of the grid lies inside some part.

    Local.
    """
    labels = shape.label(grid)
    for part in range(1, shape.parts + 1):
        if not (labels == part).any():
            where = f"part {part} of {shape}" if shape.parts > 1 else f"{shape}"
            raise InputError(f"no cell of the grid lies inside {where}", "enlarge the shape or refine the grid")
    return labels


def cells_inside(grid: Grid, shape: Shape) -> BoolArray:
    """(E,) True for the cells of a shape, whatever the part. Local."""
    return shape.label(grid) > 0


def shape_barrier(grid: Grid, shape: Shape) -> BoolArray:
    """(F,) True for the faces that bound the parts of a shape, faces on the grid's exterior included.

    Raises:
        InputError: No cell of the grid lies inside some part.

    Local.
    """
    return grid.boundary_faces(cell_labels(grid, shape))


def unit(vector: Vector, key: str = "axis") -> FloatArray:
    """(3,) the direction of a vector.

    Raises:
        InputError: It is zero, or not finite.

    Local.
    """
    direction = np.asarray(vector, dtype=float)
    length = np.linalg.norm(direction)
    if not (np.isfinite(length) and length > 0):
        raise InputError(f"{key} = {vector} has no length", "give a non-zero vector", key=key)
    return np.asarray(direction / length)


def _split(offsets: FloatArray, axis: Vector) -> tuple[FloatArray, FloatArray]:
    """Signed distance along an axis and distance from it."""
    direction = unit(axis)
    along = offsets @ direction
    across: FloatArray = np.linalg.norm(offsets - along[:, None] * direction, axis=1)
    return along, across
