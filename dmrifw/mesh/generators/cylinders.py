"""Concentric cylinders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmrifw.mesh.extrude import extrude, spaced
from dmrifw.mesh.generators.checks import affordable_volume, concentric, drawn_out
from dmrifw.mesh.generators.extracellular import Extracellular, surrounded
from dmrifw.mesh.generators.sizes import DEFAULT_H, DEFAULT_LENGTH
from dmrifw.mesh.generators.walls import with_exact_content
from dmrifw.mesh.gmsh_session import Arrays, on_first_rank, session, triangles
from dmrifw.mesh.grid import Grid
from dmrifw.typing import ArrayLike, FloatArray

if TYPE_CHECKING:
    from mpi4py import MPI


def cylinders(
    radii: ArrayLike,
    length: float = DEFAULT_LENGTH,
    h: float = DEFAULT_H,
    axial_h: float | None = None,
    extracellular: Extracellular | None = None,
    comm: MPI.Comm | None = None,
) -> Grid:
    """Concentric cylinders around z; compartments and interfaces are numbered inside out.

    A disc of triangles drawn out along z. Vertices on a wall lie slightly outside its radius, so that the polygon has
    exactly the area of the disc. For gradients across the axis the accuracy is that of the triangles, whatever
    `axial_h` is: `axial_h = length` is then the cheapest.

    Args:
        radii: (n,) um, ascending.
        length: Extent along z, centred at the origin, um.
        h: Edge length of the triangles, um.
        axial_h: Largest spacing along z, um; `h` by default.
        extracellular: The space around them, ends included, if there is to be any: the last compartment.
        comm: MPI communicator; the world by default.

    Returns:
        The grid.

    Raises:
        InputError: The radii do not grow, a length is not positive, or gmsh gives up.

    Collective.
    """
    radii, h = concentric(radii, h)
    length, step = drawn_out(length, h, axial_h)
    affordable_volume(np.pi * radii[-1] ** 2 * length, h, step)

    def work() -> Arrays:
        return surrounded(extrude(disc(radii, h), spaced(length, step, -length / 2)), extracellular, h)

    return on_first_rank(work, comm)


def disc(radii: FloatArray, h: float) -> Arrays:
    """Concentric discs of triangles around the origin, each of exact area; made by gmsh on this rank. Local."""
    with session(h) as gmsh:
        occ = gmsh.model.occ
        discs = [(2, occ.addDisk(0, 0, 0, radius, radius)) for radius in radii]
        if len(discs) > 1:
            occ.fragment(discs[:1], discs[1:])
        occ.synchronize()
        rings = [tag for _, tag in gmsh.model.getEntities(2)]
        reach = [gmsh.model.getBoundingBox(2, tag)[3] for tag in rings]
        gmsh.model.mesh.generate(2)
        mesh = triangles(gmsh, [[rings[i]] for i in np.argsort(reach)])
    return with_exact_content(mesh, radii, np.pi * radii**2)
