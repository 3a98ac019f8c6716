"""The assembled equation of one tissue: real sparse matrices, distributed by rows, and their derivatives."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from dmrifw.assembly import INPUTS, Assembly, Term
from dmrifw.encoding import Encoding
from dmrifw.matrices import DistributedMatrix
from dmrifw.mesh.grid import triangle_areas
from dmrifw.spaces import NODES
from dmrifw.tissue import Tissue
from dmrifw.typing import BoolArray, FloatArray


@dataclass(eq=False)
class Sensitivity:
    """d loss = sum_i left_i . (d matrix right_i) for the matrices of the equation, as sums over cells and facets.

    Only what is wanted is there. Arrays belong to this rank's own cells and facets.

    Attributes:
        diffusion: (cells, n, n) what multiplies the decay between the basis functions of each cell.
        exchange: (facets,) what multiplies the permeability of each facet.
        mass: (cells, n, n) what multiplies the mass.
        couplings: (c, cells, n, n) what multiplies each coupling.
    """

    diffusion: FloatArray | None = None
    exchange: FloatArray | None = None
    mass: FloatArray | None = None
    couplings: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Change:
    """The derivatives of the matrices of the equation along a direction of the inputs; None where there is none."""

    diffusion: DistributedMatrix | None
    mass: DistributedMatrix | None
    couplings: tuple[DistributedMatrix | None, ...]


class Operators:
    """The assembled Bloch-Torrey operators of one tissue.

    Attributes:
        assembly: The compiled forms.
        space: The broken space.
        tissue: The coefficients.
        open_faces: (F,) faces whose permeability has an effect: interior ones, and exterior ones if permeable.
        encoding: How gradients enter.
        slowest_relaxation: The smallest 1/T2, 1/ms, or 0 in a varied tissue. It acts on all of w alike, so it is no
            part of the operators but a factor of the signals.
        mass: (rho w, v).
        decay: (rho D grad w, grad v) + (rho w/T2, v) without the slowest relaxation, and the loss at surfaces.
        couplings: The matrices that `encoding` weights: for i = 0, 1, 2 the moment (rho x_i w, v), relative to the
            middle of the grid, or the drift along a periodic axis; then the spread of the diffusivity there.

    Args:
        assembly: The compiled forms of a space.
        tissue: The coefficients.
        permeable_exterior: Whether exterior faces let magnetization out.
        varied: Whether the tissue is one of many: its slowest relaxation is then no factor of its own, and its mean
            diffusivity, which no signal depends on but by the error of time stepping, is rounded: so both are constants
            to every derivative.

    Collective.
    """

    def __init__(
        self, assembly: Assembly, tissue: Tissue, permeable_exterior: bool = False, varied: bool = False
    ) -> None:
        space = assembly.space
        self.assembly, self.space, self.tissue, self.comm = assembly, space, tissue, space.grid.comm
        self.open_faces: BoolArray = ~space.grid.is_exterior | (space.outside & permeable_exterior)
        water = tissue.density * space.grid.cell_volumes
        self.encoding = Encoding.of(space.periodic, tissue.diffusivity, water, varied)
        self.slowest_relaxation = 0.0 if varied else float(tissue.relaxation_rate.min())
        kept = np.where(space.outside | ~space.grid.is_exterior, tissue.surface_relaxivity, 0.0)
        further = tissue.relaxation_rate - self.slowest_relaxation
        self._inputs = {**vars(tissue), "relaxation_rate": further, "surface_relaxivity": kept}
        self._areas = triangle_areas(tissue.points, space.grid.faces)
        optional = {"relaxation": further.any(), "relaxivity": kept.any()}
        self._decay_terms: list[Term] = [("stiffness",), *((kind,) for kind, present in optional.items() if present)]
        axes = [("drift" if joined else "moment", axis) for axis, joined in enumerate(space.periodic)]
        self._coupling_terms: list[Term] = [*axes, *(("spread", *pair) for pair in self.encoding.spread)]
        with self._holding():
            self._broken_mass = assembly.matrix(("mass",))
            self._broken_decay = _sum([assembly.matrix(term) for term in self._decay_terms])
            couplings = [assembly.matrix(term) for term in self._coupling_terms]
        self.mass = assembly.restricted(self._broken_mass)
        self.decay = assembly.restricted(self._broken_decay)
        self.couplings = tuple(assembly.restricted(coupling) for coupling in couplings)

    def diffusion(self, permeability: FloatArray) -> DistributedMatrix:
        """Decay plus exchange through the faces: the symmetric positive operator whose modes carry the signal.

        Args:
            permeability: (F,) um/ms in the order of `grid.faces`, replicated.

        Collective.
        """
        with self._holding(permeability):
            exchange = self.assembly.matrix(("exchange",))
        return self.assembly.restricted(_sum([exchange, self._broken_decay]))

    def along(self, permeability: FloatArray, directions: dict[str, FloatArray]) -> Change:
        """The derivatives of all matrices along a direction of the inputs.

        Args:
            permeability: (F,) um/ms, replicated: where to differentiate.
            directions: By input, "permeability" or one in `Tissue`, arrays of its shape, replicated.

        Collective.
        """
        groups = [[*self._all_decay_terms, ("exchange",)], [("mass",)], *([term] for term in self._coupling_terms)]
        masked = {name: self._masked(name, values) for name, values in directions.items()}
        changes: list[DistributedMatrix | None] = []
        with self._holding(permeability):
            for group in groups:
                parts = [
                    self.assembly.matrix_along(term, name, masked[name])
                    for term in group
                    for name in sorted(masked)
                    if name in INPUTS[term[0]]
                ]
                changes.append(_sum(parts) if parts else None)
        diffusion, mass, *couplings = (None if one is None else self.assembly.restricted(one) for one in changes)
        return Change(diffusion, mass, tuple(couplings))

    def gradient(
        self, sensitivity: Sensitivity, permeability: FloatArray, wanted: Iterable[str]
    ) -> dict[str, FloatArray]:
        """The derivative of a loss with respect to the inputs of the matrices.

        Args:
            sensitivity: d loss by the matrices, summed over measurements; this rank's cells and facets.
            permeability: (F,) um/ms, replicated: where to differentiate.
            wanted: Names of inputs, "permeability" or some in `Tissue`.

        Returns:
            By name, arrays of the shape of the input, replicated.

        Collective.
        """
        terms = [(term, sensitivity.diffusion) for term in self._all_decay_terms]
        terms.append((("mass",), sensitivity.mass))
        if sensitivity.couplings is not None:
            terms += zip(self._coupling_terms, sensitivity.couplings, strict=True)
        gradients = {}
        with self._holding(permeability):
            for name in sorted(wanted):
                total = np.zeros(self._shape(name, permeability))
                for term, densities in terms:
                    if name in INPUTS[term[0]] and densities is not None:
                        total += self.assembly.gradient(term, name, densities)
                if name in ("permeability", "points") and sensitivity.exchange is not None:
                    exchange = self.per_face(sensitivity.exchange)
                    if name == "permeability":
                        total += exchange
                    else:  # the exchange through a facet of given values at its corners goes as its area
                        total += self.assembly.area_gradient(exchange * permeability / self._areas)
                gradients[name] = self._masked(name, total)
        return gradients

    @cached_property
    def mass_inverse(self) -> DistributedMatrix:
        """The inverse of the mass where every cell has unknowns of its own: cell by cell."""
        nodes = NODES[self.space.degree]
        dofs = self.space.dofs.dofmap.list[: self.mass.rows.size_local // nodes]
        blocks = np.asarray(self.mass.local[np.repeat(dofs, nodes, axis=1).ravel(), np.tile(dofs, (1, nodes)).ravel()])
        inverse = np.linalg.inv(blocks.reshape(-1, nodes, nodes))
        rows, columns = np.repeat(dofs, nodes, axis=1).ravel(), np.tile(dofs, (1, nodes)).ravel()
        local = sp.csr_matrix((inverse.ravel(), (rows, columns)), shape=self.mass.local.shape)
        return DistributedMatrix(local, self.mass.rows, self.mass.columns)

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
        trace = self.assembly.trace
        products = np.einsum("ij,ij->i", trace @ left, trace @ right).reshape(self.facet_count, -1).sum(axis=1)
        faces = self.space.face_of_facet[: self.facet_count]
        return products * self._areas[faces] / self.space.grid.face_areas[faces]

    def cell_products(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """(owned cells, n, n) sums over columns of left_i right_j at the nodes of each cell; as `facet_products`.

        Collective.
        """
        dofs = self.space.dofs.dofmap.list[: self.broken(left).shape[0] // NODES[self.space.degree]]
        ours, theirs = self.broken(left)[dofs], self.broken(right)[dofs]
        return ours @ theirs.transpose(0, 2, 1)

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
        return self.comm.allreduce(values) * self.tissue.density[:, None]

    def broken(self, block: FloatArray) -> FloatArray:
        """(owned DG dofs, n) values at the nodes of every cell, from (owned unknowns, n). Collective."""
        return block if self.assembly.merge is None else self.assembly.merge @ block

    def compartment_totals(self, block: FloatArray) -> FloatArray:
        """(C, n) integral of rho w over each compartment, um^3, from (owned unknowns, n), replicated. Collective."""
        cells = self.space.node_of_dof() // NODES[self.space.degree]
        tags = self.space.grid.cell_tags[cells]
        sums = sp.csr_matrix(
            (np.ones(len(tags)), (tags, np.arange(len(tags)))), shape=(self.space.grid.compartment_count, len(tags))
        )
        return self.comm.allreduce(sums @ (self._broken_mass @ self.broken(block)))

    @property
    def _all_decay_terms(self) -> list[Term]:
        """Those that are zero now included: they may change."""
        return [("stiffness",), ("relaxation",), ("relaxivity",)]

    def _holding(self, permeability: FloatArray | None = None) -> AbstractContextManager[None]:
        kept = {} if permeability is None else {"permeability": self._masked("permeability", permeability)}
        return self.assembly.holding({**self._inputs, **kept}, self.encoding.mean_diffusivity)

    def _masked(self, name: str, values: FloatArray) -> FloatArray:
        """Values of an input without those that have no effect."""
        if name == "permeability":
            return np.where(self.open_faces, values, 0.0)
        if name == "surface_relaxivity":
            return np.where(self.space.outside | ~self.space.grid.is_exterior, values, 0.0)
        return values

    def _shape(self, name: str, permeability: FloatArray) -> tuple[int, ...]:
        return (permeability if name == "permeability" else self._inputs[name]).shape


def _sum(matrices: list[DistributedMatrix]) -> DistributedMatrix:
    """The sum of matrices on the same space; the first has the widest pattern."""
    first = matrices[0]
    return DistributedMatrix(sum((other.local for other in matrices[1:]), first.local), first.rows, first.columns)
