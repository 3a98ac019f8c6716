"""Integrals over time of products of states and duals, of which the derivatives of signals are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dmrifw.typing import ComplexArray, FloatArray
from dmrifw_cell_labels.evolution import Basis, Complex, Played, Real, Turns, evolve

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
"""Quadrature in an interval without gradient, between -1 and 1; an even number of points."""


@dataclass(frozen=True, eq=False)
class Integrals:
    """Symmetric matrices in the basis of a path, of n measurements each, in single precision.

    Attributes:
        still: (n, a, a) twice the real part of int v u' dt.
        moved: (n, a, a) the same of int v (du/dt)' dt - 1 u(T)'.
        turned: The same of int i g v u' dt for the parts g of the gradient along (n, 3) directions.
    """

    still: Real
    moved: Real
    turned: list[tuple[Real, Real]]


class Path:
    """States u and duals v of some measurements, at the quadrature points of a derivative.

    The dual of an antisymmetric waveform is the state run backwards, conjugate: of such a one the first half tells all.

    Args:
        basis: The modes.
        turns: What makes the position along each axis diagonal; the precision of the states is its.
        group: The measurements.

    Local.
    """

    def __init__(self, basis: Basis, turns: Turns, group: Played) -> None:
        self._basis, self._mirrored = basis, group.half is not None
        states = list(evolve(basis, turns, group.plan, len(group.q)))
        self._last = states[-1]
        u, weights, self._gradients = _at_points(basis, group, states)
        if self._mirrored:
            v = u[::-1].conj()
            count = (len(u) + 1) // 2
            if len(u) % 2:
                weights[count - 1] /= 2
            u, v, weights, self._gradients = u[:count], v[:count], weights[:count], self._gradients[:count]
        else:
            duals = list(evolve(basis, turns, group.plan[::-1], len(group.q), backwards=True))[::-1]
            v, _, _ = _at_points(basis, group, duals, backwards=True)
        self._u, self._v = u, v * weights[:, None, None].astype(u.real.dtype)

    def of_magnitudes(self) -> Integrals:
        """Those of which the derivatives of magnitudes are made. Local."""
        signal = self._basis.start @ self._last
        return self._integrals(signal.conj() / np.maximum(np.abs(signal), 1e-300))

    def of_parts(self) -> list[Integrals]:
        """Those of real parts, and of imaginary ones unless they are 0 whatever the tissue. Local."""
        return [self._integrals(one) for one in ([1.0] if self._mirrored else [1.0, -1j])]

    def _integrals(self, phase: ComplexArray | complex) -> Integrals:
        basis, u, v = self._basis, self._u, (self._v * phase).astype(self._u.dtype)
        still = self._summed(v, u)
        turned = [(self._summed(v * (1j * g)[:, None, :], u), along) for g, along in self._ways()]
        moved = -still * basis.rates.astype(still.dtype)
        positions = np.stack(basis.positions).astype(still.dtype)
        for one, along in turned:
            moved -= one @ np.tensordot(along, positions, axes=1)
        moved -= np.einsum("a,bn->nab", basis.start, (phase * self._last).real).astype(still.dtype)
        return Integrals(_doubled(still), _doubled(moved), [(_doubled(one), along) for one, along in turned])

    def _summed(self, v: Complex, u: Complex) -> Real:
        """(n, a, a) real part of the sum over points of v u', for (t, a, n) both, and of their mirror images."""
        real = u.real.dtype
        left, right = (np.ascontiguousarray(one.transpose(2, 1, 0)).view(real) for one in (v.conj(), u))
        total = left @ right.transpose(0, 2, 1)
        return _doubled(total) if self._mirrored else total

    def _ways(self) -> Iterator[tuple[Real, Real]]:
        """Gradients at the points as (t, n) numbers along (n, 3) directions: one, or those of the axes."""
        g, real = self._gradients, self._u.real.dtype
        strengths = np.linalg.norm(g, axis=2)
        strongest = g[np.argmax(strengths, axis=0), np.arange(g.shape[1])]
        size = np.linalg.norm(strongest, axis=1, keepdims=True)
        unit = np.where(size > 0, strongest / np.where(size > 0, size, 1.0), np.array([1.0, 0.0, 0.0]))
        along = np.einsum("tnd,nd->tn", g, unit)
        if np.allclose(along[:, :, None] * unit, g, atol=1e-6):
            yield along.astype(real), unit.astype(real)
            return
        for d, axis in enumerate(np.eye(3)):
            yield g[:, :, d].astype(real), np.broadcast_to(axis, unit.shape).astype(real)


def _at_points(
    basis: Basis, group: Played, states: list[Complex], backwards: bool = False
) -> tuple[Complex, FloatArray, FloatArray]:
    """(t, a, n) states, or duals, at the quadrature points, their (t,) weights, and (t, n, 3) gradients there."""
    found, weights = [], []
    gradients: list[FloatArray] = []
    at, none = 0, np.zeros((len(group.q), 3))
    rates = basis.rates.astype(states[0].real.dtype)
    for interval in group.plan:
        steps = len(interval.gradients)
        if steps:
            found += states[at : at + steps + 1]
            weights += list(interval.step * _simpson(steps))
            around = interval.gradients[:1] + interval.gradients + interval.gradients[-1:]
            gradients += [0.5 * (a + b) for a, b in pairwise(around)]
            at += steps
            continue
        for time, weight in _gauss(interval.step):
            left = interval.step - time if backwards else time
            found.append(np.exp(-rates * left)[:, None] * states[at + backwards])
            weights.append(weight)
            gradients.append(none)
        at += 1
    return np.array(found), np.array(weights), np.array(gradients)


def _doubled(matrices: Real) -> Real:
    return np.asarray(matrices + matrices.transpose(0, 2, 1))


def _gauss(length: float) -> Iterator[tuple[float, float]]:
    return zip((0.5 * length * (_NODES + 1)).tolist(), (0.5 * length * _WEIGHTS).tolist(), strict=True)


def _simpson(steps: int) -> FloatArray:
    """(steps + 1,) weights for an even number of steps of length 1."""
    weights = np.full(steps + 1, 2 / 3)
    weights[1::2] = 4 / 3
    weights[[0, -1]] = 1 / 3
    return weights
