"""Permeabilities of faces carried from one grid to another, such as a finer one of the same space."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from dmrifw.mesh.crossings import segments_meet
from dmrifw.mesh.grid import Grid
from dmrifw.typing import FloatArray, IntArray

_AT_ONCE = 4096
"""Segments that are looked at together, so that memory stays small."""


def carry_faces(permeability: FloatArray, source: Grid, grid: Grid, elsewhere: float) -> FloatArray:
    """Permeabilities that faces of a grid have if walls stay where they are in another.

    Water that goes over from one cell to the next passes the faces of the other grid which lie between: it goes
    straight from one cell's middle to that of their face and on to the other's, out of the grid as far again, and the
    least permeability on the way counts. Where one grid refines the other, faces within a face have its permeability.

    Args:
        permeability: (F',) of the faces of `source`, um/ms.
        source: The grid that they belong to.
        grid: The grid that they are carried to.
        elsewhere: Permeability of faces on whose way there is none of the other grid, um/ms.

    Returns:
        (F,) um/ms.

    Local.
    """
    corners = source.points[source.faces]
    tree = cKDTree(corners.mean(axis=1))
    reach = np.linalg.norm(corners - corners.mean(axis=1, keepdims=True), axis=2).max()
    carried = np.full(len(grid.faces), np.nan)
    for halves in _ways(grid):
        for first in range(0, len(halves), _AT_ONCE):
            rows = np.arange(first, min(first + _AT_ONCE, len(halves)))
            ends = halves[rows]
            which, faces = _near(tree, ends, reach)
            met = segments_meet(ends[which], corners[faces])
            np.fmin.at(carried, rows[which[met]], permeability[faces[met]])
    return np.where(np.isnan(carried), elsewhere, carried)


def _ways(grid: Grid) -> tuple[FloatArray, FloatArray]:
    """(F, 2, 3) each: from the first cell's middle to that of the face, and from there on."""
    middles, faces = grid.points[grid.cells].mean(axis=1), grid.points[grid.faces].mean(axis=1)
    first, second = grid.face_cells.T
    ahead = np.where(grid.is_exterior[:, None], 2.0 * faces - middles[first], middles[second])
    return np.stack([middles[first], faces], axis=1), np.stack([faces, ahead], axis=1)


def _near(tree: cKDTree, ends: FloatArray, reach: float) -> tuple[IntArray, IntArray]:
    """Segments and faces that may meet, as pairs: rows of `ends`, and faces."""
    middles, half = ends.mean(axis=1), np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) / 2
    found = tree.query_ball_point(middles, half + reach)
    counts = np.array([len(one) for one in found])
    which = np.repeat(np.arange(len(ends)), counts)
    return which, np.concatenate([np.asarray(one, dtype=np.int64) for one in found])
