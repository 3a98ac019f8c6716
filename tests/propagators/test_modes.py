"""Modes of the diffusion operator whose rates are known."""

import numpy as np
import pytest
from scipy.optimize import brentq

from dmrifw.mesh.generators import layers
from dmrifw.propagators.modes import ModeSource
from dmrifw.sequences import Protocol
from dmrifw.simulator import SignalModel


def slowest(widths, permeability, diffusivity, h=0.1):
    """(2,) the lowest rates above zero of slabs 1 um across, 1/ms."""
    grid = layers(widths, [1.0, 1.0], h, 1.0)
    protocol = Protocol.pgse([0.0], [[1, 0, 0]], 5, 10)
    operators = SignalModel(grid, protocol, diffusivity, interfaces=grid.is_interface).operators
    diffusion = operators.diffusion(np.where(grid.is_interface, permeability, 0.0))
    rates = ModeSource(diffusion, operators.mass, operators.comm).lowest(6).rates
    assert rates[0] == pytest.approx(0.0, abs=1e-9)
    return rates[1:3]


def test_the_slowest_exchange_between_two_slabs():
    """Issue: two 5 um slabs, kappa = 0.1 um/ms, D = 2 um^2/ms exchange in 29.2902 ms, to 0.1 %."""
    assert 1 / slowest([5.0, 5.0], 0.1, 2.0)[0] == pytest.approx(29.2902, rel=1e-3)


@pytest.mark.parametrize("permeability", [0.01, 0.1, 1.0])
def test_exchange_rates_solve_their_equation(permeability):
    """Odd modes cos(k x) of two slabs a wide: D k tan(k a) = 2 kappa, rate D k^2; even ones (pi/a)^2 D do not jump."""
    a, d = 5.0, 2.0
    k = brentq(lambda k: d * k * np.tan(k * a) - 2 * permeability, 1e-9, np.pi / 2 / a * (1 - 1e-9))
    exchange, within = slowest([a, a], permeability, d)
    assert exchange == pytest.approx(d * k**2, rel=1e-3)
    assert within == pytest.approx(d * (np.pi / a) ** 2, rel=1e-3)
