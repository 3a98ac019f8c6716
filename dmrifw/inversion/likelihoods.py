"""How improbable a measured signal is, given a simulated one: squared differences, Gaussian and Rician likelihoods.

Signals are relative to S0, and so is sigma, the standard deviation of the noise in the real part, and of that in the
imaginary part. Likelihoods are given as -log p, less the terms in which the simulated signal does not occur: they are
at least 0, and 0 only where the two agree and there is no noise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

import torch

from dmrifw.errors import InputError

Likelihood: TypeAlias = Literal["squared", "gaussian", "rician"]
"""How signals are compared."""

DataTerm: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Takes simulated and measured signals, (n,) complex, relative to S0; returns (n,) costs, differentiable. Local."""


def data_term(likelihood: Likelihood, magnitude: bool, sigma: float | None) -> DataTerm:
    """The comparison that a name means.

    Args:
        likelihood: "squared", "gaussian" or "rician".
        magnitude: Compare magnitudes; otherwise real and imaginary parts.
        sigma: Standard deviation of the noise, relative to S0; not used by "squared".

    Returns:
        The comparison.

    Raises:
        InputError: There is no such likelihood, sigma is not positive, or complex data are said to be Rician.

    Local.
    """
    if likelihood == "squared":
        return partial(squared_difference, magnitude=magnitude)
    if likelihood not in ("gaussian", "rician"):
        raise InputError(
            f"there is no {likelihood!r}", "choose one of 'squared', 'gaussian' or 'rician'", key="likelihood"
        )
    if sigma is None or not 0 < sigma < float("inf"):
        raise InputError(f"sigma = {sigma}", "give a positive number, the noise relative to S0", key="sigma")
    if likelihood == "gaussian":
        return partial(gaussian, sigma=sigma, magnitude=magnitude)
    if not magnitude:
        raise InputError(
            "only magnitudes are Rician", 'choose "gaussian" for real and imaginary parts', key="likelihood"
        )
    return partial(rician, sigma=sigma)


def squared_difference(signal: torch.Tensor, measured: torch.Tensor, *, magnitude: bool) -> torch.Tensor:
    """(|S| - |m|)^2, or |S - m|^2.

    Args:
        signal: (n,) complex, simulated, relative to S0.
        measured: (n,) complex, relative to S0.
        magnitude: Compare magnitudes.

    Returns:
        (n,) squares.

    Local.
    """
    if magnitude:
        return (signal.abs() - measured.abs()).square()
    return torch.view_as_real(signal - measured).square().sum(dim=-1)


def gaussian(signal: torch.Tensor, measured: torch.Tensor, *, sigma: float, magnitude: bool) -> torch.Tensor:
    """The squared difference over 2 sigma^2: normal noise in each part, or in the magnitude.

    Args:
        signal: (n,) complex, simulated, relative to S0.
        measured: (n,) complex, relative to S0.
        sigma: Standard deviation of the noise, relative to S0.
        magnitude: Compare magnitudes.

    Returns:
        (n,) -log p, less what does not depend on the signal.

    Local.
    """
    return squared_difference(signal, measured, magnitude=magnitude) / (2.0 * sigma**2)


def rician(signal: torch.Tensor, measured: torch.Tensor, *, sigma: float) -> torch.Tensor:
    """(m - |S|)^2 / (2 sigma^2) - log(exp(-x) I0(x)) with x = m |S| / sigma^2: magnitudes of noisy complex signals.

    The scaled Bessel function neither overflows at a high signal-to-noise ratio nor loses digits at a low one.

    Args:
        signal: (n,) complex, simulated, relative to S0.
        measured: (n,) whose magnitudes m were measured, relative to S0.
        sigma: Standard deviation of the noise in each part before the magnitude is taken, relative to S0.

    Returns:
        (n,) -log p(m) + log(m / sigma^2).

    Source: Gudbjartsson and Patz, Magn. Reson. Med. 34:910, 1995.

    Local.
    """
    magnitude, m = signal.abs(), measured.abs()
    bessel = torch.special.i0e(m * magnitude / sigma**2)
    return (m - magnitude).square() / (2.0 * sigma**2) - torch.log(bessel)
