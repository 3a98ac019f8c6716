"""Broken function spaces and coefficients in the caller's numbering."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import ufl
from dolfinx import fem
from dolfinx.mesh import entities_to_geometry
from scipy.sparse.csgraph import connected_components

from dmrifw.compat import FacetSubmesh
from dmrifw.mesh import Grid
from dmrifw.typing import ArrayLike, BoolArray, FloatArray, IntArray


class BrokenSpace:
    """Linear elements that may jump across every face (DG1), with functions on cells and on facets beside them.

    Forms are assembled on DG1 alone. Where only some faces are interfaces, `merged` tells which copies of a vertex are
    one unknown, and the operators are restricted with the 0/1 matrix of that map.

    Args:
        grid: The grid.
        interfaces: (F,) True for the faces across which the magnetization may jump; all interior ones by default.

    Attributes:
        grid: The grid.
        merged: (4E,) unknown of each corner of each cell, row-major in `grid.cells`; None if every corner is its own.
        dofs: The DG1 space of the magnetization.
        facets: The mesh of all facets.
        facet_constants: Piecewise constants on the facets: where a permeability lives.
        facet_traces: Discontinuous linears on the facets: where a jump of the magnetization lives.
        face_of_facet: (n,) row of `grid.faces` for each local facet cell, ghosts included.
        cell_of_local: (m,) row of `grid.cells` for each local cell, ghosts included.

    Collective.
    """

    def __init__(self, grid: Grid, interfaces: BoolArray | None = None) -> None:
        mesh = grid.mesh
        self.grid = grid
        self.merged = None if interfaces is None else merged_corners(grid, interfaces)
        self.dofs = fem.functionspace(mesh, ("DG", 1))
        self.facets = FacetSubmesh(mesh)
        self.facet_constants = fem.functionspace(self.facets.mesh, ("DG", 0))
        self.facet_traces = fem.functionspace(self.facets.mesh, ("DG", 1))
        self.face_of_facet = _input_faces(grid, self.facets)
        self.cell_of_local = np.asarray(mesh.topology.original_cell_index, dtype=np.int64)

    def corner_of_dof(self) -> IntArray:
        """(owned dofs,) corner of a cell, row-major in `grid.cells`, of each DG1 unknown of this rank. Local."""
        owned = self.dofs.dofmap.index_map.size_local
        geometry = self.grid.mesh.geometry
        dofs = self.dofs.dofmap.list[: owned // 4]
        cells = self.cell_of_local[: owned // 4]
        vertices = np.asarray(geometry.input_global_indices)[geometry.dofmap[: owned // 4]]
        place = (self.grid.cells[cells][:, None, :] == vertices[:, :, None]).argmax(axis=2)
        corners = np.empty(owned, dtype=np.int64)
        corners[dofs] = 4 * cells[:, None] + place
        return corners

    def facet_function(self) -> fem.Function:
        """A function that is constant on each facet, to be filled by `set_facet_values`. Collective."""
        return fem.Function(self.facet_constants, dtype=np.float64)

    def set_facet_values(self, function: fem.Function, values: FloatArray) -> None:
        """Fill a facet function from (F,) values in the order of `grid.faces`, replicated. Local."""
        function.x.array[:] = values[self.face_of_facet]

    def cell_function(self, values: ArrayLike) -> fem.Function:
        """A function that is constant on each cell.

        Args:
            values: (E,) scalars or (E, 3, 3) tensors in the order of `grid.cells`, replicated.

        Returns:
            The function on piecewise constants.

        Collective.
        """
        array = np.asarray(values, dtype=np.float64)
        space = fem.functionspace(self.grid.mesh, ("DG", 0, array.shape[1:]) if array.ndim > 1 else ("DG", 0))
        function = fem.Function(space, dtype=np.float64)
        function.x.array[:] = array[self.cell_of_local].reshape(-1)
        return function

    def centred_position(self) -> ufl.core.expr.Expr:
        """Position relative to the middle of the grid's bounding box, um: a shift that refocused signals cannot see."""
        used = self.grid.points[self.grid.cells.reshape(-1)]
        middle = 0.5 * (used.min(axis=0) + used.max(axis=0))
        return ufl.SpatialCoordinate(self.grid.mesh) - ufl.as_vector([float(value) for value in middle])


def merged_corners(grid: Grid, interfaces: BoolArray) -> IntArray:
    """Unknowns of linear elements that jump across some faces only.

    Two corners of cells are one unknown where they are the same vertex and a chain of faces that are no interfaces
    joins the cells: around the rim of an open wall the field is continuous, across the wall it is not.

    Args:
        grid: The grid.
        interfaces: (F,) True for the faces across which the field may jump.

    Returns:
        (4E,) number of the unknown of each corner, row-major in `grid.cells`, from 0 without gaps.

    Local.
    """
    joined = ~grid.is_exterior & ~interfaces
    first, second = grid.face_cells[joined].T
    corners = [
        (4 * cell[:, None] + (grid.cells[cell][:, None, :] == grid.faces[joined][:, :, None]).argmax(axis=2)).ravel()
        for cell in (first, second)
    ]
    links = sp.coo_matrix((np.ones(len(corners[0]), dtype=np.int8), corners), shape=(grid.cells.size, grid.cells.size))
    return connected_components(links, directed=False)[1].astype(np.int64)


def _input_faces(grid: Grid, facets: FacetSubmesh) -> IntArray:
    """Rows of `grid.faces` for the cells of the facet mesh: matched by the caller's vertex numbers."""
    mesh = facets.parent
    corners = entities_to_geometry(mesh, 2, facets.parent_facets.astype(np.int32), False)
    vertices = np.sort(np.asarray(mesh.geometry.input_global_indices)[corners].reshape(-1, 3), axis=1)
    return np.searchsorted(_face_keys(grid.faces, len(grid.points)), _face_keys(vertices, len(grid.points)))


def _face_keys(faces: IntArray, point_count: int) -> IntArray:
    """One integer per face that sorts as the ascending vertex triples do."""
    return (faces[:, 0] * point_count + faces[:, 1]) * point_count + faces[:, 2]
