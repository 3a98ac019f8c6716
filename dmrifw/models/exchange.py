"""Kärger's model: compartments with free diffusion each, that exchange magnetization at given rates.

    dS/dt = -diag(q(t).D_j q(t)) S + K S

with q(t) the wave vector of any waveform, so pulses may be finite. It holds where exchange is slow against the time in
which a compartment is explored, and where each compartment looks free on that scale.

Source: Kärger, Adv. Colloid Interface Sci. 23:129 (1985); finite pulses: Moutal et al., J. Magn. Reson. 296:72 (2018).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dmrifw.errors import ConvergenceError, InputError
from dmrifw.models.free import as_tensor
from dmrifw.sequences import Protocol, Waveform
from dmrifw.typing import ArrayLike, FloatArray

_NODES = 0.5 + np.sqrt(3.0) / 6 * np.array([-1.0, 1.0])
_MIX = 0.25 + np.sqrt(3.0) / 6 * np.array([[1.0, -1.0], [-1.0, 1.0]])
"""The commutator-free Magnus integrator of order four: two exponentials of mixtures of the rates at Gauss's nodes.

Source: Blanes and Moan, Appl. Numer. Math. 56:1519 (2006).
"""

_MOST_STEPS = 4096
_TOLERANCE = 1e-8
"""Change of S/S0 by halving the steps at which they are small enough."""


def exchange_rates(volumes: ArrayLike, areas: ArrayLike, permeability: ArrayLike) -> FloatArray:
    """The exchange matrix of compartments with walls between them.

    Water leaves compartment j for i at the rate kappa A_ij / V_j, so j alone would exchange in V_j/(kappa A) ms; what
    flows from i to j in equilibrium flows back.

    Args:
        volumes: (C,) um^3, times relative densities where they differ.
        areas: (C, C) area of the wall between each pair, um^2, symmetric; the diagonal does not count.
        permeability: um/ms, one for all walls or symmetric (C, C).

    Returns:
        (C, C) K, 1/ms, with dm/dt = K m for contents m; its columns add up to zero.

    Raises:
        InputError: A volume is not positive, or an area or permeability negative or not symmetric.

    Source: Kärger (1985); Fieremans et al., NMR Biomed. 23:711 (2010).

    Local.
    """
    content = np.atleast_1d(np.asarray(volumes, dtype=np.float64))
    flow = np.asarray(areas, dtype=np.float64) * np.asarray(permeability, dtype=np.float64)
    if content.ndim != 1 or not (np.isfinite(content) & (content > 0)).all():
        raise InputError(f"volumes = {content.tolist()}", "give one positive volume per compartment", key="volumes")
    if (
        flow.shape != (len(content),) * 2
        or not (np.isfinite(flow) & (flow >= 0)).all()
        or not np.allclose(flow, flow.T)
    ):
        raise InputError(
            f"permeability times area is no symmetric {len(content)}x{len(content)} table of numbers >= 0",
            "give the area of the wall between each pair of compartments",
            key="areas",
        )
    rates = flow / content
    np.fill_diagonal(rates, 0.0)
    return rates - np.diag(rates.sum(axis=0))


def karger(protocol: Protocol, diffusivities: ArrayLike, fractions: ArrayLike, rates: ArrayLike) -> FloatArray:
    """Signals of exchanging compartments, relative to the whole at b = 0.

    Args:
        protocol: The measurements; any waveforms.
        diffusivities: C entries: um^2/ms, or symmetric (3, 3) tensors.
        fractions: (C,) share of each compartment at equilibrium; normalized here.
        rates: (C, C) exchange matrix, 1/ms, that leaves the fractions as they are, from `exchange_rates` for example.

    Returns:
        (n, C) magnetization of each compartment at the echo; the sum over C is S/S0.

    Raises:
        InputError: Lengths differ, a fraction is negative, or the rates do not keep the fractions in balance.
        ConvergenceError: The time steps do not converge.

    Local.
    """
    tensors = np.array([as_tensor(entry) for entry in diffusivities])
    share, matrix = _checked(len(tensors), fractions, rates)
    signals = np.empty((len(protocol), len(share)))
    for number in np.unique(protocol.sequence):
        rows = protocol.sequence == number
        signals[rows] = _converged(protocol.waveforms[number], protocol.q[rows], tensors, share, matrix)
    return signals


def _checked(count: int, fractions: ArrayLike, rates: ArrayLike) -> tuple[FloatArray, FloatArray]:
    share = np.asarray(fractions, dtype=np.float64)
    matrix = np.asarray(rates, dtype=np.float64)
    if share.shape != (count,) or not (np.isfinite(share) & (share > 0)).all():
        mend = f"give {count} positive numbers, one per diffusivity"
        raise InputError(f"fractions = {share.tolist()}", mend, key="fractions")
    share = share / share.sum()
    off_diagonal = matrix[~np.eye(count, dtype=bool)] if matrix.shape == (count, count) else np.array([-1.0])
    if not (np.isfinite(off_diagonal) & (off_diagonal >= 0)).all():
        mend = "give the rate from compartment j to i in row i and column j, 1/ms, at least 0"
        raise InputError(f"the rates are no {count}x{count} exchange matrix", mend, key="rates")
    flow = matrix * share
    small = 1e-9 * np.abs(flow).max()
    if not np.allclose(matrix.sum(axis=0), 0, atol=1e-9 * np.abs(matrix).max()) or not np.allclose(
        flow, flow.T, rtol=1e-9, atol=small
    ):
        raise InputError(
            "the rates do not keep the fractions in balance",
            "columns must add up to zero, and rates[i, j] fractions[j] be symmetric: see exchange_rates",
            key="rates",
        )
    return share, matrix


def _converged(
    waveform: Waveform, q: FloatArray, tensors: FloatArray, share: FloatArray, matrix: FloatArray
) -> FloatArray:
    """(m, C) signals, with steps halved until they no longer change."""
    root = np.sqrt(share)
    symmetric = matrix * root[None, :] / root[:, None]  # similar to K by detailed balance
    steps, before = 8, None
    while steps <= _MOST_STEPS:
        signals = root * _evolved(waveform, q, tensors, 0.5 * (symmetric + symmetric.T), root, steps)
        if before is not None and np.abs(signals - before).max() <= _TOLERANCE:
            return signals
        steps, before = 2 * steps, signals
    raise ConvergenceError(f"Kärger's equations did not converge in {_MOST_STEPS} steps per interval")


def _evolved(
    waveform: Waveform, q: FloatArray, tensors: FloatArray, exchange: FloatArray, start: FloatArray, steps: int
) -> FloatArray:
    """(m, C) solution of the symmetrized equations at the echo."""
    state = np.broadcast_to(start, (len(q), len(start)))
    for begin, end in pairwise(waveform.breakpoints):
        inside = waveform.wavevector(q, begin + (end - begin) * np.array([0.0, 0.3, 0.7, 1.0]))
        still = np.ptp(inside, axis=0).max() <= 1e-12 * max(float(np.abs(inside).max()), 1e-300)
        times = np.linspace(begin, end, 2 if still else steps + 1)
        h = times[1] - times[0]
        vectors = waveform.wavevector(q, (times[:-1, None] + h * _NODES).ravel())
        decay = np.einsum("kmi,cij,kmj->kmc", vectors, tensors, vectors).reshape(len(times) - 1, 2, len(q), -1)
        for pair in decay:
            for weights in _MIX:
                rates = np.einsum("p,pmc->mc", weights, pair)[:, :, None] * np.eye(len(start))
                values, basis = np.linalg.eigh(h * (weights.sum() * exchange - rates))
                state = np.einsum("mij,mj,mkj,mk->mi", basis, np.exp(values), basis, state)
    return state
