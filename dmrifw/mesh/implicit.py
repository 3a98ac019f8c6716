"""Tetrahedra inside an implicit surface: a lattice, whose vertices near the surface move onto it, clipped there.

Always watertight and free of slivers that the surface's own triangles would bring, whatever the surface looks like.

Source: Labelle and Shewchuk, Isosurface stuffing, SIGGRAPH 2007 (warp, then cut); Dompierre et al., How to subdivide
pyramids, prisms and hexahedra into tetrahedra, 1999 (diagonals from the lowest vertex, so that neighbours agree).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dmrifw.mesh.gmsh_session import Arrays, oriented
from dmrifw.mesh.lattice import bcc_lattice
from dmrifw.typing import FloatArray, IntArray

_NEAR = 0.25
"""A vertex closer to the surface than this part of an edge moves onto it."""

_EDGES = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])

_ROTATIONS = np.array(
    [
        [0, 1, 2, 3, 4, 5],
        [1, 2, 0, 4, 5, 3],
        [2, 0, 1, 5, 3, 4],
        [3, 5, 4, 0, 2, 1],
        [4, 3, 5, 1, 0, 2],
        [5, 4, 3, 2, 1, 0],
    ]
)
"""Vertices of a prism, triangles (0, 1, 2) and (3, 4, 5), turned so that each in turn comes first."""


def fill_implicit(distance: Callable[[FloatArray], FloatArray], low: FloatArray, high: FloatArray, h: float) -> Arrays:
    """Tetrahedra where a function is negative.

    Args:
        distance: (n,) from points (n, 3), um: negative inside, and close to the signed distance near the surface.
        low: (3,) corner of a box around the solid, um.
        high: (3,) the opposite corner, um.
        h: Edge of the lattice's cubes, um.

    Returns:
        One compartment; vertices at the surface lie on it to second order in h.

    Local.
    """
    points, cells = bcc_lattice(np.ceil((high - low) / h).astype(int) + 2)
    points = (low + high) / 2 + points * h
    values = distance(points)
    cells = cells[(values[cells] < 0).any(axis=1)]
    points, values = _warped(points, values, cells)
    points, cells = _clipped(points, values, cells)
    used, inverse = np.unique(cells, return_inverse=True)
    points, cells = points[used], inverse.reshape(cells.shape)
    return Arrays(points, oriented(points, cells), np.zeros(len(cells), dtype=np.int64))


def piece_count(cells: IntArray) -> int:
    """Number of connected pieces of a mesh whose vertices are all used. Local."""
    count = int(cells.max()) + 1
    a, b = cells[:, _EDGES].reshape(-1, 2).T
    return int(connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count)), directed=False)[0])


def _cut_edges(values: FloatArray, cells: IntArray) -> tuple[IntArray, FloatArray]:
    """Edges that the surface cuts, and where: 0 at the first end to 1 at the second."""
    edges = np.unique(np.sort(cells[:, _EDGES].reshape(-1, 2), axis=1), axis=0)
    edges = edges[values[edges].prod(axis=1) < 0]
    first, second = values[edges].T
    return edges, first / (first - second)


def _warped(points: FloatArray, values: FloatArray, cells: IntArray) -> tuple[FloatArray, FloatArray]:
    edges, at = _cut_edges(values, cells)
    ends, far = np.concatenate([edges[:, 0], edges[:, 1]]), np.concatenate([edges[:, 1], edges[:, 0]])
    part = np.concatenate([at, 1 - at])
    order = np.argsort(part, kind="stable")
    order = order[part[order] < _NEAR]
    moved, nearest = np.unique(ends[order], return_index=True)
    row = order[nearest]
    points, values = points.copy(), values.copy()
    points[moved] += part[row, None] * (points[far[row]] - points[moved])
    values[moved] = 0.0
    return points, values


def _clipped(points: FloatArray, values: FloatArray, cells: IntArray) -> tuple[FloatArray, IntArray]:
    """The parts of cells where the values are negative, with a new vertex on every edge that is still cut."""
    edges, at = _cut_edges(values, cells)
    cuts = points[edges[:, 0]] + at[:, None] * (points[edges[:, 1]] - points[edges[:, 0]])
    keys = edges[:, 0] * len(points) + edges[:, 1]

    def cut(a: IntArray, b: IntArray) -> IntArray:
        """The vertex where edges are cut; an end itself where the surface goes through it."""
        row = np.searchsorted(keys, np.minimum(a, b) * len(points) + np.maximum(a, b))
        return np.where(values[b] == 0, b, len(points) + row)

    ordered = np.take_along_axis(cells, np.argsort(values[cells], axis=1, kind="stable"), axis=1)
    inside = (values[ordered] < 0).sum(axis=1)
    outside = (values[ordered] > 0).sum(axis=1)
    kept = [ordered[(outside == 0) & (inside > 0)]]
    a, b, c, d = ordered[(inside == 1) & (outside > 0)].T
    kept.append(np.column_stack([a, cut(a, b), cut(a, c), cut(a, d)]))
    a, b, c, d = ordered[(inside == 2) & (outside > 0)].T
    kept.append(_split_prisms(np.column_stack([a, cut(a, c), cut(a, d), b, cut(b, c), cut(b, d)])))
    a, b, c, d = ordered[(inside == 3) & (outside > 0)].T
    kept.append(_split_prisms(np.column_stack([a, b, c, cut(a, d), cut(b, d), cut(c, d)])))
    return np.concatenate([points, cuts]), np.concatenate(kept)


def _split_prisms(prisms: IntArray) -> IntArray:
    """Tetrahedra of prisms (n, 6); where two vertices are one, as in a pyramid, those without volume are left out."""
    v = np.take_along_axis(prisms, _ROTATIONS[prisms.argmin(axis=1)], axis=1)
    rising = (np.minimum(v[:, 1], v[:, 5]) < np.minimum(v[:, 2], v[:, 4]))[:, None, None]
    one, other = (
        np.array([[0, 1, 2, 5], [0, 1, 5, 4], [0, 4, 5, 3]]),
        np.array([[0, 1, 2, 4], [0, 4, 2, 5], [0, 4, 5, 3]]),
    )
    cells = np.where(rising, v[:, one], v[:, other]).reshape(-1, 4)
    in_order = np.sort(cells, axis=1)
    return cells[(np.diff(in_order, axis=1) > 0).all(axis=1)]
