"""The mesh doctor: what is wrong with a mesh or a surface, where, and how to mend it; mends what is safe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components
from scipy.spatial import cKDTree

from dmrifw.errors import InputError
from dmrifw.mesh.crossings import crossings
from dmrifw.mesh.gmsh_session import Arrays, oriented
from dmrifw.mesh.grid import CELL_FACES, checked_indices, checked_points, signed_volumes
from dmrifw.mesh.surfaces import TriangleSurface
from dmrifw.typing import FloatArray, IntArray

SMALLEST_EXTENT, LARGEST_EXTENT = 0.1, 1e4
"""Extent, um, outside of which the unit is taken to be wrong: nothing in dMRI is below 0.1 um or beyond 10 mm."""

SLIVER = 0.01
"""Radius ratio (1 for a regular tetrahedron, 0 for a flat one) below which a tetrahedron is a sliver."""

_SAME = 1e-9
"""Points closer than this, relative to the extent, are one."""


@dataclass(frozen=True)
class Finding:
    """Something that the doctor found.

    Attributes:
        kind: A fault must be mended before use; a note need not.
        what: What is wrong, and how often.
        where: The first place, with coordinates in um.
        mend: What to do about it.
        safe: Whether `mended_surface` or `mended_cells` does it.
    """

    kind: Literal["fault", "note"]
    what: str
    where: str
    mend: str
    safe: bool = False

    def error(self) -> InputError:
        """The same as an error. Local."""
        return InputError(f"{self.what} ({self.where})", self.mend)


def examine_surface(surface: TriangleSurface) -> list[Finding]:
    """All that is wrong with closed surfaces. Local."""
    findings = [*_points_and_units(surface.points, surface.triangles), *_triangle_faults(surface)]
    joined = _without_doubles(surface)
    edges, counts = joined.edge_counts()
    for many, what, mend in (
        (counts == 1, "holes: {} edges have one triangle only", "close the surface"),
        (counts > 2, "{} edges have more than two triangles", "separate the pieces that touch there"),
    ):
        if many.any():
            where = _place(joined.points, edges[many][0], "edge")
            findings.append(Finding("fault", what.format(int(many.sum())), where, mend))
    turned = joined.same_way_edges()
    if len(turned):
        told = f"neighbouring triangles face opposite ways at {len(turned)} edges"
        findings.append(Finding("fault", told, _place(joined.points, turned[0], "edge"), _FIX, safe=True))
    elif (counts == 2).all():
        for piece in np.flatnonzero(joined.piece_volumes < 0):
            triangle = joined.triangles[joined.pieces == piece][0]
            where = f"piece {piece}, {_place(joined.points, triangle, 'triangle')}"
            findings.append(Finding("fault", "inverted normals: they point inwards", where, _FIX, safe=True))
    pairs = crossings(joined.points, joined.triangles)
    if len(pairs):
        where = f"triangles {pairs[0, 0]} and {pairs[0, 1]}, {_place(joined.points, joined.triangles[pairs[0, 0]], '')}"
        told = f"self-intersection: {len(pairs)} pairs of triangles cut, touch or overlap each other"
        findings.append(Finding("fault", told, where, "separate or unite the parts that overlap, or remesh"))
    return findings


_FIX = "turn them over (dmrifw mesh check --fix OUT does it)"


def examine_cells(mesh: Arrays) -> list[Finding]:
    """All that is wrong with tetrahedra. Local."""
    findings = list(_points_and_units(mesh.points, mesh.cells))
    volumes = signed_volumes(mesh.points, mesh.cells)
    extent = np.ptp(mesh.points[mesh.cells], axis=1).max(axis=1)
    flat = np.abs(volumes) <= 1e-12 * extent**3
    ratio = radius_ratios(mesh.points, mesh.cells)
    doubles = _doubles(mesh.cells)
    faces, counts = np.unique(np.sort(mesh.cells[:, CELL_FACES].reshape(-1, 3), axis=1), axis=0, return_counts=True)
    sliver = (ratio < SLIVER) & ~flat
    for bad, kind, what, mend, safe in (
        (flat, "fault", "{} flat tetrahedra (zero volume)", "remove them, or remesh", False),
        ((volumes < 0) & ~flat, "fault", "{} inverted tetrahedra", _FIX, True),
        (doubles, "fault", "{} tetrahedra are there twice", "remove one of each", True),
        (sliver, "note", f"{{}} slivers (radius ratio below {SLIVER:g})", "remesh, with optimization", False),
    ):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            where = _place(mesh.points, mesh.cells[row], f"tetrahedron {row}")
            findings.append(
                Finding("fault" if kind == "fault" else "note", what.format(int(bad.sum())), where, mend, safe)
            )
    if (counts > 2).any() and not doubles.any():
        where = _place(mesh.points, faces[counts > 2][0], "face")
        told = f"{int((counts > 2).sum())} faces have more than two tetrahedra"
        findings.append(Finding("fault", told, where, "remove the cells that overlap"))
    return findings


def unit_finding(points: FloatArray) -> Finding | None:
    """The fault of coordinates that cannot be in um, if they cannot. Local."""
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        return Finding("fault", f"point {row} is not finite", f"{points[row]}", "give finite coordinates in um")
    extent = float(np.ptp(points, axis=0).max())
    if SMALLEST_EXTENT <= extent <= LARGEST_EXTENT:
        return None
    unit = "metres" if extent < 1e-2 else "millimetres" if extent < SMALLEST_EXTENT else "nanometres"
    where = f"from {_coordinates(points.min(axis=0))} to {_coordinates(points.max(axis=0))}"
    told = f"the extent is {extent:.3g} um: are the coordinates in {unit}?"
    return Finding("fault", told, where, "scale the coordinates to um")


def checked(mesh: Arrays) -> Arrays:
    """The same mesh as arrays of numbers whose shapes and indices are right.

    Raises:
        InputError: They are not.

    Local.
    """
    points = checked_points(mesh.points)
    return Arrays(points, checked_indices(mesh.cells, points), mesh.cell_tags)


def radius_ratios(points: FloatArray, cells: IntArray) -> FloatArray:
    """(E,) 3 x inradius / circumradius of tetrahedra: 1 for regular ones, 0 for flat ones. Local."""
    a, b, c = np.moveaxis(points[cells[:, 1:]] - points[cells[:, :1]], 1, 0)
    cross = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
    six_volumes = np.abs(np.einsum("ij,ij->i", cross[0], a))
    areas = np.linalg.norm(cross, axis=2).sum(axis=0) + np.linalg.norm(cross.sum(axis=0), axis=1)
    squares = np.stack([np.einsum("ij,ij->i", v, v) for v in (a, b, c)])
    circum = np.linalg.norm(np.einsum("ki,kij->ij", squares, cross), axis=1)  # 2 x six_volumes x circumradius
    safe = np.where(areas * circum > 0, areas * circum, 1.0)
    return np.where(areas * circum > 0, 6 * six_volumes**2 / safe, 0.0)


def mended_surface(surface: TriangleSurface) -> TriangleSurface:
    """The surface with coincident points joined, double and collapsed triangles removed, normals outwards. Local."""
    joined = _without_doubles(surface)
    triangles = _agreeing(joined)
    turned = TriangleSurface(joined.points, triangles)
    inwards = turned.piece_volumes < 0
    return TriangleSurface(joined.points, np.where(inwards[turned.pieces][:, None], triangles[:, ::-1], triangles))


def mended_cells(mesh: Arrays) -> Arrays:
    """The mesh with coincident points joined, unused points and double cells removed, cells right-handed. Local."""
    points, cells = _joined(mesh.points, mesh.cells)
    keep = ~_doubles(cells)
    points, cells = _used(points, cells[keep])
    return Arrays(points, oriented(points, cells), mesh.cell_tags[keep])


def _points_and_units(points: FloatArray, cells: IntArray) -> Iterator[Finding]:
    used = np.zeros(len(points), dtype=bool)
    used[cells] = True
    if not used.all():
        row = int(np.flatnonzero(~used)[0])
        told = f"{int((~used).sum())} points belong to no element"
        yield Finding("note", told, _place(points, np.array([row]), f"point {row}"), "remove them", safe=True)
    representative = _representatives(points)
    double = used & (representative != np.arange(len(points)))
    if double.any():
        row = int(np.flatnonzero(double)[0])
        told = f"{int(double.sum())} duplicate nodes"
        where = _place(points, np.array([row]), f"points {representative[row]} and {row}")
        yield Finding("fault", told, where, "join them (dmrifw mesh check --fix OUT does it)", safe=True)
    finding = unit_finding(points[used])
    if finding:
        yield finding


def _triangle_faults(surface: TriangleSurface) -> Iterator[Finding]:
    corners = surface.points[surface.triangles]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    flat = surface.areas <= 1e-12 * longest**2
    double = _doubles(surface.triangles)
    for bad, what, mend in (
        (flat, "{} flat triangles (zero area)", "remove them, or remesh"),
        (double, "{} triangles are there twice", "remove one of each"),
    ):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            where = _place(surface.points, surface.triangles[row], f"triangle {row}")
            yield Finding("fault", what.format(int(bad.sum())), where, mend, safe=bad is double)


def _doubles(cells: IntArray) -> np.ndarray:
    """(E,) True on all but the first of the cells that have the same vertices."""
    _, first = np.unique(np.sort(cells, axis=1), axis=0, return_index=True)
    double = np.ones(len(cells), dtype=bool)
    double[first] = False
    return double


def _representatives(points: FloatArray) -> IntArray:
    """(V,) the first point that coincides with each."""
    pairs = cKDTree(points).query_pairs(_SAME * max(float(np.ptp(points, axis=0).max()), 1e-300), output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(points),) * 2)
    _, label = connected_components(graph, directed=False)
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)]


def _joined(points: FloatArray, cells: IntArray) -> tuple[FloatArray, IntArray]:
    return points, _representatives(points)[cells]


def _used(points: FloatArray, cells: IntArray) -> tuple[FloatArray, IntArray]:
    used, inverse = np.unique(cells, return_inverse=True)
    return points[used], inverse.reshape(cells.shape)


def _without_doubles(surface: TriangleSurface) -> TriangleSurface:
    points, triangles = _joined(surface.points, surface.triangles)
    collapsed = (triangles == np.roll(triangles, 1, axis=1)).any(axis=1)
    triangles = triangles[~collapsed]
    return TriangleSurface(*_used(points, triangles[~_doubles(triangles)]))


def _agreeing(surface: TriangleSurface) -> IntArray:
    """The triangles of a surface, turned so that neighbours agree: a walk over each piece from its first triangle."""
    count = len(surface.triangles)
    edge = np.unique(np.sort(surface.half_edges, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(edge, kind="stable")
    pair = np.flatnonzero(edge[order][1:] == edge[order][:-1])
    one, other = order[pair], order[pair + 1]
    same = (surface.half_edges[one] == surface.half_edges[other]).all(axis=1)
    links = coo_matrix((np.where(same, 2, 1), (one // 3, other // 3)), shape=(count, count)).tocsr()
    links = links.maximum(links.T)
    flip = np.zeros(count, dtype=bool)
    for piece in range(int(surface.pieces.max()) + 1):
        start = int(np.flatnonzero(surface.pieces == piece)[0])
        walk, before = breadth_first_order(links, start, directed=False)
        for triangle in walk[1:]:
            flip[triangle] = flip[before[triangle]] ^ (links[before[triangle], triangle] == 2)
    return np.where(flip[:, None], surface.triangles[:, ::-1], surface.triangles)


def _place(points: FloatArray, vertices: IntArray, name: str) -> str:
    return f"{name} at {_coordinates(points[vertices].mean(axis=0))}".strip()


def _coordinates(point: FloatArray) -> str:
    return "(" + ", ".join(f"{x:.4g}" for x in point) + ") um"
