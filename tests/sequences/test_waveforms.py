"""The PGSE waveform."""

from itertools import pairwise

import numpy as np
import pytest

from dmrifw.errors import InputError
from dmrifw.sequences import PGSE

UNIT = np.array([[1.0, 0.0, 0.0]])
TIMINGS = [(5.0, 6.0), (10.0, 20.0), (10.0, 60.0), (10.0, 10.0)]


@pytest.mark.parametrize(("delta", "Delta"), TIMINGS)
def test_b_is_the_stejskal_tanner_value(delta, Delta):
    """Stejskal and Tanner (1965): b = q^2 delta^2 (Delta - delta/3)."""
    assert PGSE(delta, Delta).b_per_squared_q() == pytest.approx(delta**2 * (Delta - delta / 3), rel=1e-15)


@pytest.mark.parametrize(("delta", "Delta"), TIMINGS)
def test_b_is_the_integral_of_the_squared_moment(delta, Delta):
    """By definition b / q^2 = int (int_0^t f)^2 dt; f is piecewise constant, so Simpson's rule is exact."""
    waveform = PGSE(delta, Delta)
    times = waveform.breakpoints
    moment, total = 0.0, 0.0
    for interval, (start, end) in enumerate(pairwise(times)):
        rise = waveform.gradient(UNIT, 0.5 * (start + end), interval)[0, 0] * (end - start)
        total += (end - start) / 6 * (moment**2 + 4 * (moment + rise / 2) ** 2 + (moment + rise) ** 2)
        moment += rise
    assert moment == pytest.approx(0.0, abs=1e-12)  # refocused at the echo
    assert waveform.b_per_squared_q() == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize(("delta", "Delta"), TIMINGS)
def test_profile_is_antisymmetric_about_the_middle(delta, Delta):
    """f(TE - t) = -f(t), on which the half-evolution formula for the signal rests."""
    waveform = PGSE(delta, Delta)
    times = waveform.breakpoints
    assert waveform.is_antisymmetric
    np.testing.assert_allclose(times, waveform.echo_time - times[::-1])
    last = len(times) - 2
    for interval in range(last + 1):
        middle = 0.5 * (times[interval] + times[interval + 1])
        late = waveform.gradient(UNIT, waveform.echo_time - middle, last - interval)
        np.testing.assert_array_equal(late, -waveform.gradient(UNIT, middle, interval))


def test_touching_pulses_have_no_gap():
    """Delta = delta is the shortest sequence: the interval of length zero is left out."""
    assert PGSE(10.0, 10.0).breakpoints.tolist() == [0.0, 10.0, 20.0]
    assert PGSE(10.0, 20.0).breakpoints.tolist() == [0.0, 10.0, 20.0, 30.0]


@pytest.mark.parametrize(
    ("delta", "Delta", "key", "words"),
    [
        (10.0, 9.0, "Delta", "Delta = 9 ms is shorter than delta = 10 ms; the pulses would overlap"),
        (0.0, 9.0, "delta", "give a positive pulse duration in ms"),
        (-1.0, 9.0, "delta", "give a positive pulse duration in ms"),
        (float("nan"), 9.0, "delta", "give a positive pulse duration in ms"),
        (float("inf"), float("inf"), "delta", "give a positive pulse duration in ms"),
        (1.0, float("nan"), "Delta", "make Delta at least delta"),
    ],
)
def test_impossible_timings_are_refused(delta, Delta, key, words):
    """Pulses must last, and must not overlap."""
    with pytest.raises(InputError, match=words) as caught:
        PGSE(delta, Delta)
    assert caught.value.key == key
