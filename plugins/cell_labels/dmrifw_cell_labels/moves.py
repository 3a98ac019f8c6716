"""Changes of a partition: by a vertex of a compartment, by a cell, by a displacement, by a cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

from dmrifw.mesh import Grid
from dmrifw.typing import BoolArray, FloatArray, IntArray
from dmrifw_cell_labels.elements import spacing
from dmrifw_cell_labels.symmetry import Symmetry

_LATTICE = np.array(
    [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)], dtype=float
)
"""Normals of the planes along which a compartment may be cut."""

_MOST_PLACES = 60
"""Translations that are offered, at most."""

_NEAREST = 24
"""Cells that a vertex looks at: those around it, in a BCC grid."""

_BLUR = 0.4
"""Width of the kernel that displaces a compartment, over the spacing of the grid."""

_OUTSIDE = 0.8
"""Distance to the nearest middle of a cell, over the spacing there, beyond which a point is outside of the grid."""

_MOST_REFILLED = 2.0
"""Factor by which shares grow, at most, that lose volume beyond the border of the grid."""


@dataclass(frozen=True, eq=False)
class Moves:
    """Possible changes, one per row of flat arrays.

    Attributes:
        start: (n + 1,) where each move's cells begin in `cells`.
        cells: Cells that change, move after move.
        labels: Their new labels.
        subjects: (n, 2) what moved: (0, vertex) or (1, cell).
    """

    start: IntArray
    cells: IntArray
    labels: IntArray
    subjects: IntArray

    def __len__(self) -> int:
        return len(self.subjects)

    def applied(self, number: int, labels: IntArray) -> IntArray:
        """(E,) the labels after one of the moves. Local."""
        part = slice(self.start[number], self.start[number + 1])
        changed = labels.copy()
        changed[self.cells[part]] = self.labels[part]
        return changed

    def under(self, symmetry: Symmetry) -> Moves:
        """Those that keep a symmetry: each with all its images, where they do not contradict each other. Local."""
        if symmetry.trivial:
            return self
        found: dict[bytes, tuple[IntArray, IntArray, IntArray]] = {}
        for number, subject in enumerate(self.subjects):
            part = slice(self.start[number], self.start[number + 1])
            cells, labels = symmetry.group.images[:, self.cells[part]], self.labels[part]
            if symmetry.swaps.any():
                swapped = np.where((labels == 1) | (labels == 2), 3 - labels, labels)
                labels = np.where(symmetry.swaps[:, None], swapped, labels)
            both = np.stack([cells.ravel(), np.broadcast_to(labels, cells.shape).ravel()], axis=1)
            all_of_them = np.unique(both, axis=0)
            if not np.any(np.diff(all_of_them[:, 0]) == 0):
                found.setdefault(all_of_them.tobytes(), (*all_of_them.T, subject))
        if not found:
            return Moves(np.zeros(1, dtype=np.int64), *np.zeros((2, 0), dtype=np.int64), np.zeros((0, 2), np.int64))
        cells, labels, subjects = zip(*found.values(), strict=True)
        sizes = np.array([len(one) for one in cells])
        return Moves(
            np.concatenate([[0], np.cumsum(sizes)]), np.concatenate(cells), np.concatenate(labels), np.stack(subjects)
        )

    def differences(self, labels: IntArray, count: int) -> sp.csr_array:
        """(n, count E) change of the flat one-hot shares by each move. Local."""
        size, rows = len(labels), np.repeat(np.arange(len(self)), np.diff(self.start))
        gained, lost = self.labels * size + self.cells, labels[self.cells] * size + self.cells
        values = np.concatenate([np.ones(len(rows)), -np.ones(len(rows))])
        places = (np.concatenate([rows, rows]), np.concatenate([gained, lost]))
        return sp.csr_array((values, places), (len(self), count * size))


class Neighbourhood:
    """What surrounds the cells of a grid, and the changes of partitions that follow from it.

    Args:
        grid: The grid.

    Attributes:
        vertices: (N, 3) that cells use, um.
        cells: (E, 4) their numbers.
        sides: (I, 2) cells on both sides of each interior face.
        volumes: (E,) um^3.
        reach: (3,) half the extent of the grid, um.
        spacing: See `elements.spacing`, um.

    Local.
    """

    def __init__(self, grid: Grid) -> None:
        used, cells = np.unique(grid.cells, return_inverse=True)
        self.vertices: FloatArray = grid.points[used]
        self.cells: IntArray = cells.reshape(-1, 4)
        self.sides = grid.face_cells[~grid.is_exterior]
        self.volumes = grid.cell_volumes
        self._middles = grid.points[grid.cells].mean(axis=1)
        self._tree = cKDTree(self._middles)
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        self.reach: FloatArray = (high - low) / 2
        self._centre: FloatArray = (high + low) / 2
        self.spacing = spacing(grid)

    def bump(self, volume: float, width: float, place: FloatArray) -> FloatArray:
        """(E,) a Gaussian of some volume, um^3, and width at a place (3,) from the middle of the grid, um. Local."""
        radii = np.linalg.norm(self._middles - self._centre - place, axis=1)
        bump = np.exp(-0.5 * (radii / width) ** 2)
        return np.asarray(volume / (bump @ self.volumes) * bump)

    def moves(self, labels: IntArray, count: int) -> Moves:
        """Moves of labels, (E,) 0 to count - 1.

        A vertex joins a compartment with all cells whose other vertices belong to it, or leaves with all its cells; a
        cell goes over to the compartment on another side of one of its faces.

        Local.
        """
        cells: list[IntArray] = []
        target: list[int] = []
        subjects: list[tuple[int, int]] = []
        for label in range(1, count):
            member: BoolArray = labels == label
            owned = np.zeros(len(self.vertices), dtype=bool)
            owned[self.cells[member]] = True
            within = owned[self.cells]
            nearly = np.flatnonzero((within.sum(axis=1) == 3) & ~member)
            for vertex, group in _grouped(self.cells[nearly][~within[nearly]], nearly):
                cells.append(group)
                target.append(label)
                subjects.append((0, vertex))
            corners, owners = self.cells[member], np.flatnonzero(member)
            for vertex, group in _grouped(corners.ravel(), np.repeat(owners, 4)):
                cells.append(group)
                target.append(0)
                subjects.append((0, vertex))
        left, right = self.sides[labels[self.sides[:, 0]] != labels[self.sides[:, 1]]].T
        pairs = np.unique(np.stack([np.append(left, right), labels[np.append(right, left)]], axis=1), axis=0)
        cells += list(pairs[:, :1])
        target += list(pairs[:, 1])
        subjects += [(1, int(cell)) for cell in pairs[:, 0]]
        sizes = np.array([len(one) for one in cells], dtype=np.int64)
        return Moves(
            np.concatenate([[0], np.cumsum(sizes)]),
            np.concatenate(cells) if cells else np.zeros(0, dtype=np.int64),
            np.repeat(np.array(target, dtype=np.int64), sizes),
            np.array(subjects, dtype=np.int64).reshape(-1, 2),
        )

    def displaced(self, shapes: Sequence[FloatArray], shift: FloatArray, width: float = _BLUR) -> IntArray:
        """(E,) labels 0 and 1 of about as much volume as the first of some shapes, displaced and seen at the vertices.

        Several shapes are laid over each other, middle on middle, each as it is or as its point reflection, whichever
        is more like the first: their mean is finer than the cells of any of them.

        Args:
            shapes: (E,) shares inside, one array each.
            shift: (3,) of the first, um.
            width: Of the kernel that reads shares off beside the middles of cells, over the spacing.

        Local.
        """
        first, *others = shapes
        middle = self.middle_of(first)
        place = self.vertices - shift
        seen = [self._read(first, place, width)]
        for other in others:
            offset = self.middle_of(other)
            readings = [self._read(other, offset + sign * (place - middle), width) for sign in (1.0, -1.0)]
            seen.append(max(readings, key=lambda one: float(one @ seen[0])))
        return self._filled(np.mean(seen, axis=0), float(self.volumes @ first))

    def shifted(self, shares: FloatArray, shift: FloatArray) -> FloatArray:
        """(E,) shares of the same volume, displaced by (3,) um; less than that where the grid ends. Local."""
        seen = self._read(shares, self._middles - shift, _BLUR)
        volume, left = self.volumes @ shares, self.volumes @ seen
        return np.clip(seen * min(volume / max(left, 1e-300), _MOST_REFILLED), 0.0, 1.0)

    def to_middle(self, shares: FloatArray) -> FloatArray:
        """(3,) displacement that takes (E,) shares to the middle of the grid, by their extent, um; 0 of none. Local."""
        if not shares.any():
            return np.zeros(3)
        inside = self._middles[shares > 0.5 * shares.max()]
        return np.asarray(self._centre - (inside.max(axis=0) + inside.min(axis=0)) / 2)

    def middle_of(self, shares: FloatArray) -> FloatArray:
        """(3,) middle of mass of (E,) shares, um. Local."""
        weights = self.volumes * shares
        return np.asarray(weights @ self._middles / max(float(weights.sum()), 1e-300))

    def _read(self, shares: FloatArray, points: FloatArray, width: float) -> FloatArray:
        """(n,) shares about points, (n, 3); 0 outside the grid."""
        distances, nearest = self._tree.query(points, k=min(_NEAREST, len(shares)))
        weights = np.exp(-((distances / (width * self.spacing)) ** 2)) + 1e-12
        values = np.sum(shares[nearest] * weights, axis=1) / weights.sum(axis=1)
        reach = _OUTSIDE * np.maximum(self.spacing, np.cbrt(12 * self.volumes[nearest[:, 0]]))
        return np.where(distances[:, 0] > reach, 0.0, values)

    def _filled(self, values: FloatArray, volume: float) -> IntArray:
        """(E,) 1 for the cells whose vertices all have large values, (N,), of about as much volume."""
        labels = np.zeros(len(self.cells), dtype=np.int64)
        if not volume > 0:
            return labels
        lowest = values[self.cells].min(axis=1)
        order = np.argsort(-lowest, kind="stable")
        filled = np.cumsum(self.volumes[order])
        # Cells of equal value come together: cut where the volume fits best.
        ends = np.flatnonzero(np.append(np.diff(lowest[order]) < 0, True))
        end = ends[np.argmin(np.abs(filled[ends] - volume))]
        labels[order[: end + 1]] = 1
        return labels

    def translated(self, labels: IntArray) -> list[IntArray]:
        """The same compartments elsewhere: translations that take each of their cells onto a cell, the shortest first.

        Local.
        """
        member = np.flatnonzero(labels)
        if not len(member):
            return []
        slack, middles = 1e-6 * self.spacing, self._middles
        shifts = middles - middles[member[0]]
        low, high = middles.min(axis=0) - slack, middles.max(axis=0) + slack
        first, last = middles[member].min(axis=0), middles[member].max(axis=0)
        fits = np.all((first + shifts >= low) & (last + shifts <= high), axis=1) & (np.abs(shifts).max(axis=1) > slack)
        fits &= self._tree.query(middles[member[-1]] + shifts)[0] <= slack  # one more cell bars most: the rest is slow
        found: list[IntArray] = []
        for shift in sorted(shifts[fits], key=lambda one: float(one @ one)):
            if len(found) == _MOST_PLACES:
                break
            distances, cells = self._tree.query(middles[member] + shift)
            if distances.max() <= slack:
                moved = np.zeros_like(labels)
                moved[cells] = labels[member]
                found.append(moved)
        return found

    def cuts(self, labels: IntArray, count: int) -> list[IntArray]:
        """Partitions in which one compartment is cut in two along a plane, the other part taking another label.

        Local.
        """
        found = []
        for label in range(1, count):
            member = np.flatnonzero(labels == label)
            if not len(member):
                continue
            for normal in _LATTICE / np.linalg.norm(_LATTICE, axis=1, keepdims=True):
                heights = self._middles[member] @ normal
                for level in np.unique(np.quantile(heights, (0.2, 0.35, 0.5, 0.65, 0.8))):
                    for other in range(1, count):
                        part = member[heights > level]
                        if other != label and 0 < len(part) < len(member):
                            changed = labels.copy()
                            changed[part] = other
                            found.append(changed)
        return found


def _grouped(keys: IntArray, values: IntArray) -> list[tuple[int, IntArray]]:
    """Values of equal keys together."""
    if not len(keys):
        return []
    order = np.argsort(keys, kind="stable")
    names, first = np.unique(keys[order], return_index=True)
    return [(int(name), part) for name, part in zip(names, np.split(values[order], first[1:]), strict=True)]
