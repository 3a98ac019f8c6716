"""Parallel cylinders of random size in a box, with the space between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dmrifw.mesh.extrude import extrude, spaced
from dmrifw.mesh.generators.boxes import cut_box, join_sides
from dmrifw.mesh.generators.checks import affordable_volume, drawn_out, positive
from dmrifw.mesh.generators.packing import Packing, box_side, images, pack, radii_to_pack
from dmrifw.mesh.gmsh_session import Arrays, on_first_rank, session, triangles
from dmrifw.mesh.grid import Grid
from dmrifw.typing import FloatArray, IntArray

if TYPE_CHECKING:
    from mpi4py import MPI

_FEWEST_SEGMENTS = 12
"""Segments of the smallest circle."""


def packed_cylinders(
    count: int = 20,
    mean_radius: float = 1.0,
    spread: float = 0.3,
    fraction: float = 0.6,
    length: float = 10.0,
    h: float = 0.4,
    axial_h: float | None = None,
    gap: float = 0.1,
    periodic: bool = False,
    seed: int = 0,
    comm: MPI.Comm | None = None,
) -> Grid:
    """Cylinders along z with gamma-distributed radii, in a box; the space between them is the last compartment.

    Compartments 0 to count-1 are the cylinders, the largest first; each touches only the space around it, so interface
    i is the wall of cylinder i. Polygons have slightly larger radii, so that they have the area of the circles.

    Args:
        count: How many cylinders.
        mean_radius: Mean of the radii, um.
        spread: Their standard deviation, um; 0 for equal ones.
        fraction: Part of the volume within cylinders.
        length: Extent along z, um.
        h: Edge length of the triangles, um; smaller where the space is narrow.
        axial_h: Largest spacing along z, um; `h` by default.
        gap: Least distance between cylinders, um.
        periodic: Whether cylinders go on at the opposite side of the box; its faces then match (see `matching_faces`).
            Otherwise all lie within the box.
        seed: Of radii and places.
        comm: MPI communicator; the world by default.

    Returns:
        The grid, in the box [0, side]^2 x [0, length].

    Raises:
        InputError: A number is out of range, or the cylinders do not fit.

    Collective.
    """
    h = positive(h, "h")
    length, step = drawn_out(length, h, axial_h)
    radii = radii_to_pack(count, mean_radius, spread, fraction, gap, seed)
    affordable_volume(box_side(radii, fraction, 2) ** 2 * length, h, step)

    def work() -> Arrays:
        packing = pack(radii, fraction, 2, gap, periodic, seed)
        flat = _flat(packing, h)
        return extrude(flat, spaced(length, step), _ranks(flat.points, packing))

    return on_first_rank(work, comm)


def _flat(packing: Packing, h: float) -> Arrays:
    centres, radii, which = images(packing)
    segments = np.maximum(np.ceil(2 * np.pi * radii / h), _FEWEST_SEGMENTS).astype(int)
    angle = 2 * np.pi / segments
    grown = radii * np.sqrt(angle / np.sin(angle))  # the polygon with its vertices there has the circle's area
    with session() as gmsh:
        gmsh.option.setNumber("Mesh.MeshSizeMax", h)
        gmsh.option.setNumber("Mesh.MeshSizeExtendFromBoundary", 1)
        occ = gmsh.model.occ
        box = occ.addRectangle(0, 0, 0, packing.side, packing.side)
        discs = [(2, occ.addDisk(x, y, 0, r, r)) for (x, y), r in zip(centres, grown, strict=True)]
        compartments = cut_box(occ, (2, box), discs, which)
        occ.synchronize()
        _divide_arcs(gmsh, centres, grown, segments)
        if packing.periodic:
            join_sides(gmsh, packing.side, 2)
        gmsh.model.mesh.generate(2)
        return triangles(gmsh, compartments)


def _divide_arcs(gmsh: Any, centres: FloatArray, radii: FloatArray, segments: IntArray) -> None:
    for _, curve in gmsh.model.getEntities(1):
        if gmsh.model.getType(1, curve) not in ("Circle", "Ellipse"):
            continue
        low, high = gmsh.model.getParametrizationBounds(1, curve)
        ends = gmsh.model.getValue(1, curve, [float(low[0]), float(low[0] + high[0]) / 2])
        a = np.asarray(ends).reshape(2, 3)[:, :2]
        circle = int(np.abs(np.linalg.norm(a[:, None] - centres, axis=2) - radii).max(axis=0).argmin())
        parts = segments[circle] * float(high[0] - low[0]) / (2 * np.pi)
        gmsh.model.mesh.setTransfiniteCurve(curve, max(2, round(parts)) + 1)


def _ranks(points: FloatArray, packing: Packing) -> IntArray:
    """Ranks of the vertices, equal on opposite sides of a periodic box, so that faces there match."""
    if not packing.periodic:
        return np.arange(len(points))
    wrapped = np.where(np.abs(points - packing.side) < 1e-6 * packing.side, 0.0, points).round(6)
    return np.unique(wrapped, axis=0, return_inverse=True)[1].reshape(-1)
