"""Bloch-Torrey dynamics in a small real basis, for a block of measurements at once, and its exact discrete adjoint.

In a basis V that diagonalizes the diffusion operator (V^T M V = I, V^T A V = Lambda) a measurement's coefficients obey

    dy/dt = -Lambda y - i (g(t).X) y,     X_i = V^T X_i V,

with real Lambda and X (along periodic axes other couplings with other weights, see `Encoding`). Real and imaginary
parts of all measurements stand side by side as columns of one real block, so that the work is real matrix products.
Diffusion is exact; the gradient term, which is small, is integrated by the fourth-order exponential Runge-Kutta scheme
ETDRK4. Modes that decay within a step keep their quasi-static balance with the gradient, which an integrating factor
would lose.

Cost of one step for r modes and m measurements: four products (3r x r)(r x 2m), 48 r^2 m flop; the adjoint step costs
the same, and the sensitivity to the operator nine products (r x 2m)(2m x r), 36 r^2 m flop.

Source: Cox and Matthews, J. Comput. Phys. 176:430 (2002); matrix formalism: Callaghan, J. Magn. Reson. 129:74 (1997).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dmrifw.propagators.phi import phi, phi_difference
from dmrifw.propagators.steps import Drive, Interval
from dmrifw.typing import FloatArray


@dataclass(frozen=True, eq=False)
class ReducedModel:
    """The operators in a basis of r modes, replicated.

    Attributes:
        rates: (r,) eigenvalues of the diffusion operator, 1/ms, ascending, at least 0.
        couplings: (c r, r) the matrices J_i of the couplings stacked; the first three are imaginary terms, usually the
            first moments in um, the others real ones (see `Encoding`).
        total: (r,) integral of each mode, um^(3/2): both the initial coefficients and the receiver.
    """

    rates: FloatArray
    couplings: FloatArray
    total: FloatArray

    def truncated(self, count: int) -> ReducedModel:
        """The model of the `count` lowest modes. Local."""
        couplings = self.couplings.reshape(-1, len(self.rates), len(self.rates))[:, :count, :count]
        return ReducedModel(self.rates[:count], couplings.reshape(-1, count), self.total[:count])

    def drive(self, block: FloatArray, weights: FloatArray) -> FloatArray:
        """(r, 2m) real form of -(i sum_a w_a J_a + sum_b w_b J_b) y. Local.

        Args:
            block: (r, 2m) real parts, then imaginary parts.
            weights: (m, c) weights of the couplings.
        """
        modes, half = len(self.rates), block.shape[1] // 2
        products = (self.couplings @ block).reshape(-1, modes, 2, half)
        out = np.empty_like(block)
        out[:, :half] = np.einsum("irm,mi->rm", products[:3, :, 1], weights[:, :3])
        out[:, half:] = np.einsum("irm,mi->rm", products[:3, :, 0], -weights[:, :3])
        if len(products) > 3:
            out -= np.einsum("irhm,mi->rhm", products[3:], weights[:, 3:]).reshape(out.shape)
        return out


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
        stages: Per interval and step, what the adjoint of that step needs, blocks of (r, 2m).
    """

    final: FloatArray
    stages: list[list[tuple[FloatArray, ...]]] = field(default_factory=list)


def evolve(model: ReducedModel, drive: Drive, cuts: list[Interval], keep: bool) -> Trajectory:
    """Integrate a block of measurements of one waveform.

    Args:
        model: The reduced operators.
        drive: The measurements.
        cuts: From `intervals`.
        keep: Whether to keep what `pull_back` needs.

    Returns:
        The trajectory.

    Local.
    """
    block: FloatArray = np.zeros((len(model.rates), 2 * len(drive.q)))
    block[:, : len(drive.q)] = model.total[:, None]
    trajectory = Trajectory(block)
    for cut in cuts:
        stages: list[tuple[FloatArray, ...]] = []
        if cut.still:
            stages.append((block,))
            block = np.exp(-(cut.stop - cut.start) * model.rates)[:, None] * block
        else:
            coefficients = _Coefficients.of(model.rates, cut.step)
            for index in range(cut.steps):
                block, driven = _step(model, coefficients, _weights(drive, cut, index), block)
                if keep:
                    stages.append(driven)
        trajectory.stages.append(stages)
    trajectory.final = block
    return trajectory


def pull_back(
    model: ReducedModel, drive: Drive, cuts: list[Interval], trajectory: Trajectory, seed: FloatArray
) -> FloatArray:
    """Exact derivative of the integrated block with respect to the diffusion operator in the basis held.

    Args:
        model: The reduced operators.
        drive: The measurements.
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
        if cut.still:
            length = cut.stop - cut.start
            sensitivity -= length * phi_difference(0, -length * model.rates) * (bar @ stages[0][0].T)
            bar = np.exp(-length * model.rates)[:, None] * bar
            continue
        coefficients = _Coefficients.of(model.rates, cut.step)
        outers = np.zeros((5, *sensitivity.shape))
        for index in reversed(range(cut.steps)):
            weights = [drive.encoding.transposition * at for at in _weights(drive, cut, index)]
            bar = _step_back(model, coefficients, weights, bar, stages[index], outers)
        for difference, outer in zip(_Coefficients.differences(model.rates, cut.step), outers, strict=True):
            sensitivity += difference * outer
    return sensitivity


def _weights(drive: Drive, cut: Interval, index: int) -> list[FloatArray]:
    """Weights of the couplings at the start, middle and end of a step."""
    return [drive.weights(cut, index, share) for share in (0.0, 0.5, 1.0)]


def _step(
    model: ReducedModel, c: _Coefficients, g: list[FloatArray], u: FloatArray
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
    g: list[FloatArray],
    bar: FloatArray,
    stages: tuple[FloatArray, ...],
    outers: FloatArray,
) -> FloatArray:
    """The transpose of `_step`, with weights for transposed couplings.

    Adds the outer products of cotangents and inputs of each coefficient to `outers`.
    """
    u, n1, n2, n3, n4 = stages
    halfway = c.half * u
    a = halfway + c.inner * n1
    d_bar = model.drive(c.last * bar, g[2])
    extrapolated_bar = c.inner * d_bar
    between_bar = c.middle * bar
    b_bar = model.drive(between_bar + 2 * extrapolated_bar, g[1])
    a_bar = c.half * d_bar + model.drive(between_bar + c.inner * b_bar, g[1])
    halfway_bar = a_bar + b_bar + c.half * bar
    n1_bar = c.first * bar - extrapolated_bar + c.inner * a_bar
    outers[0] += np.hstack([halfway_bar, bar, d_bar]) @ np.hstack([u, halfway, a]).T
    outers[1] += np.hstack([a_bar, b_bar, d_bar]) @ np.hstack([n1, n2, 2 * n3 - n1]).T
    outers[2] += bar @ n1.T
    outers[3] += bar @ (n2 + n3).T
    outers[4] += bar @ n4.T
    return c.half * halfway_bar + model.drive(n1_bar, g[0])
