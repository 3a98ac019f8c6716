"""Symmetries that signals show, and partitions that have them.

Where signals look the same from turned or mirrored directions, so most likely does the tissue. A partition that a group
of symmetries leaves as it is has one unknown for all cells that the group takes into each other, its orbits: 16 instead
of 576 for a ball on the grid of that many cells. It also stands where the group's centre is, and not between cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.interpolate import RBFInterpolator
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dmrifw.mesh import Grid
from dmrifw.typing import BoolArray, ComplexArray, FloatArray, IntArray

_FOLDS = 10
"""Parts of the measurements that are left out, one after the other, to see how well the others tell them."""

_AS_GOOD, _BETTER = 1.25, 6.0
"""How far signals from a turned direction may be off, over the error of the interpolation that noise makes, and over
what is left of it."""

_LEAST_ERROR = 2e-3
"""Of the interpolation, over the largest signal."""

_NEIGHBOURS = 60
"""Measurements that the interpolation looks at."""


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
        centre = (grid.points.max(axis=0) + grid.points.min(axis=0)) / 2
        middles = grid.points[grid.cells].mean(axis=1) - centre
        tree, slack = cKDTree(middles), 1e-6 * np.ptp(grid.points, axis=0).max()
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
    middles = grid.points[grid.cells].mean(axis=1) - (grid.points.max(axis=0) + grid.points.min(axis=0)) / 2
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


def shown(
    group: PointGroup, wavevectors: list[FloatArray], signals: Sequence[FloatArray | ComplexArray], noise: float
) -> BoolArray:
    """(g,) which operations of a group leave signals as they are.

    Signals at turned wave vectors are interpolated from those measured. Operations count where they are off by little
    more than the error of the interpolation, which is seen from measurements that are left out; among groups of such
    operations the one that stands out most from all others.

    Args:
        group: The operations.
        wavevectors: (n, 3) of each sequence, rad/um.
        signals: (n,) of each sequence, in S/S0; real ones are magnitudes, or differences between magnitudes.
        noise: Standard deviation, in S/S0, of complex signals that of each part.

    Local.
    """
    generator, noise = np.random.default_rng(0), noise * np.sqrt(2 if any(map(np.iscomplexobj, signals)) else 1)
    left_out, turned, count = 0.0, np.zeros(len(group)), 0
    for q, values in zip(wavevectors, signals, strict=True):
        unit = np.linalg.norm(q, axis=1).max()
        if unit == 0:
            continue
        places, folds = q / unit, generator.integers(_FOLDS, size=len(q))
        for fold in range(_FOLDS):
            out = folds == fold
            if out.any() and not out.all():
                told = _told(places[~out], values[~out], places[out])
                left_out += float(np.sum(np.abs(told - values[out]) ** 2))
        told = _told(places, values, np.concatenate([places @ one.T for one in group.matrices]))
        turned += np.sum(np.abs(told.reshape(len(group), -1) - values) ** 2, axis=1)
        count += len(q)
    if not count:
        return np.all(group.matrices == np.eye(3), axis=(1, 2))
    least = _LEAST_ERROR * max(float(np.abs(one).max()) for one in signals if len(one))
    error, off = max(least, np.sqrt(left_out / count)), np.sqrt(turned / count)
    most = _AS_GOOD * error + _BETTER * max(error - 1.5 * noise, 0.0)
    order = np.argsort(off, kind="stable")
    steps = np.append(off[order], most)
    largest, kept = 0.0, np.all(group.matrices == np.eye(3), axis=(1, 2))
    for size in range(1, int(np.sum(off <= most)) + 1):
        first = np.isin(np.arange(len(group)), order[:size])
        # The identity is off by nothing, as is the point reflection of magnitudes: they stand out beyond errors.
        gap = steps[size] / max(steps[size - 1], error if size <= 2 else least)
        if gap > largest and group.part(first).closed:
            largest, kept = gap, first
    return kept


def _told(places: FloatArray, values: FloatArray | ComplexArray, wanted: FloatArray) -> FloatArray | ComplexArray:
    """Signals at other wave vectors: from q follows what is at -q."""
    everywhere, first = np.unique(np.round(np.concatenate([places, -places]), 9), axis=0, return_index=True)
    known = np.concatenate([values, np.conj(values)])[first]
    parts = np.stack([known.real, known.imag], axis=1)
    neighbours = min(_NEIGHBOURS, len(parts))
    rank = np.linalg.matrix_rank(everywhere - everywhere.mean(axis=0), tol=1e-9)
    if rank < 3 or len(parts) < 8:  # too few for a fit in space: the nearest tells
        told = parts[cKDTree(everywhere).query(wanted)[1]]
    else:
        told = RBFInterpolator(everywhere, parts, neighbors=neighbours, kernel="cubic")(wanted)
    return told[:, 0] + 1j * told[:, 1] if np.iscomplexobj(values) else told[:, 0]
