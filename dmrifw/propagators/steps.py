"""How time is cut into steps: at the breakpoints of a waveform, then evenly, as finely as a measured error asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dmrifw.encoding import Encoding
from dmrifw.sequences import Waveform
from dmrifw.typing import ComplexArray, FloatArray


@dataclass(frozen=True, eq=False)
class Drive:
    """What drives a block of measurements of one waveform.

    Attributes:
        waveform: The waveform.
        q: (m, 3) amplitude and direction of each measurement, rad/(um ms).
        encoding: How gradients enter.
    """

    waveform: Waveform
    q: FloatArray
    encoding: Encoding

    def weights(self, time: float, interval: int) -> FloatArray:
        """(m, c) weights of the couplings at a time, ms, reckoned to an interval of the waveform. Local."""
        return self.encoding.weights(self.waveform, self.q, time, interval)


@dataclass(frozen=True)
class Steps:
    """How fine the steps are.

    Attributes:
        driven: Steps per ms where a gradient acts.
        still: Steps per ms where none does.
    """

    driven: float
    still: float


@dataclass(frozen=True)
class Interval:
    """A stretch of time in which the waveform is smooth, cut into equal steps.

    Attributes:
        start: ms.
        stop: ms.
        number: Which interval between the breakpoints of the waveform this lies in.
        steps: Number of steps, at least 1.
        still: Whether nothing but diffusion acts.
    """

    start: float
    stop: float
    number: int
    steps: int
    still: bool

    @property
    def step(self) -> float:
        """Length of one step, ms."""
        return (self.stop - self.start) / self.steps


def intervals(waveform: Waveform, encoding: Encoding, steps: Steps, whole: bool = False) -> list[Interval]:
    """The intervals that must be integrated: up to half the echo time where symmetry gives the rest.

    Args:
        waveform: The waveform.
        encoding: How gradients enter.
        steps: How fine to cut.
        whole: Whether to go on to the echo in any case.

    Returns:
        The intervals in order of time.

    Local.
    """
    times = waveform.breakpoints
    end = 0.5 * times[-1] if waveform.is_antisymmetric and not whole else times[-1]
    cuts = []
    for number, (start, stop) in enumerate(pairwise(times)):
        stop = min(stop, end)
        if stop > start:
            still = encoding.is_still(waveform, start, stop, number)
            count = int(np.ceil((stop - start) * (steps.still if still else steps.driven) - 1e-9))
            cuts.append(Interval(float(start), float(stop), number, max(count, 1), still))
    return cuts


_LARGEST_STRIDE = 256.0
"""How far beyond its target an error is believed: an unstable scheme errs by any amount."""


def measured_rate(signal: Callable[[float], ComplexArray], base: float, target: float) -> float:
    """Steps per ms whose error, measured by doubling them, is within a target.

    Rates come from a coarse ladder, so that they stay put under small changes of the tissue.

    Args:
        signal: The attenuations at a rate.
        base: Rate to start from.
        target: Error allowed.

    Returns:
        The rate.

    Collective if `signal` is.
    """
    rung = 0
    while True:
        rate = base * 2.0 ** (rung / 2)
        error = rate_error(signal, rate)
        missing = int(np.ceil(0.5 * np.log2(np.clip(error / target, 0.25, _LARGEST_STRIDE))))
        if missing <= 0:
            return base * 2.0 ** ((rung + missing) / 2)
        rung += missing + (missing == 1 and rung > 0)  # stiff modes lower the order: do not creep


def rate_error(signal: Callable[[float], ComplexArray], rate: float) -> float:
    """Error of the attenuations at a rate, from half of it.

    Fourth order would make it a fifteenth of the change; stiffness lowers the order, so an eighth is reckoned with.

    Collective if `signal` is.
    """
    return float(np.abs(signal(rate) - signal(rate / 2)).max()) / 8
