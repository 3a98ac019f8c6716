"""How a gradient enters the equation: as a phase, or, along periodic axes, as a shift of the wave vector.

Along an axis that ends at walls the gradient adds -i g x u. Along a periodic axis x is not defined; with k the integral
of g, v = u exp(i k.x) is periodic where u is not, and obeys

    dv/dt = (grad - i k).D (grad - i k) v - v/T2,

so that, as matrices, M dv/dt = -(A + i sum_a k_a B_a + sum_ab k_a k_b N_ab) v, with B_a the skew drift along D e_a and
N_ab the mass weighted with D_ab. The mean of D over the cell acts on all of v alike: it leaves the equation and comes
back as the factor exp(-B:D), which makes free diffusion exact.

Source: Xu, Does, Gore, Phys. Med. Biol. 52:N409 (2007), for the translated phase; the transformation is Bloch's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from dmrifw.sequences import Waveform
from dmrifw.typing import Axes, FloatArray

_SAMPLES = np.sort(np.modf(np.arange(1, 14) * 0.6180339887498949)[0])
"""Where in an interval to look for a gradient: at no rational spacing, so that no oscillation hides between."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """The weights with which the coupling matrices of `Operators` enter the equation at a time.

    The first three couplings are imaginary, one an axis: the moment X_a, with weight g_a, or on a periodic axis the
    drift B_a, with weight k_a. The others are real: what D_ab varies about its mean, with weight k_a k_b.

    Attributes:
        periodic: Per axis, whether the grid goes on at its opposite side.
        mean_diffusivity: (3, 3) um^2/ms, mean over the cell; zero on axes that are not periodic.
        spread: Pairs of periodic axes along which the diffusivity differs from its mean somewhere.
    """

    periodic: Axes
    mean_diffusivity: FloatArray
    spread: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, periodic: Axes, diffusivity: FloatArray, weight: FloatArray, varied: bool = False) -> Encoding:
        """The encoding in a tissue.

        Args:
            periodic: Per axis, whether the grid goes on at its opposite side.
            diffusivity: (E,) or (E, 3, 3) um^2/ms.
            weight: (E,) water of each cell, relative: density times volume.
            varied: Whether these are about to change: the mean is then rounded, so that it stays put under small
                changes, and all that the diffusivity may vary about it is coupled.

        Local.
        """
        along = np.array(periodic)
        tensors = diffusivity if diffusivity.ndim > 1 else diffusivity[:, None, None] * np.eye(3)
        tensors = np.where(np.outer(along, along), tensors, 0.0)
        mean = np.tensordot(weight, tensors, axes=1) / weight.sum()
        if varied:
            mean = np.vectorize(rounded)(mean)
        may = np.outer(along, along) & (varied & (np.eye(3, dtype=bool) | (diffusivity.ndim > 1)))
        varies = may | (np.abs(tensors - mean) > 1e-12 * np.abs(mean).max()).any(axis=0)
        pairs = tuple(pair for pair in combinations_with_replacement(range(3), 2) if varies[pair])
        return cls(periodic, mean, pairs)

    @property
    def transposition(self) -> FloatArray:
        """(c,) signs that turn the weights of a term into those of its transpose, on real and imaginary columns."""
        return np.array([1.0 if periodic else -1.0 for periodic in self.periodic] + [1.0] * len(self.spread))

    def weights(self, waveform: Waveform, q: FloatArray, time: float, interval: int) -> FloatArray:
        """(m, c) weights of the couplings at a time, for (m, 3) q in rad/(um ms); see `Waveform.gradient`. Local."""
        gradient = waveform.gradient(q, time, interval)
        if not any(self.periodic):
            return gradient
        k = waveform.wavevector(q, time)[0]
        real = [(1 if a == b else 2) * k[:, a] * k[:, b] for a, b in self.spread]
        return np.column_stack([np.where(self.periodic, k, gradient), *real])

    def is_still(self, waveform: Waveform, start: float, stop: float, interval: int) -> bool:
        """Whether nothing but diffusion acts between two times of an interval, whatever q. Local."""
        times = start + (stop - start) * _SAMPLES
        return not any(self.weights(waveform, np.eye(3), float(time), interval).any() for time in times)

    def damping(self, waveform: Waveform, q: FloatArray) -> FloatArray:
        """(m,) the factor exp(-B:D) of the mean diffusivity along periodic axes. Local."""
        if not any(self.periodic):
            return np.ones(len(q))
        return np.exp(-np.einsum("mij,ij->m", waveform.btensor(q), self.mean_diffusivity))


def rounded(value: float) -> float:
    """A number to the nearest of a coarse ladder, within 6 %: a constant that stays put under small changes. Local."""
    if value == 0.0:
        return 0.0
    step = 2.0 ** (np.floor(np.log2(abs(value))) - 3)
    return float(np.round(value / step) * step)
