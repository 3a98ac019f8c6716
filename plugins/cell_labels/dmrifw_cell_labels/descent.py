"""Gauss-Newton steps of shares between 0 and 1, no further than the linearization holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from dmrifw.typing import BoolArray, FloatArray, IntArray
from dmrifw_cell_labels.misfit import Misfit

_EDGE = 0.1
"""Difference of shares at which the penalty of a wall turns from square to straight."""

_ROUNDS = 40
"""Sets of active bounds that are tried, at most."""

_SMALLEST_RADIUS = 0.02
"""Largest change of a share below which a step is given up."""


@dataclass
class Descent:
    """Two compartments, the one around and the one inside, on their way to the data.

    Attributes:
        inside: (E,) share of the one inside.
        radius: Largest change of a share in a step.
    """

    inside: FloatArray
    radius: float = 0.5

    def step(self, misfit: Misfit, binary: float) -> tuple[float, float]:
        """Take one step; returns the objective before and after it.

        Args:
            misfit: What is lowered.
            binary: Weight of sum of x (1 - x), which makes shares 0 or 1.

        Local.
        """
        x = self.inside
        residuals, jacobian = misfit.linearize(np.stack([1 - x, x]))
        slopes = jacobian[:, 1] - jacobian[:, 0]
        smooth = wall_curvature(misfit, x)
        curvature = Curvature(slopes, smooth + 1e-6 * np.mean(slopes**2) * len(slopes) * sp.eye_array(len(x)))
        gradient = slopes.T @ residuals + smooth @ x + binary * (1 - 2 * x)
        before: float = self._objective(misfit, x, binary)
        while True:
            step = bounded_minimum(curvature, gradient, np.maximum(-x, -self.radius), np.minimum(1 - x, self.radius))
            promised = -(gradient @ step + 0.5 * step @ curvature.times(step))
            moved = np.clip(x + step, 0.0, 1.0)
            after = self._objective(misfit, moved, binary)
            ratio = (before - after) / max(float(promised), 1e-300)
            if ratio < 0.25:
                self.radius /= 2.5
            elif ratio > 0.7:
                self.radius = min(1.0, 2 * self.radius)
            if ratio > 0.05 or self.radius < _SMALLEST_RADIUS:
                break
        if after >= before:
            return before, before
        self.inside = moved
        return before, after

    @staticmethod
    def _objective(misfit: Misfit, x: FloatArray, binary: float) -> float:
        return misfit.of_shares(np.stack([1 - x, x]), _EDGE) + binary * float(np.sum(x * (1 - x)))


@dataclass(frozen=True, eq=False)
class Curvature:
    """A matrix J' J + L that is never made: few rows J, sparse L.

    Attributes:
        rows: (m, n) J.
        sparse: (n, n) L, positive definite.
    """

    rows: FloatArray
    sparse: sp.csr_array

    def times(self, vector: FloatArray) -> FloatArray:
        """(n,) the product with a vector. Local."""
        return np.asarray(self.rows.T @ (self.rows @ vector) + self.sparse @ vector)

    @property
    def scale(self) -> float:
        """Mean of the diagonal."""
        return float((np.sum(self.rows**2) + self.sparse.diagonal().sum()) / self.rows.shape[1])

    def solved(self, right: FloatArray, free: IntArray) -> FloatArray:
        """(k,) the solution for some unknowns, the others being 0, by Woodbury's identity. Local."""
        rows = self.rows[:, free]
        factors = spla.splu(self.sparse[free][:, free].tocsc())
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


def wall_curvature(misfit: Misfit, x: FloatArray) -> sp.csr_array:
    """(E, E) the walls' penalty as squares of differences of (E,) shares, as steep as it is there. Local."""
    left, right = misfit.sides.T
    weights = misfit.wall_penalty / np.sqrt((x[left] - x[right]) ** 2 + _EDGE**2)
    faces = np.arange(len(weights))
    places = (np.concatenate([faces, faces]), np.concatenate([left, right]))
    steps = sp.csr_array((np.concatenate([np.ones(len(faces)), -np.ones(len(faces))]), places), (len(faces), len(x)))
    return (steps.T @ (weights[:, None] * steps)).tocsr()
