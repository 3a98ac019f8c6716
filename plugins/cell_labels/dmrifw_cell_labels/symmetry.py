"""Symmetries that signals show, and partitions that have them.

Where signals look the same from turned or mirrored directions, so most likely does the tissue. A partition that a group
of symmetries leaves as it is has one unknown for all cells that the group takes into each other, its orbits: 16 instead
of 576 for a ball on the grid of that many cells. It also stands where the group's centre is, and not between cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.stats import f as f_distribution

from dmrifw.inversion.directions import even_and_odd, polynomials, shells
from dmrifw.mesh import Grid
from dmrifw.sequences import Protocol
from dmrifw.typing import BoolArray, ComplexArray, FloatArray, IntArray

_CHANCE = 1e-5
"""Below which what an operation changes is not left to noise. Of bent axons it was 1e-9 at most at an SNR of 50."""

_LEAST_ERROR = 1.5e-3
"""Of polynomials, in S/S0, where there is no noise."""

_LEFT_OVER = 10
"""Degrees of freedom from which noise is told: to a fifth."""

_UNTOLD = 1e-6
"""Singular value below which directions do not tell a polynomial."""


@dataclass(frozen=True, eq=False)
class PointGroup:
    """Turns and reflections about the middle of a grid that take its cells onto cells: at most the 48 of a cube.

    Attributes:
        matrices: (g, 3, 3).
        images: (g, E) the cell onto which each is taken.
    """

    matrices: FloatArray
    images: IntArray

    @classmethod
    def of(cls, grid: Grid) -> PointGroup:
        """That of a grid. Local."""
        middles = _about_the_middle(grid)
        tree, slack = cKDTree(middles), 1e-6 * np.ptp(middles, axis=0).max()
        matrices, images = [], []
        for order, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
            matrix = np.zeros((3, 3))
            matrix[np.arange(3), order] = signs
            distances, image = tree.query(middles @ matrix.T)
            if distances.max() <= slack:
                matrices.append(matrix)
                images.append(image)
        return cls(np.array(matrices), np.array(images))

    def __len__(self) -> int:
        return len(self.matrices)

    def part(self, kept: BoolArray) -> PointGroup:
        """Those of its operations that are kept. Local."""
        return PointGroup(self.matrices[kept], self.images[kept])

    @property
    def closed(self) -> bool:
        """Whether products of operations are among them."""
        flat = np.round(self.matrices.reshape(-1, 9)).astype(int)
        known = {tuple(one) for one in flat}
        products = np.round(np.einsum("aij,bjk->abik", self.matrices, self.matrices)).astype(int).reshape(-1, 9)
        return known.issuperset(map(tuple, products))

    @property
    def inverts(self) -> bool:
        """Whether the point reflection is among them."""
        return bool(np.any(np.all(np.abs(self.matrices + np.eye(3)) < 0.5, axis=(1, 2))))

    def signs(self, field: FloatArray) -> IntArray:
        """(g,) 1 where an operation leaves an (E,) field as it is, -1 where it changes its sign, 0 otherwise. Local."""
        return _alike(field[self.images], field)

    def takes(self, field: FloatArray, other: FloatArray) -> bool:
        """Whether an operation takes one (E,) field into another, or into its negative. Local."""
        return bool(np.any(_alike(field[self.images], other)))


def _alike(fields: FloatArray, other: FloatArray) -> IntArray:
    """(g,) 1 where one of (g, E) fields is another, -1 where it is its negative, 0 otherwise."""
    slack = 1e-6 * float(np.abs(other).max())
    same = np.all(np.abs(fields - other) <= slack, axis=1)
    opposite = np.all(np.abs(fields + other) <= slack, axis=1)
    return same.astype(int) - opposite


@dataclass(frozen=True, eq=False)
class Symmetry:
    """Labels of cells that are one unknown: a group takes them into each other.

    Attributes:
        group: The operations.
        swaps: (g,) whether each swaps labels 1 and 2 too.
        numbers: (K - 1, E) the unknown that stands for each label but 0 in each cell.
    """

    group: PointGroup
    swaps: BoolArray
    numbers: IntArray

    @classmethod
    def of(cls, group: PointGroup, swaps: BoolArray, count: int) -> Symmetry:
        """That of a group, among partitions into so many compartments. Local."""
        cells, labels = group.images.shape[1], np.arange(count - 1)
        after = _swapped(labels, swaps)[:, :, None] * cells + group.images[:, None, :]
        before = np.broadcast_to(labels[:, None] * cells + np.arange(cells), after.shape)
        size = (count - 1) * cells
        graph = sp.csr_array((np.ones(after.size, dtype=np.int8), (before.ravel(), after.ravel())), (size, size))
        return cls(group, swaps, connected_components(graph, directed=False)[1].reshape(-1, cells))

    @classmethod
    def none(cls, cells: int, count: int) -> Symmetry:
        """Every label of every cell on its own. Local."""
        identity = PointGroup(np.eye(3)[None], np.arange(cells)[None])
        return cls.of(identity, np.zeros(1, dtype=bool), count)

    @property
    def trivial(self) -> bool:
        """Whether it joins nothing."""
        return len(self.group) == 1

    @property
    def joined(self) -> sp.csr_array:
        """((K - 1) E, n) shares from unknowns."""
        numbers = self.numbers.ravel()
        return sp.csr_array((np.ones(numbers.size), numbers, np.arange(numbers.size + 1)))

    def averaged(self, shares: FloatArray) -> FloatArray:
        """(K - 1, E) shares, each the mean over what is one with it. Local."""
        numbers = self.numbers.ravel()
        means = np.bincount(numbers, shares.ravel()) / np.bincount(numbers)
        return np.asarray(means[self.numbers])

    def displacements(self, drawn: FloatArray) -> FloatArray:
        """(K - 1, 3) those of the compartments that leave them symmetric: the mean over what is one with others.

        Local.
        """
        return np.asarray(np.einsum("gij,gkj->ki", self.group.matrices, _swapped(drawn, self.swaps)) / len(self.group))

    def changes(self, gained: IntArray, lost: IntArray, cells: IntArray) -> IntArray:
        """(n,) numbers of changes of cells from labels to others, the same for those that are one. Local."""
        pairs = [np.where(one > 0, self.numbers[np.maximum(one - 1, 0), cells], -1) for one in (gained, lost)]
        return np.unique(np.stack(pairs, axis=1), axis=0, return_inverse=True)[1].ravel()


def _swapped(values: npt.NDArray[Any], swaps: BoolArray) -> npt.NDArray[Any]:
    """(g, K - 1, ...) values of the compartments, the first two swapped by the operations that do."""
    order = np.tile(np.arange(len(values)), (len(swaps), 1))
    if len(values) > 1:
        order[swaps, :2] = 1, 0
    return np.asarray(values[order])


def patterns(grid: Grid) -> list[FloatArray]:
    """(E,) fields by whose signs a shape may fall apart: planes, quadrants, octants, a shell. um. Local."""
    middles = _about_the_middle(grid)
    normals = [one for one in product((0, 1, -1), repeat=3) if next((sign for sign in one if sign), 0) == 1]
    planes = [middles @ np.array(one) / np.linalg.norm(one) for one in sorted(normals, key=np.count_nonzero)]
    x, y, z = middles.T
    quadrants = [x * y, x * z, y * z, x**2 - y**2, x**2 - z**2, y**2 - z**2]
    radius = np.linalg.norm(middles, axis=1)
    return [
        *planes,
        *(np.sign(one) * np.sqrt(np.abs(one)) for one in quadrants),
        np.cbrt(x * y * z),
        radius - np.quantile(radius, 0.3),
    ]


def _about_the_middle(grid: Grid) -> FloatArray:
    """(E, 3) middles of cells, from the middle of the box around them, um."""
    corners = grid.points[grid.cells]
    return np.asarray(corners.mean(axis=1) - (corners.max(axis=(0, 1)) + corners.min(axis=(0, 1))) / 2)


def shown(group: PointGroup, protocol: Protocol, signals: FloatArray | ComplexArray) -> BoolArray:
    """(g,) which operations of a group leave signals as they are.

    Within a shell, signals at turned directions follow from polynomials of degree 4 through those measured, of degree 2
    where these are few. Operations count where what they change of signals, in polynomials of degree 2, is no more than
    noise makes of it, by an F test; noise is what polynomials leave over, of all shells. Imaginary parts are odd: their
    degrees are lower by one. Where the directions do not tell, nothing but the identity counts.

    Args:
        group: The operations.
        protocol: The measurements.
        signals: (n,) in S/S0; real ones are magnitudes, or differences between magnitudes.

    Local.
    """
    parts, left_over, freedom = even_and_odd(signals), 0.0, 0
    changed, counted = np.zeros(len(group)), np.zeros(len(group))
    for rows, directions in shells(protocol):
        for part, odd in parts:
            smooth = _smooth(directions, odd)
            if smooth is None or not directions.any():
                continue
            basis = polynomials(directions, smooth)
            left_over += float(np.sum((part[rows] - basis @ (basis.T @ part[rows])) ** 2))
            freedom += len(rows) - basis.shape[1]
            for number, matrix in enumerate(group.matrices):
                change = _change(directions, matrix, smooth, 2 - odd)
                changed[number] += np.sum((change @ part[rows]) ** 2)
                counted[number] += len(change)
    identity = np.all(group.matrices == np.eye(3), axis=(1, 2))
    if freedom < _LEFT_OVER:
        return identity
    variance = max(left_over / freedom, _LEAST_ERROR**2)
    ratio = np.divide(changed, variance * counted, out=np.zeros(len(group)), where=counted > 0)
    chance = np.where(identity, np.inf, f_distribution.logsf(ratio, np.maximum(counted, 1), freedom))
    order = np.argsort(-chance, kind="stable")
    for size in range(int(np.sum(chance > np.log(_CHANCE))), 0, -1):
        kept = np.isin(np.arange(len(group)), order[:size])
        if group.part(kept).closed:
            return kept
    return identity


def _smooth(directions: FloatArray, odd: int) -> int | None:
    """The degree of the polynomials that leave a quarter of signals at some directions over, at least; None if none."""
    for degree in (4 - odd, 2 - odd):
        if polynomials(directions, degree).shape[1] <= 0.75 * len(directions):
            return degree
    return None


def _change(directions: FloatArray, matrix: FloatArray, degree: int, slow: int) -> FloatArray:
    """(r, m) by how much a turn changes signals at (m, 3) directions, in an orthonormal basis that noise takes evenly.

    Args:
        directions: (m, 3).
        matrix: (3, 3).
        degree: Of the polynomials by which signals at turned directions are told.
        slow: Of those that are looked at.
    """
    here, there = np.split(polynomials(np.concatenate([directions, directions @ matrix.T]), degree), 2)
    told = there @ np.linalg.pinv(here, rcond=_UNTOLD)
    change = polynomials(directions, slow).T @ (told - np.eye(len(directions)))
    _, sizes, rows = np.linalg.svd(change, full_matrices=False)
    return np.asarray(rows[sizes > _UNTOLD])
