"""Effective gradient waveforms: how a measurement's wave-number rate q = gamma G unfolds in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dmrifw.errors import InputError
from dmrifw.typing import FloatArray


class Waveform(Protocol):
    """A gradient waveform up to its amplitude and direction.

    A measurement plays it with an amplitude and direction q, rad/(um ms); most waveforms are linear, g(t) = q f(t) with
    max |f| = 1. Refocusing pulses are folded into the sign. The effective gradient integrates to zero at the echo time.
    """

    @property
    def breakpoints(self) -> FloatArray:
        """Times in ms, from 0 to the echo time, between which the gradient is smooth."""

    @property
    def diffusion_time(self) -> float:
        """Time over which displacements are encoded, ms: what schedules order sequences by."""

    @property
    def is_antisymmetric(self) -> bool:
        """True where g(TE - t) = -g(t): half an evolution then gives the signal."""

    def gradient(self, q: FloatArray, time: float, interval: int) -> FloatArray:
        """Effective gradients at a time.

        Args:
            q: (m, 3) amplitude and direction of each measurement, rad/(um ms).
            time: ms, inside the closed interval.
            interval: Which interval between breakpoints `time` belongs to, so that a jump is read from the right side.

        Returns:
            (m, 3) rad/(um ms).

        Local.
        """

    def b_per_squared_q(self) -> float:
        """B in ms/um^2 for q = 1 rad/(um ms), exactly."""


@dataclass(frozen=True)
class PGSE:
    """Pulsed-gradient spin echo: two rectangular pulses of `delta` ms whose starts lie `Delta` ms apart.

    f = 1 on [0, delta], -1 on [Delta, Delta + delta]; the echo is at Delta + delta.

    Source: Stejskal and Tanner, J. Chem. Phys. 42:288 (1965).
    """

    delta: float
    Delta: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.delta) and self.delta > 0):
            raise InputError(f"delta = {self.delta:g} ms", "give a positive pulse duration in ms", key="delta")
        if not (np.isfinite(self.Delta) and self.Delta >= self.delta):
            raise InputError(
                f"Delta = {self.Delta:g} ms is shorter than delta = {self.delta:g} ms",
                "the pulses would overlap: make Delta at least delta",
                key="Delta",
            )

    @property
    def echo_time(self) -> float:
        """Time from the first pulse's start to the echo, ms."""
        return self.Delta + self.delta

    @property
    def breakpoints(self) -> FloatArray:
        """See `Waveform.breakpoints`."""
        times = [0.0, self.delta, self.Delta, self.echo_time]
        return np.array(times if self.Delta > self.delta else [0.0, self.delta, self.echo_time])

    @property
    def diffusion_time(self) -> float:
        """See `Waveform.diffusion_time`."""
        return self.Delta - self.delta / 3.0

    @property
    def is_antisymmetric(self) -> bool:
        """See `Waveform.is_antisymmetric`."""
        return True

    def gradient(self, q: FloatArray, time: float, interval: int) -> FloatArray:
        """See `Waveform.gradient`."""
        if interval == 0:
            return q
        return -q if interval == len(self.breakpoints) - 2 else 0.0 * q

    def b_per_squared_q(self) -> float:
        """See `Waveform.b_per_squared_q`."""
        return self.delta**2 * (self.Delta - self.delta / 3.0)
