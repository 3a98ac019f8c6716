"""The homogenized apparent diffusion coefficient: the initial slope of -ln S over b, from the modes alone.

To second order in the gradient a waveform with F(t) = int_0^t f along the unit vector g gives S = S0 (1 - b HADC) with

    HADC = mean(g.D g) - 1/(|V| int F^2) int_0^TE F(t) h(t) dt,         h(t) = int_walls w D g.n ds,
    dw/dt = div(D grad w),   w(0) = 0,   D grad w.n = F(t) D g.n on reflecting walls,

where |V| and the mean count density, and on permeable walls w may jump: D grad(w - F x).n = kappa [w], with x = r.g.
Both follow from the Bloch-Torrey equation, in which u = 1 - i |q| (F x - w) to first order; the second order gives S.
In weak form h(t) = (D g, grad w) and dw/dt + A w = F A x, since x does not jump. With modes A v_k = rate_k M v_k and
c_k = v_k^T M x the equations part, w = sum w_k v_k, w_k = rate_k c_k int_0^t exp(-rate_k (t - s)) F(s) ds, and

    HADC = 1/(|V| int F^2) sum_k c_k^2 rate_k [int F^2 - rate_k int F int exp(-rate_k (t-s)) F ds dt]
         = 1/(|V| int F^2) sum_k c_k^2 G(rate_k),   G(r) = int_0^TE f(t) int_0^t exp(-r (t - s)) f(s) ds dt,

by parts, because F vanishes at the echo: the sum of the Gaussian phase approximation. G(r)/r falls from int F^2 at
r = 0 as r grows, and sum_k rate_k c_k^2 = x^T A x is known, so the modes left out add between nothing and G(r)/r of the
last mode kept times what is missing of x^T A x. Gradients that leave their line have a matrix G, and bounds by its
trace.

Along a periodic axis x is not defined. The source (D g, grad v) is, and takes the place of A x: c_k is 1/rate_k times
its product with v_k, which is v_k^T M y for the y with A y = source. Then y^T A y falls short of |V| mean(g.D g): the
rest is the diffusivity that stays at long times, which no mode takes away.

Source: Haddar, Li and Schiavi, SIAM J. Appl. Math. 76:930 (2016); Gaussian phase: Neuman, J. Chem. Phys. 60:4508
(1974).
"""

from __future__ import annotations

import numpy as np

from dmrifw.errors import InputError
from dmrifw.matrices import DistributedMatrix
from dmrifw.models.blocks import gradient_blocks
from dmrifw.operators import Operators
from dmrifw.propagators.factorization import Factorization
from dmrifw.propagators.modes import ModeSource
from dmrifw.propagators.phi import phi
from dmrifw.sequences import Protocol, Waveform
from dmrifw.sequences.waveforms import local_vectors
from dmrifw.typing import FloatArray, IntArray

_FIRST_MODES = 64
_MODE_GROWTH = 1.5
_STIFF = 1e9
"""Weight of A beside M, ms, where A alone is to be inverted but is singular: no diffusion is as slow."""


def homogenized_adc(
    operators: Operators, protocol: Protocol, permeability: FloatArray, tolerance: float = 1e-4
) -> FloatArray:
    """HADC of every measurement's waveform and direction; its b-value does not matter.

    Args:
        operators: The assembled operators of a tissue in a closed domain: one T2, exterior reflecting.
        protocol: The measurements; all have directions.
        permeability: (F,) um/ms in the order of `grid.faces`, replicated.
        tolerance: Error by the modes left out, relative to the mean of the free diffusivities.

    Returns:
        (n,) um^2/ms, replicated.

    Raises:
        InputError: A direction is missing, or the tissue loses magnetization.
        ConvergenceError: So many modes are needed that they cannot be held.

    Collective.
    """
    if not protocol.bvecs.any(axis=1).all():
        row = int(np.flatnonzero(~protocol.bvecs.any(axis=1))[0])
        raise InputError(f"measurement {row} has no direction", "give one, or leave it out", key="bvecs")
    diffusion = operators.diffusion(permeability)
    ones = np.ones((operators.mass.columns.size_local, 1))
    comm = operators.comm
    volume = comm.allreduce(float(operators.total.sum()))
    loss = comm.allreduce(float((diffusion @ ones).sum()))
    if loss > 1e-9 * volume:
        raise InputError(
            "the tissue loses magnetization, so S0 is no constant",
            "take one T2 for all compartments and a reflecting exterior",
            key="T2",
        )
    position = _position(operators, diffusion, ones)
    moments = operators.mass @ position
    energy = comm.allreduce(position.T @ (diffusion @ position))
    periodic = np.array(operators.encoding.periodic)
    lasting = np.where(np.outer(periodic, periodic), volume * operators.encoding.mean_diffusivity - energy, 0.0)
    source = ModeSource(diffusion, operators.mass, comm)
    count = _FIRST_MODES
    while True:
        modes = source.lowest(count)
        coefficients = comm.allreduce(modes.vectors.T @ moments)
        missing = energy - coefficients.T @ (modes.rates[:, None] * coefficients)
        lower, gap = _bracket(protocol, modes.rates, coefficients, lasting, missing)
        if modes.complete or gap.max() <= tolerance * np.trace(energy + lasting) / 3:
            return (lower if modes.complete else lower + gap / 2) / volume
        count = int(np.ceil(_MODE_GROWTH * count))


