"""Signals of a partition: every cell in one compartment, walls between compartments, nothing shared."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from weakref import WeakMethod

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp
from dolfinx.common import IndexMap
from mpi4py import MPI
from scipy.sparse.csgraph import connected_components

from dmrifw.eigen import symmetric_modes
from dmrifw.matrices import DistributedMatrix
from dmrifw.mesh import Grid
from dmrifw.propagators.factorization import Factorization
from dmrifw.sequences import Protocol
from dmrifw.typing import ComplexArray, FloatArray, IntArray
from dmrifw_cell_labels.elements import Elements, spacing
from dmrifw_cell_labels.evolution import Basis, Played, extrapolated, played
from dmrifw_cell_labels.mixture import SHIFT, Walls

T = TypeVar("T")

_STIRRED = 6.0
"""Phase that the strongest gradient gives across the grid's spacing while the fastest mode kept decays: at most."""

_QUICKER = 8.0
"""Rate of the fastest mode kept over the angular frequency of a gradient, at least."""

_MOST_MODES = 240
"""Modes, at most."""

_REMEMBERED = 4096
"""Partitions whose signals are kept: a search tries two of five again."""

_GONE = 10.0
"""Decays of the fastest mode kept in the shortest echo time, at least."""


class Partition:
    """The forward model of partitions, that of the simulator in a basis of the lowest modes.

    Elements jump at every face, as the simulator's do. Their modes are found in two steps: those of elements that jump
    at walls only, which are ten times fewer; then one inverse iteration and a projection (Rayleigh-Ritz), which brings
    what open faces hold back. Signals then are within 1e-4 of S0 of the simulator's, but for modes that are left out.

    Args:
        grid: The grid.
        elements: Its matrices.
        protocol: The measurements.
        rows: Those of them that are simulated.
        walls: Permeabilities.

    Local.
    """

    def __init__(self, grid: Grid, elements: Elements, protocol: Protocol, rows: IntArray, walls: Walls) -> None:
        self._elements, self._walls = elements, walls
        self._inside, self._border = np.flatnonzero(~grid.is_exterior), np.flatnonzero(grid.is_exterior)
        self._sides = grid.face_cells
        # Where in its cells the vertices of a face stand: (F, 2, 3).
        at = elements.cells[np.maximum(grid.face_cells, 0)][:, :, None, :] == elements.faces[:, None, :, None]
        self._corner: IntArray = np.argmax(at, axis=-1)
        corners = np.arange(elements.cells.size).reshape(-1, 4)
        self._mass, self._flow, *self._moments = (_assembled(one, corners) for one in elements.of_cells)
        self._fine, self._coarse = (played(protocol, rows, elements.reach, coarser) for coarser in (1, 2))
        self._remembered = remembering(self._signal, _REMEMBERED)
        self._fastest = min(
            _fastest(spacing(grid), self._fine, float(protocol.echo_times[rows].min())),
            elements.fastest,
        )

    def signal(self, labels: IntArray) -> ComplexArray:
        """(n,) signals of the rows, um^3, for (E,) labels, 0 being the compartment around; do not write to them.

        Local.
        """
        return self._remembered(as_bytes(labels))

    def _signal(self, labels: bytes) -> ComplexArray:
        return extrapolated(self._basis(of_bytes(labels)), self._fine, self._coarse)

    def _basis(self, labels: IntArray) -> Basis:
        shifted = _own(self._flow + self._exchange(labels) + SHIFT * self._mass)
        heavy = self._mass @ self._smooth(labels)
        modes = Factorization(shifted, shifted, 0.0, MPI.COMM_SELF).solve(heavy)
        mass = modes.T @ (self._mass @ modes)
        rates, mix = symmetric_modes(modes.T @ heavy - SHIFT * mass, mass)
        start = modes.T @ self._mass.sum(axis=1)
        positions = [modes.T @ (one @ modes) for one in self._moments]
        return Basis(rates, mix.T @ start, [mix.T @ one @ mix for one in positions])

    def _smooth(self, labels: IntArray) -> FloatArray:
        """(4 E, n) modes of elements that are continuous wherever there is no wall, at the corners of cells."""
        numbers = self._numbers(labels)
        count = int(numbers.max()) + 1
        flat = numbers.ravel()
        gathered = sp.csr_array((np.ones(flat.size), flat, np.arange(flat.size + 1)), (flat.size, count))
        slowed = _assembled(self._elements.slowed, numbers, count)
        flow = slowed + gathered.T @ self._exchange(labels, walls_only=True) @ gathered
        mass = gathered.T @ self._mass @ gathered
        if count < 2 * _MOST_MODES:  # all are found faster than a part
            rates, modes = symmetric_modes(flow.toarray(), mass.toarray())
        else:
            rates, modes = sl.eigh(flow.toarray(), mass.toarray(), subset_by_index=[0, _MOST_MODES - 1])
        return np.asarray(modes[flat, : min(_MOST_MODES, max(1, int(np.searchsorted(rates, self._fastest))))])

    def _numbers(self, labels: IntArray) -> IntArray:
        """(E, 4) unknowns at the corners of each cell: one for all that are joined through faces without a wall."""
        left, right = self._sides[self._inside].T
        open_faces = self._inside[labels[left] == labels[right]]
        ends = self._at(open_faces, 0).ravel(), self._at(open_faces, 1).ravel()
        total = 4 * len(labels)
        graph = sp.csr_array((np.ones(len(ends[0]), dtype=np.int8), ends), (total, total))
        return connected_components(graph, directed=False)[1].reshape(-1, 4)

    def _at(self, faces: IntArray, side: int) -> IntArray:
        """(n, 3) corners of cells, 4 cell + corner, at the vertices of faces."""
        return 4 * self._sides[faces, side][:, None] + self._corner[faces, side]

    def _exchange(self, labels: IntArray, walls_only: bool = False) -> sp.csr_array:
        """(4 E, 4 E) what faces let through, or walls alone, and the exterior."""
        size = 4 * len(labels)
        left, right = self._sides[self._inside].T
        faces, wall = self._inside, labels[left] != labels[right]
        if walls_only:
            faces, wall = faces[wall], wall[wall]
        permeability = np.where(wall, self._walls.closed, self._walls.open)
        through = permeability[:, None, None] * self._elements.of_faces[faces]
        both = np.concatenate([self._at(faces, 0), self._at(faces, 1)], axis=1)
        total = _assembled(np.block([[through, -through], [-through, through]]), both, size)
        if self._walls.leaky:
            outside = labels[self._sides[self._border, 0]] == 0
            permeability = np.where(outside, self._walls.open, self._walls.closed)
            lost = permeability[:, None, None] * self._elements.of_faces[self._border]
            total = total + _assembled(lost, self._at(self._border, 0), size)
        return total


