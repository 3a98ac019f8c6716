"""Bloch-Torrey dynamics in a small real basis, for a block of measurements at once, and its exact discrete adjoint.

In a basis V that diagonalizes the diffusion operator (V^T M V = I, V^T A V = Lambda) a measurement's coefficients obey

    dy/dt = -Lambda y - i (g(t).X) y,     X_i = V^T X_i V,

with real Lambda and X. Real and imaginary parts of all measurements stand side by side as columns of one real block, so
that the work is real matrix products. Diffusion is exact; the gradient term, which is small, is integrated by the
fourth-order exponential Runge-Kutta scheme ETDRK4. Modes that decay within a step keep their quasi-static balance with
the gradient, which an integrating factor would lose.

Cost of one step for r modes and m measurements: four products (3r x r)(r x 2m), 48 r^2 m flop; the adjoint step costs
the same, and the sensitivity to the operator nine products (r x 2m)(2m x r), 36 r^2 m flop.

Source: Cox and Matthews, J. Comput. Phys. 176:430 (2002); matrix formalism: Callaghan, J. Magn. Reson. 129:74 (1997).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from dmrifw.propagators.phi import phi, phi_difference
from dmrifw.sequences import Waveform
from dmrifw.typing import FloatArray

_SAMPLES = np.sort(np.modf(np.arange(1, 14) * 0.6180339887498949)[0])
"""Where in an interval to look for a gradient: at no rational spacing, so that no oscillation hides between."""


@dataclass(frozen=True, eq=False)
class ReducedModel:
    """The operators in a basis of r modes, replicated.

    Attributes:
        rates: (r,) eigenvalues of the diffusion operator, 1/ms, ascending, at least 0.
        moments: (3r, r) the matrices X_i of the first moments stacked, um.
        total: (r,) integral of each mode, um^(3/2): both the initial coefficients and the receiver.
    """

    rates: FloatArray
    moments: FloatArray
    total: FloatArray

    def truncated(self, count: int) -> ReducedModel:
        """The model of the `count` lowest modes. Local."""
        moments = self.moments.reshape(3, len(self.rates), -1)[:, :count, :count]
        return ReducedModel(self.rates[:count], moments.reshape(3 * count, count), self.total[:count])

    def drive(self, block: FloatArray, gradient: FloatArray) -> FloatArray:
        """(r, 2m) real form of -i (g.X) y. A skew map: its transpose is `drive` with -g. Local.

        Args:
            block: (r, 2m) real parts, then imaginary parts.
            gradient: (m, 3) effective gradients g, rad/(um ms).
        """
        modes, half = len(self.rates), block.shape[1] // 2
        products = (self.moments @ block).reshape(3, modes, 2, half)
        out = np.empty_like(block)
        out[:, :half] = np.einsum("irm,mi->rm", products[:, :, 1], gradient)
        out[:, half:] = np.einsum("irm,mi->rm", products[:, :, 0], -gradient)
        return out


@dataclass(frozen=True)
class Interval:
    """A stretch of time in which the waveform is smooth, cut into equal steps; no steps where it is zero."""

    start: float
    stop: float
    number: int
    steps: int

    @property
    def step(self) -> float:
        """Length of one step, ms; of the whole interval where the waveform is zero."""
        return (self.stop - self.start) / max(self.steps, 1)

    def gradients(self, waveform: Waveform, q: FloatArray, index: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(m, 3) effective gradients at the start, middle and end of step `index`. Local."""
        start, h = self.start + index * self.step, self.step
        return (
            waveform.gradient(q, start, self.number),
            waveform.gradient(q, start + h / 2, self.number),
            waveform.gradient(q, start + h, self.number),
        )


def intervals(waveform: Waveform, steps_per_ms: float) -> list[Interval]:
    """The intervals that must be integrated: up to half the echo time where symmetry gives the rest. Local."""
    times = waveform.breakpoints
    end = 0.5 * times[-1] if waveform.is_antisymmetric else times[-1]
    cuts = []
    for number, (start, stop) in enumerate(pairwise(times)):
        stop = min(stop, end)
        if stop > start:
            still = not any(waveform.gradient(np.eye(3), t, number).any() for t in start + (stop - start) * _SAMPLES)
            steps = 0 if still else int(np.ceil((stop - start) * steps_per_ms - 1e-9))
            cuts.append(Interval(float(start), float(stop), number, steps))
    return cuts


@dataclass(frozen=True, eq=False)
class _Coefficients:
    """The functions of the rates that one ETDRK4 step of length h uses, each (r, 1)."""

    half: FloatArray
    inner: FloatArray
    first: FloatArray
    middle: FloatArray
    last: FloatArray

    @classmethod
    def of(cls, rates: FloatArray, h: float) -> _Coefficients:
        z = -h * rates
        one, two, three = (h * phi(k, z) for k in (1, 2, 3))
        values = (
            np.exp(z / 2),
            (h / 2) * phi(1, z / 2),
            one - 3 * two + 4 * three,
            2 * two - 4 * three,
            4 * three - two,
        )
        return cls(*(value[:, None] for value in values))

    @staticmethod
    def differences(rates: FloatArray, h: float) -> tuple[FloatArray, ...]:
        """(r, r) divided differences with respect to the rates of the five functions, in the same order."""
        z = -h * rates
        one, two, three = (-h * h * phi_difference(k, z) for k in (1, 2, 3))
        half = -(h / 2) * phi_difference(0, z / 2)
        inner = -((h / 2) ** 2) * phi_difference(1, z / 2)
        return half, inner, one - 3 * two + 4 * three, 2 * two - 4 * three, 4 * three - two


