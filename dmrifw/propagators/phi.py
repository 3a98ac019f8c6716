"""The phi functions of exponential integrators, for real non-positive arguments.

phi_0 = exp, phi_k(z) = (phi_{k-1}(z) - 1/(k-1)!) / z; where z is small the recursion cancels and the Taylor series is
summed instead.

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
