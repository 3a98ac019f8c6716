"""Gauss-Newton steps of shares between 0 and 1, no further than the linearization holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from dmrifw.typing import BoolArray, FloatArray, IntArray
from dmrifw_cell_labels.misfit import Gray, Level
from dmrifw_cell_labels.symmetry import Symmetry
from dmrifw_cell_labels.tools import Tools

Kind: TypeAlias = tuple[Level, IntArray]
"""What kind of mixture: how fine it is, and a partition that tells what it is off by; see `Misfit.gray`."""

_EDGE = 0.1
"""Difference of shares at which the penalty of a wall turns from square to straight."""

_ROUNDS = 40
"""Sets of active bounds that are tried, at most."""

_MADE = 1500
"""Unknowns up to which a curvature is made as a full matrix."""

_SMALLEST_RADIUS = 0.02
"""Largest change of a share below which a step is given up."""

_LEAST_RADIUS = 0.1
"""That with which a step begins, at least."""

_SLOW = 2
"""Steps in a row that gain less than a thousandth, after which a descent is over."""


@dataclass
class Descent:
    """Shares on their way to the data.

    Attributes:
        shares: (K - 1, E) of every compartment but the one around.
        symmetry: Which of them are one.
        radius: Largest change of a share in a step.
    """

    shares: FloatArray
    symmetry: Symmetry
    radius: float = 0.5

    def step(self, gray: Gray, binary: float) -> tuple[float, float]:
        """Take one step; returns the objective before and after it.

        Args:
            gray: What is lowered.
            binary: Weight of sum of x (1 - x), which makes shares 0 or 1.

        Local.
        """
        shares, joined = self.shares, self.symmetry.joined
        mixture, others = with_the_rest(shares), len(shares)
        residuals, jacobian = gray.linearize(mixture)
        slopes = (jacobian[:, 1:] - jacobian[:, :1]).reshape(len(residuals), -1)
        # Walls count by the shares of all compartments, the one around being what the others leave.
        walls = wall_curvature(gray.misfit.sides, gray.wall_penalty, mixture)
        smooth = sp.kron((np.eye(others) + 1) / 2, walls, format="csr")
        gradient = slopes.T @ residuals + smooth @ shares.ravel() + binary * (mixture[0] - shares).ravel()
        rows = slopes @ joined
        held = 1e-6 * np.mean(rows**2) * len(rows) * sp.eye_array(rows.shape[1])
        curvature = Curvature(rows, sp.csr_array(joined.T @ (smooth @ joined) + held))
        start = np.bincount(joined.indices, shares.ravel()) / np.bincount(joined.indices)
        before: float = self._objective(gray, shares, binary)
        while True:
            low, high = np.maximum(-start, -self.radius), np.minimum(1 - start, self.radius)
            step = bounded_minimum(curvature, joined.T @ gradient, low, high)
            promised = -(gradient @ (joined @ step) + 0.5 * step @ curvature.times(step))
            moved = _at_most_one((joined @ (start + step)).reshape(shares.shape))
            after = self._objective(gray, moved, binary)
            ratio = (before - after) / max(float(promised), 1e-300)
            if ratio < 0.25:
                self.radius /= 2.5
            elif ratio > 0.7:
                self.radius = min(1.0, 2 * self.radius)
            if ratio > 0.05 or self.radius < _SMALLEST_RADIUS:
                break
        if after >= before:
            return before, before
        self.shares = moved
        return before, after

    @staticmethod
    def _objective(gray: Gray, shares: FloatArray, binary: float) -> float:
        mixture = with_the_rest(shares)
        return gray.of_shares(mixture, _EDGE) + binary * float(np.sum(mixture * (1 - mixture)) / 2)


def descended(tools: Tools, kind: Kind, start: Descent, binary: float, steps: int) -> tuple[Descent, float]:
    """After some steps, and the objective there.

    Args:
        tools: Their misfit tells what is lowered.
        kind: The mixture.
        start: Where to begin; it stays as it is.
        binary: See `Descent.step`.
        steps: Their number, at most: two that gain nothing are the last.

    Local.
    """
    gray, descent, after, slow = tools.misfit.gray(*kind), replace(start), np.inf, 0
    for _ in range(steps):
        before, after = descent.step(gray, binary)
        descent.radius = max(descent.radius, _LEAST_RADIUS)
        slow = slow + 1 if before - after < 1e-3 * before else 0
        if slow == _SLOW:
            break
    return descent, after


def with_the_rest(shares: FloatArray) -> FloatArray:
    """(K, E) shares of all compartments, from those of all but the one around. Local."""
    return np.concatenate([1 - shares.sum(axis=0, keepdims=True), shares])


def _at_most_one(shares: FloatArray) -> FloatArray:
    """(K - 1, E) the nearest shares that are not negative and in no cell more than 1 together."""
    shares = np.clip(shares, 0.0, 1.0)
    descending = -np.sort(-shares, axis=0)
    excess = (np.cumsum(descending, axis=0) - 1) / np.arange(1, len(shares) + 1)[:, None]
    last = np.sum(descending > excess, axis=0) - 1
    level = np.take_along_axis(excess, last[None], axis=0)
    return np.where(shares.sum(axis=0) > 1, np.maximum(shares - level, 0.0), shares)


class Curvature:
    """A matrix J' J + L: made where it is small; otherwise few rows J and sparse L stand for it.

    Args:
        rows: (m, n) J.
        sparse: (n, n) L, positive definite.

    Attributes:
        scale: Mean of the diagonal.

    Local.
    """

    def __init__(self, rows: FloatArray, sparse: sp.csr_array) -> None:
        self._rows, self._sparse = rows, sparse
        self.scale = float((np.sum(rows**2) + sparse.diagonal().sum()) / rows.shape[1])
        self._full = rows.T @ rows + sparse.toarray() if rows.shape[1] <= _MADE else None

    def times(self, vector: FloatArray) -> FloatArray:
        """(n,) the product with a vector. Local."""
        if self._full is not None:
            return np.asarray(self._full @ vector)
        return np.asarray(self._rows.T @ (self._rows @ vector) + self._sparse @ vector)

    def solved(self, right: FloatArray, free: IntArray) -> FloatArray:
        """(k,) the solution for some unknowns, the others being 0, by Cholesky or by Woodbury's identity. Local."""
        if self._full is not None:
            factor = sl.cho_factor(self._full[np.ix_(free, free)], overwrite_a=True, check_finite=False)
            return np.asarray(sl.cho_solve(factor, right, check_finite=False))
        rows = self._rows[:, free]
        factors = spla.splu(self._sparse[free][:, free].tocsc())
        through = factors.solve(np.ascontiguousarray(rows.T))
        plain = factors.solve(right)
        return np.asarray(plain - through @ np.linalg.solve(np.eye(len(rows)) + rows @ through, rows @ plain))


