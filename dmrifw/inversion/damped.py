"""A quadratic model of a loss, and the steps to its smallest value that a damping shortens: Levenberg-Marquardt's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dmrifw.eigen import symmetric_modes
from dmrifw.typing import FloatArray

Product = Callable[[FloatArray], FloatArray]
"""The curvature times a vector, (p,) both."""

_UNSEEN = 1e-12
"""Least scale of a parameter, relative to the largest: one that the loss does not see stays where it is."""

_RESIDUAL = 1e-3
"""Residual of the equations, relative to the gradient, at which a Krylov space is large enough."""


@dataclass(frozen=True, eq=False)
class DampedModel:
    """loss + g s + s A s / 2, whose step minimizes it with damping s D s / 2 added, D a diagonal.

    Negative curvature counts as none. One decomposition serves every damping.

    Attributes:
        gradient: (p,) g.
        scale: (p,) the square roots of D.
        basis: (p, k) orthonormal; the scaled gradient lies in its span.
        curvature: (k,) eigenvalues of D^-1/2 A D^-1/2 within the basis, at least 0.
        vectors: (k, k) their eigenvectors.
    """

    gradient: FloatArray
    scale: FloatArray
    basis: FloatArray
    curvature: FloatArray
    vectors: FloatArray

    @classmethod
    def unknown(cls, gradient: FloatArray) -> DampedModel:
        """Of a loss that has no slope, or none that is finite: it takes no step. Local."""
        return cls(gradient, np.ones_like(gradient), np.zeros((len(gradient), 1)), np.zeros(1), np.eye(1))

    def step(self, damping: float) -> tuple[FloatArray, float]:
        """The step, (p,), and by how much the undamped model falls along it. Local.

        Args:
            damping: Above 0.
        """
        slope = self.vectors.T @ (self.basis.T @ (self.gradient / self.scale))
        parts = slope / (self.curvature + damping)
        predicted = float(np.sum(parts * slope - 0.5 * self.curvature * parts**2))
        return -(self.basis @ (self.vectors @ parts)) / self.scale, predicted


def dense_model(gradient: FloatArray, curvature: FloatArray) -> DampedModel:
    """The model of a full matrix, D its diagonal.

    Args:
        gradient: (p,).
        curvature: (p, p), symmetric.

    Source: Moré, Lecture Notes in Mathematics 630:105, 1978 (scaling).

    Local.
    """
    if not np.isfinite(gradient).all() or not np.isfinite(curvature).all():
        return DampedModel.unknown(gradient)
    scale = _scale(np.diag(curvature))
    values, vectors = symmetric_modes(curvature / np.outer(scale, scale))
    return DampedModel(gradient, scale, np.eye(len(gradient)), np.maximum(values, 0.0), vectors)


def krylov_model(
    gradient: FloatArray, product: Product, diagonal: FloatArray, damping: float, iterations: int
) -> DampedModel:
    """The model within the space that conjugate gradients would search, by Lanczos' method.

    In that space the step for every damping is the one that conjugate gradients would reach after as many products.

    Args:
        gradient: (p,).
        product: The curvature times a vector.
        diagonal: (p,) about the curvature's diagonal; the scaling.
        damping: The least damping of interest: the space is large enough when its step is.
        iterations: Most products.

    Collective, if the product is.
    """
    scale = _scale(diagonal)
    start = gradient / scale
    norm = np.linalg.norm(start)
    if norm == 0.0 or not np.isfinite(start).all():
        return DampedModel.unknown(gradient)
    basis = [start / norm]
    main: list[float] = []
    beside: list[float] = []
    while True:
        moved = product(basis[-1] / scale) / scale
        main.append(float(moved @ basis[-1]))
        span = np.array(basis)
        for _ in range(2):  # twice is enough to keep the basis orthogonal to rounding
            moved = moved - span.T @ (span @ moved)
        left = float(np.linalg.norm(moved))
        matrix = np.diag(main) + np.diag(beside, 1) + np.diag(beside, -1)
        values, vectors = symmetric_modes(matrix)
        values = np.maximum(values, 0.0)
        share = left * abs(vectors[-1] @ (vectors[0] / (values + damping)))  # the residual over the gradient
        if share <= _RESIDUAL or len(main) == min(iterations, len(start)):
            return DampedModel(gradient, scale, span.T, values, vectors)
        basis.append(moved / left)
        beside.append(left)


def _scale(diagonal: FloatArray) -> FloatArray:
    largest = float(np.max(diagonal, initial=0.0))
    return np.sqrt(np.maximum(diagonal, _UNSEEN * largest)) if largest > 0 else np.ones_like(diagonal)
