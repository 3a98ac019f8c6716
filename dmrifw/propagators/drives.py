"""Derivatives by what the scanner plays: the amplitude and direction of gradients, and the samples of waveforms.

With g(t) = R F(t), R = |q| times a rotation (see `dmrifw.sequences.waveforms`), a loss that depends on the weights of
the couplings at many times depends on R through one 3x3 matrix per measurement, and on the samples, in which F is
linear, through one number each: both are summed up as the adjoint passes.
"""

from __future__ import annotations

import numpy as np

from dmrifw.errors import InputError
from dmrifw.propagators.steps import Drive
from dmrifw.sequences.sampled import Sampled
from dmrifw.sequences.waveforms import Shape, frame_derivatives, frames
from dmrifw.typing import FloatArray

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)


class _Player:
    """A drive, split into frames and the gradient and wave vector in them."""

    def __init__(self, drive: Drive, samples: bool) -> None:
        waveform = drive.waveform
        if not isinstance(waveform, Shape):
            raise InputError(
                f"a {type(waveform).__name__} has no local frame", "derive it from dmrifw.sequences.waveforms.Shape"
            )
        if samples and not isinstance(waveform, Sampled):
            raise InputError(
                f"a {type(waveform).__name__} has no samples",
                "cut it into samples first: dmrifw.sequences.sampled",
                key="samples",
            )
        self.drive, self.waveform, self.encoding = drive, waveform, drive.encoding
        self.frames = frames(drive.q)
        self.periodic = np.array(drive.encoding.periodic)

    def wavevector(self, time: float) -> FloatArray:
        """(3,) in the local frame, per unit of q."""
        return self.waveform.local_wavevector(time)[0]

    def nodes(self) -> tuple[FloatArray, FloatArray]:
        """Times and weights with which the b-tensor of a piecewise linear waveform is integrated exactly."""
        starts = self.waveform.breakpoints
        half = 0.5 * np.diff(starts)[:, None]
        return (starts[:-1, None] + half * (1 + _NODES)).ravel(), (half * _WEIGHTS).ravel()


class DriveGradient(_Player):
    """Sums up d loss by the weights of the couplings.

    Args:
        drive: The measurements.
        samples: Whether the samples of the waveform are wanted.

    Attributes:
        samples: As the samples of the waveform: d loss by them, per mT/m; empty if they are not wanted.

    Local.
    """

    def __init__(self, drive: Drive, samples: bool) -> None:
        super().__init__(drive, samples)
        self._frames_bar = np.zeros((len(drive.q), 3, 3))
        self._wants_samples = samples
        self.samples = np.zeros((len(drive.waveform.samples) if samples else 0, 3))  # type: ignore[attr-defined]

    def add(self, bar: FloatArray, time: float, interval: int) -> None:
        """Add d loss by the (m, c) weights at a time."""
        gradient = np.where(self.periodic, 0.0, bar[:, :3])
        self._add_local(gradient, self.waveform.local_gradient(time, interval), ("gradient", time, interval))
        if not self.periodic.any():
            return
        k = self.drive.waveform.wavevector(self.drive.q, time)[0]
        vector = np.where(self.periodic, bar[:, :3], 0.0)
        for number, (a, b) in enumerate(self.encoding.spread, start=3):
            vector[:, a] += 2 * bar[:, number] * k[:, b]
            if a != b:
                vector[:, b] += 2 * bar[:, number] * k[:, a]
        self._add_local(vector, self.wavevector(time), ("wavevector", time, interval))

    def add_damping(self, scale: FloatArray) -> None:
        """Add d loss by `Encoding.damping`, where (m,) `scale` is d loss by its logarithm."""
        if not self.periodic.any():
            return
        bar = -2.0 * scale[:, None, None] * (self.encoding.mean_diffusivity @ self.frames)
        self._frames_bar += bar @ self.waveform.local_btensor()
        if self._wants_samples:
            local = np.einsum("mia,mib->ab", self.frames, bar)
            for time, weight in zip(*self.nodes(), strict=True):
                self._add_samples(weight * local @ self.wavevector(time), ("wavevector", time, 0))

    @property
    def q(self) -> FloatArray:
        """(m, 3) d loss by q."""
        return np.einsum("mij,mijk->mk", self._frames_bar, frame_derivatives(self.drive.q))

    def _add_local(self, bar: FloatArray, local: FloatArray, at: tuple[str, float, int]) -> None:
        self._frames_bar += bar[:, :, None] * local
        if self._wants_samples:
            self._add_samples(np.einsum("mij,mi->j", self.frames, bar), at)

    def _add_samples(self, bar: FloatArray, at: tuple[str, float, int]) -> None:
        self.samples += _hats(self.waveform, at)[:, None] * bar


class DriveChange(_Player):
    """How the weights of the couplings change along a direction.

    Args:
        drive: The measurements.
        q: (m, 3) change of q, or None.
        samples: Change of the samples, mT/m, or None.

    Local.
    """

    def __init__(self, drive: Drive, q: FloatArray | None, samples: FloatArray | None) -> None:
        super().__init__(drive, samples is not None)
        self._turned = np.zeros_like(self.frames)
        if q is not None:
            self._turned = np.einsum("mijk,mk->mij", frame_derivatives(drive.q), q)
        self._samples = samples

    def weights(self, time: float, interval: int) -> FloatArray:
        """(m, c) change of the weights at a time."""
        gradient = self._vector(self.waveform.local_gradient(time, interval), ("gradient", time, interval))
        if not self.periodic.any():
            return gradient
        k = self.drive.waveform.wavevector(self.drive.q, time)[0]
        change = self._vector(self.wavevector(time), ("wavevector", time, interval))
        real = [
            (1 if a == b else 2) * (k[:, a] * change[:, b] + change[:, a] * k[:, b]) for a, b in self.encoding.spread
        ]
        return np.column_stack([np.where(self.periodic, change, gradient), *real])

    def damping(self) -> FloatArray:
        """(m,) change of the logarithm of `Encoding.damping`."""
        if not self.periodic.any():
            return np.zeros(len(self.drive.q))
        mean = self.encoding.mean_diffusivity
        out = -2.0 * np.einsum("ij,mia,ab,mjb->m", mean, self._turned, self.waveform.local_btensor(), self.frames)
        if self._samples is not None:
            for time, weight in zip(*self.nodes(), strict=True):
                k = self.frames @ self.wavevector(time)
                change = self.frames @ (_hats(self.waveform, ("wavevector", time, 0)) @ self._samples)
                out -= 2.0 * weight * np.einsum("mi,ij,mj->m", k, mean, change)
        return out

    def _vector(self, local: FloatArray, at: tuple[str, float, int]) -> FloatArray:
        """(m, 3) change of a vector that is `local` in the frames."""
        change = self._turned @ local
        if self._samples is not None:
            change = change + self.frames @ (_hats(self.waveform, at) @ self._samples)
        return change


def _hats(waveform: Shape, at: tuple[str, float, int]) -> FloatArray:
    """(n,) what each sample adds to the gradient or the wave vector at a time."""
    kind, time, interval = at
    hats = waveform.hats  # type: ignore[attr-defined]
    return hats.local_gradient(time, interval) if kind == "gradient" else hats.local_wavevector(time)[0]
