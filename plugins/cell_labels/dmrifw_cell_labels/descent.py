"""Gauss-Newton steps of shares between 0 and 1, no further than the linearization holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmrifw.typing import BoolArray, FloatArray
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
        smooth = _laplacian(misfit, x)
        curvature = slopes.T @ slopes + smooth
        curvature[np.diag_indices(len(x))] += 1e-6 * np.trace(curvature) / len(x)
        gradient = slopes.T @ residuals + smooth @ x + binary * (1 - 2 * x)
        before: float = self._objective(misfit, x, binary)
        while True:
            step = bounded_minimum(curvature, gradient, np.maximum(-x, -self.radius), np.minimum(1 - x, self.radius))
            promised = -(gradient @ step + 0.5 * step @ curvature @ step)
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


def bounded_minimum(curvature: FloatArray, gradient: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """(n,) about the minimum of g x + x A x / 2 between bounds, by active sets (Newton steps of the projection).

    Source: Hintermueller, Ito and Kunisch, SIAM J. Optim. 13:865, 2002.

    Local.
    """
    x = np.zeros_like(gradient)
    scale = np.diag(curvature).mean()
    active: BoolArray | None = None
    for _ in range(_ROUNDS):
        wished = x - (gradient + curvature @ x) / scale
        below, above = wished < low, wished > high
        held = below | above
        y = np.where(below, low, np.where(above, high, 0.0))
        free = np.flatnonzero(~held)
        if len(free):
            right = -gradient[free] - curvature[np.ix_(free, np.flatnonzero(held))] @ y[held]
            y[free] = np.linalg.solve(curvature[np.ix_(free, free)], right)
        if active is not None and np.array_equal(held, active) and np.allclose(x, y):
            break
        x, active = y, held
    return _projected(curvature, gradient, np.clip(x, low, high), low, high)


def _projected(
    curvature: FloatArray, gradient: FloatArray, x: FloatArray, low: FloatArray, high: FloatArray
) -> FloatArray:
    """A few projected gradient steps, which never raise the value: where active sets went in circles."""
    for _ in range(20):
        slope = gradient + curvature @ x
        step = np.clip(x - slope / np.diag(curvature).mean(), low, high) - x
        bend = step @ curvature @ step
        if bend <= 0:
            break
        x = np.clip(x + min(1.0, max(0.0, -(slope @ step) / bend)) * step, low, high)
    return x


def _laplacian(misfit: Misfit, x: FloatArray) -> FloatArray:
    """(E, E) the walls' penalty as squares of differences, as steep as it is at x."""
    left, right = misfit.sides.T
    weights = misfit.wall_penalty / np.sqrt((x[left] - x[right]) ** 2 + _EDGE**2)
    matrix = np.zeros((len(x), len(x)))
    np.add.at(matrix, (left, left), weights)
    np.add.at(matrix, (right, right), weights)
    np.add.at(matrix, (left, right), -weights)
    np.add.at(matrix, (right, left), -weights)
    return matrix
