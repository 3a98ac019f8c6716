"""Waveforms given by their samples, and any waveform cut into samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences.waveforms import Corners, PiecewiseLinear, Waveform, is_odd
from dmrifw.typing import ArrayLike, FloatArray

INTERPOLATIONS = ("linear", "constant")


@dataclass(frozen=True)
class Sampled(PiecewiseLinear):
    """Any effective gradient, straight or constant between ticks; its z axis follows the measurement's direction.

    So a measurement along (0, 0, 1) plays the samples as they are. Only their shape counts: a measurement's b-value
    sets the amplitude (`Protocol.from_gradients` with `peak` plays the very samples).

    Attributes:
        times: (n_t,) ticks, ms, ascending from 0.
        samples: Effective gradients in mT/m, signs of refocusing pulses folded in: (n_t, 3) at the ticks for "linear",
            (n_t - 1, 3) between them for "constant". A flat list lies along z.
        interpolation: "linear" or "constant".
    """

    times: tuple[float, ...]
    samples: tuple[tuple[float, float, float], ...]
    interpolation: str = "linear"

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(
                f"there is no interpolation {self.interpolation!r}",
                "choose 'linear' or 'constant'",
                key="interpolation",
            )
        times: FloatArray
        samples: FloatArray
        times, samples = _numbers(self.times, "times"), _numbers(self.samples, "samples")
        if times.ndim != 1 or len(times) < 2 or times[0] != 0 or (np.diff(times) <= 0).any():
            raise InputError(
                "the ticks do not ascend from 0", "give at least two times in ms, the first 0", key="times"
            )
        if samples.ndim == 1:
            samples = samples[:, None] * np.array([0.0, 0.0, 1.0])
        expected = len(times) - (self.interpolation == "constant")
        if samples.shape != (expected, 3):
            raise InputError(
                f"samples has shape {samples.shape} for {len(times)} ticks",
                f"give shape ({expected}, 3) with interpolation {self.interpolation!r}",
                key="samples",
            )
        if not samples.any():
            raise InputError("all samples are zero", "give a gradient; b = 0 switches it off", key="samples")
        object.__setattr__(self, "times", tuple(float(time) for time in times))
        object.__setattr__(self, "samples", tuple((float(x), float(y), float(z)) for x, y, z in samples))
        self._check_echo()

    def _check_echo(self) -> None:
        self.refuse_unrefocused("samples")

    def playing(self, samples: FloatArray) -> Played:
        """This waveform with other samples of the same shape, mT/m, at the same amplitude. Local."""
        return Played(self.times, samples, self.interpolation, self.unit)  # type: ignore[arg-type]

    @property
    def unit(self) -> float:
        """Gradient that counts as 1, mT/m."""
        return self.peak

    @cached_property
    def hats(self) -> Hats:
        """What the gradient and the wave vector of the local frame are multiplied from: they are linear in samples."""
        return Hats(self)

    @property
    def peak(self) -> float:
        """The largest gradient of the samples, mT/m."""
        return float(np.linalg.norm(np.array(self.samples), axis=1).max())

    @cached_property
    def corners(self) -> Corners:
        """See `PiecewiseLinear.corners`."""
        samples = np.array(self.samples) / self.unit
        ends = (samples, samples) if self.interpolation == "constant" else (samples[:-1], samples[1:])
        return Corners(np.array(self.times), *ends)

    @property
    def diffusion_time(self) -> float:
        """See `Waveform.diffusion_time`: b over the largest squared wave number."""
        return self.b_per_squared_q() / float((self._moments**2).sum(axis=1).max())

    @cached_property
    def is_antisymmetric(self) -> bool:
        """See `Waveform.is_antisymmetric`."""
        return is_odd(self.corners)


@dataclass(frozen=True)
class Played(Sampled):
    """Samples that vary: their amplitude is given, not their own, and they need not refocus.

    Attributes:
        amplitude: Gradient that counts as 1, mT/m.
    """

    amplitude: float = 1.0

    def _check_echo(self) -> None:
        pass

    @property
    def unit(self) -> float:
        """See `Sampled.unit`."""
        return self.amplitude

    @cached_property
    def is_antisymmetric(self) -> bool:
        """See `Waveform.is_antisymmetric`: what varies is not kept so."""
        return False


class Hats(PiecewiseLinear):
    """The waveform of each sample alone: `local_gradient` and `local_wavevector` have a column for each, per mT/m."""

    def __init__(self, waveform: Sampled) -> None:
        self._waveform = waveform

    @cached_property
    def corners(self) -> Corners:
        """See `PiecewiseLinear.corners`."""
        waveform = self._waveform
        each: FloatArray = np.eye(len(waveform.samples)) / np.float64(waveform.unit)
        constant = waveform.interpolation == "constant"
        return Corners(np.array(waveform.times), each if constant else each[:-1], each if constant else each[1:])

    @property
    def diffusion_time(self) -> float:
        """See `Waveform.diffusion_time`."""
        return self._waveform.diffusion_time

    @property
    def is_antisymmetric(self) -> bool:
        """See `Waveform.is_antisymmetric`."""
        return False


def sampled(waveform: Waveform, step: float) -> Sampled:
    """A waveform as constant blocks of the same areas: its wave vector is exact at every tick.

    Args:
        waveform: Any waveform.
        step: Length of a block, ms; rounded so that whole blocks fill the echo time.

    Returns:
        The samples, of unit peak before averaging.

    Raises:
        InputError: The step is not positive.

    Local.
    """
    if not (np.isfinite(step) and step > 0):
        raise InputError(f"step = {step:g} ms", "give a positive time in ms", key="step")
    times = np.linspace(0.0, waveform.echo_time, max(2, round(waveform.echo_time / step)) + 1)
    q = waveform.wavevector(np.array([[0.0, 0.0, 1.0]]), times)[:, 0]
    blocks = np.diff(q, axis=0) / np.diff(times)[:, None]
    blocks[np.abs(blocks) < 1e-12 * np.abs(blocks).max()] = 0.0
    return Sampled(tuple(times), tuple(map(tuple, blocks)), "constant")


def _numbers(values: ArrayLike, key: str) -> FloatArray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{key} is not a table of numbers", "give rows of the same length", key=key) from error
    if not np.isfinite(array).all():
        raise InputError(f"{key} holds a number that is not finite", "give finite numbers", key=key)
    return array
