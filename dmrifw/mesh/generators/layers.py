"""Parallel layers along x: a structured grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh.extrude import extrude, spaced
from dmrifw.mesh.generators.checks import affordable, lengths, positive
from dmrifw.mesh.generators.sizes import DEFAULT_LAYER_H, DEFAULT_TRANSVERSE, DEFAULT_TRANSVERSE_H
from dmrifw.mesh.gmsh_session import Arrays, oriented
from dmrifw.mesh.grid import Grid, from_arrays
from dmrifw.typing import ArrayLike

if TYPE_CHECKING:
    from mpi4py import MPI


def layers(
    widths: ArrayLike,
    transverse: ArrayLike = DEFAULT_TRANSVERSE,
    h: float = DEFAULT_LAYER_H,
    transverse_h: float = DEFAULT_TRANSVERSE_H,
    periodic: bool = False,
    comm: MPI.Comm | None = None,
) -> Grid:
    """Layers from x = 0 on, compartments and interfaces numbered from left to right.

    The elements on these tetrahedra hold those of the 1D grid along x, so for gradients along x the error is that of 1D
    elements, whatever `transverse_h` is. For other directions `transverse_h` has to follow.

    Args:
        widths: (n,) thickness of each layer, um.
        transverse: Extent along y and z, um.
        h: Largest spacing along x, um.
        transverse_h: Largest spacing along y and z, um.
        periodic: Whether the layers go on at the opposite side: the first and the last one are then parts of the same
            compartment, 0, and no wall lies in the boundary.
        comm: MPI communicator; the world by default.

    Returns:
        The grid.

    Raises:
        InputError: A length is not positive, the grid would be enormous, or two periodic layers would be one.

    Local.
    """
    widths, across = lengths(widths, "widths"), lengths(transverse, "transverse", 2)
    h, transverse_h = positive(h, "h"), positive(transverse_h, "transverse_h")
    if periodic and len(widths) == 2:
        a, b = widths
        raise InputError(
            "two periodic layers are parts of the same compartment, without a wall",
            f"give one width, {a + b:g}, or put the boundary inside a layer: [{a / 2:g}, {b:g}, {a / 2:g}]",
            key="widths",
        )
    steps = np.ceil(widths / h).sum() * np.ceil(across / transverse_h).prod()
    affordable(6 * steps)
    walls = np.concatenate([[0.0], np.cumsum(widths)])
    x = np.concatenate([[0.0], *(spaced(width, h, start)[1:] for width, start in zip(widths, walls[:-1], strict=True))])
    y = spaced(across[0], transverse_h)
    flat = rectangle(y, spaced(across[1], transverse_h))
    grid = extrude(flat, x)
    points = grid.points[:, [2, 0, 1]]  # the levels are along x
    middle = points[grid.cells, 0].mean(axis=1)
    tags = np.searchsorted(walls[1:-1], middle)
    if periodic:
        tags[tags == len(widths) - 1] = 0
    return from_arrays(points, oriented(points, grid.cells), tags, comm=comm)


def rectangle(x: ArrayLike, y: ArrayLike) -> Arrays:
    """The flat triangulation of a grid of lines, each cell cut along the same diagonal. Local."""
    x, y = np.asarray(x), np.asarray(y)
    points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    index = np.arange(len(points)).reshape(len(x), len(y))
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    cells = np.stack([np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)], axis=2).reshape(-1, 3)
    return Arrays(points, cells, np.zeros(len(cells), dtype=np.int64))
