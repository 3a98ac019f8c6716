"""Kärger's model: its limits, its balance, and its closed form for narrow pulses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from dmrifw.errors import InputError
from dmrifw.models import exchange_rates, free_attenuation, karger
from dmrifw.sequences import DDE, OGSE, PGSE, BTensor, Protocol, fibonacci_directions

D = (2.0, 0.5)
SHARE = np.array([0.25, 0.75])
WAVEFORMS = [PGSE(10, 30, 1), OGSE(20, 25, 2, "sin"), BTensor(20, 0.0, 3), DDE(3, 12, 20, 60)]


def table(waveform):
    return Protocol.product(waveform, [0.0, 1000.0, 3000.0], fibonacci_directions(3))


def balanced(rate):
    """Both rates of two compartments with the given share, by detailed balance."""
    return exchange_rates(SHARE, [[0, 1], [1, 0]], rate)


@pytest.mark.parametrize("waveform", WAVEFORMS)
def test_without_exchange_each_compartment_is_free(waveform):
    """K = 0: S_j = f_j exp(-B:D_j)."""
    protocol = table(waveform)
    expected = np.column_stack([share * free_attenuation(protocol, d) for share, d in zip(SHARE, D, strict=True)])
    np.testing.assert_allclose(karger(protocol, D, SHARE, balanced(0.0)), expected, atol=1e-7)


@pytest.mark.parametrize("waveform", WAVEFORMS)
def test_fast_exchange_averages_the_diffusivity(waveform):
    """K to infinity: S = exp(-B:(f_1 D_1 + f_2 D_2)), up to terms of the order of b dD^2/(rate t)."""
    protocol = table(waveform)
    signal = karger(protocol, D, SHARE, balanced(1e4)).sum(axis=1)
    np.testing.assert_allclose(signal, free_attenuation(protocol, SHARE @ D), atol=1e-4)


@given(share=st.floats(0.05, 0.95), rate=st.floats(0.0, 10.0), b=st.floats(0.0, 5000.0), first=st.floats(0.0, 3.0))
@settings(max_examples=25, deadline=None)
def test_signals_lie_between_the_limits(share, rate, b, first):
    """S(0) = 1 in equilibrium shares; fast exchange gives the smallest signal and none the largest (convexity)."""
    fractions = np.array([share, 1 - share])
    protocol = Protocol.product(PGSE(10, 30), [0.0, b], [[0, 0, 1]])
    signal = karger(protocol, (first, 1.0), fractions, exchange_rates(fractions, [[0, 1], [1, 0]], rate))
    np.testing.assert_allclose(signal[0], fractions, atol=1e-9)
    slow = fractions @ [free_attenuation(protocol, d)[1] for d in (first, 1.0)]
    fast = free_attenuation(protocol, float(fractions @ (first, 1.0)))[1]
    assert fast - 1e-7 <= signal[1].sum() <= slow + 1e-7


def test_narrow_pulses_have_the_closed_form():
    """Kärger (1985): S = 1.expm(Delta (K - q^2 D)) f with b = q^2 Delta; three compartments, one a tensor."""
    tensor = np.diag([0.2, 1.0, 2.0])
    volumes, areas = np.array([10.0, 20.0, 5.0]), np.array([[0, 3.0, 1.0], [3.0, 0, 2.0], [1.0, 2.0, 0]])
    rates = exchange_rates(volumes, areas, 0.05)
    protocol = Protocol.pgse([700.0, 2500.0], [[1, 0, 0], [0, 0, 1]], 1e-4, 40.0)
    signal = karger(protocol, [1.0, 0.3, tensor], volumes, rates)
    for row, along in enumerate((0.2, 2.0)):
        squared = protocol.bvals[row] * 1e-3 / 40.0
        expected = expm(40.0 * (rates - squared * np.diag([1.0, 0.3, along]))) @ (volumes / volumes.sum())
        np.testing.assert_allclose(signal[row], expected, atol=1e-6)


def test_exchange_times_follow_from_permeability_and_surface():
    """A compartment alone empties in V/(kappa S): here 500/(0.01 x 100) = 500 ms; what leaves one enters the other."""
    rates = exchange_rates([500.0, 1500.0], [[0, 100.0], [100.0, 0]], 0.01)
    assert -1 / rates[0, 0] == pytest.approx(500.0)
    assert -1 / rates[1, 1] == pytest.approx(1500.0)
    np.testing.assert_allclose(rates.sum(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(rates @ [500.0, 1500.0], 0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda: exchange_rates([1.0, 0.0], np.ones((2, 2)), 1.0), "volumes"),
        (lambda: exchange_rates([1.0, 1.0], [[0, 1], [2, 0]], 1.0), "areas"),
        (lambda: exchange_rates([1.0, 1.0], np.ones((2, 2)), -1.0), "areas"),
        (lambda: karger(table(PGSE(1, 2)), D, [1.0], balanced(1.0)), "fractions"),
        (lambda: karger(table(PGSE(1, 2)), D, SHARE, np.zeros((3, 3))), "rates"),
        (lambda: karger(table(PGSE(1, 2)), D, [0.5, 0.5], balanced(1.0)), "rates"),
        (lambda: karger(table(PGSE(1, 2)), (2.0, -1.0), SHARE, balanced(1.0)), "diffusivity"),
    ],
)
def test_unbalanced_input_is_refused(call, key):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.key == key
