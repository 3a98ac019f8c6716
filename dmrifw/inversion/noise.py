"""Noise that is added to signals, and noise that is read off them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy.special import ive

from dmrifw.errors import InputError
from dmrifw.inversion.directions import even_and_odd, orthonormal, polynomials, sequences, shells
from dmrifw.sequences import Protocol
from dmrifw.typing import ArrayLike, ComplexArray, FloatArray

Noise: TypeAlias = Literal["gaussian", "rician"]
"""Noise in the real and the imaginary part; "rician": and then only the magnitude is kept."""

_ROUNDS = 100
"""Steps of the fixed point for Rician noise; each gains more than a digit where the signal exceeds the noise."""

_LEFT_OVER = 30
"""Degrees of freedom from which a scatter is told: to 13 %."""


def add_noise(signal: ArrayLike, protocol: Protocol, snr: float, seed: int, noise: Noise = "gaussian") -> ComplexArray:
    """Signals as a noisy receiver would give them.

    Args:
        signal: (n,) complex.
        protocol: Their measurements.
        snr: S0 / sigma, with S0 the mean magnitude of a sequence's signals at b = 0 and sigma the standard deviation
            of the noise in each part. So noise is the same share of S0 in every sequence.
        seed: Seed; the same on all ranks.
        noise: "gaussian" adds independent normal noise to both parts; "rician" then takes magnitudes.

    Returns:
        (n,) complex signals, replicated.

    Raises:
        InputError: `snr` is not positive, or a sequence has no measurement at b = 0.

    Local.
    """
    if not snr > 0:
        raise InputError(f"snr = {snr:g}", "give a positive number", key="snr")
    clean = np.asarray(signal, dtype=np.complex128)
    sigma = unweighted_signal(clean, protocol) / snr
    parts = np.random.default_rng(seed).standard_normal((2, len(clean)))
    noisy = clean + sigma * (parts[0] + 1j * parts[1])
    return noisy if noise == "gaussian" else np.abs(noisy).astype(np.complex128)


def estimate_sigma(signal: ArrayLike, protocol: Protocol, magnitude: bool) -> float:
    """The noise, read off the scatter of the signals at b = 0.

    Their variance is taken within each sequence, and averaged over the sequences by degrees of freedom. Of magnitudes
    it is a little too small, and is corrected.

    Args:
        signal: (n,) complex, as measured.
        protocol: The measurements.
        magnitude: Only magnitudes count, which are Rician; otherwise both parts do.

    Returns:
        Standard deviation of the noise in each part, relative to S0 of its sequence.

    Raises:
        InputError: No sequence has two measurements at b = 0, or their signals do not differ.

    Source: Koay and Basser, J. Magn. Reson. 179:317, 2006 (the correction).

    Local.
    """
    values = np.asarray(signal, dtype=np.complex128)
    values = values / unweighted_signal(values, protocol)
    if magnitude:
        values = np.abs(values).astype(np.complex128)
    at_zero, count = protocol.bvals == 0, len(protocol.waveforms)
    sequence, scatter = protocol.sequence[at_zero], values[at_zero]
    number = np.bincount(sequence, minlength=count)
    mean = [np.bincount(sequence, part, count) / np.maximum(number, 1) for part in (scatter.real, scatter.imag)]
    squares = np.abs(scatter - (mean[0] + 1j * mean[1])[sequence]) ** 2
    freedom = int(np.maximum(number - 1, 0).sum())
    if freedom == 0:
        raise InputError("no sequence has two measurements at b = 0 to tell the noise", "give sigma", key="sigma")
    variance = float(squares.sum()) / freedom / (1 if magnitude else 2)
    if not variance > 0:
        raise InputError("the signals at b = 0 do not differ, so they tell no noise", "give sigma", key="sigma")
    return float(np.sqrt(variance / _rician_share(1.0 / variance) if magnitude else variance))


@dataclass(frozen=True)
class Remainder:
    """What a model leaves unexplained, taken apart.

    Attributes:
        noise: Root mean square over the measurements of the noise in each part, in the unit of the differences.
        excess: By how much what changes slowly with direction and b exceeds such noise, over the standard deviation of
            that if there were nothing else: more than 2 or 3 where the model is wrong.
    """

    noise: float
    excess: float


def remainder(difference: ArrayLike, protocol: Protocol, sigma: float | None = None) -> Remainder | None:
    """The noise in what a model leaves unexplained, whatever is wrong with the model, and whether anything is.

    Within a shell, the measurements of a sequence with about the same b, what a model misses changes smoothly with the
    direction: real parts, which are even, as polynomials of degree 4, imaginary ones, which are odd, as those of degree
    3. What these leave over is noise. Most of what a model misses is in polynomials of degree 2, or 1, that change
    linearly with b.

    Args:
        difference: (n,) between signals and those of the model; real where they are magnitudes.
        protocol: The measurements.
        sigma: Standard deviation of the noise in each part, where it is known.

    Returns:
        None where too few directions were measured to tell.

    Local.
    """
    parts = even_and_odd(np.asarray(difference))
    squares = slow_squares = 0.0
    counted = freedom = slow_freedom = 0
    for rows, directions in shells(protocol):
        for part, odd in parts:
            smooth = polynomials(directions, 4 - odd)
            if left := len(rows) - smooth.shape[1]:
                squares += len(rows) / left * float(np.sum((part[rows] - smooth @ (smooth.T @ part[rows])) ** 2))
                counted += len(rows)
                freedom += left
    if freedom < _LEFT_OVER:
        return None
    for rows, directions, b in sequences(protocol):
        for part, odd in parts:
            angular = polynomials(directions, 2 - odd)
            slow = orthonormal(np.concatenate([angular, b[:, None] * angular], axis=1))
            slow_squares += float(np.sum((slow.T @ part[rows]) ** 2))
            slow_freedom += slow.shape[1]
    noise = float(np.sqrt(squares / counted)) if sigma is None else sigma
    spread = np.sqrt(2 / slow_freedom + (2 / freedom if sigma is None else 0.0))
    with np.errstate(divide="ignore"):
        return Remainder(noise, float((np.divide(slow_squares, slow_freedom * noise**2) - 1) / spread))


def unweighted_signal(signal: ComplexArray, protocol: Protocol) -> FloatArray:
    """S0 of each measurement: the mean magnitude of its sequence's signals at b = 0.

    Args:
        signal: (n,) complex.
        protocol: The measurements.

    Returns:
        (n,) S0, positive.

    Raises:
        InputError: A sequence has no measurement at b = 0, or its signal there is zero.

    Local.
    """
    count = len(protocol.waveforms)
    unweighted = protocol.bvals == 0
    number = np.bincount(protocol.sequence[unweighted], minlength=count)
    total = np.bincount(protocol.sequence[unweighted], weights=np.abs(signal[unweighted]), minlength=count)
    for one in np.unique(protocol.sequence):
        if number[one] == 0:
            raise InputError(
                f"sequence {one} has no measurement at b = 0 to divide its signals by", "add one", key="protocol"
            )
        if not total[one] > 0:
            raise InputError(f"the b = 0 signal of sequence {one} is zero", "give a positive signal", key="target")
    return (total / np.maximum(number, 1))[protocol.sequence]


def _rician_share(squared_mean: float) -> float:
    """Variance of a Rician magnitude over sigma^2, from its squared mean over its variance.

    The fixed point of theta^2 = xi(theta) (1 + mean^2/variance) - 2, theta being the true signal over sigma.
    """
    squared_theta = max(squared_mean - 1.0, 0.0)
    for _ in range(_ROUNDS):
        squared_theta = max(_variance_over_sigma(squared_theta) * (1.0 + squared_mean) - 2.0, 0.0)
    return _variance_over_sigma(squared_theta)


def _variance_over_sigma(squared_theta: float) -> float:
    """Koay and Basser's xi = 2 + t - pi/8 ((2 + t) I0(t/4) + t I1(t/4))^2 exp(-t/2), with t = theta^2."""
    t = squared_theta
    if t > 1e4:
        return 1.0 - 0.5 / t  # the difference of large numbers below has no digits left
    bracket = (2.0 + t) * ive(0, t / 4) + t * ive(1, t / 4)
    return float(2.0 + t - np.pi / 8 * bracket**2)
