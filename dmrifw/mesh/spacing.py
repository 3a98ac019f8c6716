"""How far walls are apart."""

from __future__ import annotations

import numpy as np

from dmrifw.mesh.grid import CELL_FACES, Grid
from dmrifw.typing import BoolArray, FloatArray, IntArray


def wall_spacing(grid: Grid, walls: BoolArray) -> float:
    """The smallest distance from a wall to the next one straight ahead, um.

    From the middle of every face of a wall a ray goes along the normal, to either side, until it meets a wall.

    Args:
        grid: The grid.
        walls: (F,) True for the faces that are walls; exterior faces count as such.

    Returns:
        The length of the shortest ray.

    Local.
    """
    walls = walls | grid.is_exterior
    cell_faces = _faces_of_cells(grid)
    a, b, c = np.moveaxis(grid.points[grid.faces], 1, 0)
    normals = np.cross(b - a, c - a)
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    start: IntArray = np.repeat(np.flatnonzero(walls), 2)
    cell: IntArray = grid.face_cells[walls].reshape(-1)
    start, cell = start[cell >= 0], cell[cell >= 0]
    origin = grid.points[grid.faces[start]].mean(axis=1)
    inward = np.einsum("ij,ij->i", normals[start], grid.points[grid.cells[cell]].mean(axis=1) - origin)
    direction = np.sign(inward)[:, None] * normals[start]
    shortest = np.inf
    for _ in range(len(grid.cells)):  # no ray crosses a cell twice; one along an edge may turn around it
        leave, distance = _next_faces(grid, cell_faces[cell], cell, origin, direction, normals)
        met = walls[leave]
        shortest = min(shortest, float(distance[met].min(initial=np.inf)))
        going = ~met & (distance < shortest)
        if not going.any():
            break
        sides = grid.face_cells[leave[going]]
        cell = np.where(sides[:, 0] == cell[going], sides[:, 1], sides[:, 0])
        origin, direction = origin[going], direction[going]
    return shortest


def _next_faces(
    grid: Grid, faces: IntArray, cell: IntArray, origin: FloatArray, direction: FloatArray, normals: FloatArray
) -> tuple[IntArray, FloatArray]:
    """The face through which each ray leaves its cell, of (n, 4), and how far that is from its origin, um."""
    corner = grid.points[grid.faces[faces, 0]]
    middle = grid.points[grid.cells[cell]].mean(axis=1)
    outward = np.sign(np.einsum("nfi,nfi->nf", normals[faces], corner - middle[:, None]))
    along = outward * np.einsum("nfi,ni->nf", normals[faces], direction)
    height = outward * np.einsum("nfi,nfi->nf", normals[faces], corner - origin[:, None])
    distance = np.where(along > 1e-9, height / np.where(along > 1e-9, along, 1.0), np.inf)
    chosen = distance.argmin(axis=1)
    rows = np.arange(len(faces))
    return faces[rows, chosen], distance[rows, chosen]


def _faces_of_cells(grid: Grid) -> IntArray:
    """(E, 4) the faces of each cell, opposite its vertices."""
    count = len(grid.points)
    keys = (grid.faces[:, 0] * count + grid.faces[:, 1]) * count + grid.faces[:, 2]
    corners = np.sort(grid.cells[:, CELL_FACES], axis=2)
    return np.searchsorted(keys, (corners[..., 0] * count + corners[..., 1]) * count + corners[..., 2])
