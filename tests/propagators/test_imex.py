"""The tableau against the order conditions, and the scheme on problems solved in closed form."""

from itertools import product

import numpy as np
import pytest

from dmrifw.propagators import imex

TABLES = (imex.EXPLICIT, imex.IMPLICIT)
NODES, WEIGHTS = imex.NODES, imex.WEIGHTS


def step(u: complex, h: float, slow, stiff: complex) -> complex:
    """One step of du/dt = slow(t, u) + stiff u from t = 0, stage by stage."""
    stages, driven = [], []
    for i in range(imex.STAGES):
        known = u + h * sum(imex.EXPLICIT[i, j] * driven[j] + imex.IMPLICIT[i, j] * stiff * stages[j] for j in range(i))
        stages.append(known / (1 - h * imex.IMPLICIT[i, i] * stiff))
        driven.append(slow(h * NODES[i], stages[i]))
    return stages[-1] + h * sum(left * f for left, f in zip(imex.LEFT_OVER, driven, strict=True))


def test_shape_of_the_tableau() -> None:
    """Rows sum to the nodes; explicit is explicit; the implicit stages share one matrix and end in the weights."""
    for table in TABLES:
        np.testing.assert_allclose(table.sum(axis=1), NODES, atol=2e-15)
    assert not np.triu(imex.EXPLICIT).any()
    assert not np.triu(imex.IMPLICIT, 1).any()
    np.testing.assert_array_equal(np.diag(imex.IMPLICIT), [0, *[imex.GAMMA] * 5])
    np.testing.assert_array_equal(imex.IMPLICIT[-1], WEIGHTS)


def test_order_conditions() -> None:
    """All trees up to order four, with either part at every vertex (Kennedy and Carpenter 2003, section 2)."""
    one = np.ones(imex.STAGES)
    for order, expected in enumerate((1, 1 / 2, 1 / 3, 1 / 4)):
        assert WEIGHTS @ NODES**order == pytest.approx(expected, abs=2e-15)
    for a, b in product(TABLES, repeat=2):
        assert WEIGHTS @ a @ NODES == pytest.approx(1 / 6, abs=2e-15)
        assert WEIGHTS * NODES @ a @ NODES == pytest.approx(1 / 8, abs=2e-15)
        assert WEIGHTS @ a @ NODES**2 == pytest.approx(1 / 12, abs=2e-15)
        assert WEIGHTS @ a @ b @ NODES == pytest.approx(1 / 24, abs=2e-15)
        assert WEIGHTS @ a @ b @ one == pytest.approx(1 / 6, abs=2e-15)


def test_fourth_order_on_a_split_problem() -> None:
    """Du/dt = (i cos t - 1) u has u = exp(i sin t - t): a step of h is in error by h^5."""
    errors = [
        abs(step(1.0, h, lambda t, u: 1j * np.cos(t) * u, -1.0) - np.exp(1j * np.sin(h) - h)) for h in (0.2, 0.1, 0.05)
    ]
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (rates > 4.8).all()


def test_stiff_modes_vanish() -> None:
    """L-stable: |R(z)| <= 1 on the negative axis, and R(z) -> 0; without drive nothing is added to the last stage."""
    factors = [abs(step(1.0, 1.0, lambda t, u: 0.0, -z)) for z in np.logspace(-3, 9, 100)]
    assert max(factors) <= 1.0
    assert factors[-1] < 1e-8


def test_a_stiff_driven_mode_follows_its_balance() -> None:
    """Du/dt = -z (u - 1) + ... with z h = 1e6 and constant drive z: u = 1 within 1/(z h) of the drive after a step."""
    z = 1e6
    assert step(1.0, 1.0, lambda t, u: 1j, -z) == pytest.approx(1j / z, abs=10 / z)
