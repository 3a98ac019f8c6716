"""Point reflection and translation of faces onto other faces of the same grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from dmrifw.errors import InputError
from dmrifw.mesh.grid import Grid
from dmrifw.typing import BoolArray, FloatArray, IntArray

_TOLERANCE = 1e-6
"""Distance, relative to the size of the grid, up to which two points are the same."""


@dataclass(frozen=True, eq=False)
class Images:
    """Maps x -> sign x + shift that take a set of faces onto faces of the grid.

    Attributes:
        signs: (M,) 1.0 or -1.0; the first map is the identity.
        shifts: (M, 3) um.
        faces: (M, k) rows of `Grid.faces` that the faces of the set become.
    """

    signs: FloatArray
    shifts: FloatArray
    faces: IntArray


def images(grid: Grid, faces: BoolArray, translations: bool) -> Images:
    """Where a set of faces goes under the symmetries of the grid.

    Point reflection through the centre of the grid's bounding box, where it takes the grid into itself. With
    `translations` instead every translation, and every point reflection followed by one, that takes each face of the
    set onto a face of the grid: on a BCC grid the lattice vectors for which the set stays within the grid.

    Args:
        grid: The grid.
        faces: (F,) True for the faces of the set.
        translations: Whether sets may move.

    Returns:
        The maps, the identity first; of those with the same image only one.

    Local.
    """
    rows = np.flatnonzero(faces)
    if len(rows) == 0 or not translations:
        return _without_translations(grid, rows)
    corners, places = np.unique(grid.faces[rows], return_inverse=True)
    signs, shifts = _candidates(grid, grid.points[corners])
    found, vertices = _vertices_at(grid, signs[:, None, None] * grid.points[corners] + shifts[:, None, :])
    signs, shifts, vertices = signs[found], shifts[found], vertices[found]
    triples = vertices[:, places.reshape(-1, 3)]
    there, mapped = _rows_of(grid, triples)
    kept = there.all(axis=1)
    return _distinct(Images(signs[kept], shifts[kept], mapped[kept]))


def reflected_faces(grid: Grid) -> IntArray | None:
    """The face that each face becomes under point reflection through the centre of the grid's bounding box.

    Args:
        grid: The grid.

    Returns:
        (F,) rows of `grid.faces`, or None where the grid is not its own reflection.

    Local.
    """
    used = np.unique(grid.faces)
    found, vertices = _vertices_at(grid, (_twice_the_centre(grid) - grid.points[used])[None])
    if not found.all():
        return None
    image = np.zeros(len(grid.points), dtype=np.int64)
    image[used] = vertices[0]
    there, rows = _rows_of(grid, image[grid.faces])
    return rows if there.all() else None


def _without_translations(grid: Grid, rows: IntArray) -> Images:
    mirror = reflected_faces(grid)
    if mirror is None:
        return Images(np.ones(1), np.zeros((1, 3)), rows[None])
    shifts = np.stack([np.zeros(3), _twice_the_centre(grid)])
    return _distinct(Images(np.array([1.0, -1.0]), shifts, np.stack([rows, mirror[rows]])))


def _distinct(maps: Images) -> Images:
    _, first = np.unique(np.sort(maps.faces, axis=1), axis=0, return_index=True)
    kept = np.sort(first)
    return Images(maps.signs[kept], maps.shifts[kept], maps.faces[kept])


def _candidates(grid: Grid, corners: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Maps that take the first corner to a vertex and all corners into the bounding box; the identity first."""
    vertices = grid.points[np.unique(grid.faces)]
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    slack = _TOLERANCE * (high - low).max()
    signs, shifts = [np.ones(1)], [np.zeros((1, 3))]
    for sign in (1.0, -1.0):
        ends = np.sort([sign * corners.min(axis=0), sign * corners.max(axis=0)], axis=0)
        steps = vertices - sign * corners[0]
        fits = np.all((ends[0] + steps >= low - slack) & (ends[1] + steps <= high + slack), axis=1)
        fits &= (sign < 0) | (np.abs(steps).max(axis=1) > slack)
        shifts.append(steps[fits])
        signs.append(np.full(int(fits.sum()), sign))
    return np.concatenate(signs), np.concatenate(shifts)


def _vertices_at(grid: Grid, points: FloatArray) -> tuple[BoolArray, IntArray]:
    """(M,) whether all of (M, k, 3) points are vertices, and (M, k) which ones."""
    used = np.unique(grid.faces)
    vertices = grid.points[used]
    distances, nearest = cKDTree(vertices).query(points)
    size = np.ptp(vertices, axis=0).max()
    return np.all(distances <= _TOLERANCE * size, axis=1), used[nearest]


def _rows_of(grid: Grid, triples: IntArray) -> tuple[BoolArray, IntArray]:
    """(...,) whether (..., 3) vertices span a face, and the row of that face."""
    count = len(grid.points)
    if count**3 > np.iinfo(np.int64).max:
        raise InputError(f"{count} vertices", "use a grid of at most two million points", key="grid")
    names, wanted = (
        (one[..., 0] * count + one[..., 1]) * count + one[..., 2] for one in (grid.faces, np.sort(triples, axis=-1))
    )
    rows = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return names[rows] == wanted, rows


def _twice_the_centre(grid: Grid) -> FloatArray:
    points = grid.points[np.unique(grid.faces)]
    return np.asarray(points.min(axis=0) + points.max(axis=0))
