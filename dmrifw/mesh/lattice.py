"""The truncated body-centred cubic lattice: tetrahedra of equal volume, no preferred diagonal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh.grid import Grid, from_arrays, signed_volumes
from dmrifw.typing import FloatArray, IntArray

if TYPE_CHECKING:
    from mpi4py import MPI

DEFAULT_SIZE = 80 / 3
"""Edge length of the published ambient grid, um."""


MOST_CELLS = 128
"""Cubes along an edge beyond which the grid does not fit a workstation: 25 million tetrahedra."""


def bcc_grid(cells: int = 4, size: float = DEFAULT_SIZE, comm: MPI.Comm | None = None) -> Grid:
    """A truncated BCC lattice centred at the origin.

    Lattice points are the corners and body centres of `cells`^3 cubes. Each square shared by two cubes is surrounded
    by four tetrahedra, each spanned by one edge of the square and the two body centres, so that every tetrahedron
    has volume a^3/12 with a = size/cells. `cells=4` gives 189 points (the 8 outermost corners belong to no cell),
    576 tetrahedra and 1296 faces.

    Args:
        cells: Cubes along each edge, at least 2.
        size: Edge length of the box of cubes, um.
        comm: MPI communicator; the world by default.

    Returns:
        The grid.

    Raises:
        InputError: `cells` is below 2 or above `MOST_CELLS`, or `size` is not positive.

    Local.

    Source: Spinverse, arXiv 2603.04638 (ambient grid).
    """
    if int(cells) != cells or cells < 2:
        raise InputError(f"cells = {cells}", "give a whole number of at least 2", key="cells")
    if cells > MOST_CELLS:
        raise InputError(
            f"cells = {cells} makes {12 * cells**3:.1e} tetrahedra", f"give at most {MOST_CELLS}", key="cells"
        )
    if not (np.isfinite(size) and size > 0):
        raise InputError(f"size = {size}", "give a positive length in um", key="size")
    cells = int(cells)
    points, tetrahedra = bcc_lattice(np.full(3, cells))
    points *= size / cells
    flipped = signed_volumes(points, tetrahedra) < 0
    tetrahedra[flipped] = tetrahedra[flipped][:, [1, 0, 2, 3]]
    return from_arrays(points, tetrahedra, comm=comm)


def bcc_lattice(cubes: IntArray) -> tuple[FloatArray, IntArray]:
    """Points (V, 3) and tetrahedra (E, 4), of either orientation, of a box of unit cubes centred at the origin.

    Args:
        cubes: (3,) number of cubes along each axis.

    Local.
    """
    points = np.concatenate(
        [_product(*[np.arange(n + 1) - n / 2 for n in cubes]), _product(*[np.arange(n) + 0.5 - n / 2 for n in cubes])]
    )
    return points, np.concatenate([_around_shared_squares(cubes, axis) for axis in range(3)])


def _product(*lines: FloatArray) -> FloatArray:
    return np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 3)


def _around_shared_squares(cubes: IntArray, axis: int) -> IntArray:
    """Tetrahedra around every square normal to `axis` that two cubes share."""
    corner_count = int(np.prod(cubes + 1))
    corner_index = np.arange(corner_count).reshape(cubes + 1)
    centre_index = corner_count + np.arange(int(np.prod(cubes))).reshape(cubes)
    corners = np.moveaxis(corner_index, axis, 0)[1:-1]
    centres = np.moveaxis(centre_index, axis, 0)
    square = [corners[:, :-1, :-1], corners[:, 1:, :-1], corners[:, 1:, 1:], corners[:, :-1, 1:]]
    below, above = centres[:-1], centres[1:]
    around = [np.stack([square[i], square[(i + 1) % 4], below, above], axis=-1) for i in range(4)]
    return np.stack(around, axis=-2).reshape(-1, 4)
