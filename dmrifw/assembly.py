"""The forms of one space as matrices, and their derivatives with respect to every coefficient and the vertices.

Each form of `dmrifw.forms` is written once; UFL differentiates it, the shape derivative included. Forms are compiled
when first asked for, with coefficient functions that are filled before each assembly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
import ufl
from dolfinx import fem

from dmrifw import compat, forms
from dmrifw.matrices import DistributedMatrix, merging
from dmrifw.spaces import BrokenSpace, Numbered
from dmrifw.typing import FloatArray

Term: TypeAlias = tuple[Any, ...]
"""A kind from `INPUTS`, followed by the axes that it is along: ("moment", 0), ("spread", 0, 1)."""

INPUTS: dict[str, tuple[str, ...]] = {
    "mass": ("density", "points"),
    "stiffness": ("diffusivity", "density", "points"),
    "relaxation": ("relaxation_rate", "density", "points"),
    "relaxivity": ("surface_relaxivity", "density", "points"),
    "exchange": ("permeability", "points"),
    "moment": ("density", "points"),
    "drift": ("diffusivity", "density", "points"),
    "spread": ("diffusivity", "density", "points"),
}
"""The inputs on which each kind of term depends."""

_ON_FACETS = ("relaxivity", "exchange", "area")


class Assembly:
    """Compiled forms of one space and the coefficient functions that they read.

    Attributes:
        space: The broken space.
        merge: The 0/1 matrix P from unknowns to DG, with which DG operators A become P^T A P; None for DG itself.

    Args:
        space: The broken space.
        tensor: Whether diffusivities are tensors.

    Collective, as everything here.
    """

    def __init__(self, space: BrokenSpace, tensor: bool) -> None:
        self.space, self._tensor = space, tensor
        cells, facets = space.on_cells(), space.on_facets
        self._tables: dict[str, Numbered] = {
            "diffusivity": space.on_cells((3, 3)) if tensor else cells,
            "relaxation_rate": cells,
            "density": cells,
            "surface_relaxivity": facets,
            "permeability": facets,
            "points": space.on_vertices,
        }
        self._functions = {name: table.function() for name, table in self._tables.items()}
        self._changes = {name: table.function() for name, table in self._tables.items()}
        self._left, self._right = (fem.Function(space.dofs, dtype=np.float64) for _ in range(2))
        mesh = space.grid.mesh
        middle = space.grid.bounds.mean(axis=0)  # refocused signals do not depend on the origin
        self._position = ufl.SpatialCoordinate(mesh) - ufl.as_vector([float(value) for value in middle])
        self._mean = fem.Constant(mesh, np.zeros((3, 3)))
        self._measures = [ufl.Measure(kind, domain=mesh) for kind in ("dS", "ds")]
        self._compiled: dict[tuple[Any, ...], fem.Form] = {}
        self.merge: DistributedMatrix | None = None
        if space.merged is not None:
            labels = space.merged[space.node_of_dof()]
            self.merge = merging(space.grid.comm, space.dofs.dofmap.index_map, labels, int(space.merged.max()) + 1)

    @contextmanager
    def holding(self, inputs: dict[str, FloatArray], mean_diffusivity: FloatArray) -> Iterator[None]:
        """Within it the forms read these inputs, in the caller's order, and the vertices are inputs["points"]."""
        for name, values in inputs.items():
            if name != "points":
                self._tables[name].fill(self._functions[name], values)
        self._mean.value[:] = mean_diffusivity
        with self.space.moved(inputs["points"]):
            yield

    def matrix(self, term: Term) -> DistributedMatrix:
        """The matrix of a term on DG."""
        return DistributedMatrix.assemble(self._compile(("matrix", term), term, self._bilinear))

    def restricted(self, matrix: DistributedMatrix) -> DistributedMatrix:
        """P^T A P: a matrix on DG as one on the unknowns."""
        return matrix if self.merge is None else matrix.restricted(self.space.grid.comm, self.merge, left=True)

    @cached_property
    def trace(self) -> DistributedMatrix:
        """Per owned facet, rows whose squared sum is int [w]^2 over that facet, with the vertices at rest.

        With B_F the matrix of `forms.facet_trace` and M_F the mass of the facet these are M_F^(-1/2) B_F, so that rows
        are orthogonal coordinates of the jump.
        """
        space, maps = self.space.facet_traces, self.space.facets.entity_maps
        w, mu, nu = ufl.TrialFunction(self.space.dofs), ufl.TestFunction(space), ufl.TrialFunction(space)
        raw = DistributedMatrix.assemble(compat.real_form(forms.facet_trace(w, mu), maps))
        mass = DistributedMatrix.assemble(compat.real_form(forms.mass(nu, mu)))
        facets = self.space.facets.mesh.topology.index_map(2).size_local
        rows = space.dofmap.list[:facets]
        scaled = raw
        if facets:
            size = rows.shape[1]
            blocks = np.asarray(mass.local[np.repeat(rows, size, axis=1).ravel(), np.tile(rows, (1, size)).ravel()])
            values, vectors = np.linalg.eigh(blocks.reshape(facets, size, size))
            half = np.einsum("fij,fj,fkj->fik", vectors, values**-0.5, vectors)
            scaling = sp.bsr_matrix((half, np.arange(facets), np.arange(facets + 1))).tocsr()
            scaled = DistributedMatrix(sp.csr_matrix(scaling @ raw.local[rows.ravel()]), raw.rows, raw.columns)
        return scaled if self.merge is None else scaled.restricted(self.space.grid.comm, self.merge, left=False)

    def matrix_along(self, term: Term, name: str, direction: FloatArray) -> DistributedMatrix:
        """The derivative of the matrix of a term along a direction of one of its inputs."""
        self._tables[name].fill(self._changes[name], direction)

        def derivative(term: Term) -> ufl.Form:
            return ufl.derivative(self._bilinear(term), self._variable(name), self._changes[name])

        return DistributedMatrix.assemble(self._compile(("along", term, name), term, derivative))

    def gradient(self, term: Term, name: str, densities: FloatArray) -> FloatArray:
        """The derivative of sum_e sum_ij densities[e, i, j] a_e(phi_j, phi_i) with respect to an input.

        Args:
            term: Whose form a is.
            name: The input.
            densities: (owned cells, n, n) for the basis functions phi of each cell.

        Returns:
            As the input, replicated.
        """
        test = ufl.TestFunction(self._tables[name].space)

        def derivative(term: Term) -> ufl.Form:
            return ufl.derivative(self._form(term, self._right, self._left), self._variable(name), test)

        form = self._compile(("gradient", term, name), term, derivative)
        dofs = self.space.dofs.dofmap.list[: len(densities)]
        total = 0.0
        for place in range(self.space.dofs.dofmap.list.shape[1]):  # one basis function of every cell at a time
            self._left.x.array[:] = 0.0
            self._left.x.array[dofs[:, place]] = 1.0
            self._right.x.array[dofs] = densities[:, place]
            self._left.x.scatter_forward()
            self._right.x.scatter_forward()
            total = total + fem.assemble_vector(form).array
        return self._tables[name].gathered(np.asarray(total), self.space.grid.comm)

    def area_gradient(self, values: FloatArray) -> FloatArray:
        """(V, 3) derivative of sum_F values_F area_F with respect to the vertices, replicated; (F,) values."""
        weight, test = self._changes["permeability"], ufl.TestFunction(self._tables["points"].space)
        self._tables["permeability"].fill(weight, values)

        def derivative(_: Term) -> ufl.Form:
            inside, outside = self._measures
            return ufl.derivative(weight("+") * inside + weight * outside, self._variable("points"), test)

        form = self._compile(("area",), ("area",), derivative)
        return self._tables["points"].gathered(fem.assemble_vector(form).array, self.space.grid.comm)

    def _compile(self, key: tuple[Any, ...], term: Term, build: Callable[[Term], ufl.Form]) -> fem.Form:
        if key not in self._compiled:
            maps = self.space.facets.entity_maps if term[0] in _ON_FACETS else None
            self._compiled[key] = compat.real_form(build(term), maps)
        return self._compiled[key]

    def _variable(self, name: str) -> Any:
        return ufl.SpatialCoordinate(self.space.grid.mesh) if name == "points" else self._functions[name]

    def _bilinear(self, term: Term) -> ufl.Form:
        return self._form(term, ufl.TrialFunction(self.space.dofs), ufl.TestFunction(self.space.dofs))

    def _form(self, term: Term, w: Any, v: Any) -> ufl.Form:
        kind, *axes = term
        at = self._functions
        density = at["density"]
        if kind == "mass":
            return forms.mass(w, v, density)
        if kind == "stiffness":
            return forms.stiffness(w, v, at["diffusivity"], density)
        if kind == "relaxation":
            return forms.relaxation(w, v, at["relaxation_rate"], density)
        if kind == "relaxivity":
            return forms.relaxivity(w, v, at["surface_relaxivity"], density)
        if kind == "exchange":
            return forms.interface(w, v, at["permeability"]) + forms.exterior(w, v, at["permeability"])
        if kind == "moment":
            return forms.moment(w, v, self._position[axes[0]], density)
        tensor = at["diffusivity"] if self._tensor else at["diffusivity"] * ufl.Identity(3)
        if kind == "drift":
            return forms.drift(w, v, ufl.as_vector([tensor[axes[0], b] for b in range(3)]), density)
        return forms.mass(w, v, density * (tensor[axes[0], axes[1]] - self._mean[axes[0], axes[1]]))