def as_bytes(labels: IntArray) -> bytes:
    """Labels as a key of what is remembered. Local."""
    return labels.astype(np.int8).tobytes()


def of_bytes(labels: bytes) -> IntArray:
    """(E,) labels of such a key. Local."""
    return np.frombuffer(labels, dtype=np.int8).astype(np.int64)


def remembering(method: Callable[..., T], most: int) -> Callable[..., T]:
    """A method that returns again what it returned, for as many arguments.

    It does not hold its object, which would then live until cycles are collected: ranks, which take part in the end of
    what PETSc owns, do that at different times. Local.
    """
    reference = WeakMethod(method)

    @lru_cache(most)
    def remembered(*arguments: Any) -> T:
        found = reference()
        assert found is not None  # the object calls
        return found(*arguments)

    return remembered


def _fastest(spacing: float, groups: list[Played], shortest: float) -> float:
    """Rate of the fastest mode that signals show, 1/ms."""
    gradients = [one for group in groups for interval in group.plan for one in interval.gradients]
    strongest = max((float(np.linalg.norm(one, axis=1).max()) for one in gradients), default=0.0)
    quickest = max((interval.frequency for group in groups for interval in group.plan), default=0.0)
    return max(_STIRRED * strongest * spacing, _QUICKER * 2 * np.pi * quickest, _GONE / shortest)


def _own(matrix: sp.csr_array) -> DistributedMatrix:
    """A square matrix of this rank alone."""
    rows = IndexMap(MPI.COMM_SELF, matrix.shape[0])
    return DistributedMatrix(sp.csr_matrix(matrix), rows, rows)


def _assembled(local: FloatArray, numbers: IntArray, count: int | None = None) -> sp.csr_array:
    """(count, count) the sum of (n, k, k) local matrices at (n, k) unknowns, by default as many as there are."""
    width, size = numbers.shape[1], numbers.size if count is None else count
    places = np.repeat(numbers, width, axis=1).ravel(), np.tile(numbers, (1, width)).ravel()
    return sp.csr_array((local.ravel(), places), (size, size))
