"""Effective gradient waveforms: how a measurement's wave-number rate q = gamma G unfolds in time.

Every waveform of this package is a vector function F(t) in a local frame whose z axis follows the measurement's
direction: g(t) = |q| R F(t), with R the smallest rotation that takes z to q/|q| (half a turn about x for -z). Waveforms
along one line have F = (0, 0, f), so g = q f. The largest |F| is 1, so |q| = gamma |G|_max.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from dmrifw.errors import InputError
from dmrifw.typing import ArrayLike, FloatArray

SHORTEST = 1e-9
"""Stretches of time below this, ms, are rounding: they are left out."""

REFOCUSED = 1e-4
"""The largest |q| left at the echo, relative to the largest on the way, that counts as refocused."""


class Waveform(Protocol):
    """A gradient waveform up to its amplitude and direction.

    A measurement plays it with an amplitude and direction q, rad/(um ms); most waveforms are linear, g(t) = q f(t) with
    max |f| = 1. Refocusing pulses are folded into the sign. The effective gradient integrates to zero at the echo time.
    """

    @property
    def breakpoints(self) -> FloatArray:
        """Times in ms, from 0 to the echo time, between which the gradient is smooth."""

    @property
    def echo_time(self) -> float:
        """The last breakpoint, ms: from the start of the first gradient to the echo."""

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

    def wavevector(self, q: FloatArray, times: ArrayLike) -> FloatArray:
        """(k, m, 3) integral of g from 0 to each of `times`, rad/um."""

    def btensor(self, q: FloatArray) -> FloatArray:
        """(m, 3, 3) integral of the outer square of the wave vector, ms/um^2, exactly."""

    def b_per_squared_q(self) -> float:
        """B, the trace of the b-tensor, in ms/um^2 for |q| = 1 rad/(um ms), exactly."""


class Shape(ABC):
    """What waveforms share: a vector function F(t) in a frame whose z axis follows q."""

    @property
    @abstractmethod
    def breakpoints(self) -> FloatArray:
        """See `Waveform.breakpoints`."""

    @property
    @abstractmethod
    def diffusion_time(self) -> float:
        """See `Waveform.diffusion_time`."""

    @property
    @abstractmethod
    def is_antisymmetric(self) -> bool:
        """See `Waveform.is_antisymmetric`."""

    @abstractmethod
    def local_gradient(self, time: float, interval: int) -> FloatArray:
        """(3,) F at `time` ms, continued smoothly from inside interval number `interval`. Local."""

    @abstractmethod
    def local_wavevector(self, times: ArrayLike) -> FloatArray:
        """(k, 3) integral of F from 0 to each of `times`, ms. Local."""

    @abstractmethod
    def local_btensor(self) -> FloatArray:
        """(3, 3) integral of the outer square of `local_wavevector` up to the echo, ms^3, exactly. Local."""

    @property
    def echo_time(self) -> float:
        """See `Waveform.echo_time`."""
        return float(self.breakpoints[-1])

    @property
    def is_linear(self) -> bool:
        """True where the gradient stays on one line, the z axis of the local frame."""
        tensor = self.local_btensor()
        return bool(np.trace(tensor) - tensor[2, 2] <= 1e-12 * np.trace(tensor))

    def gradient(self, q: FloatArray, time: float, interval: int) -> FloatArray:
        """See `Waveform.gradient`."""
        local = self.local_gradient(time, interval)
        if not local[:2].any():
            return q * local[2]
        return frames(q) @ local

    def wavevector(self, q: FloatArray, times: ArrayLike) -> FloatArray:
        """See `Waveform.wavevector`."""
        return np.einsum("mij,kj->kmi", frames(q), self.local_wavevector(times))

    def btensor(self, q: FloatArray) -> FloatArray:
        """See `Waveform.btensor`."""
        rotated = frames(q)
        return rotated @ self.local_btensor() @ rotated.transpose(0, 2, 1)

    def b_per_squared_q(self) -> float:
        """See `Waveform.b_per_squared_q`."""
        return float(np.trace(self.local_btensor()))


def frames(q: FloatArray) -> FloatArray:
    """(m, 3, 3) |q| R with R the smallest rotation that takes z to q. Local."""
    length = np.linalg.norm(q, axis=1)
    x, y, z = (q / np.where(length > 0, length, 1.0)[:, None]).T
    across = x**2 + y**2
    # 1/(1 + z), written so that nothing cancels near z = -1; at z = -1 the limit along y = 0 would be a half turn
    # about y, the choice made here is one about x.
    shrink = np.divide(1.0 - z, across, out=np.full_like(z, 0.5), where=across > 0)
    shrink = np.where(z >= 0, 1.0 / (1.0 + np.abs(z)), shrink)
    rotations = np.empty((len(q), 3, 3))
    rotations[:, 0] = np.column_stack([1.0 - shrink * x * x, -shrink * x * y, x])
    rotations[:, 1] = np.column_stack([-shrink * x * y, 1.0 - shrink * y * y, y])
    rotations[:, 2] = np.column_stack([-x, -y, z])
    rotations[(across == 0) & (z < 0)] = np.diag([1.0, -1.0, -1.0])
    return length[:, None, None] * rotations


def frame_derivatives(q: FloatArray) -> FloatArray:
    """(m, 3, 3, 3) derivatives of `frames` with respect to q, its components last.

    With n = |q| and s = 1/(n + q_z) the first column is (n - s q_x^2, -s q_x q_y, -q_x), the second (-s q_x q_y,
    n - s q_y^2, -q_y), the third q. Where the frame is not smooth, at q = 0 and along -z, those of the first two
    columns are zero.

    Local.
    """
    length = np.linalg.norm(q, axis=1)
    across = q[:, 0] ** 2 + q[:, 1] ** 2
    smooth = (length > 0) & ((across > 0) | (q[:, 2] > 0))
    shrink = np.divide(length - q[:, 2], across, out=np.zeros_like(length), where=(q[:, 2] < 0) & smooth)
    shrink = np.divide(1.0, length + q[:, 2], out=shrink, where=(q[:, 2] >= 0) & smooth)
    unit = np.divide(q, length[:, None], out=np.zeros_like(q), where=length[:, None] > 0)
    shrinking = -(shrink**2)[:, None] * (unit + np.array([0.0, 0.0, 1.0]))
    out = np.zeros((len(q), 3, 3, 3))
    for i in range(2):
        for j in range(2):
            out[:, i, j] = -(q[:, i] * q[:, j])[:, None] * shrinking
            out[:, i, j, i] -= shrink * q[:, j]
            out[:, i, j, j] -= shrink * q[:, i]
        out[:, i, i] += unit
        out[:, 2, i, i] = -1.0
    out[~smooth] = 0.0
    out[:, np.arange(3), 2, np.arange(3)] = 1.0
    return out


def local_vectors(directions: FloatArray, vectors: FloatArray) -> FloatArray:
    """(m, 3) `vectors` as seen in the local frames of (m, 3) unit `directions`. Local."""
    return np.einsum("mij,mi->mj", frames(directions), vectors)


class Corners(NamedTuple):
    """A piecewise linear F: `left` and `right` are its values at the ends of each interval between `times`."""

    times: FloatArray
    left: FloatArray
    right: FloatArray


class PiecewiseLinear(Shape):
    """A waveform whose gradient is a straight line between breakpoints: all its integrals are exact."""

    @cached_property
    @abstractmethod
    def corners(self) -> Corners:
        """(k+1,) ms, (k, 3) and (k, 3): the straight pieces of F."""

    @property
    def breakpoints(self) -> FloatArray:
        """See `Waveform.breakpoints`."""
        return self.corners.times

    def local_gradient(self, time: float, interval: int) -> FloatArray:
        """See `Shape.local_gradient`."""
        times, left, right = self.corners
        share = (time - times[interval]) / (times[interval + 1] - times[interval])
        return left[interval] + share * (right[interval] - left[interval])

    def local_wavevector(self, times: ArrayLike) -> FloatArray:
        """See `Shape.local_wavevector`."""
        wanted = np.atleast_1d(np.asarray(times, dtype=np.float64))
        starts, left, right = self.corners
        interval = np.clip(np.searchsorted(starts, wanted, side="right") - 1, 0, len(left) - 1)
        since = (wanted - starts[interval])[:, None]
        slope = (right - left) / np.diff(starts)[:, None]
        return self._moments[interval] + left[interval] * since + 0.5 * slope[interval] * since**2

    def local_btensor(self) -> FloatArray:
        """See `Shape.local_btensor`."""
        nodes, weights = np.polynomial.legendre.leggauss(3)  # exact: the integrand is a quartic
        starts = self.corners.times
        length = np.diff(starts)
        q = self.local_wavevector((starts[:-1, None] + 0.5 * length[:, None] * (1 + nodes)).ravel())
        return np.einsum("k,ki,kj->ij", (0.5 * length[:, None] * weights).ravel(), q, q)

    @cached_property
    def _moments(self) -> FloatArray:
        """(k+1, 3) integral of F up to each breakpoint, ms."""
        times, left, right = self.corners
        areas = 0.5 * (left + right) * np.diff(times)[:, None]
        return np.concatenate([np.zeros_like(areas[:1]), np.cumsum(areas, axis=0)])

    def refuse_unrefocused(self, key: str) -> None:
        """Refuse a gradient whose integral is not zero.

        Raises:
            InputError: The wave vector at the echo is not zero.

        Local.
        """
        largest = np.linalg.norm(self._moments, axis=1).max()
        left_over = np.linalg.norm(self._moments[-1])
        if not left_over <= REFOCUSED * largest:
            raise InputError(
                f"the waveform does not refocus: {100 * left_over / largest:.3g} % of the largest q is left",
                "make the effective gradient integrate to zero (its sign changes at every refocusing pulse)",
                key=key,
            )


class Pulse(NamedTuple):
    """A trapezoid: it rises for `ramp` ms from `start`, begins to fall at `start + duration`, and falls for `ramp`."""

    start: float
    duration: float
    ramp: float
    height: tuple[float, float, float]


def pulse_train(pulses: list[Pulse]) -> Corners:
    """The straight pieces of pulses that follow each other; stretches of no length are left out. Local."""
    nothing = np.zeros(3)
    times, left, right = [0.0], [], []
    for pulse in pulses:
        height = np.asarray(pulse.height)
        ends = [pulse.start, *pulse.start + np.array([pulse.ramp, pulse.duration, pulse.duration + pulse.ramp])]
        levels = [(nothing, nothing), (nothing, height), (height, height), (height, nothing)]
        for end, (first, last) in zip(ends, levels, strict=True):
            if end - times[-1] > SHORTEST:
                times.append(float(end))
                left.append(first)
                right.append(last)
    return Corners(np.array(times), np.array(left), np.array(right))


def lobes(levels: list[tuple[float, float, float]], start: float, sign: float) -> list[Pulse]:
    """Pulses along z from (duration, ramp, height), one right after the other. Local."""
    pulses = []
    for duration, ramp, height in levels:
        pulses.append(Pulse(start, duration, ramp, (0.0, 0.0, sign * height)))
        start += duration + ramp
    return pulses


def is_odd(corners: Corners) -> bool:
    """Whether F(TE - t) = -F(t), to rounding. Local."""
    times, left, right = corners
    return bool(
        np.allclose(times, times[-1] - times[::-1], rtol=0, atol=SHORTEST)
        and np.allclose(left, -right[::-1], rtol=0, atol=1e-12)
    )


def check_duration(value: float, key: str, zero: bool = False) -> None:
    """Refuse a duration that is not finite, or not positive (`zero`: or negative).

    Raises:
        InputError: The duration is out of range.

    Local.
    """
    if not (np.isfinite(value) and (value > 0 or (zero and value == 0))):
        told = "a duration of at least 0 ms" if zero else "a positive duration in ms"
        raise InputError(f"{key} = {value:g} ms", f"give {told}", key=key)


def check_ramp(ramp: float, delta: float, key: str = "delta") -> None:
    """Refuse a ramp that is negative or longer than its pulse's plateau and ramp together.

    Raises:
        InputError: The ramp is out of range.

    Local.
    """
    check_duration(ramp, "ramp", zero=True)
    if ramp > delta:
        raise InputError(
            f"ramp = {ramp:g} ms is longer than {key} = {delta:g} ms",
            f"{key} is the plateau and one ramp: make it at least the ramp",
            key="ramp",
        )
