"""Single cells and empty space: ellipsoid, torus, box."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh.generators.checks import affordable_volume, lengths, positive
from dmrifw.mesh.generators.extracellular import Extracellular, surrounded
from dmrifw.mesh.generators.layers import layers
from dmrifw.mesh.generators.sizes import DEFAULT_H, DEFAULT_TRANSVERSE_H, GMSH_PER_EDGE
from dmrifw.mesh.generators.walls import converged, with_exact_content
from dmrifw.mesh.gmsh_session import Arrays, on_first_rank, session, tetrahedra
from dmrifw.mesh.grid import Grid
from dmrifw.typing import ArrayLike, FloatArray

if TYPE_CHECKING:
    from mpi4py import MPI


def ellipsoid(
    semi_axes: ArrayLike,
    h: float = DEFAULT_H,
    extracellular: Extracellular | None = None,
    comm: MPI.Comm | None = None,
) -> Grid:
    """An ellipsoid around the origin, of exact volume.

    Args:
        semi_axes: (3,) along x, y and z, um.
        h: Edge length of the tetrahedra, um.
        extracellular: The space around it, if there is to be any: the last compartment.
        comm: MPI communicator; the world by default.

    Returns:
        The grid.

    Raises:
        InputError: A length is not positive, or gmsh gives up.

    Collective.
    """
    semi_axes, h = lengths(semi_axes, "semi_axes", 3), positive(h, "h")
    volume = 4 / 3 * np.pi * np.prod(semi_axes)
    affordable_volume(volume, h)

    def add(occ: Any) -> None:
        occ.dilate([(3, occ.addSphere(0, 0, 0, 1))], 0, 0, 0, *semi_axes)

    def work() -> Arrays:
        return surrounded(with_exact_content(_meshed(add, h), np.ones(1), np.array([volume])), extracellular, h)

    return on_first_rank(work, comm)


def torus(
    major: float,
    minor: float,
    h: float = DEFAULT_H,
    extracellular: Extracellular | None = None,
    comm: MPI.Comm | None = None,
) -> Grid:
    """A torus around z, of exact volume.

    Args:
        major: Radius of the circle in the middle of the tube, um.
        minor: Radius of the tube, um.
        h: Edge length of the tetrahedra, um.
        extracellular: The space around it, its hole included, if there is to be any: the last compartment.
        comm: MPI communicator; the world by default.

    Returns:
        The grid.

    Raises:
        InputError: A length is not positive, the tube is too thick to leave a hole, or gmsh gives up.

    Collective.
    """
    major, minor, h = positive(major, "major"), positive(minor, "minor"), positive(h, "h")
    if minor >= major:
        raise InputError(f"a tube of {minor:g} um leaves no hole", f"give less than major = {major:g} um", key="minor")
    volume = 2 * np.pi**2 * major * minor**2
    affordable_volume(volume, h)

    def grown(mesh: Arrays, factor: FloatArray) -> Arrays:
        angle = np.arctan2(mesh.points[:, 1], mesh.points[:, 0])
        middle = major * np.column_stack([np.cos(angle), np.sin(angle), 0 * angle])
        return mesh._replace(points=middle + factor[0] * (mesh.points - middle))

    def work() -> Arrays:
        mesh = _meshed(lambda occ: occ.addTorus(0, 0, 0, major, minor), h)
        return surrounded(converged(mesh, grown, np.array([volume])), extracellular, h)

    return on_first_rank(work, comm)


def box(size: ArrayLike, h: float = DEFAULT_TRANSVERSE_H, comm: MPI.Comm | None = None) -> Grid:
    """A box without walls, from the origin on; opposite sides match (see `matching_faces`).

    Args:
        size: (3,) extent along x, y and z, um.
        h: Largest spacing, um.
        comm: MPI communicator; the world by default.

    Returns:
        The grid.

    Raises:
        InputError: A length is not positive, or the grid would be enormous.

    Local.
    """
    size = lengths(size, "size", 3)
    return layers(size[:1], size[1:], h, h, comm=comm)


def _meshed(add: Callable[[Any], object], h: float) -> Arrays:
    """One solid of gmsh's CAD kernel as tetrahedra, its vertices on the wall."""
    with session(GMSH_PER_EDGE * h) as gmsh:
        add(gmsh.model.occ)
        gmsh.model.occ.synchronize()
        gmsh.model.mesh.generate(3)
        return tetrahedra(gmsh, [[tag for _, tag in gmsh.model.getEntities(3)]])
