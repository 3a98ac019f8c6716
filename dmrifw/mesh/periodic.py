"""Opposite sides of a box-shaped grid."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from dmrifw.errors import InputError
from dmrifw.mesh.grid import Grid
from dmrifw.typing import IntArray

_SLACK = 1e-6
"""Relative to the extent of the grid."""


def matching_faces(grid: Grid, axis: int) -> IntArray:
    """Pairs of exterior faces on opposite sides of a box that are the same up to a translation along an axis.

    Args:
        grid: A grid whose sides across the axis are flat and meshed alike.
        axis: 0, 1 or 2.

    Returns:
        (n, 2) faces on the lower and the upper side.

    Raises:
        InputError: The faces of the two sides do not match.

    Local.
    """
    x = grid.points[np.unique(grid.cells), axis]
    low, high = float(x.min()), float(x.max())
    slack = _SLACK * float(np.ptp(grid.points, axis=0).max())
    corners = grid.points[grid.faces]
    sides = [
        np.flatnonzero(grid.is_exterior & (np.abs(corners[..., axis] - wall) < slack).all(axis=1))
        for wall in (low, high)
    ]
    across = [other for other in range(3) if other != axis]
    keys = [_sorted_corners(corners[side][..., across], slack) for side in sides]
    if len(sides[0]) == len(sides[1]) and len(sides[0]):
        distance, partner = cKDTree(keys[1]).query(keys[0])
        if distance.max() < 10 * slack and len(np.unique(partner)) == len(partner):
            return np.column_stack([sides[0], sides[1][partner]])
    raise InputError(
        f"the faces at {'xyz'[axis]} = {low:g} and {high:g} um do not match",
        "mesh opposite sides alike, for example with periodic = true in a generator",
        key="periodic",
    )


def _sorted_corners(corners: np.ndarray, slack: float) -> np.ndarray:
    """(n, 6) corners of triangles in a plane, in an order that does not depend on the numbering."""
    rounded = np.round(corners / (10 * slack))
    order = np.lexsort((rounded[..., 1], rounded[..., 0]), axis=1)
    return np.take_along_axis(corners, order[..., None], axis=1).reshape(len(corners), 6)
