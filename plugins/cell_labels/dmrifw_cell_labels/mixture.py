"""Signals of cells that hold a share of every compartment, and their derivatives by the shares.

Each compartment has a magnetization of its own on the vertices of the whole grid. In a cell it diffuses in, and
dephases in, as much room as the compartment's share there; compartments meet only at faces whose two sides hold
different ones, through the wall's permeability. Where every share is 0 or 1 this is the tissue whose walls lie between
cells of different compartments; in between no water leaks, because a cell is shared and not a wall half open. So
compartments can grow, shrink and move through shares, which they cannot through permeabilities.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch

from dmrifw.eigen import symmetric_modes
from dmrifw.mesh import Grid
from dmrifw.sequences import Protocol
from dmrifw.tissue import Tissue
from dmrifw.typing import ComplexArray, FloatArray, IntArray
from dmrifw_cell_labels.elements import Elements
from dmrifw_cell_labels.evolution import Basis, Played, in_single, played, propagated, turned
from dmrifw_cell_labels.sensitivity import Integrals, Path

Single: TypeAlias = npt.NDArray[np.float32]

_DENSE = 600
"""Vertices from which matrices are sparse."""

SHIFT = 0.05
"""Rate below zero about which matrices are inverted, to sharpen their lowest modes, 1/ms."""

_IN_CACHE = 1_000_000
"""Numbers that products of fields have at once, about."""

_TOGETHER = 32
"""Measurements whose derivatives are taken at once, at most: the rest by other threads, or later."""


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

    Attributes:
        imaginary: Those of them whose signals may have imaginary parts: an antisymmetric waveform has none.

    Local.
    """

    def __init__(self, grid: Grid, tissue: Tissue, protocol: Protocol, rows: IntArray, walls: Walls) -> None:
        self.grid, self.walls, self.rows = grid, walls, np.asarray(rows)
        self.elements = Elements(grid, tissue, walls.open)
        i, j = self.elements.pairs.T
        slot = np.arange(len(i)) - np.searchsorted(i, i)  # of a pair among those of its first vertex
        self._near = np.zeros((self.elements.size, int(slot.max()) + 1), dtype=np.int64)
        self._near[i, slot] = j
        places, twice = i * self._near.shape[1] + slot, np.where(i == j, 0.5, 1.0)
        spread = sp.csr_array((twice, (places, np.arange(len(i)))), (self._near.size, len(i)))
        cellwise = (self.elements.mass, self.elements.stiffness, *self.elements.moments)
        self._maps, self._traces = [_read(spread @ one) for one in cellwise], _read(spread @ self.elements.traces)
        self._inside = np.flatnonzero(~grid.is_exterior)
        self._border = np.flatnonzero(grid.is_exterior)
        self._border_cell, self._left_cell, self._right_cell = (
            _read(_incidence(one, len(grid.cells)))
            for one in (grid.face_cells[self._border, 0], *grid.face_cells[self._inside].T)
        )
        self._groups = played(protocol, self.rows, self.elements.reach)
        uneven = [group.members for group in self._groups if group.half is None]
        self.imaginary: IntArray = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *uneven]))
        self._parts = [part for group in self._groups for part in group.parts(_TOGETHER)]

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
            magnitude: Of the magnitudes, m = n; otherwise of the real parts and then of the imaginary ones of
                `imaginary`.
            floors: As of the class of that name.

        Local.
        """
        basis = self._basis(shares, modes, floors)
        turns = in_single(turned(basis))
        count = len(self.rows)
        rows = np.empty((count if magnitude else count + len(self.imaginary), *shares.shape), dtype=np.float32)

        def fill(group: Played) -> None:
            path = Path(basis, turns, group)
            for number, one in enumerate([path.of_magnitudes()] if magnitude else path.of_parts()):
                places = count + np.searchsorted(self.imaginary, group.members) if number else group.members
                rows[places] = self._contracted(shares, basis, one, floors)

        with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # begun here: a fork would have none
            deque(threads.map(fill, self._parts), maxlen=0)
        return rows

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
        values, mix = symmetric_modes(total)
        slow = values <= max(self.elements.fastest if wanted < size else np.inf, values[0])
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

    def _contracted(self, shares: FloatArray, basis: ModesOfFields, integrals: Integrals, floors: Floors) -> Single:
        """(n, K, E) real part of the derivatives times a phase: dS = 1' dM u(T) - int v' (dM u' + dA u) dt."""
        count = len(shares)
        rows = np.zeros((*shares.shape, len(integrals.still)), dtype=np.float32)
        room, flow = 1 - count * floors.room, 1 - count * floors.flow
        pairs = list(combinations(range(count), 2))
        fields = basis.modes.astype(np.float32)
        blocks = np.array_split(np.arange(fields.shape[1]), -(-rows.shape[2] * fields.size // _IN_CACHE))

        def at_pairs(products: Single, jumps: bool = False) -> Single:
            """(K, N d, n) entries of field P field' where two vertices meet; and of jumps between compartments."""
            n, a, _ = products.shape
            side_by_side = products.transpose(1, 2, 0).reshape(a, a * n)
            found = []
            for block in blocks:
                firsts = (fields[:, block].reshape(-1, a) @ side_by_side).reshape(count, len(block), a, n)
                seconds = fields[:, self._near[block]]
                if jumps:
                    firsts, seconds = _with_jumps(firsts, pairs), _with_jumps(seconds, pairs)
                found.append((seconds @ firsts).reshape(len(firsts), -1, n))
            return np.concatenate(found, axis=1)

        maps, traces = self._maps, self._traces
        quiet, moved = at_pairs(integrals.still, jumps=True), at_pairs(integrals.moved)
        turned = [(at_pairs(products), along.T) for products, along in integrals.turned]
        for k in range(count):
            rows[k] -= room * (maps[0] @ moved[k]) + flow * (maps[1] @ quiet[k])
            for entries, along in turned:
                for d in range(3):
                    rows[k] -= room * along[d] * (maps[2 + d] @ entries[k])
            if self._leak(k):
                lost = (traces @ quiet[k])[self._border] * np.float32(self._leak(k) * flow)
                rows[k] -= self._border_cell @ lost
        left, right = self.grid.face_cells[self._inside].T
        single = shares.astype(np.float32)[:, :, None]
        for (k, other), jump in zip(pairs, quiet[count:], strict=True):
            felt = (traces @ jump)[self._inside] * np.float32(self.walls.closed)
            for one, two in ((k, other), (other, k)):
                rows[one] -= self._left_cell @ (felt * single[two, right])
                rows[one] -= self._right_cell @ (felt * single[two, left])
        return rows.transpose(2, 0, 1)


def _with_jumps(fields: Single, pairs: list[tuple[int, int]]) -> Single:
    return np.stack([*fields, *(fields[k] - fields[other] for k, other in pairs)])


def _lowest(
    stiffness: FloatArray | sp.csc_array, mass: FloatArray | sp.csc_array, count: int
) -> tuple[FloatArray, FloatArray]:
    """(count,) and (N, count) the lowest modes, those of sparse matrices by shifted and inverted Lanczos steps."""
    if not sp.issparse(stiffness):
        values, modes = symmetric_modes(stiffness, mass)  # all of them, in less time than a part
        return values[:count], modes[:, :count]
    start = np.random.default_rng(0).standard_normal(stiffness.shape[0])  # without symmetry, to miss no mode
    values, modes = spla.eigsh(stiffness, count, mass, sigma=-SHIFT, v0=start)
    order = np.argsort(values)
    return values[order], modes[:, order]


def _read(spread: sp.csr_array) -> sp.csr_array:
    """The transpose of a matrix, in single precision."""
    return spread.T.tocsr().astype(np.float32)


def _incidence(cells: IntArray, count: int) -> sp.csr_array:
    """(n, count) 1 where a face meets its cell."""
    ones = np.ones(len(cells), dtype=np.float32)
    return sp.csr_array((ones, cells, np.arange(len(cells) + 1)), (len(cells), count))
