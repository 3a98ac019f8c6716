"""Shapes of several parts, each with a wall of its own, and one wall between two that touch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh.grid import Grid
from dmrifw.mesh.shapes import Cylinder, Sphere, Vector, unit
from dmrifw.typing import BoolArray, FloatArray, IntArray

_DIAGONALS = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
"""Between neighbours: planes halfway, normal to one of these, consist of faces of a BCC grid."""

_DIGITS = 6
"""Decimals of a distance, relative to the radius, that decide which axis is nearer: the same on every machine."""


@dataclass(frozen=True)
class NestedSpheres:
    """Balls of ascending `radii` um around `centre`; part k lies between the walls k - 1 and k."""

    radii: tuple[float, ...]
    centre: Vector = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if len(self.radii) < 2 or not np.all(np.diff(self.radii) > 0):
            raise InputError(f"got {list(self.radii)}", "give two or more ascending lengths in um", key="radii")

    @property
    def parts(self) -> int:
        """One for each radius."""
        return len(self.radii)

    def label(self, grid: Grid) -> IntArray:
        """(E,) part that owns each cell, inside out from 1: the smallest ball that holds it; 0 outside. Local."""
        within = np.sum([Sphere(radius, self.centre).label(grid) for radius in self.radii], axis=0)
        return np.where(within > 0, len(self.radii) + 1 - within, 0)


@dataclass(frozen=True)
class ParallelCylinders:
    """Two parallel cylinders side by side, or four in a square, pressed flat where they overlap.

    A cell belongs to the bundle when each of its vertices lies in some cylinder, and then to the cylinder whose axis is
    nearest to its middle: the first of them for a cell just halfway. So cylinders that overlap have a single wall
    between them, halfway, as flat as the grid allows.

    Attributes:
        radius: Of each, um.
        count: 2 or 4.
        distance: Between the axes of neighbours, um; below 2 radius they touch. 1.5 radius by default.
        axis: Along them.
        across: From an axis to a neighbour's, as far as it is normal to `axis`. By default whichever of (1, 1, 0),
            (0, 1, 1), (1, 0, 1) is most nearly normal to it: on a BCC grid the walls between cylinders along a
            coordinate axis are then flat.
        length: um; infinite if None.
        centre: In the middle of the bundle, um.

    Raises:
        InputError: `count` is neither, `across` is along `axis`, or a length is not positive.
    """

    radius: float
    count: int = 2
    distance: float | None = None
    axis: Vector = (0.0, 0.0, 1.0)
    across: Vector | None = None
    length: float | None = None
    centre: Vector = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.count not in (2, 4):
            raise InputError(f"{self.count} cylinders", "give 2 or 4", key="count")
        if self.distance is not None and not self.distance > 0:
            raise InputError(f"{self.distance} um", "give a positive length in um", key="distance")
        self._sideways()

    @property
    def parts(self) -> int:
        """One for each cylinder."""
        return self.count

    @property
    def cylinders(self) -> list[Cylinder]:
        """The cylinders, each in full, where they overlap too."""
        first = self._sideways()
        second = np.cross(unit(self.axis), first)
        half = 0.5 * (self.distance or 1.5 * self.radius)
        places = [(-1, 0), (1, 0)] if self.count == 2 else [(-1, -1), (1, -1), (-1, 1), (1, 1)]
        middles = [np.asarray(self.centre) + half * (a * first + b * second) for a, b in places]
        return [Cylinder(self.radius, self.axis, self.length, (x, y, z)) for x, y, z in middles]

    def label(self, grid: Grid) -> IntArray:
        """(E,) part that owns each cell, from 1; 0 outside. Local."""
        cylinders = self.cylinders
        used = np.any([one.contains(grid.points) for one in cylinders], axis=0)
        inside: BoolArray = np.all(used[grid.cells], axis=1)
        middles = grid.points[grid.cells].mean(axis=1)
        distances = np.array([one.split(middles)[1] for one in cylinders])
        nearest = np.argmin(np.round(distances / self.radius, _DIGITS), axis=0)
        return np.where(inside, 1 + nearest, 0)

    def _sideways(self) -> FloatArray:
        """(3,) unit vector from an axis to a neighbour's."""
        axis = unit(self.axis)
        if self.across is None:
            choice = _DIAGONALS[np.argmin(np.round(np.abs(_DIAGONALS @ axis), _DIGITS))]
        else:
            choice = unit(self.across, "across")
        normal = choice - (choice @ axis) * axis
        if np.linalg.norm(normal) < 1e-6:
            raise InputError(f"across = {self.across} is along axis", "give another direction", key="across")
        return np.asarray(normal / np.linalg.norm(normal))
