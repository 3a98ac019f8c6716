"""The phi functions of exponential integrators and their divided differences, for real non-positive arguments.

phi_0 = exp, phi_k(z) = (phi_{k-1}(z) - 1/(k-1)!) / z: the divided difference of exp at z and k zeros. Read so, the
divided differences of phi_k itself, phi_k[z, w] = exp[z, w, 0, ..., 0], follow by the same recursion; where both
arguments are small the recursion cancels and the Taylor series is summed instead.

Source: Hochbruck and Ostermann, Acta Numerica 19:209 (2010), section 2.
"""

from __future__ import annotations

from math import factorial

import numpy as np

from dmrifw.typing import FloatArray

_TERMS = 20
"""Taylor terms for |z| <= 1: the first one left out is below 1/20!."""


def phi(order: int, z: FloatArray) -> FloatArray:
    """phi_order(z), elementwise.

    Args:
        order: 0, 1, 2 or 3.
        z: Real arguments, at most 0.

    Local.
    """
    values = np.exp(z)
    divisor = np.where(z < -1.0, z, -1.0)
    for k in range(1, order + 1):
        values = (values - 1.0 / factorial(k - 1)) / divisor
    if order == 0:
        return values
    series = np.zeros_like(z)
    small = np.maximum(z, -1.0)
    for n in reversed(range(_TERMS)):
        series = series * small + 1.0 / factorial(n + order)
    return np.where(z < -1.0, values, series)


def phi_difference(order: int, z: FloatArray) -> FloatArray:
    """Divided differences (phi_order(z_j) - phi_order(z_k)) / (z_j - z_k), phi_order' where the arguments meet.

    Args:
        order: 0, 1, 2 or 3.
        z: (r,) real arguments, at most 0.

    Returns:
        (r, r), symmetric, accurate for close and for distant arguments.

    Local.
    """
    upper, lower = np.maximum.outer(z, z), np.minimum.outer(z, z)
    gap = upper - lower
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.exp(upper) * np.where(gap > 1e-12, -np.expm1(-gap) / gap, 1.0)
    divisor = np.where(lower < -1.0, lower, -1.0)
    for k in range(1, order + 1):
        values = (values - phi(k, upper)) / divisor
    if order == 0:
        return values
    return np.where(lower < -1.0, values, _difference_series(order, np.maximum(upper, -1.0), np.maximum(lower, -1.0)))


def _difference_series(order: int, z: FloatArray, w: FloatArray) -> FloatArray:
    """Sum over n >= 1 of h_{n-1}(z, w) / (n + order)!, with h the complete homogeneous polynomials."""
    total = np.zeros_like(z)
    homogeneous, power = np.ones_like(z), np.ones_like(z)
    for n in range(1, _TERMS):
        total += homogeneous / factorial(n + order)
        power = power * z
        homogeneous = homogeneous * w + power
    return total
