"""Signals of cells that hold a share of every compartment, and their derivatives by the shares.

Each compartment has a magnetization of its own on the vertices of the whole grid. In a cell it diffuses in, and
dephases in, as much room as the compartment's share there; compartments meet only at faces whose two sides hold
different ones, through the wall's permeability. Where every share is 0 or 1 this is the tissue whose walls lie between
cells of different compartments; in between no water leaks, because a cell is shared and not a wall half open. So
compartments can grow, shrink and move through shares, which they cannot through permeabilities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.linalg as sl
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from dmrifw.mesh import Grid
from dmrifw.sequences import Protocol
from dmrifw.tissue import Tissue
from dmrifw.typing import ComplexArray, FloatArray, IntArray
from dmrifw_cell_labels.elements import Elements
from dmrifw_cell_labels.evolution import Basis, Interval, evolve, played, propagated, turned

Single: TypeAlias = npt.NDArray[np.float32]
SingleComplex: TypeAlias = npt.NDArray[np.complex64]

_DENSE = 600
"""Vertices from which matrices are sparse."""

SHIFT = 0.05
"""Rate below zero about which matrices are inverted, to sharpen their lowest modes, 1/ms."""

_GAUSS = 8
"""Quadrature points of the derivative in an interval without gradient."""


@dataclass(frozen=True)
class Floors:
    """What every share is raised to at least, so that matrices stay regular.

    Attributes:
        room: In mass and moments.
        flow: In stiffness; larger, so that what is not there relaxes at once and takes no modes.
    """

    room: float
    flow: float


CRISP = Floors(1e-5, 1e-4)
"""For signals: within 0.5 % of those without floors."""

SOFT = Floors(1e-3, 1e-2)
"""For derivatives: they then tell what a whole cell changes, to a few percent, and not what a trace of it does."""


@dataclass(frozen=True)
class Walls:
    """Permeabilities, um/ms.

    Attributes:
        closed: Of walls.
        open: Of the exterior where the first compartment meets it.
        leaky: Whether exterior faces lose water.
    """

    closed: float
    open: float
    leaky: bool


@dataclass(frozen=True, eq=False)
class ModesOfFields(Basis):
    """The lowest modes of all compartments together.

    Attributes:
        modes: (K, N, n) of each compartment.
    """

    modes: FloatArray


class Mixture:
    """The forward model of shares, in a basis of the lowest modes.

    Args:
        grid: The grid.
        tissue: Diffusivity and relaxation rate of the cells.
        protocol: The measurements.
        rows: Those of them that are simulated.
        walls: Permeabilities.

    Local.
    """

    def __init__(self, grid: Grid, tissue: Tissue, protocol: Protocol, rows: IntArray, walls: Walls) -> None:
        self.grid, self.walls, self.rows = grid, walls, np.asarray(rows)
        self.elements = Elements(grid, tissue, walls.open)
        cellwise = (self.elements.mass, self.elements.stiffness, *self.elements.moments)
        self._maps = [one.astype(np.float32) for one in cellwise]
        self._traces = self.elements.traces.astype(np.float32)
        self._inside = np.flatnonzero(~grid.is_exterior)
        self._border = np.flatnonzero(grid.is_exterior)
        self._border_cell = _incidence(grid.face_cells[self._border, 0], len(grid.cells))
        self._left_cell, self._right_cell = (
            _incidence(one, len(grid.cells)) for one in grid.face_cells[self._inside].T
        )
        self._groups = played(protocol, self.rows, self.elements.reach)

    def signal(self, shares: FloatArray, modes: int, floors: Floors = CRISP) -> ComplexArray:
        """(n,) signals of the rows, um^3, by so many modes of each compartment.

        Args:
            shares: (K, E), the first compartment being the one around.
            modes: Their number.
            floors: As of the class of that name.

        Local.
        """
        return propagated(self._basis(shares, modes, floors), self._groups)

    def jacobian(self, shares: FloatArray, modes: int, magnitude: bool, floors: Floors = SOFT) -> Single:
        """(m, K, E) derivatives by the shares, um^3.

        Args:
            shares: (K, E).
            modes: Of each compartment.
            magnitude: Of the magnitudes, m = n; otherwise of the real parts and then of the imaginary ones, m = 2 n.
            floors: As of the class of that name.

        Local.
        """
        basis = self._basis(shares, modes, floors)
        turns = turned(basis)
        count, parts = len(self.rows), 1 if magnitude else 2
        rows = np.empty((parts, count, *shares.shape), dtype=np.float32)
        for one in self._groups:
            members, plan, count_q = one.members, one.plan, len(one.q)
            states = list(evolve(basis, turns, plan, count_q))
            signal = basis.start @ states[-1]
            phases = [signal.conj() / np.maximum(np.abs(signal), 1e-300)] if magnitude else [1.0, -1j]
            duals = list(evolve(basis, turns, plan[::-1], count_q, backwards=True))[::-1]
            path = _Path(basis, plan, states, duals)
            for part, phase in enumerate(phases):
                rows[part, members] = self._contract(shares, basis, path, phase, floors)
        return rows.reshape(parts * count, *shares.shape)

    def _basis(self, shares: FloatArray, modes: int, floors: Floors) -> ModesOfFields:
        """Modes of the compartments one by one, then of all of them together in their span."""
        count, size = len(shares), self.elements.size
        wanted = min(modes, size)
        room = floors.room + (1 - count * floors.room) * shares
        flow = floors.flow + (1 - count * floors.flow) * shares
        fields, rates = np.zeros((count, size, count * wanted)), []
        start = np.zeros(count * wanted)
        positions = [np.zeros((count * wanted, count * wanted)) for _ in range(3)]
        for k in range(count):
            place = slice(k * wanted, (k + 1) * wanted)
            mass = self._matrix(self.elements.mass @ room[k])
            stiffness = self._matrix(self.elements.stiffness @ flow[k] + self._loss(k, flow[k]))
            values, fields_k = _lowest(stiffness, mass, wanted)
            fields[k, :, place] = fields_k
            rates.append(values)
            start[place] = fields_k.T @ mass.sum(axis=1)
            for position, moment in zip(positions, self.elements.moments, strict=True):
                position[place, place] = fields_k.T @ (self._matrix(moment @ room[k]) @ fields_k)
        total = np.diag(np.concatenate(rates))
        for k, other in combinations(range(count), 2):
            trace = self._matrix(self.elements.traces @ self._exchange(shares, k, other))
            jump = fields[k] - fields[other]
            total += jump.T @ (trace @ jump)
        values, mix = np.linalg.eigh(total)
        slow = values < (self.elements.fastest if wanted < size else np.inf)
        values, mix = values[slow], mix[:, slow]
        return ModesOfFields(values, mix.T @ start, [mix.T @ one @ mix for one in positions], fields @ mix)

    def _matrix(self, entries: FloatArray) -> FloatArray | sp.csc_array:
        """(N, N) a matrix of elements, sparse where that is faster."""
        return self.elements.matrix(entries) if self.elements.size < _DENSE else self.elements.sparse(entries)

    def _loss(self, k: int, flow: FloatArray) -> FloatArray:
        """(P,) entries of what is lost through exterior faces."""
        return np.asarray(self.elements.traces @ self._spread(self._leak(k) * flow[self._border_cells], self._border))

    def _leak(self, k: int) -> float:
        if not self.walls.leaky:
            return 0.0
        return self.walls.open if k == 0 else self.walls.closed

    @property
    def _border_cells(self) -> IntArray:
        return self.grid.face_cells[self._border, 0]

    def _exchange(self, shares: FloatArray, k: int, other: int) -> FloatArray:
        """(F,) permeability between two compartments: that of a wall times the chance that they face each other."""
        left, right = self.grid.face_cells[self._inside].T
        chance = shares[k, left] * shares[other, right] + shares[other, left] * shares[k, right]
        return self._spread(self.walls.closed * chance, self._inside)

    def _spread(self, values: FloatArray, faces: IntArray) -> FloatArray:
        spread = np.zeros(len(self.grid.faces))
        spread[faces] = values
        return spread

    def _contract(
        self, shares: FloatArray, basis: ModesOfFields, path: _Path, phase: ComplexArray | complex, floors: Floors
    ) -> Single:
        """(n, K, E) real part of the derivatives times a phase: dS = 1' dM u(T) - int v' (dM u' + dA u) dt."""
        count, elements = len(shares), self.elements
        i, j = elements.pairs.T
        half = np.where(i == j, 0.5, 1.0).astype(np.float32)
        still, moved, turned = path.products(phase)
        rows = np.zeros((len(still), *shares.shape), dtype=np.float32)
        room, flow = 1 - count * floors.room, 1 - count * floors.flow

        def at_pairs(field: Single, products: Single) -> Single:
            """(n, P) entries of field P field', symmetrized and counted on both sides of the diagonal."""
            second = field[j]
            values = np.empty((len(products), len(i)), dtype=np.float32)
            for row, one in enumerate(products):
                both = one + one.T
                np.einsum("pa,pa->p", (field @ both)[i], second, out=values[row])
            return np.asarray(half * values, dtype=np.float32)

        maps, traces = self._maps, self._traces
        for k in range(count):
            field = basis.modes[k].astype(np.float32)
            quiet = at_pairs(field, still)
            rows[:, k] -= room * (at_pairs(field, moved) @ maps[0]) + flow * (quiet @ maps[1])
            for products, along in turned:
                entries = at_pairs(field, products)
                for d in range(3):
                    rows[:, k] -= room * along[:, d, None] * (entries @ maps[2 + d])
            if self._leak(k):
                lost = (quiet @ traces)[:, self._border] * np.float32(self._leak(k) * flow)
                rows[:, k] -= lost @ self._border_cell
        left, right = self.grid.face_cells[self._inside].T
        for k, other in combinations(range(count), 2):
            jump = (basis.modes[k] - basis.modes[other]).astype(np.float32)
            felt = (at_pairs(jump, still) @ traces)[:, self._inside] * np.float32(self.walls.closed)
            for one, two in ((k, other), (other, k)):
                rows[:, one] -= (felt * shares[two, right]) @ self._left_cell
                rows[:, one] -= (felt * shares[two, left]) @ self._right_cell
        return rows


class _Path:
    """States and duals of all measurements of a sequence at the quadrature points of their derivative."""

    def __init__(
        self, basis: ModesOfFields, plan: list[Interval], states: list[ComplexArray], duals: list[ComplexArray]
    ) -> None:
        self._basis, self._last = basis, states[-1]
        u, v, weights = [], [], []
        gradients: list[FloatArray] = []
        at, none = 0, np.zeros((states[0].shape[1], 3))
        for interval in plan:
            if not len(interval.gradients):
                for time, weight in _gauss(interval.step):
                    u.append(np.exp(-basis.rates * time)[:, None] * states[at])
                    v.append(np.exp(-basis.rates * (interval.step - time))[:, None] * duals[at + 1])
                    weights.append(weight)
                    gradients.append(none)
                at += 1
                continue
            steps = len(interval.gradients)
            u += states[at : at + steps + 1]
            v += duals[at : at + steps + 1]
            weights += list(interval.step * _simpson(steps))
            gradients += [
                0.5 * (a + b)
                for a, b in pairwise(interval.gradients[:1] + interval.gradients + interval.gradients[-1:])
            ]
            at += steps
        self._u = np.array(u, dtype=np.complex64)
        self._v = np.array(v, dtype=np.complex64) * np.array(weights, dtype=np.float32)[:, None, None]
        self._gradients = np.array(gradients, dtype=np.float32)

    def products(self, phase: ComplexArray | complex) -> tuple[Single, Single, list[tuple[Single, Single]]]:
        """Real parts of int v u', int v du/dt' - 1 u(T)', both (n, a, a), and int i g v u' with (n, 3) directions."""
        u, g = self._u, self._gradients
        v = (self._v * phase).astype(np.complex64)
        change = -self._basis.rates[:, None].astype(np.float32) * u
        for d, position in enumerate(self._basis.positions):
            if g[:, :, d].any():
                turned_by = (position.astype(np.float32) @ u.view(np.float32)).view(np.complex64)
                change -= np.complex64(1j) * g[:, None, :, d] * turned_by
        moved = _summed(v, change)
        moved -= np.einsum("a,bm->mab", self._basis.start, (phase * self._last).real).astype(np.float32)
        strengths = np.linalg.norm(g, axis=2)
        strongest = g[np.argmax(strengths, axis=0), np.arange(g.shape[1])]
        size = np.linalg.norm(strongest, axis=1, keepdims=True)
        unit = np.where(size > 0, strongest / np.where(size > 0, size, 1.0), np.array([1.0, 0.0, 0.0]))
        along = np.einsum("tmd,md->tm", g, unit).astype(np.float32)
        if np.allclose(along[:, :, None] * unit, g, atol=1e-6):
            parts = [(along, unit)]
        else:
            parts = [(g[:, :, d], np.broadcast_to(np.eye(3)[d], unit.shape)) for d in range(3)]
        turned = [(_summed(v * (np.complex64(1j) * one)[:, None, :], u), way.astype(np.float32)) for one, way in parts]
        return _summed(v, u), moved, turned


def _summed(v: SingleComplex, u: SingleComplex) -> Single:
    """(n, a, a) real part of the sum over times of v u', for (t, a, n) both."""
    left, right = (np.ascontiguousarray(one.transpose(2, 1, 0)).view(np.float32) for one in (v.conj(), u))
    return np.asarray(np.matmul(left, right.transpose(0, 2, 1)))


def _lowest(
    stiffness: FloatArray | sp.csc_array, mass: FloatArray | sp.csc_array, count: int
) -> tuple[FloatArray, FloatArray]:
    """(count,) and (N, count) the lowest modes, those of sparse matrices by shifted and inverted Lanczos steps."""
    if not sp.issparse(stiffness):
        values, modes = sl.eigh(stiffness, mass, subset_by_index=[0, count - 1])
        return values, modes
    start = np.random.default_rng(0).standard_normal(stiffness.shape[0])  # without symmetry, to miss no mode
    values, modes = spla.eigsh(stiffness, count, mass, sigma=-SHIFT, v0=start)
    order = np.argsort(values)
    return values[order], modes[:, order]


def _incidence(cells: IntArray, count: int) -> sp.csr_array:
    """(n, count) 1 where a face meets its cell."""
    ones = np.ones(len(cells), dtype=np.float32)
    return sp.csr_array((ones, cells, np.arange(len(cells) + 1)), (len(cells), count))


def _gauss(length: float) -> Iterator[tuple[float, float]]:
    nodes, weights = np.polynomial.legendre.leggauss(_GAUSS)
    return zip(0.5 * length * (nodes + 1), 0.5 * length * weights, strict=True)


def _simpson(steps: int) -> FloatArray:
    """(steps + 1,) weights for an even number of steps of length 1."""
    weights = np.full(steps + 1, 2 / 3)
    weights[1::2] = 4 / 3
    weights[[0, -1]] = 1 / 3
    return weights
