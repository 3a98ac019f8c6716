"""Broken function spaces and coefficients in the caller's numbering."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from dolfinx import fem
from dolfinx.mesh import entities_to_geometry
from mpi4py import MPI
from scipy.sparse.csgraph import connected_components

from dmrifw.compat import FacetSubmesh
from dmrifw.mesh import Grid
from dmrifw.mesh.periodic import periodic_sides
from dmrifw.typing import Axes, BoolArray, FloatArray, IntArray

CELL_EDGES = np.array([[2, 3], [1, 3], [1, 2], [0, 3], [0, 2], [0, 1]])
"""Local vertices of the edges of a tetrahedron, in the order in which DOLFINx numbers them."""

NODES = {1: 4, 2: 10}
"""Unknowns of a tetrahedron by polynomial degree: its vertices, and from degree 2 on the middles of its edges."""


@dataclass(frozen=True, eq=False)
class Numbered:
    """A function space whose blocks of dofs are rows of a table in the caller's order.

    Attributes:
        space: The function space.
        rows: (local blocks with ghosts,) row of each.
        count: Rows of the table.
    """

    space: fem.FunctionSpace
    rows: IntArray
    count: int

    def function(self) -> fem.Function:
        """A function, zero until it is filled. Collective."""
        return fem.Function(self.space, dtype=np.float64)

    def fill(self, function: fem.Function, values: FloatArray) -> None:
        """Give a function the values of a replicated table. Local."""
        function.x.array[:] = values[self.rows].reshape(-1)

    def gathered(self, values: FloatArray, comm: MPI.Comm) -> FloatArray:
        """The replicated table of sums of what ranks have in their local dofs, ghosts included. Collective."""
        table = np.zeros((self.count, *self.space.value_shape))
        np.add.at(table, self.rows, values.reshape(len(self.rows), *self.space.value_shape))
        return comm.allreduce(table)


class BrokenSpace:
    """Polynomials that may jump across every face (DG), with functions on cells and on facets beside them.

    Forms are assembled on DG alone. Where only some faces are interfaces, or the grid is periodic, `merged` tells which
    copies of a node are one unknown, and the operators are restricted with the 0/1 matrix of that map.

    Args:
        grid: The grid.
        interfaces: (F,) True for the faces across which the magnetization may jump; all interior ones by default.
        degree: 1 for linear elements, 2 for quadratic ones.
        periodic: Per axis, whether the grid goes on at its opposite side.

    Attributes:
        grid: The grid.
        degree: Polynomial degree.
        periodic: Per axis.
        walls: (F,) True for the faces across which the magnetization may jump.
        outside: (F,) True for the exterior faces, without those that periodicity joins.
        merged: (E n,) unknown of each node of each cell, row-major; None if every node is its own.
        dofs: The DG space of the magnetization.
        facets: The mesh of all facets.
        on_facets: Functions that are constant on each facet: where a permeability lives.
        on_vertices: Vectors at the vertices, linear between them: how vertices move.
        facet_traces: Discontinuous polynomials on the facets: where a jump of the magnetization lives.
        face_of_facet: (n,) row of `grid.faces` for each local facet cell, ghosts included.
        cell_of_local: (m,) row of `grid.cells` for each local cell, ghosts included.

    Raises:
        InputError: Opposite sides of a periodic grid do not match, or a wall lies in them.

    Collective.
    """

    def __init__(
        self,
        grid: Grid,
        interfaces: BoolArray | None = None,
        degree: int = 1,
        periodic: Axes = (False, False, False),
    ) -> None:
        mesh = grid.mesh
        self.grid, self.degree, self.periodic = grid, degree, periodic
        joined = periodic_sides(grid, periodic)
        self.outside = grid.is_exterior.copy()
        for pairs, _ in joined:
            self.outside[pairs] = False
        self.walls = ~grid.is_exterior if interfaces is None else interfaces & ~grid.is_exterior
        self.merged = None
        if interfaces is not None or joined:
            self.merged = merged_nodes(grid, self.walls, degree, joined)
        self.dofs = fem.functionspace(mesh, ("DG", degree))
        self.facets = FacetSubmesh(mesh)
        self.facet_traces = fem.functionspace(self.facets.mesh, ("DG", degree))
        self.face_of_facet = _input_faces(grid, self.facets)
        constants = fem.functionspace(self.facets.mesh, ("DG", 0))
        self.on_facets = Numbered(constants, self.face_of_facet, len(grid.faces))
        self.cell_of_local = np.asarray(mesh.topology.original_cell_index, dtype=np.int64)
        vectors = fem.functionspace(mesh, ("Lagrange", 1, (3,)))
        self.on_vertices = Numbered(vectors, _input_vertices(grid, vectors), len(grid.points))

    def node_of_dof(self) -> IntArray:
        """(owned dofs,) node of a cell, numbered n cell + place, of each DG unknown of this rank.

        Local. Places are the vertices in the order of `grid.cells`, then the edges as in `CELL_EDGES`.
        """
        nodes = NODES[self.degree]
        owned = self.dofs.dofmap.index_map.size_local
        cells = self.cell_of_local[: owned // nodes]
        geometry = self.grid.mesh.geometry
        vertices = np.asarray(geometry.input_global_indices)[geometry.dofmap[: len(cells)]]
        place = (self.grid.cells[cells][:, None, :] == vertices[:, :, None]).argmax(axis=2)
        if self.degree == 2:
            place = np.hstack([place, _EDGE_PLACE[place[:, CELL_EDGES[:, 0]], place[:, CELL_EDGES[:, 1]]]])
        numbers = np.empty(owned, dtype=np.int64)
        numbers[self.dofs.dofmap.list[: len(cells)]] = nodes * cells[:, None] + place
        return numbers

    def on_cells(self, shape: tuple[int, ...] = ()) -> Numbered:
        """Functions that are constant on each cell: scalars, or tensors of a shape. Collective."""
        function_space = fem.functionspace(self.grid.mesh, ("DG", 0, shape))
        return Numbered(function_space, self.cell_of_local, len(self.grid.cells))

    @contextmanager
    def moved(self, points: FloatArray) -> Iterator[None]:
        """Within it the vertices of the mesh are (V, 3) `points`, um. Local."""
        geometry = self.grid.mesh.geometry
        at_rest = geometry.x.copy()
        geometry.x[:] = points[np.asarray(geometry.input_global_indices)]
        try:
            yield
        finally:
            geometry.x[:] = at_rest


def merged_nodes(grid: Grid, walls: BoolArray, degree: int, joined: list[tuple[IntArray, IntArray]]) -> IntArray:
    """Unknowns of elements that jump across some faces only.

    Two nodes of cells are one unknown where they are the same point and a chain of faces that are no walls joins the
    cells: around the rim of an open wall the field is continuous, across the wall it is not.

    Args:
        grid: The grid.
        walls: (F,) True for the faces across which the field may jump.
        degree: Polynomial degree.
        joined: Faces and vertices from `periodic_sides`.

    Returns:
        (E n,) number of the unknown of each node, row-major, from 0 without gaps.

    Local.
    """
    through = ~grid.is_exterior & ~walls
    twice = np.repeat(grid.faces[through][:, None], 2, axis=1)
    links = [_facing_nodes(grid, grid.face_cells[through], twice, degree)]
    for faces, vertices in joined:
        links.append(_facing_nodes(grid, grid.face_cells[faces, 0], vertices, degree))
    ends = np.concatenate(links, axis=1)
    count = NODES[degree] * len(grid.cells)
    graph = sp.coo_matrix((np.ones(ends.shape[1], dtype=np.int8), tuple(ends)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _facing_nodes(grid: Grid, cells: IntArray, vertices: IntArray, degree: int) -> IntArray:
    """(2, k) nodes of cells that meet: (n, 2) cells and (n, 2, 3) the vertices of their faces in the same order."""
    sides = []
    for side in range(2):
        own = grid.cells[cells[:, side]]
        place = (own[:, None, :] == vertices[:, side, :, None]).argmax(axis=2)
        if degree == 2:
            place = np.hstack([place, _EDGE_PLACE[place[:, [1, 0, 0]], place[:, [2, 2, 1]]]])
        sides.append((NODES[degree] * cells[:, side][:, None] + place).ravel())
    return np.stack(sides)


def _edge_places() -> IntArray:
    """(4, 4) node of the edge between two local vertices."""
    table = np.full((4, 4), -1)
    for number, (a, b) in enumerate(CELL_EDGES):
        table[a, b] = table[b, a] = 4 + number
    return table


_EDGE_PLACE = _edge_places()


def _input_faces(grid: Grid, facets: FacetSubmesh) -> IntArray:
    """Rows of `grid.faces` for the cells of the facet mesh: matched by the caller's vertex numbers."""
    mesh = facets.parent
    corners = entities_to_geometry(mesh, 2, facets.parent_facets.astype(np.int32), False)
    vertices = np.sort(np.asarray(mesh.geometry.input_global_indices)[corners].reshape(-1, 3), axis=1)
    return np.searchsorted(_face_keys(grid.faces, len(grid.points)), _face_keys(vertices, len(grid.points)))


def _input_vertices(grid: Grid, vectors: fem.FunctionSpace) -> IntArray:
    """Rows of `grid.points` for the blocks of dofs of a linear Lagrange space: its numbering is not the geometry's."""
    geometry, dofmap = grid.mesh.geometry, vectors.dofmap
    vertex = np.empty(dofmap.index_map.size_local + dofmap.index_map.num_ghosts, dtype=np.int64)
    vertex[dofmap.list] = np.asarray(geometry.input_global_indices)[geometry.dofmap]
    return vertex


def _face_keys(faces: IntArray, point_count: int) -> IntArray:
    """One integer per face that sorts as the ascending vertex triples do."""
    return (faces[:, 0] * point_count + faces[:, 1]) * point_count + faces[:, 2]
