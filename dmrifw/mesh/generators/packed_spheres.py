"""Spheres of random size in a box, with the space between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dmrifw.mesh.generators.boxes import cut_box, join_sides
from dmrifw.mesh.generators.checks import affordable_volume, positive
from dmrifw.mesh.generators.packing import Packing, box_side, images, pack, radii_to_pack
from dmrifw.mesh.gmsh_session import Arrays, on_first_rank, session, tetrahedra
from dmrifw.mesh.grid import Grid

if TYPE_CHECKING:
    from mpi4py import MPI


def packed_spheres(
    count: int = 10,
    mean_radius: float = 3.0,
    spread: float = 0.5,
    fraction: float = 0.3,
    h: float = 1.0,
    gap: float = 0.3,
    periodic: bool = False,
    seed: int = 0,
    comm: MPI.Comm | None = None,
) -> Grid:
    """Spheres with gamma-distributed radii, in a box; the space between them is the last compartment.

    Compartments 0 to count-1 are the spheres, the largest first; each touches only the space around it, so interface i
    is the wall of sphere i. Walls have slightly larger radii, which makes up for the flat triangles to within 2 %.

    Args:
        count: How many spheres.
        mean_radius: Mean of the radii, um.
        spread: Their standard deviation, um; 0 for equal ones.
        fraction: Part of the volume within spheres.
        h: Edge length of the triangles on the walls, um.
        gap: Least distance between spheres, um.
        periodic: Whether spheres go on at the opposite side of the box; its faces then match (see `matching_faces`).
            Otherwise all lie within the box.
        seed: Of radii and places.
        comm: MPI communicator; the world by default.

    Returns:
        The grid, in the box [0, side]^3.

    Raises:
        InputError: A number is out of range, or the spheres do not fit.

    Collective.
    """
    h = positive(h, "h")
    radii = radii_to_pack(count, mean_radius, spread, fraction, gap, seed)
    affordable_volume(box_side(radii, fraction, 3) ** 3, h)
    return on_first_rank(lambda: _mesh(pack(radii, fraction, 3, gap, periodic, seed), h), comm)


def _mesh(packing: Packing, h: float) -> Arrays:
    centres, radii, which = images(packing)
    # A triangle of edge h inscribed in a sphere lies below it by h^2/(8 r) on average, and a ball's volume goes as r^3.
    grown = radii + h**2 / (8 * radii)
    with session() as gmsh:
        gmsh.option.setNumber("Mesh.MeshSizeMax", h)
        gmsh.option.setNumber("Mesh.MeshSizeExtendFromBoundary", 1)
        occ = gmsh.model.occ
        box = occ.addBox(0, 0, 0, *[packing.side] * 3)
        balls = [(3, occ.addSphere(*centre, radius)) for centre, radius in zip(centres, grown, strict=True)]
        compartments = cut_box(occ, (3, box), balls, which)
        occ.synchronize()
        if packing.periodic:
            join_sides(gmsh, packing.side, 3)
        gmsh.model.mesh.generate(3)
        return tetrahedra(gmsh, compartments)
