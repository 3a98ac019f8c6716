"""Topology of sets of cells."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from dmrifw.mesh.grid import Grid
from dmrifw.typing import ArrayLike, BoolArray, IntArray


def components(grid: Grid, open_faces: BoolArray) -> IntArray:
    """(E + 1,) component of each cell, joined through faces, and of the outside of the grid as the last entry.

    Args:
        grid: The grid.
        open_faces: (F,) True for the faces that join what lies on their sides.

    Local.
    """
    count = len(grid.cells)
    sides = grid.face_cells[open_faces] % (count + 1)  # -1, "no cell", becomes the last number
    graph = sp.coo_array((np.ones(len(sides), dtype=np.int8), tuple(sides.T)), shape=(count + 1, count + 1))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def is_ball(grid: Grid, inside: ArrayLike) -> bool:
    """Whether a set of cells is a ball to a topologist: solid, in one piece, without handles or pinched places.

    Its cells hang together through faces; its boundary is one surface on which every edge has two faces and the faces
    at every vertex form one fan, with V - E + F = 2. A tube that is closed at both ends is a ball.

    Args:
        grid: The grid.
        inside: (E,) True for the cells of the set.

    Local.
    """
    inside = np.asarray(inside, dtype=bool)
    if not inside.any():
        return False
    both = ~grid.is_exterior & inside[grid.face_cells].all(axis=1)
    if len(np.unique(components(grid, both)[:-1][inside])) > 1:
        return False
    faces = np.flatnonzero(grid.boundary_faces(inside))
    edges, place, uses = np.unique(grid.face_edges[faces], return_inverse=True, return_counts=True)
    vertices = np.unique(grid.faces[faces])
    if (uses != 2).any() or len(vertices) - len(edges) + len(faces) != 2:
        return False
    first, second = np.argsort(place.ravel(), kind="stable").reshape(-1, 2).T // 3  # the two faces at each edge
    return _fans(grid, faces, edges, first, second) == len(vertices) and _pieces(len(faces), first, second) == 1


def _fans(grid: Grid, faces: IntArray, edges: IntArray, first: IntArray, second: IntArray) -> int:
    """How many fans the faces form around their vertices: corners are joined across the edges that end at them."""
    ends = grid.edges[edges]

    def corner(face: IntArray) -> IntArray:
        at = (grid.faces[faces[face]][:, None, :] == ends[:, :, None]).argmax(axis=2)
        return np.asarray((3 * face[:, None] + at).ravel())

    return _pieces(3 * len(faces), corner(first), corner(second))


def _pieces(count: int, first: IntArray, second: IntArray) -> int:
    graph = sp.coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(count, count))
    return int(connected_components(graph, directed=False)[0])
