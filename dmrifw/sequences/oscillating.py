"""Oscillating gradients: trains of sines, cosines or trapezoids before and after the refocusing pulse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences.waveforms import (
    Corners,
    PiecewiseLinear,
    Pulse,
    Shape,
    check_duration,
    check_ramp,
    is_odd,
    lobes,
    pulse_train,
)
from dmrifw.typing import ArrayLike, FloatArray

PHASES = ("cos", "sin")


def _check_trains(delta: float, Delta: float, periods: int, phase: str) -> None:
    check_duration(delta, "delta")
    if not (np.isfinite(Delta) and Delta >= delta):
        raise InputError(
            f"Delta = {Delta:g} ms is shorter than delta = {delta:g} ms",
            "the trains would overlap: make Delta at least delta",
            key="Delta",
        )
    if not (np.isfinite(periods) and int(periods) == periods and periods >= 1):
        raise InputError(f"periods = {periods}", "give a whole number of at least 1", key="periods")
    if phase not in PHASES:
        raise InputError(f"there is no phase {phase!r}", "choose 'cos' or 'sin'", key="phase")


@dataclass(frozen=True)
class OGSE(Shape):
    """Sine or cosine gradients: `periods` whole oscillations on [0, delta], and again, reversed, from `Delta`.

    f = cos(2 pi n t/delta) or sin(2 pi n t/delta), then minus the same; the echo is at Delta + delta. b = w^2 delta^3 /
    (4 pi^2 n^2) for cosines, three times that for sines, whatever Delta.

    Attributes:
        delta: Duration of a train, ms.
        Delta: Time between the starts of the trains, ms, at least delta.
        periods: Oscillations in a train, n.
        phase: "cos" or "sin".

    Source: Does, Parsons and Gore, Magn. Reson. Med. 49:206 (2003).
    """

    delta: float
    Delta: float
    periods: int
    phase: str = "cos"

    def __post_init__(self) -> None:
        _check_trains(self.delta, self.Delta, self.periods, self.phase)

    @cached_property
    def breakpoints(self) -> FloatArray:
        """See `Waveform.breakpoints`."""
        times = [0.0, self.delta, self.Delta, self.Delta + self.delta]
        return np.array(times if self.Delta > self.delta else [times[0], times[1], times[3]])

    @property
    def frequency(self) -> float:
        """Of the oscillation, 1/ms."""
        return self.periods / self.delta

    @property
    def diffusion_time(self) -> float:
        """See `Waveform.diffusion_time`: a quarter of a period for cosines, 3/8 for sines."""
        return (0.25 if self.phase == "cos" else 0.375) / self.frequency

    @property
    def is_antisymmetric(self) -> bool:
        """See `Waveform.is_antisymmetric`; two reversed trains of sines are symmetric instead."""
        return self.phase == "cos"

    def local_gradient(self, time: float, interval: int) -> FloatArray:
        """See `Shape.local_gradient`."""
        f = 0.0
        if interval in (0, len(self.breakpoints) - 2):
            wave = np.cos if self.phase == "cos" else np.sin
            start, sign = (0.0, 1.0) if interval == 0 else (self.Delta, -1.0)
            f = sign * float(wave(2 * np.pi * self.frequency * (time - start)))
        return np.array([0.0, 0.0, f])

    def local_wavevector(self, times: ArrayLike) -> FloatArray:
        """See `Shape.local_wavevector`."""
        wanted = np.atleast_1d(np.asarray(times, dtype=np.float64))
        turn = 2 * np.pi * self.frequency
        first, second = np.clip(wanted, 0, self.delta), np.clip(wanted - self.Delta, 0, self.delta)
        if self.phase == "cos":
            moment = (np.sin(turn * first) - np.sin(turn * second)) / turn
        else:
            moment = (np.cos(turn * second) - np.cos(turn * first)) / turn
        return moment[:, None] * np.array([0.0, 0.0, 1.0])

    def local_btensor(self) -> FloatArray:
        """See `Shape.local_btensor`."""
        b = self.delta**3 / (4 * np.pi**2 * self.periods**2) * (1 if self.phase == "cos" else 3)
        return np.diag([0.0, 0.0, b])


@dataclass(frozen=True)
class TrapezoidalOGSE(PiecewiseLinear):
    """Oscillating trapezoids: trains of `periods` oscillations with ramps, from 0 and, reversed, from `Delta`.

    "sin" trains start with a whole lobe and last `periods` periods. "cos" trains start and end with a lobe of half the
    area, so that the wave vector oscillates about zero.

    Attributes:
        delta: Duration of a train, ramps included, ms.
        Delta: Time between the starts of the trains, ms, at least delta.
        periods: Oscillations in a train.
        phase: "cos" or "sin".
        ramp: Rise and fall time of every lobe, ms.

    Source: Van, Holdsworth and Bammer, Magn. Reson. Med. 71:83 (2014).
    """

    delta: float
    Delta: float
    periods: int
    phase: str = "cos"
    ramp: float = 0.0

    def __post_init__(self) -> None:
        _check_trains(self.delta, self.Delta, self.periods, self.phase)
        shortest = min(duration for duration, _, _ in self._train())
        check_ramp(self.ramp, shortest, "a lobe's plateau and ramp")

    def _train(self) -> list[tuple[float, float, float]]:
        """Plateau and one ramp, ramp and height of each lobe."""
        if self.phase == "sin":
            whole = self.delta / (2 * self.periods) - self.ramp
            return [(whole, self.ramp, (-1.0) ** lobe) for lobe in range(2 * self.periods)]
        # 2n - 1 whole lobes and two halves, 2n + 1 ramps more than their areas over the height
        whole = (self.delta - (2 * self.periods + 1) * self.ramp) / (2 * self.periods)
        areas = [whole / 2, *[whole] * (2 * self.periods - 1), whole / 2]
        return [(area, self.ramp, (-1.0) ** lobe) for lobe, area in enumerate(areas)]

    @cached_property
    def corners(self) -> Corners:
        """See `PiecewiseLinear.corners`."""
        pulses: list[Pulse] = []
        for start, sign in ((0.0, 1.0), (self.Delta, -1.0)):
            pulses += lobes(self._train(), start, sign)
        return pulse_train(pulses)

    @property
    def diffusion_time(self) -> float:
        """See `Waveform.diffusion_time`: a quarter of a period for cosines, 3/8 for sines."""
        return (0.25 if self.phase == "cos" else 0.375) * self.delta / self.periods

    @property
    def is_antisymmetric(self) -> bool:
        """See `Waveform.is_antisymmetric`."""
        return is_odd(self.corners)
