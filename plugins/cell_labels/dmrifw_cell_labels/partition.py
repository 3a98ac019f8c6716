"""Signals of a partition: every cell in one compartment, walls between compartments, nothing shared."""

from __future__ import annotations

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from dmrifw.mesh import Grid
from dmrifw.sequences import Protocol
from dmrifw.typing import ComplexArray, FloatArray, IntArray
from dmrifw_cell_labels.elements import Elements
from dmrifw_cell_labels.evolution import Basis, played, propagated
from dmrifw_cell_labels.mixture import Walls


class Partition:
    """The forward model of partitions, in a basis of the lowest modes.

    The magnetization is continuous through faces within a compartment only: cells that touch at an edge or a vertex are
    apart.

    Args:
        grid: The grid.
        elements: Its matrices.
        protocol: The measurements.
        rows: Those of them that are simulated.
        walls: Permeabilities.
        modes: Number of modes.

    Local.
    """

    def __init__(
        self, grid: Grid, elements: Elements, protocol: Protocol, rows: IntArray, walls: Walls, modes: int
    ) -> None:
        self._elements, self._walls, self._modes = elements, walls, modes
        self._inside, self._border = np.flatnonzero(~grid.is_exterior), np.flatnonzero(grid.is_exterior)
        self._sides = grid.face_cells
        # Where in its cells the vertices of a face stand: (F, 2, 3).
        at = elements.cells[np.maximum(grid.face_cells, 0)][:, :, None, :] == elements.faces[:, None, :, None]
        self._corner: IntArray = np.argmax(at, axis=-1)
        self._groups = played(protocol, rows, elements.reach)

    def signal(self, labels: IntArray) -> ComplexArray:
        """(n,) signals of the rows, um^3, for (E,) labels, 0 being the compartment around. Local."""
        numbers = self._numbers(labels)
        count = int(numbers.max()) + 1
        mass, flow, *moments = (_assembled(one, numbers, count) for one in self._elements.of_cells)
        flow += self._exchange(labels, numbers, count)
        rates, modes = sl.eigh(flow, mass, subset_by_index=[0, min(self._modes, count) - 1])
        positions = [modes.T @ one @ modes for one in moments]
        return propagated(Basis(rates, modes.T @ mass.sum(axis=1), positions), self._groups)

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

    def _exchange(self, labels: IntArray, numbers: IntArray, count: int) -> FloatArray:
        """What walls let through, and the exterior."""
        flat = numbers.ravel()
        left, right = self._sides[self._inside].T
        walls = self._inside[labels[left] != labels[right]]
        one, other = flat[self._at(walls, 0)], flat[self._at(walls, 1)]
        through = self._walls.closed * self._elements.of_faces[walls]
        both = np.concatenate([one, other], axis=1)
        jump = np.block([[through, -through], [-through, through]])
        total = _assembled(jump, both, count)
        if self._walls.leaky:
            outside = labels[self._sides[self._border, 0]] == 0
            permeability = np.where(outside, self._walls.open, self._walls.closed)
            lost = permeability[:, None, None] * self._elements.of_faces[self._border]
            total += _assembled(lost, flat[self._at(self._border, 0)], count)
        return total


def _assembled(local: FloatArray, numbers: IntArray, count: int) -> FloatArray:
    """(count, count) the sum of (n, k, k) local matrices at (n, k) unknowns."""
    width = numbers.shape[1]
    places = np.repeat(numbers, width, axis=1).ravel() * count + np.tile(numbers, (1, width)).ravel()
    return np.asarray(np.bincount(places, local.ravel(), count * count), dtype=float).reshape(count, count)
