"""Exponential-integrator functions against their integral definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmrifw.propagators.phi import phi

NODES, WEIGHTS = np.polynomial.legendre.leggauss(120)
NODES, WEIGHTS = 0.5 * (NODES + 1.0), 0.5 * WEIGHTS
FACTORIAL = {1: 1.0, 2: 1.0, 3: 2.0}
ARGUMENTS = st.floats(min_value=-40.0, max_value=0.0)


def integral(order: int, z: float) -> float:
    """phi_k(z) = int_0^1 exp((1 - s) z) s^(k-1) / (k-1)! ds (Hochbruck and Ostermann 2010, eq. 2.10)."""
    return float(WEIGHTS @ (np.exp((1 - NODES) * z) * NODES ** (order - 1))) / FACTORIAL[order]


@pytest.mark.parametrize("order", [1, 2, 3])
@given(z=ARGUMENTS)
def test_phi_is_its_integral(order: int, z: float) -> None:
    """Both sides of the switch from series to recursion agree with quadrature."""
    assert phi(order, np.array([z]))[0] == pytest.approx(integral(order, z), rel=1e-12)


def test_stiff_arguments_are_finite() -> None:
    """A mode that decays at once: no overflow, and phi_1(z) = -1/z."""
    z = np.array([0.0, -1e-300, -1e6])
    for order in range(4):
        assert np.isfinite(phi(order, z)).all()
    assert phi(1, z)[2] == pytest.approx(1e-6, rel=1e-12)
