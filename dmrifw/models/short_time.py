"""The short-time limit of restricted diffusion: the ADC knows the walls by their surface alone.

Only water within a diffusion length of a wall feels it, and finds it flat: for any waveform

    ADC = D [1 - 4/(3 sqrt(pi)) (S_n/V) sqrt(D t)],      S_n = integral of (n.g)^2 over the walls (n: their normals)

with one effective time t for each waveform: with F(t) the integral of the gradient,

    sqrt(t) = (3/4) int_0^TE F(t) int_0^t F(s) (t - s)^(-1/2) ds dt / int_0^TE F^2 dt.

For narrow pulses t is the time between them, and for an isotropic surface in d dimensions S_n = S/d: then this is
Mitra's D [1 - 4/(3 d sqrt(pi)) (S/V) sqrt(D t)]. For cosines of frequency w and many periods the term in brackets is
1 - (1/(d sqrt 2)) (S/V) sqrt(D/w). Curvature and permeability enter at the next order, D t S/V.

Source: Mitra, Sen and Schwartz, Phys. Rev. B 47:8565 (1993); oscillating gradients: Novikov and Kiselev, J. Magn.
Reson. 210:141 (2011). The effective time follows from the flux D F n.g into a half-space, whose surface value is the
integral of the flux times (pi D (t - s))^(-1/2), put into the homogenized ADC (see
`dmrifw.propagators.homogenized_adc`).
"""

from __future__ import annotations

import numpy as np

from dmrifw.errors import InputError
from dmrifw.models.blocks import gradient_blocks
from dmrifw.sequences import Waveform
from dmrifw.typing import FloatArray


def short_time_adc(waveform: Waveform, diffusivity: float, surface_to_volume: float, dimension: float = 3.0) -> float:
    """The ADC of one waveform in pores, to first order in the square root of the time.

    Args:
        waveform: A waveform along a line.
        diffusivity: Of the free water, um^2/ms.
        surface_to_volume: S/V of the pore, 1/um, counting all walls that water meets.
        dimension: Over how many dimensions the surface is spread evenly: 3 for a sphere or a random medium, 2 for
            cylinders across their axis, 1 for slabs across. It divides S/V.

    Returns:
        um^2/ms; meaningless where it is far below the diffusivity.

    Raises:
        InputError: A number is out of range, or the gradient leaves its line.

    Local.
    """
    for key, value in (("diffusivity", diffusivity), ("dimension", dimension)):
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"{key} = {value:g}", "give a positive number", key=key)
    if not (np.isfinite(surface_to_volume) and surface_to_volume >= 0):
        mend = "give a number of at least 0, 1/um"
        raise InputError(f"surface_to_volume = {surface_to_volume:g}", mend, key="surface_to_volume")
    length = np.sqrt(diffusivity * effective_time(waveform))
    return float(diffusivity * (1.0 - 4.0 / (3.0 * np.sqrt(np.pi) * dimension) * surface_to_volume * length))


def effective_time(waveform: Waveform) -> float:
    """The time between narrow pulses that would show the walls as the waveform does, in the short-time limit.

    Args:
        waveform: A waveform along a line.

    Returns:
        ms; Delta of PGSE with narrow pulses.

    Raises:
        InputError: The gradient leaves its line.

    Local.
    """
    times, values = gradient_blocks(waveform)
    if np.abs(values[:, :2]).max() > 1e-12:
        told = f"the gradient of {type(waveform).__name__} leaves its line"
        raise InputError(told, "give a linear waveform", key="waveform")
    jumps = np.diff(values[:, 2], prepend=0.0, append=0.0)
    # In the integral over s < t of F F (t-s)^(-1/2), parts move two derivatives to the kernel for each F: F'' is the
    # sum of jumps at `times`, and the fourth integral of t^(-1/2) is (16/105) t^(7/2).
    apart = np.abs(times[:, None] - times[None, :])
    memory = 0.5 * (16.0 / 105.0) * float(jumps @ apart**3.5 @ jumps)
    return (0.75 * memory / _squared_moment(times, values)) ** 2


def _squared_moment(times: FloatArray, values: FloatArray) -> float:
    """The integral of F^2, with F linear in each block."""
    moment = np.concatenate([[0.0], np.cumsum(values[:, 2] * np.diff(times))])
    first, last = moment[:-1], moment[1:]
    return float(np.sum(np.diff(times) * (first**2 + first * last + last**2) / 3))
