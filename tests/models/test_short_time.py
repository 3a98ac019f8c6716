"""The short-time limit against its published forms and against exact solutions in slabs and spheres."""

import numpy as np
import pytest

from dmrifw.errors import InputError
from dmrifw.models import effective_time, short_time_adc
from dmrifw.sequences import OGSE, PGSE, BTensor


def test_narrow_pulses_give_the_law_of_mitra():
    """D(t)/D = 1 - 4/(9 sqrt(pi)) (S/V) sqrt(D t) in three dimensions (Mitra, Sen and Schwartz 1993, eq. 8)."""
    expected = 2.0 * (1 - 4 / (9 * np.sqrt(np.pi)) * 0.6 * np.sqrt(2.0 * 0.5))
    assert effective_time(PGSE(1e-4, 0.5)) == pytest.approx(0.5, rel=1e-3)
    assert short_time_adc(PGSE(1e-5, 0.5), 2.0, 0.6) == pytest.approx(expected, rel=1e-4)


def test_finite_pulses_are_their_double_integral():
    """sqrt(t) = (3/4) int F int F(s) (t-s)^(-1/2) ds dt / int F^2, by quadrature with s = t - u^2."""
    waveform = PGSE(10, 20, 2)
    x, w = np.polynomial.legendre.leggauss(300)
    total = 0.0
    for time, weight in zip(waveform.echo_time * (1 + x) / 2, w * waveform.echo_time / 2, strict=True):
        u = np.sqrt(time) * (1 + x) / 2
        inner = np.sqrt(time) * w @ waveform.local_wavevector(time - u**2)[:, 2]
        total += weight * waveform.local_wavevector([time])[0, 2] * inner
    expected = (0.75 * total / waveform.b_per_squared_q()) ** 2
    assert effective_time(waveform) == pytest.approx(expected, rel=1e-5)


def test_many_oscillations_give_the_law_of_their_frequency():
    """D(w)/D = 1 - (1/(d sqrt 2)) (S/V) sqrt(D/w) for cosines (Novikov and Kiselev 2011), as periods grow."""
    errors = []
    for periods in (10, 40):
        frequency = 2 * np.pi * periods / 40
        told = 1 - short_time_adc(OGSE(40, 50, periods), 2.0, 0.01) / 2.0
        errors.append(told / (0.01 / (3 * np.sqrt(2)) * np.sqrt(2.0 / frequency)) - 1)
    assert abs(errors[1]) < 1e-2
    assert abs(errors[1]) < 0.5 * abs(errors[0])


@pytest.mark.parametrize("waveform", [PGSE(0.2, 0.4), PGSE(0.05, 0.5, 0.05), OGSE(8, 8, 20)])
def test_wide_slabs_follow_it(waveform):
    """As long as one wall does not feel the other, the initial slope in a slab a wide is D (1 - c (2/a) sqrt(D t)).

    Exact: sum over its modes, rates D (pi n/a)^2 and squared moments 8 a^2/(pi n)^4, n odd, of the memory of F.
    """
    a, d = 12.0, 2.0
    n = np.arange(1, 40001, 2)
    rates, weights = d * (np.pi * n / a) ** 2, 8 * a**2 / (np.pi * n) ** 4
    x, w = np.polynomial.legendre.leggauss(12)
    time, memory, squared = 0.0, np.zeros_like(rates), 0.0
    integral = np.zeros_like(rates)
    edges = np.concatenate(
        [np.linspace(*pair, 121)[1:] for pair in zip(waveform.breakpoints[:-1], waveform.breakpoints[1:], strict=True)]
    )
    for edge in edges:  # int F int e^(-r(t-s)) F ds, with F linear in each short piece
        h = edge - time
        first, last = waveform.local_wavevector([time, edge])[:, 2]
        slope, z = (last - first) / h, rates * h
        decay = np.exp(-z)
        steady = lambda f: f / rates - slope / rates**2  # noqa: E731
        transient = memory - steady(first)
        ramp = first + slope * h * (1 + x) / 2
        integral += h / 2 * w @ (ramp[:, None] * (ramp[:, None] / rates - slope / rates**2))
        integral += transient * (first * (1 - decay) / rates + slope * (1 - decay * (1 + z)) / rates**2)
        memory, time = steady(last) + transient * decay, edge
        squared += h / 2 * float(w @ ramp**2)
    exact = float(weights @ (rates * (squared - rates * integral))) / squared
    assert short_time_adc(waveform, d, 2 / a, dimension=1) == pytest.approx(exact, rel=2e-4)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ((PGSE(1, 2), -1.0, 1.0), "diffusivity"),
        ((PGSE(1, 2), 1.0, -1.0), "surface_to_volume"),
        ((PGSE(1, 2), 1.0, 1.0, 0), "dimension"),
        ((BTensor(20, 0.0), 1.0, 1.0), "waveform"),
    ],
)
def test_impossible_numbers_are_refused(arguments, key):
    with pytest.raises(InputError) as caught:
        short_time_adc(*arguments)
    assert caught.value.key == key