@dataclass(eq=False)
class Trajectory:
    """What a forward evolution leaves for its adjoint.

    Attributes:
        final: (r, 2m) coefficients at the end of the evolution.
        stages: Per interval and step, the block at the start of the step and its driven stages, (r, 2m) each.
    """

    final: FloatArray
    stages: list[list[tuple[FloatArray, ...]]] = field(default_factory=list)


def evolve(model: ReducedModel, waveform: Waveform, q: FloatArray, cuts: list[Interval], keep: bool) -> Trajectory:
    """Integrate a block of measurements of one waveform.

    Args:
        model: The reduced operators.
        waveform: The common waveform.
        q: (m, 3) rad/(um ms).
        cuts: From `intervals`.
        keep: Whether to keep what `pull_back` needs.

    Returns:
        The trajectory.

    Local.
    """
    block: FloatArray = np.zeros((len(model.rates), 2 * len(q)))
    block[:, : len(q)] = model.total[:, None]
    trajectory = Trajectory(block)
    for cut in cuts:
        stages: list[tuple[FloatArray, ...]] = []
        if cut.steps == 0:
            stages.append((block,))
            block = np.exp(-cut.step * model.rates)[:, None] * block
        else:
            coefficients = _Coefficients.of(model.rates, cut.step)
            for index in range(cut.steps):
                block, driven = _step(model, coefficients, cut.gradients(waveform, q, index), block)
                if keep:
                    stages.append(driven)
        trajectory.stages.append(stages)
    trajectory.final = block
    return trajectory


def pull_back(
    model: ReducedModel,
    waveform: Waveform,
    q: FloatArray,
    cuts: list[Interval],
    trajectory: Trajectory,
    seed: FloatArray,
) -> FloatArray:
    """Exact derivative of the integrated block with respect to the diffusion operator in the basis held.

    Args:
        model: The reduced operators.
        waveform: The common waveform.
        q: (m, 3) rad/(um ms).
        cuts: As in `evolve`.
        trajectory: What `evolve(..., keep=True)` returned.
        seed: (r, 2m) cotangent of `trajectory.final`.

    Returns:
        (r, r) G with d loss = sum_jk G_jk d(V^T A V)_jk for arbitrary, not only diagonal, perturbations: the derivative
        of each function of the operator is its divided difference (Daleckii and Krein).

    Local.
    """
    sensitivity: FloatArray = np.zeros((len(model.rates), len(model.rates)))
    bar = seed
    for cut, stages in zip(reversed(cuts), reversed(trajectory.stages), strict=True):
        if cut.steps == 0:
            difference = -cut.step * phi_difference(0, -cut.step * model.rates)
            sensitivity += difference * (bar @ stages[0][0].T)
            bar = np.exp(-cut.step * model.rates)[:, None] * bar
            continue
        coefficients = _Coefficients.of(model.rates, cut.step)
        outers = np.zeros((5, *sensitivity.shape))
        for index in reversed(range(cut.steps)):
            bar = _step_back(model, coefficients, cut.gradients(waveform, q, index), bar, stages[index], outers)
        for difference, outer in zip(_Coefficients.differences(model.rates, cut.step), outers, strict=True):
            sensitivity += difference * outer
    return sensitivity


def _step(
    model: ReducedModel, c: _Coefficients, g: tuple[FloatArray, FloatArray, FloatArray], u: FloatArray
) -> tuple[FloatArray, tuple[FloatArray, ...]]:
    """One ETDRK4 step, and what its transpose needs: the block it started from and its four driven stages."""
    n1 = model.drive(u, g[0])
    halfway = c.half * u
    a = halfway + c.inner * n1
    n2 = model.drive(a, g[1])
    n3 = model.drive(halfway + c.inner * n2, g[1])
    n4 = model.drive(c.half * a + c.inner * (2 * n3 - n1), g[2])
    out = c.half * halfway + c.first * n1 + c.middle * (n2 + n3) + c.last * n4
    return out, (u, n1, n2, n3, n4)


def _step_back(
    model: ReducedModel,
    c: _Coefficients,
    g: tuple[FloatArray, FloatArray, FloatArray],
    bar: FloatArray,
    stages: tuple[FloatArray, ...],
    outers: FloatArray,
) -> FloatArray:
    """The transpose of `_step`; adds the outer products of cotangents and inputs of each coefficient to `outers`."""
    u, n1, n2, n3, n4 = stages
    halfway = c.half * u
    a = halfway + c.inner * n1
    d_bar = model.drive(c.last * bar, -g[2])
    extrapolated_bar = c.inner * d_bar
    between_bar = c.middle * bar
    b_bar = model.drive(between_bar + 2 * extrapolated_bar, -g[1])
    a_bar = c.half * d_bar + model.drive(between_bar + c.inner * b_bar, -g[1])
    halfway_bar = a_bar + b_bar + c.half * bar
    n1_bar = c.first * bar - extrapolated_bar + c.inner * a_bar
    outers[0] += np.hstack([halfway_bar, bar, d_bar]) @ np.hstack([u, halfway, a]).T
    outers[1] += np.hstack([a_bar, b_bar, d_bar]) @ np.hstack([n1, n2, 2 * n3 - n1]).T
    outers[2] += bar @ n1.T
    outers[3] += bar @ (n2 + n3).T
    outers[4] += bar @ n4.T
    return c.half * halfway_bar + model.drive(n1_bar, -g[0])
