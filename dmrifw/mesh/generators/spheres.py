"""Concentric spheres."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmrifw.mesh.generators.checks import affordable_volume, concentric
from dmrifw.mesh.generators.extracellular import Extracellular, surrounded
from dmrifw.mesh.generators.sizes import DEFAULT_H, GMSH_PER_EDGE
from dmrifw.mesh.generators.walls import with_exact_content
from dmrifw.mesh.gmsh_session import Arrays, on_first_rank, session, tetrahedra
from dmrifw.mesh.grid import Grid
from dmrifw.typing import ArrayLike, FloatArray

if TYPE_CHECKING:
    from mpi4py import MPI


def spheres(
    radii: ArrayLike,
    h: float = DEFAULT_H,
    extracellular: Extracellular | None = None,
    comm: MPI.Comm | None = None,
) -> Grid:
    """Concentric spheres around the origin; compartments and interfaces are numbered inside out.

    Vertices on a wall lie slightly outside its radius, so that the polyhedron holds exactly the volume of the ball.

    Args:
        radii: (n,) um, ascending.
        h: Edge length of the tetrahedra, um.
        extracellular: The space around them, if there is to be any: the last compartment.
        comm: MPI communicator; the world by default.

    Returns:
        The grid.

    Raises:
        InputError: The radii do not grow, h is not positive, or gmsh gives up.

    Collective.
    """
    radii, h = concentric(radii, h)
    affordable_volume(4 / 3 * np.pi * radii[-1] ** 3, h)
    return on_first_rank(lambda: surrounded(_mesh(radii, h), extracellular, h), comm)


def _mesh(radii: FloatArray, h: float) -> Arrays:
    with session(GMSH_PER_EDGE * h) as gmsh:
        occ = gmsh.model.occ
        balls = [(3, occ.addSphere(0, 0, 0, radius)) for radius in radii]
        if len(balls) > 1:
            occ.fragment(balls[:1], balls[1:])
        occ.synchronize()
        shells = [tag for _, tag in gmsh.model.getEntities(3)]
        reach = [gmsh.model.getBoundingBox(3, tag)[3] for tag in shells]
        gmsh.model.mesh.generate(3)
        mesh = tetrahedra(gmsh, [[shells[i]] for i in np.argsort(reach)])
    return with_exact_content(mesh, radii, 4 / 3 * np.pi * radii**3)
