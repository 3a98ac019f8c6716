"""Gauss-Newton steps from partition to partition: many cells change at once, and shares are rounded.

From a partition the linearization tells what every cell would change by going over to another compartment. Shares that
explain the data best by it, between 0 and 1, are rounded at several levels, and the partition of the lowest misfit is
the next. Where the linearization is far from the data it is not trusted to the last digit: differences count less by
`doubt` times their root mean square, as by Levenberg and Marquardt. From outlines ten cells off this often leads home,
where single moves stop.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from dmrifw.typing import FloatArray, IntArray
from dmrifw_cell_labels.descent import Curvature, bounded_minimum, wall_curvature
from dmrifw_cell_labels.misfit import Misfit, one_hot
from dmrifw_cell_labels.search import Found, valued
from dmrifw_cell_labels.symmetry import Symmetry
from dmrifw_cell_labels.tools import Tools

_LEVELS = (0.2, 0.35, 0.5, 0.65, 0.8)
"""Shares from which a cell goes over, one tried after the other."""

MOST_STEPS = 12
"""Linearizations, at most."""

_TRIALS = 2
"""Ways to solve one of them that are tried until one leads on."""

_DOUBTS, _PERIMETERS = (0.05, 0.5), (1.0, 6.0)
"""Between which they are drawn: error of the linearization over the differences that it explains, and weight of walls
over that in the misfit."""


def rounded(
    tools: Tools,
    start: Found,
    count: int,
    generator: np.random.Generator,
    symmetry: Symmetry | None = None,
    steps: int = MOST_STEPS,
) -> Found:
    """The partition to which such steps lead.

    Args:
        tools: Their misfit is lowered.
        start: The partition to begin at.
        count: Number of compartments, the one around included.
        generator: Draws how far linearizations are trusted.
        symmetry: Which cells go over together; by default each on its own.
        steps: Their number, at most.

    Local.
    """
    misfit, best, symmetry = tools.misfit, start, symmetry or Symmetry.none(len(start.labels), count)
    for _ in range(steps):
        linear = _Linear(misfit, best.labels, count, symmetry)
        for _ in range(_TRIALS):
            doubt, perimeter = (float(np.exp(generator.uniform(*np.log(one)))) for one in (_DOUBTS, _PERIMETERS))
            wished = _levels(best.labels, linear.others, linear.minimum(doubt, perimeter))
            tried = (valued(tools, one) for one in wished)
            following = min(tried, key=lambda one: one.misfit, default=best)
            if following.misfit < best.misfit:
                break
        else:
            return best
        best = following
    return best


def _levels(labels: IntArray, others: IntArray, shares: FloatArray) -> list[IntArray]:
    """The partitions that rounding gives, from (E, K - 1) shares of other labels."""
    first = np.argmax(shares, axis=1)
    wished, share = np.take_along_axis(others, first[:, None], axis=1)[:, 0], shares.max(axis=1)
    found: list[IntArray] = []
    for level in _LEVELS:
        rounded_off = np.where(share > level, wished, labels)
        if not any(np.array_equal(rounded_off, one) for one in (labels, *found)):
            found.append(rounded_off)
    return found


class _Linear:
    """The misfit about a partition, by what goes over to other labels.

    Attributes:
        others: (E, K - 1) the labels that cells do not have.
    """

    def __init__(self, misfit: Misfit, labels: IntArray, count: int, symmetry: Symmetry) -> None:
        start = one_hot(labels, count)
        self._residuals, jacobian = misfit.linearize_partition(labels, count)
        size = len(labels)
        self.others: IntArray = np.array([[k for k in range(count) if k != label] for label in range(count)])[labels]
        cells = np.tile(np.arange(size), count - 1)
        gained, lost = self.others.T.ravel(), labels[cells]
        numbers = symmetry.changes(gained, lost, cells)
        self._joined = joined = sp.csr_array((np.ones(len(numbers)), numbers, np.arange(len(numbers) + 1)))
        self._rows = (jacobian[:, gained, cells] - jacobian[:, lost, cells]) @ joined
        places = (np.concatenate([gained, lost]) * size + np.tile(cells, 2), np.tile(np.arange(len(cells)), 2))
        values = np.repeat([1.0, -1.0], len(cells))
        change = sp.csr_array((values, places), (count * size, len(cells)))
        walls = sp.kron(sp.eye_array(count), wall_curvature(misfit.sides, misfit.wall_penalty, start), format="csr")
        self._smooth = sp.csr_array(0.5 * joined.T @ (change.T @ walls @ change) @ joined)
        self._tension = 0.5 * joined.T @ (change.T @ (walls @ start.ravel()))

    def minimum(self, doubt: float, perimeter: float) -> FloatArray:
        """(E, K - 1) shares that go over."""
        trust = 1 / max(1.0, doubt * float(np.sqrt(np.mean(self._residuals**2))))
        rows, size = trust * self._rows, self._rows.shape[1]
        held = 1e-6 * np.sum(rows**2) / size * sp.eye_array(size)
        gradient = trust * (rows.T @ self._residuals) + perimeter * self._tension
        curvature = Curvature(rows, perimeter * self._smooth + held)
        shares = bounded_minimum(curvature, gradient, np.zeros(size), np.ones(size))
        return (self._joined @ shares).reshape(-1, len(self.others)).T
