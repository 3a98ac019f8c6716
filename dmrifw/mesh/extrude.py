"""Flat triangulations drawn out along z into tetrahedra."""

from __future__ import annotations

import numpy as np

from dmrifw.mesh.gmsh_session import Arrays, oriented
from dmrifw.typing import ArrayLike, FloatArray, IntArray


def extrude(flat: Arrays, levels: ArrayLike, order: ArrayLike | None = None) -> Arrays:
    """Tetrahedra from triangles and levels.

    Each prism is cut into three tetrahedra whose diagonals rise from the vertex of the lower rank, so neighbours agree.
    What varies in the plane only is then resolved exactly as well as by the triangles, whatever the levels are.

    Args:
        flat: Points (V, 2) um, triangles (E, 3), cell_tags (E,).
        levels: (n,) ascending z, um, at least two.
        order: (V,) ranks of the vertices; their numbers by default. Vertices on opposite sides of a periodic box that
            have equal ranks give faces that match.

    Returns:
        The tetrahedra; vertices level by level, cells triangle by triangle within a level.

    Local.
    """
    z = np.asarray(levels, dtype=np.float64)
    rank = np.arange(len(flat.points)) if order is None else np.asarray(order)
    count = len(flat.points)
    by_rank = np.take_along_axis(flat.cells, np.argsort(rank[flat.cells], axis=1, kind="stable"), axis=1)
    low = by_rank[None] + count * np.arange(len(z) - 1)[:, None, None]
    high = low + count
    prism = np.stack(
        [
            np.concatenate([low, high[..., 2:]], axis=-1),
            np.concatenate([low[..., :2], high[..., 1:]], axis=-1),
            np.concatenate([low[..., :1], high], axis=-1),
        ],
        axis=2,
    )
    points: FloatArray = np.column_stack([np.tile(flat.points, (len(z), 1)), np.repeat(z, count)])
    cells: IntArray = prism.reshape(-1, 4)
    tags = np.tile(np.repeat(flat.cell_tags, 3), len(z) - 1)
    return Arrays(points, oriented(points, cells), tags)


def spaced(length: float, h: float, start: float = 0.0) -> FloatArray:
    """The ends of the fewest equal steps of at most `h` um over a length, from `start`. Local."""
    return start + np.linspace(0.0, length, max(1, int(np.ceil(length / h * (1 - 1e-9)))) + 1)
