"""The forms assembled once: real sparse matrices, distributed by rows, and the permeability-dependent one on demand."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.sparse as sp
import ufl

from dmrifw import compat, forms
from dmrifw.matrices import DistributedMatrix, merging
from dmrifw.spaces import BrokenSpace
from dmrifw.typing import BoolArray, FloatArray


class Operators:
    """The assembled Bloch-Torrey operators of one grid and tissue.

    Attributes:
        space: The broken space.
        merge: The 0/1 matrix P from unknowns to DG1, with which DG1 operators A become P^T A P; None for DG1 itself.
        open_faces: (F,) faces whose permeability has an effect: interior ones, and exterior ones if permeable.
        mass: (rho w, v).
        decay: (rho D grad w, grad v) + (rho w/T2, v).
        moments: (rho x_i w, v) for i = 0, 1, 2, relative to the middle of the grid.
        trace: Per facet, three rows whose squared sum is int [w]^2 over that facet.

    Args:
        space: The broken space.
        diffusivity: (E,) or (E, 3, 3) um^2/ms, replicated.
        relaxation_rate: (E,) 1/T2 in 1/ms, replicated.
        density: (E,) equilibrium density, relative, replicated.
        permeable_exterior: Whether exterior faces let magnetization out.

    Collective.
    """

    def __init__(
        self,
        space: BrokenSpace,
        diffusivity: FloatArray,
        relaxation_rate: FloatArray,
        density: FloatArray,
        permeable_exterior: bool,
    ) -> None:
        self.space = space
        self.comm = space.grid.comm
        self.open_faces: BoolArray = np.ones(len(space.grid.faces), dtype=bool)
        if not permeable_exterior:
            self.open_faces = ~space.grid.is_exterior
        self.merge: DistributedMatrix | None = None
        if space.merged is not None:
            labels = space.merged[space.corner_of_dof()]
            self.merge = merging(self.comm, space.dofs.dofmap.index_map, labels, int(space.merged.max()) + 1)
        w, v = ufl.TrialFunction(space.dofs), ufl.TestFunction(space.dofs)
        rho = space.cell_function(density)
        decay = forms.stiffness(w, v, space.cell_function(diffusivity), rho)
        if relaxation_rate.any():
            decay += forms.relaxation(w, v, space.cell_function(relaxation_rate), rho)
        position = space.centred_position()
        self.mass = self._restricted(self._assemble(forms.mass(w, v, rho)))
        self._broken_decay = self._assemble(decay)
        self.decay = self._restricted(self._broken_decay)
        self.moments = tuple(
            self._restricted(self._assemble(forms.moment(w, v, position[axis], rho))) for axis in range(3)
        )
        self._permeability = space.facet_function()
        self._exchange = compat.real_form(
            forms.interface(w, v, self._permeability) + forms.exterior(w, v, self._permeability),
            space.facets.entity_maps,
        )
        self.trace = self._restricted(self._assemble_trace(w), rows=False)

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

    def face_gradient(self, modes: FloatArray, sensitivity: FloatArray) -> FloatArray:
        """Contract a sensitivity to the reduced operator with the exchange through every face.

        Args:
            modes: (owned dofs, r) basis V, distributed.
            sensitivity: (r, r) G = d loss / d (V^T A V), replicated.

        Returns:
            (F,) sum_jk G_jk int_F [V_j][V_k], um^3/... per um/ms, replicated; zero on closed exterior faces.

        Collective.
        """
        jumps = self.trace @ modes
        per_facet = np.einsum("ij,ij->i", jumps @ sensitivity, jumps).reshape(-1, 3).sum(axis=1)
        gradient = np.zeros(len(self.space.grid.faces))
        gradient[self.space.face_of_facet[: len(per_facet)]] = per_facet
        return np.where(self.open_faces, self.comm.allreduce(gradient), 0.0)

    def _restricted(self, matrix: DistributedMatrix, rows: bool = True) -> DistributedMatrix:
        return matrix if self.merge is None else matrix.restricted(self.comm, self.merge, left=rows)

    def _assemble(self, form: ufl.Form) -> DistributedMatrix:
        return DistributedMatrix.assemble(compat.real_form(form))

    def _assemble_trace(self, w: ufl.Argument) -> DistributedMatrix:
        """M_F^(-1/2) B_F stacked over owned facets, so that its rows are orthogonal coordinates of the jump."""
        space = self.space.facet_traces
        mu, nu = ufl.TestFunction(space), ufl.TrialFunction(space)
        raw = DistributedMatrix.assemble(compat.real_form(forms.facet_trace(w, mu), self.space.facets.entity_maps))
        mass = self._assemble(forms.mass(nu, mu))
        facets = self.space.facets.mesh.topology.index_map(2).size_local
        rows = space.dofmap.list[:facets]
        if facets == 0:
            return raw
        blocks = np.asarray(mass.local[np.repeat(rows, 3, axis=1).ravel(), np.tile(rows, (1, 3)).ravel()])
        values, vectors = np.linalg.eigh(blocks.reshape(facets, 3, 3))
        half = np.einsum("fij,fj,fkj->fik", vectors, values**-0.5, vectors)
        scaling = sp.bsr_matrix((half, np.arange(facets), np.arange(facets + 1))).tocsr()
        return DistributedMatrix(sp.csr_matrix(scaling @ raw.local[rows.ravel()]), raw.rows, raw.columns)
