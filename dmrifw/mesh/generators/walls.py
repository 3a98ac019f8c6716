"""Exact volumes: moving vertices of a discrete ball, disc or tube outwards, so that it holds what the round one does.

A polyhedron inscribed in a sphere of radius r holds less than the ball, by a relative (h/r)^2 or so. Restricted
diffusion follows the size of the pore, so that deficit is the largest error of the geometry. Scaling each wall about
the centre until it encloses the exact volume leaves errors of the next kind only: the wall's own shape.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial

import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh.gmsh_session import Arrays
from dmrifw.typing import FloatArray

_ROUNDS = 20
_EXACT = 1e-12


def enclosed(mesh: Arrays, count: int) -> FloatArray:
    """(count,) area or volume within each wall; compartment i lies between walls i-1 and i. Local."""
    corners = mesh.points[mesh.cells]
    simplex = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / factorial(mesh.points.shape[1])
    contents: FloatArray = np.cumsum(np.bincount(mesh.cell_tags, simplex, minlength=count))
    return contents


def with_exact_content(mesh: Arrays, radii: FloatArray, content: FloatArray) -> Arrays:
    """Scale concentric walls about the origin so that each encloses its exact content.

    Args:
        mesh: Simplices in 2 or 3 dimensions; compartment i lies between walls i-1 and i.
        radii: (n,) radius of each wall, um.
        content: (n,) exact area (um^2) or volume (um^3) that each wall encloses.

    Returns:
        The same mesh with its vertices moved along their rays, by a factor that is linear between walls.

    Local.
    """
    factor = (content / enclosed(mesh, len(radii))) ** (1 / mesh.points.shape[1])
    scale = np.interp(np.linalg.norm(mesh.points, axis=1), radii, factor)
    return mesh._replace(points=mesh.points * scale[:, None])


def converged(mesh: Arrays, grown: Callable[[Arrays, FloatArray], Arrays], volumes: FloatArray) -> Arrays:
    """Widen the walls of a tube until each encloses its exact volume.

    Args:
        mesh: Tetrahedra; compartment i lies between walls i-1 and i.
        grown: The mesh with the distance of each wall from the centre line multiplied by a factor (n,).
        volumes: (n,) exact volume that each wall encloses, um^3.

    Returns:
        The mesh whose walls have moved.

    Raises:
        InputError: The walls cannot be brought there.

    Local.
    """
    factor = np.ones(len(volumes))
    for _ in range(_ROUNDS):
        widened = grown(mesh, factor)
        missing = volumes / enclosed(widened, len(volumes))
        if np.abs(missing - 1).max() < _EXACT:
            return widened
        factor *= np.sqrt(missing)
    raise InputError("the walls are too coarse to hold their volume", "lower h", key="h")
