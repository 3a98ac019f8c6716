"""The forms assembled once: real sparse matrices, distributed by rows, and the permeability-dependent one on demand."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import ufl

from dmrifw import compat, forms
from dmrifw.encoding import Encoding
from dmrifw.matrices import DistributedMatrix, merging
from dmrifw.spaces import NODES, BrokenSpace
from dmrifw.typing import BoolArray, FloatArray


class Operators:
    """The assembled Bloch-Torrey operators of one grid and tissue.

    Attributes:
        space: The broken space.
        merge: The 0/1 matrix P from unknowns to DG, with which DG operators A become P^T A P; None for DG itself.
        open_faces: (F,) faces whose permeability has an effect: interior ones, and exterior ones if permeable.
        encoding: How gradients enter.
        mass: (rho w, v).
        slowest_relaxation: The smallest 1/T2, 1/ms. It acts on all of w alike, so it is no part of the operators but a
            factor of the signals.
        decay: (rho D grad w, grad v) + (rho w/T2, v) without the slowest relaxation, and the loss at surfaces.
        couplings: The matrices that `encoding` weights: for i = 0, 1, 2 the moment (rho x_i w, v), relative to the
            middle of the grid, or the drift along a periodic axis; then the spread of the diffusivity there.
        trace: Per facet, rows whose squared sum is int [w]^2 over that facet.

    Args:
        space: The broken space.
        diffusivity: (E,) or (E, 3, 3) um^2/ms, replicated.
        relaxation_rate: (E,) 1/T2 in 1/ms, replicated.
        density: (E,) equilibrium density, relative, replicated.
        permeable_exterior: Whether exterior faces let magnetization out.
        surface_relaxivity: (F,) um/ms, replicated.

    Collective.
    """

    def __init__(
        self,
        space: BrokenSpace,
        diffusivity: FloatArray,
        relaxation_rate: FloatArray,
        density: FloatArray,
        permeable_exterior: bool,
        surface_relaxivity: FloatArray | None = None,
    ) -> None:
        self.space, self.density = space, density
        self.comm = space.grid.comm
        self.open_faces: BoolArray = ~space.grid.is_exterior | (space.outside & permeable_exterior)
        self.encoding = Encoding.of(space.periodic, diffusivity, density * space.grid.cell_volumes)
        self.merge: DistributedMatrix | None = None
        if space.merged is not None:
            labels = space.merged[space.node_of_dof()]
            self.merge = merging(self.comm, space.dofs.dofmap.index_map, labels, int(space.merged.max()) + 1)
        w, v = ufl.TrialFunction(space.dofs), ufl.TestFunction(space.dofs)
        rho = space.cell_function(density)
        self._broken_mass = self._assemble(forms.mass(w, v, rho))
        self.mass = self._restricted(self._broken_mass)
        self.slowest_relaxation = float(relaxation_rate.min())
        further = relaxation_rate - self.slowest_relaxation
        self._broken_decay = self._assemble_decay(diffusivity, further, rho, surface_relaxivity)
        self.decay = self._restricted(self._broken_decay)
        self.couplings = tuple(
            self._restricted(self._assemble(form)) for form in self._coupling_forms(w, v, diffusivity, rho)
        )
        self._permeability = space.facet_function()
        self._exchange = compat.real_form(
            forms.interface(w, v, self._permeability) + forms.exterior(w, v, self._permeability),
            space.facets.entity_maps,
        )
        self.trace = self._restricted(self._assemble_trace(w), rows=False)
        self._trace_rows = space.facet_traces.dofmap.list.shape[1]

    def diffusion(self, permeability: FloatArray) -> DistributedMatrix:
        """Decay plus exchange through the faces: the symmetric positive operator whose modes carry the signal.

        Args:
            permeability: (F,) um/ms in the order of `grid.faces`, replicated.

        Collective.
        """
        self.space.set_facet_values(self._permeability, np.where(self.open_faces, permeability, 0.0))
        exchange = DistributedMatrix.assemble(self._exchange)
        total = DistributedMatrix(self._broken_decay.local + exchange.local, exchange.rows, exchange.columns)
        return self._restricted(total)

    @cached_property
    def total(self) -> FloatArray:
        """(owned dofs,) weights that integrate rho w over the domain: the signal functional and the start M 1."""
        return (self.mass @ np.ones((self.mass.columns.size_local, 1)))[:, 0]

    def facet_products(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """Exchange of pairs of fields through every facet.

        Args:
            left: (owned unknowns, n) fields, distributed.
            right: (owned unknowns, n) as many.

        Returns:
            (owned facets,) sum_j int_F [left_j][right_j]: the derivative of sum_j left_j.(A right_j) with respect to
            the permeability of each facet.

        Collective.
        """
        products = np.einsum("ij,ij->i", self.trace @ left, self.trace @ right)
        return products.reshape(-1, self._trace_rows).sum(axis=1)

    def per_face(self, facet_values: FloatArray) -> FloatArray:
        """(F,) values in the order of `grid.faces`, replicated, from (owned facets,); zero on closed exterior faces.

        Collective.
        """
        gathered = np.zeros(len(self.space.grid.faces))
        gathered[self.space.face_of_facet[: len(facet_values)]] = facet_values
        return np.where(self.open_faces, self.comm.allreduce(gathered), 0.0)

    @property
    def facet_count(self) -> int:
        """Facets that this rank owns."""
        return self.space.facets.mesh.topology.index_map(2).size_local

    def at_vertices(self, block: FloatArray) -> FloatArray:
        """(n, E, 4) magnetization rho w at the vertices of every cell, replicated, from (owned unknowns, n).

        Collective.
        """
        cells, place = np.divmod(self.space.node_of_dof(), NODES[self.space.degree])
        corner = place < 4
        values = np.zeros((block.shape[1], *self.space.grid.cells.shape))
        values[:, cells[corner], place[corner]] = self.broken(block)[corner].T
        return self.comm.allreduce(values) * self.density[:, None]

    def broken(self, block: FloatArray) -> FloatArray:
        """(owned DG dofs, n) values at the nodes of every cell, from (owned unknowns, n). Collective."""
        return block if self.merge is None else self.merge @ block

    def compartment_totals(self, block: FloatArray) -> FloatArray:
        """(C, n) integral of rho w over each compartment, um^3, from (owned unknowns, n), replicated. Collective."""
        cells = self.space.node_of_dof() // NODES[self.space.degree]
        tags = self.space.grid.cell_tags[cells]
        sums = sp.csr_matrix(
            (np.ones(len(tags)), (tags, np.arange(len(tags)))), shape=(self.space.grid.compartment_count, len(tags))
        )
        return self.comm.allreduce(sums @ (self._broken_mass @ self.broken(block)))

    def _restricted(self, matrix: DistributedMatrix, rows: bool = True) -> DistributedMatrix:
        return matrix if self.merge is None else matrix.restricted(self.comm, self.merge, left=rows)

    def _assemble(self, form: ufl.Form, facets: bool = False) -> DistributedMatrix:
        return DistributedMatrix.assemble(compat.real_form(form, self.space.facets.entity_maps if facets else None))

    def _assemble_decay(
        self, diffusivity: FloatArray, relaxation_rate: FloatArray, rho: Any, surface_relaxivity: FloatArray | None
    ) -> DistributedMatrix:
        space = self.space
        w, v = ufl.TrialFunction(space.dofs), ufl.TestFunction(space.dofs)
        decay = forms.stiffness(w, v, space.cell_function(diffusivity), rho)
        if relaxation_rate.any():
            decay += forms.relaxation(w, v, space.cell_function(relaxation_rate), rho)
        matrix = self._assemble(decay)
        if surface_relaxivity is None or not surface_relaxivity.any():
            return matrix
        strength = space.facet_function()
        space.set_facet_values(strength, np.where(space.outside | ~space.grid.is_exterior, surface_relaxivity, 0.0))
        loss = self._assemble(forms.relaxivity(w, v, strength, rho), facets=True)
        return DistributedMatrix(matrix.local + loss.local, loss.rows, loss.columns)

    def _coupling_forms(self, w: Any, v: Any, diffusivity: FloatArray, rho: Any) -> Iterator[ufl.Form]:
        space, encoding = self.space, self.encoding
        tensors = diffusivity if diffusivity.ndim > 1 else diffusivity[:, None, None] * np.eye(3)
        for axis, position in enumerate(space.centred_position()):
            if encoding.periodic[axis]:
                yield forms.drift(w, v, space.cell_function(tensors[:, axis]), rho)
            else:
                yield forms.moment(w, v, position, rho)
        for a, b in encoding.spread:
            excess = tensors[:, a, b] - encoding.mean_diffusivity[a, b]
            yield forms.mass(w, v, rho * space.cell_function(excess))

    def _assemble_trace(self, w: ufl.Argument) -> DistributedMatrix:
        """M_F^(-1/2) B_F stacked over owned facets, so that its rows are orthogonal coordinates of the jump."""
        space = self.space.facet_traces
        mu, nu = ufl.TestFunction(space), ufl.TrialFunction(space)
        raw = self._assemble(forms.facet_trace(w, mu), facets=True)
        mass = self._assemble(forms.mass(nu, mu))
        facets = self.facet_count
        rows = space.dofmap.list[:facets]
        if facets == 0:
            return raw
        size = rows.shape[1]
        blocks = np.asarray(mass.local[np.repeat(rows, size, axis=1).ravel(), np.tile(rows, (1, size)).ravel()])
        values, vectors = np.linalg.eigh(blocks.reshape(facets, size, size))
        half = np.einsum("fij,fj,fkj->fik", vectors, values**-0.5, vectors)
        scaling = sp.bsr_matrix((half, np.arange(facets), np.arange(facets + 1))).tocsr()
        return DistributedMatrix(sp.csr_matrix(scaling @ raw.local[rows.ravel()]), raw.rows, raw.columns)
