"""Exact volumes: moving the vertices of a discretized ball or disc outwards, so that it holds what the round one does.

A polyhedron inscribed in a sphere of radius r holds less than the ball, by a relative (h/r)^2 or so. Restricted
diffusion follows the size of the pore, so that deficit is the largest error of the geometry. Scaling each wall about
the centre until it encloses the exact volume leaves errors of the next kind only: the wall's own shape.
"""

from __future__ import annotations

from math import factorial

import numpy as np

from dmrifw.mesh.gmsh_session import Arrays
from dmrifw.typing import FloatArray


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
    dimension = mesh.points.shape[1]
    corners = mesh.points[mesh.cells]
    simplex = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / factorial(dimension)
    enclosed = np.cumsum(np.bincount(mesh.cell_tags, simplex, minlength=len(radii)))
    factor = (content / enclosed) ** (1 / dimension)
    distance = np.linalg.norm(mesh.points, axis=1)
    scale = np.interp(distance, radii, factor)
    return mesh._replace(points=mesh.points * scale[:, None])
