"""b-tensor encoding with an axially symmetric b-tensor of any shape, linear over spherical to planar."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences.waveforms import SHORTEST, Shape, check_duration
from dmrifw.typing import ArrayLike, FloatArray


@dataclass(frozen=True)
class BTensor(Shape):
    """Two mirrored blocks in which the wave vector swings out, turns once on a cone about the axis, and comes back.

    In a block of `duration` T the wave vector has the length q(t) = q_max sin^2(pi t/T), stays at the angle zeta from
    the measurement's direction, and turns about it at a rate proportional to q^2 ("q-MAS"): that makes the b-tensor
    axially symmetric about the direction exactly, with b_delta = (3 cos^2 zeta - 1)/2. The second block runs the same
    way backwards after `pause` ms of no gradient, in which the wave vector is zero; the whole is antisymmetric.

    Attributes:
        duration: Of a block, ms.
        b_delta: Shape of the b-tensor: 1 linear (LTE), 0 spherical (STE), -0.5 planar (PTE).
        pause: Time between the blocks, ms.

    Source: Eriksson, Lasic and Topgaard, J. Magn. Reson. 226:13 (2013); Topgaard, J. Magn. Reson. 275:98 (2017).
    """

    duration: float
    b_delta: float
    pause: float = 0.0

    def __post_init__(self) -> None:
        check_duration(self.duration, "duration")
        check_duration(self.pause, "pause", zero=True)
        if not -0.5 <= self.b_delta <= 1:
            raise InputError(
                f"b_delta = {self.b_delta:g}", "give 1 (linear), 0 (spherical), -0.5 (planar) or between", key="b_delta"
            )

    @cached_property
    def breakpoints(self) -> FloatArray:
        """See `Waveform.breakpoints`."""
        times = [0.0, self.duration, self.duration + self.pause, 2 * self.duration + self.pause]
        return np.array(times if self.pause > SHORTEST else [times[0], times[1], times[3]])

    @property
    def diffusion_time(self) -> float:
        """See `Waveform.diffusion_time`: b of a block over the largest squared wave number."""
        return 0.375 * self.duration

    @property
    def is_antisymmetric(self) -> bool:
        """See `Waveform.is_antisymmetric`."""
        return True

    def local_gradient(self, time: float, interval: int) -> FloatArray:
        """See `Shape.local_gradient`."""
        if interval == 0:
            return self._block_gradient(time)
        if interval == len(self.breakpoints) - 2:
            return -self._block_gradient(self.breakpoints[-1] - time)
        return np.zeros(3)

    def local_wavevector(self, times: ArrayLike) -> FloatArray:
        """See `Shape.local_wavevector`."""
        wanted = np.atleast_1d(np.asarray(times, dtype=np.float64))
        # the second block mirrors the first; outside the blocks the wave vector is zero, as at their ends
        since = np.clip(np.minimum(wanted, self.breakpoints[-1] - wanted), 0.0, self.duration)
        angle = np.pi * since / self.duration
        turn = _turn(angle)
        along = np.broadcast_to(self._along, turn.shape)
        cone = np.column_stack([self._across * np.cos(turn), self._across * np.sin(turn), along])
        return self._reach * (np.sin(angle) ** 2)[:, None] * cone

    def local_btensor(self) -> FloatArray:
        """See `Shape.local_btensor`."""
        b = 0.75 * self.duration * self._reach**2
        return b * np.diag([0.5 * self._across**2, 0.5 * self._across**2, self._along**2])

    def _block_gradient(self, time: float) -> FloatArray:
        angle = np.pi * time / self.duration
        turn = _turn(angle)
        growth = np.sin(2 * angle)
        spin = (16.0 / 3.0) * np.sin(angle) ** 6 * self._across
        cosine, sine = np.cos(turn), np.sin(turn)
        direction = [
            growth * self._across * cosine - spin * sine,
            growth * self._across * sine + spin * cosine,
            growth * self._along,
        ]
        return self._reach * np.pi / self.duration * np.array(direction)

    @cached_property
    def _along(self) -> float:
        """Cosine of the cone's angle."""
        return float(np.sqrt((1 + 2 * self.b_delta) / 3))

    @cached_property
    def _across(self) -> float:
        """Sine of the cone's angle."""
        return float(np.sqrt(2 * (1 - self.b_delta) / 3))

    @cached_property
    def _reach(self) -> float:
        """The largest wave number where the largest gradient is 1, ms.

        With y = sin^2 the squared gradient is (pi reach/T)^2 (4 y (1 - y) + a y^6): largest at a root of the
        derivative, or at y = 1.
        """
        a = (16.0 / 3.0 * self._across) ** 2
        roots = np.roots([6 * a, 0, 0, 0, -8, 4]) if a > 0 else np.array([0.5])
        real = roots[np.abs(roots.imag) < 1e-9].real
        y = np.append(real[(real > 0) & (real < 1)], 1.0)
        return self.duration / np.pi / float(np.sqrt((4 * y * (1 - y) + a * y**6).max()))


def _turn(angle: Any) -> Any:
    """How far the wave vector has turned about the axis: 2 pi times the share of the integral of sin^4."""
    return 2 * angle - 4 * np.sin(2 * angle) / 3 + np.sin(4 * angle) / 6
