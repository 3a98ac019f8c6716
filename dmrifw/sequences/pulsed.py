"""Waveforms made of trapezoidal pulses: PGSE, stimulated echo, twice-refocused, long-narrow, double diffusion encoding.

`delta` is a pulse's plateau and one ramp: its area over its height. A pulse lasts delta + ramp.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences.waveforms import Corners, PiecewiseLinear, Pulse, check_duration, check_ramp, is_odd, pulse_train

_Z = (0.0, 0.0, 1.0)
_MINUS_Z = (0.0, 0.0, -1.0)


def _check_pair(delta: float, Delta: float, ramp: float) -> None:
    if not (np.isfinite(delta) and delta > 0):
        raise InputError(f"delta = {delta:g} ms", "give a positive pulse duration in ms", key="delta")
    check_ramp(ramp, delta)
    if not (np.isfinite(Delta) and Delta >= delta + ramp):
        pulse = f"delta + ramp = {delta + ramp:g} ms" if ramp else f"delta = {delta:g} ms"
        raise InputError(
            f"Delta = {Delta:g} ms is shorter than {pulse}",
            f"the pulses would overlap: make Delta at least {'delta + ramp' if ramp else 'delta'}",
            key="Delta",
        )


def _trapezoid_b(delta: float, Delta: float, ramp: float) -> float:
    return delta**2 * (Delta - delta / 3.0) + ramp**3 / 30.0 - delta * ramp**2 / 6.0


@dataclass(frozen=True)
class PGSE(PiecewiseLinear):
    """Pulsed-gradient spin echo: two pulses of `delta` ms whose starts lie `Delta` ms apart.

    The echo is at Delta + delta + ramp.

    Attributes:
        delta: Plateau and one ramp, ms.
        Delta: Time between the starts of the pulses, ms, at least delta + ramp.
        ramp: Rise and fall time of a pulse, ms, at most delta; 0: rectangular.

    Source: Stejskal and Tanner, J. Chem. Phys. 42:288 (1965); ramps: Price and Kuchel, J. Magn. Reson. 94:133 (1991).
    """

    delta: float
    Delta: float
    ramp: float = 0.0

    def __post_init__(self) -> None:
        _check_pair(self.delta, self.Delta, self.ramp)

    @cached_property
    def corners(self) -> Corners:
        """See `PiecewiseLinear.corners`."""
        return pulse_train([Pulse(0.0, self.delta, self.ramp, _Z), Pulse(self.Delta, self.delta, self.ramp, _MINUS_Z)])

    @property
    def diffusion_time(self) -> float:
        """See `Waveform.diffusion_time`."""
        return self.Delta - self.delta / 3.0

    @property
    def is_antisymmetric(self) -> bool:
        """See `Waveform.is_antisymmetric`."""
        return True

    def b_per_squared_q(self) -> float:
        """See `Waveform.b_per_squared_q`: delta^2 (Delta - delta/3) + ramp^3/30 - delta ramp^2/6."""
        return _trapezoid_b(self.delta, self.Delta, self.ramp)


@dataclass(frozen=True)
class PGSTE(PGSE):
    """Stimulated echo: PGSE whose magnetization is stored along the field for `mixing` ms between its pulses.

    Diffusion encoding is that of PGSE. What else storage does is left out: the signal is not halved, T1 is neglected,
    and a finite T2 acts during storage too, so take T2 = inf (or read only S/S0 of a substrate of one T2).

    Attributes:
        delta: Plateau and one ramp, ms.
        Delta: Time between the starts of the pulses, ms.
        ramp: Rise and fall time of a pulse, ms.
        mixing: Time between the second and the third 90 degree pulse, ms, at most Delta - delta - ramp.

    Source: Tanner, J. Chem. Phys. 52:2523 (1970).
    """

    mixing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_duration(self.mixing, "mixing", zero=True)
        room = self.Delta - self.delta - self.ramp
        if self.mixing > room + 1e-9:
            raise InputError(
                f"mixing = {self.mixing:g} ms does not fit in the {room:g} ms between the pulses",
                "make it at most Delta - delta - ramp",
                key="mixing",
            )

    @property
    def transverse_time(self) -> float:
        """Time that T2 acts, ms: what a scanner calls the echo time of a stimulated echo."""
        return self.echo_time - self.mixing


@dataclass(frozen=True)
class TRSE(PiecewiseLinear):
    """Twice-refocused spin echo: four pulses; refocusing pulses lie in the pauses after the first and the third.

    The effective signs are +, +, -, -; on the scanner the pulses alternate. The echo is at the end of the fourth.

    Attributes:
        durations: Of the four pulses, each plateau and one ramp, ms; the first two last as long as the last two.
        pause: Time of no gradient for each refocusing pulse, ms.
        gap: Time of no gradient between the second and the third pulse, ms.
        ramp: Rise and fall time of a pulse, ms.

    Source: Reese et al., Magn. Reson. Med. 49:177 (2003).
    """

    durations: tuple[float, float, float, float]
    pause: float = 0.0
    gap: float = 0.0
    ramp: float = 0.0

    def __post_init__(self) -> None:
        if len(self.durations) != 4:
            raise InputError(
                f"{len(self.durations)} durations", "give those of the four pulses, in ms", key="durations"
            )
        object.__setattr__(self, "durations", tuple(float(duration) for duration in self.durations))
        for duration in self.durations:
            check_duration(duration, "durations")
            check_ramp(self.ramp, duration, "a pulse's duration")
        check_duration(self.pause, "pause", zero=True)
        check_duration(self.gap, "gap", zero=True)
        self.refuse_unrefocused("durations")

    @cached_property
    def corners(self) -> Corners:
        """See `PiecewiseLinear.corners`."""
        start, pulses = 0.0, []
        spacing = (self.pause, self.gap, self.pause, 0.0)
        for duration, height, after in zip(self.durations, (_Z, _Z, _MINUS_Z, _MINUS_Z), spacing, strict=True):
            pulses.append(Pulse(start, duration, self.ramp, height))
            start += duration + self.ramp + after
        return pulse_train(pulses)

    @property
    def diffusion_time(self) -> float:
        """See `Waveform.diffusion_time`: b over the largest squared wave number."""
        first, second, _, _ = self.durations
        return self.b_per_squared_q() / (first + second) ** 2

    @property
    def is_antisymmetric(self) -> bool:
        """See `Waveform.is_antisymmetric`."""
        return is_odd(self.corners)


@dataclass(frozen=True)
class LongNarrow(PiecewiseLinear):
    """Diffusion pore imaging: a long weak pulse, and a narrow strong one that refocuses it.

    A molecule that has seen all of its pore during the long pulse has lost the phase of the pore's centre of mass; the
    narrow pulse takes that of where it is. So the signal of a closed pore tends to the Fourier transform of its shape
    about that centre, at the wave vector of the narrow pulse: a complex number, unlike that of PGSE, which is never
    negative, and the same for a pore and its point reflection. The echo is at long + narrow + gap + 2 ramp.

    Attributes:
        long: Plateau and one ramp of the weak pulse, ms; of the order of the pore's length squared over diffusivity.
        narrow: Plateau and one ramp of the strong pulse, ms.
        gap: Time of no gradient between them, ms.
        ramp: Rise and fall time of both, ms.

    Source: Laun, Kuder, Semmler and Stieltjes, Phys. Rev. Lett. 107:048102 (2011).
    """

    long: float
    narrow: float
    gap: float = 0.0
    ramp: float = 0.0

    def __post_init__(self) -> None:
        for name in ("long", "narrow"):
            check_duration(getattr(self, name), name)
            check_ramp(self.ramp, getattr(self, name), name)
        check_duration(self.gap, "gap", zero=True)
        if self.long < self.narrow:
            raise InputError(
                f"long = {self.long:g} ms is shorter than narrow = {self.narrow:g} ms", "swap them", key="long"
            )

    @cached_property
    def corners(self) -> Corners:
        """See `PiecewiseLinear.corners`."""
        weak = (0.0, 0.0, self.narrow / self.long)
        start = self.long + self.ramp + self.gap
        return pulse_train([Pulse(0.0, self.long, self.ramp, weak), Pulse(start, self.narrow, self.ramp, _MINUS_Z)])

    @property
    def diffusion_time(self) -> float:
        """See `Waveform.diffusion_time`: b over the largest squared wave number."""
        return self.b_per_squared_q() / self.narrow**2

    @property
    def is_antisymmetric(self) -> bool:
        """See `Waveform.is_antisymmetric`."""
        return is_odd(self.corners)


@dataclass(frozen=True)
class DDE(PiecewiseLinear):
    """Double diffusion encoding: two PGSE blocks, the second along a direction of its own.

    The first block is along the measurement's direction (z of the local frame), the second along the local
    (sin angle cos azimuth, sin angle sin azimuth, cos angle); `Protocol.dde` takes pairs of directions instead. The
    pulses are +n1, -n1, +n2, -n2. b is that of both blocks together.

    Attributes:
        delta: Of every pulse, plateau and one ramp, ms.
        Delta: Time between the starts of the pulses of a block, ms.
        mixing: Time between the starts of the second and the third pulse, ms, at least delta + ramp.
        angle: Between the two directions, degrees, 0 to 180.
        azimuth: Of the second direction about the first, degrees.
        ramp: Rise and fall time of a pulse, ms.

    Source: Mitra, Phys. Rev. B 51:15074 (1995); names: Shemesh et al., Magn. Reson. Med. 75:82 (2016).
    """

    delta: float
    Delta: float
    mixing: float
    angle: float = 0.0
    azimuth: float = 0.0
    ramp: float = 0.0

    def __post_init__(self) -> None:
        _check_pair(self.delta, self.Delta, self.ramp)
        if not (np.isfinite(self.mixing) and self.mixing >= self.delta + self.ramp):
            raise InputError(
                f"mixing = {self.mixing:g} ms is shorter than a pulse, {self.delta + self.ramp:g} ms",
                "it runs from the start of the second pulse to that of the third: make it at least delta + ramp",
                key="mixing",
            )
        if not 0 <= self.angle <= 180:
            raise InputError(f"angle = {self.angle:g} degrees", "give 0 to 180 degrees", key="angle")
        if not np.isfinite(self.azimuth):
            raise InputError(f"azimuth = {self.azimuth:g} degrees", "give a finite angle in degrees", key="azimuth")

    @cached_property
    def corners(self) -> Corners:
        """See `PiecewiseLinear.corners`."""
        second = _polar(self.angle, self.azimuth)
        starts = (0.0, self.Delta, self.Delta + self.mixing, 2 * self.Delta + self.mixing)
        heights = (_Z, _MINUS_Z, second, (-second[0], -second[1], -second[2]))
        return pulse_train(
            [Pulse(start, self.delta, self.ramp, height) for start, height in zip(starts, heights, strict=True)]
        )

    @property
    def diffusion_time(self) -> float:
        """See `Waveform.diffusion_time`: of one block."""
        return self.Delta - self.delta / 3.0

    @property
    def is_antisymmetric(self) -> bool:
        """See `Waveform.is_antisymmetric`."""
        return is_odd(self.corners)

    def b_per_squared_q(self) -> float:
        """See `Waveform.b_per_squared_q`: of both blocks."""
        return 2.0 * _trapezoid_b(self.delta, self.Delta, self.ramp)


def _polar(angle: float, azimuth: float) -> tuple[float, float, float]:
    """The unit vector at these degrees; exact along the axis, so that (anti)parallel blocks stay on one line."""
    if angle in (0.0, 180.0):
        return _Z if angle == 0.0 else _MINUS_Z
    theta, phi = np.radians(angle), np.radians(azimuth)
    return float(np.sin(theta) * np.cos(phi)), float(np.sin(theta) * np.sin(phi)), float(np.cos(theta))