def _bracket(
    protocol: Protocol, rates: FloatArray, coefficients: FloatArray, lasting: FloatArray, missing: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(n,) |V| HADC of the modes kept, um^5/ms, and (n,) how much those left out may add."""
    lower, gap = np.empty(len(protocol)), np.empty(len(protocol))
    for number in np.unique(protocol.sequence):
        waveform = protocol.waveforms[number]
        memory = _memory(waveform, rates)
        share = memory[-1] / max(rates[-1], 1e-300)
        shape = waveform.btensor(np.array([[0.0, 0.0, 1.0]]))[0] / waveform.b_per_squared_q()
        for direction, rows in _by_direction(protocol, int(number)):
            local = local_vectors(np.broadcast_to(direction, coefficients.shape), coefficients)
            lower[rows] = np.einsum("ri,rij,rj->", local, memory, local)
            axes = local_vectors(np.broadcast_to(direction, (3, 3)), np.eye(3))
            lower[rows] += np.einsum("ij,ji->", axes.T @ lasting @ axes, shape)
            gap[rows] = max(float(np.einsum("ij,ji->", axes.T @ missing @ axes, share)), 0.0)
    return lower, gap


def _position(operators: Operators, diffusion: DistributedMatrix, ones: FloatArray) -> FloatArray:
    """(owned unknowns, 3) x of each axis; of a periodic one the y whose A y is the source. Collective."""
    couplings = np.hstack([coupling @ ones for coupling in operators.couplings[:3]])
    position = np.empty_like(couplings)
    periodic = np.array(operators.encoding.periodic)
    if not periodic.all():
        factors = Factorization(operators.mass, diffusion, 0.0, operators.comm)
        position[:, ~periodic] = factors.solve(couplings[:, ~periodic])
    if periodic.any():
        factors = Factorization(operators.mass, diffusion, _STIFF, operators.comm)
        position[:, periodic] = factors.solve(-_STIFF * couplings[:, periodic])
    return position


def _by_direction(protocol: Protocol, number: int) -> list[tuple[FloatArray, IntArray]]:
    mine = np.flatnonzero(protocol.sequence == number)
    distinct, inverse = np.unique(protocol.bvecs[mine], axis=0, return_inverse=True)
    return [(direction, mine[inverse.reshape(-1) == index]) for index, direction in enumerate(distinct)]


def _memory(waveform: Waveform, rates: FloatArray) -> FloatArray:
    """(r, 3, 3) symmetric part of G(rate)/int F.F for |q| = 1, in the local frame of the waveform, 1/ms."""
    times, values = gradient_blocks(waveform)
    held = np.zeros((len(rates), 3))
    total = np.zeros((len(rates), 3, 3))
    squared, moment = 0.0, np.zeros(3)
    for h, f in zip(np.diff(times), values, strict=True):
        z = -h * rates
        one, two = h * phi(1, z), h * h * phi(2, z)
        total += np.einsum("i,rj->rij", f, held * one[:, None] + two[:, None] * f)
        held = np.exp(z)[:, None] * held + one[:, None] * f
        squared += h * float(moment @ moment + h * (moment @ f) + h * h * (f @ f) / 3)
        moment = moment + h * f
    return np.asarray((total + total.transpose(0, 2, 1)) / (2.0 * squared), dtype=np.float64)
