"""Opposite sides of a box-shaped grid."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from dmrifw.errors import InputError
from dmrifw.mesh.grid import Grid
from dmrifw.typing import Axes, IntArray

_SLACK = 1e-5
"""Relative to the extent of the grid."""


def matching_faces(grid: Grid, axis: int) -> IntArray:
    """(n, 2) the faces of `joined_sides` alone. Local."""
    return joined_sides(grid, axis)[0]


def periodic_sides(grid: Grid, axes: Axes) -> list[tuple[IntArray, IntArray]]:
    """What periodicity joins: `joined_sides` for each axis along which a grid goes on at its opposite side.

    Raises:
        InputError: The faces of two sides do not match, or different compartments meet there.

    Local.
    """
    joined = []
    for axis in np.flatnonzero(axes):
        faces, vertices = joined_sides(grid, int(axis))
        tags = grid.cell_tags[grid.face_cells[faces, 0]]
        if (tags[:, 0] != tags[:, 1]).any():
            raise InputError(
                f"compartments {tags[tags[:, 0] != tags[:, 1]][0].tolist()} meet where {'xyz'[axis]} is periodic",
                "put the boundary of the cell inside a compartment, so that no wall lies in it",
                key="periodic",
            )
        joined.append((faces, vertices))
    return joined


def joined_sides(grid: Grid, axis: int) -> tuple[IntArray, IntArray]:
    """Pairs of exterior faces on opposite sides of a box that are the same up to a translation along an axis.

    Args:
        grid: A grid whose sides across the axis are flat and meshed alike.
        axis: 0, 1 or 2.

    Returns:
        (n, 2) faces on the lower and the upper side, and (n, 2, 3) their vertices, in corresponding order.

    Raises:
        InputError: The faces of the two sides do not match.

    Local.
    """
    used = np.unique(grid.cells)
    x = grid.points[used, axis]
    low, high = float(x.min()), float(x.max())
    slack = _SLACK * float(np.ptp(grid.points[used], axis=0).max())
    lower, upper = (
        np.flatnonzero(grid.is_exterior & (np.abs(grid.points[grid.faces][..., axis] - wall) < slack).all(axis=1))
        for wall in (low, high)
    )
    if len(lower) == len(upper) > 0:
        partner = _partners(grid, np.unique(grid.faces[lower]), np.unique(grid.faces[upper]), axis, slack)
        if partner is not None:
            moved = partner[grid.faces[lower]]
            match = _rows(np.sort(moved, axis=1), grid.faces[upper])
            if match is not None:
                return np.column_stack([lower, upper[match]]), np.stack([grid.faces[lower], moved], axis=1)
    raise InputError(
        f"the faces at {'xyz'[axis]} = {low:g} and {high:g} um do not match",
        "mesh opposite sides alike, for example with periodic = true in a generator",
        key="periodic",
    )


def _partners(grid: Grid, lower: IntArray, upper: IntArray, axis: int, slack: float) -> IntArray | None:
    """(V,) the vertex above each one of the lower side; None if some has none of its own."""
    across = [other for other in range(3) if other != axis]
    distance, nearest = cKDTree(grid.points[upper][:, across]).query(grid.points[lower][:, across])
    if distance.max() > slack or len(np.unique(nearest)) < len(lower):
        return None
    partner = np.full(len(grid.points), -1, dtype=np.int64)
    partner[lower] = upper[nearest]
    return partner


def _rows(wanted: IntArray, rows: IntArray) -> IntArray | None:
    """(n,) where each wanted row stands among lexicographically sorted ones; None if one is not there."""
    place = {row: number for number, row in enumerate(map(tuple, rows))}
    found = np.array([place.get(row, -1) for row in map(tuple, wanted)], dtype=np.int64)
    return None if (found < 0).any() or len(np.unique(found)) < len(found) else found
