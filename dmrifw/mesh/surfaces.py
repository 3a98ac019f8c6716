"""Closed triangulated surfaces: what makes one watertight, which lies in which, and the tetrahedra that fill them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dmrifw.mesh.gmsh_session import Arrays, session, tetrahedra
from dmrifw.typing import FloatArray, IntArray

_EDGES = np.array([[0, 1], [1, 2], [2, 0]])

_OUTWARD = np.array([[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]])
"""Local vertices of the faces of a right-handed tetrahedron, anticlockwise seen from outside."""


_HXT = 10
"""The mesher of gmsh that leaves the fewest slivers between given triangles."""


@dataclass(frozen=True, eq=False)
class TriangleSurface:
    """Triangles in space, in one piece or several.

    Attributes:
        points: (V, 3) um.
        triangles: (T, 3) vertices, anticlockwise seen from outside.
    """

    points: FloatArray
    triangles: IntArray

    @cached_property
    def half_edges(self) -> IntArray:
        """(3 T, 2) the directed edges, triangle by triangle."""
        return self.triangles[:, _EDGES].reshape(-1, 2)

    @cached_property
    def pieces(self) -> IntArray:
        """(T,) number of the connected piece of each triangle, in the order of the first triangles."""
        count = len(self.points)
        a, b = self.half_edges.T
        _, label = connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count)), directed=False)
        of_triangle = label[self.triangles[:, 0]]
        _, first, inverse = np.unique(of_triangle, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[inverse.reshape(-1)]

    @cached_property
    def piece_volumes(self) -> FloatArray:
        """(n,) volume that each piece encloses, um^3, negative where its normals point inwards."""
        a, b, c = np.moveaxis(self.points[self.triangles] - self.points[self.triangles[0, 0]], 1, 0)
        volumes: FloatArray = np.bincount(self.pieces, np.einsum("ij,ij->i", np.cross(a, b), c) / 6).astype(np.float64)
        return volumes

    @cached_property
    def areas(self) -> FloatArray:
        """(T,) area of each triangle, um^2."""
        a, b, c = np.moveaxis(self.points[self.triangles], 1, 0)
        return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)

    def edge_counts(self) -> tuple[IntArray, IntArray]:
        """The undirected edges (N, 2), and how many triangles each has (N,). Local."""
        return np.unique(np.sort(self.half_edges, axis=1), axis=0, return_counts=True)

    def same_way_edges(self) -> IntArray:
        """(N, 2) directed edges that two triangles run along the same way: one of them is turned over. Local."""
        edges, counts = np.unique(self.half_edges, axis=0, return_counts=True)
        return edges[counts > 1]

    def encloses(self, piece: int, point: FloatArray) -> bool:
        """Whether a point lies within a closed piece, by its winding number. Local."""
        a, b, c = np.moveaxis(self.points[self.triangles[self.pieces == piece]] - point, 1, 0)
        la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
        dot = [np.einsum("ij,ij->i", u, v) for u, v in ((a, b), (b, c), (c, a))]
        triple = np.einsum("ij,ij->i", np.cross(a, b), c)
        angle = 2 * np.arctan2(triple, la * lb * lc + dot[0] * lc + dot[1] * la + dot[2] * lb)
        return bool(abs(angle.sum()) > 2 * np.pi)


def exterior_surface(mesh: Arrays) -> tuple[TriangleSurface, IntArray]:
    """The faces of tetrahedra (E, 4) that have one of them only, and which of the mesh's points are theirs, ascending.

    Local.
    """
    faces = mesh.cells[:, _OUTWARD].reshape(-1, 3)
    _, first, counts = np.unique(np.sort(faces, axis=1), axis=0, return_index=True, return_counts=True)
    used, triangles = np.unique(faces[np.sort(first[counts == 1])], return_inverse=True)
    return TriangleSurface(mesh.points[used], triangles.reshape(-1, 3)), used


def together(first: TriangleSurface, second: TriangleSurface) -> TriangleSurface:
    """Two surfaces as one, the pieces of the first before those of the second. Local."""
    triangles = np.concatenate([first.triangles, len(first.points) + second.triangles])
    return TriangleSurface(np.concatenate([first.points, second.points]), triangles)


def nesting(surface: TriangleSurface) -> tuple[IntArray, list[int]]:
    """Which piece directly surrounds which, and the order of the compartments.

    Returns:
        (n,) the piece around each piece, -1 where there is none; and the pieces in the order of their compartments:
        a piece comes after all that lie in it (inside out), and otherwise in the order of the file.

    Local.
    """
    volumes = np.abs(surface.piece_volumes)
    count = len(volumes)
    _, first = np.unique(surface.pieces, return_index=True)
    around = np.full(count, -1, dtype=np.int64)
    for piece in range(count):
        point = surface.points[surface.triangles[first[piece], 0]]
        holders = [
            other for other in range(count) if volumes[other] > volumes[piece] and surface.encloses(other, point)
        ]
        if holders:
            around[piece] = min(holders, key=lambda other: volumes[other])
    order: list[int] = []

    def visit(piece: int) -> None:
        for child in np.flatnonzero(around == piece):
            visit(int(child))
        if piece >= 0:
            order.append(piece)

    visit(-1)
    return around, order


def _subdivided(surface: TriangleSurface, h: float) -> TriangleSurface:
    """The same surface with long edges halved, so that the triangles suit tetrahedra of edge h."""
    import pyvista

    faces = np.column_stack([np.full(len(surface.triangles), 3), surface.triangles])
    halved = pyvista.PolyData(surface.points, faces.ravel()).subdivide_adaptive(max_edge_len=1.5 * h)
    return TriangleSurface(
        np.asarray(halved.points, dtype=np.float64), halved.faces.reshape(-1, 4)[:, 1:].astype(np.int64)
    )


def fill(surface: TriangleSurface, h: float | None = None, hollow: Collection[int] = ()) -> Arrays:
    """Tetrahedra inside closed surfaces that lie in or beside each other; the triangles become the walls as they are.

    Args:
        surface: Sound: see `dmrifw.mesh.doctor`.
        h: Edge length, um: longer edges of the triangles are halved; by default the triangles decide.
        hollow: Pieces whose inside stays empty, as far as no other piece fills it.

    Raises:
        InputError: Gmsh gives up.

    Local, on one rank.
    """
    if h is not None:
        surface = _subdivided(surface, h)
    around, order = nesting(surface)
    with session() as gmsh:
        gmsh.option.setNumber("Mesh.MeshSizeExtendFromBoundary", 1)
        gmsh.option.setNumber("Mesh.Algorithm3D", _HXT)
        if h is not None:
            gmsh.option.setNumber("Mesh.MeshSizeMax", h)
        for piece in range(len(around)):
            mine = surface.triangles[surface.pieces == piece] + 1
            used = np.unique(mine)
            gmsh.model.addDiscreteEntity(2, piece + 1)
            gmsh.model.mesh.addNodes(2, piece + 1, used, surface.points[used - 1].ravel())
            gmsh.model.mesh.addElementsByType(piece + 1, 2, [], mine.ravel())
            gmsh.model.geo.addSurfaceLoop([piece + 1], piece + 1)
        for piece in set(order).difference(hollow):
            loops = np.append(piece, np.flatnonzero(around == piece)) + 1
            gmsh.model.geo.addVolume(loops.tolist(), piece + 1)
        gmsh.model.geo.synchronize()
        gmsh.model.mesh.generate(3)
        return tetrahedra(gmsh, [[piece + 1] for piece in order if piece not in hollow])