def bounded_minimum(curvature: Curvature, gradient: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """(n,) about the minimum of g x + x A x / 2 between bounds, by active sets (Newton steps of the projection).

    Source: Hintermueller, Ito and Kunisch, SIAM J. Optim. 13:865, 2002.

    Local.
    """
    x = np.zeros_like(gradient)
    scale = curvature.scale
    active: BoolArray | None = None
    for _ in range(_ROUNDS):
        wished = x - (gradient + curvature.times(x)) / scale
        below, above = wished < low, wished > high
        held = below | above
        y = np.where(below, low, np.where(above, high, 0.0))
        free = np.flatnonzero(~held)
        if len(free):
            y[free] = curvature.solved(-gradient[free] - curvature.times(y)[free], free)
        if active is not None and np.array_equal(held, active) and np.allclose(x, y):
            break
        x, active = y, held
    return _projected(curvature, gradient, np.clip(x, low, high), low, high)


def _projected(
    curvature: Curvature, gradient: FloatArray, x: FloatArray, low: FloatArray, high: FloatArray
) -> FloatArray:
    """A few projected gradient steps, which never raise the value: where active sets went in circles."""
    scale = curvature.scale
    for _ in range(20):
        slope = gradient + curvature.times(x)
        step = np.clip(x - slope / scale, low, high) - x
        bend = step @ curvature.times(step)
        if bend <= 0:
            break
        x = np.clip(x + min(1.0, max(0.0, -float(slope @ step) / float(bend))) * step, low, high)
    return x


def wall_curvature(sides: IntArray, penalty: FloatArray, shares: FloatArray) -> sp.csr_array:
    """(E, E) a penalty of walls, (I,) between the cells on (I, 2) sides, as squares of differences of shares.

    It is as steep as at (K, E) shares. Local.
    """
    left, right = sides.T
    steps = np.sum((shares[:, left] - shares[:, right]) ** 2, axis=0) / 2
    weights = penalty / np.sqrt(steps + _EDGE**2)
    faces = np.arange(len(weights))
    places = (np.concatenate([faces, faces]), np.concatenate([left, right]))
    ends = np.concatenate([np.ones(len(faces)), -np.ones(len(faces))])
    differences = sp.csr_array((ends, places), (len(faces), shares.shape[1]))
    return (differences.T @ (weights[:, None] * differences)).tocsr()
