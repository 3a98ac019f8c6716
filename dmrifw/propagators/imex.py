"""An implicit-explicit Runge-Kutta scheme of order four whose implicit stages share one matrix, and its adjoint.

Diffusion, stiff and symmetric, is implicit; the gradient, small and skew, explicit. The implicit part is L-stable and
stiffly accurate. A step of length h takes five solves with M + h gamma A, one with M, and six products with each
coupling and with A, for all measurements at once:

    (M + h gamma A) U_i = M u + h sum_{j<i} (e_ij F_j + d_ij G_j),   F_j = drive(U_j),   G_j = -A U_j,
    u_next = U_6 + h sum_j (b_j - e_6j) M^-1 F_j.

Where no gradient acts F vanishes, and with it the solve with M. The adjoint of a step costs the same.

Source: Kennedy and Carpenter, Appl. Numer. Math. 44:139 (2003), ARK4(3)6L[2]SA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dmrifw.propagators.steps import Drive, Interval
from dmrifw.typing import FloatArray

STAGES = 6
GAMMA = 0.25

NODES = np.array([0, 1 / 2, 83 / 250, 31 / 50, 17 / 20, 1])
"""(6,) times of the stages, in steps."""

WEIGHTS = np.array([82889 / 524892, 0, 15625 / 83664, 69875 / 102672, -2260 / 8211, 1 / 4])
"""(6,) weights of both parts; also the last row of `IMPLICIT`."""


def _rows(*rows: list[float]) -> FloatArray:
    table = np.zeros((STAGES, STAGES))
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return table


EXPLICIT = _rows(
    [],
    [1 / 2],
    [13861 / 62500, 6889 / 62500],
    [-116923316275 / 2393684061468, -2731218467317 / 15368042101831, 9408046702089 / 11113171139209],
    [
        -451086348788 / 2902428689909,
        -2682348792572 / 7519795681897,
        12662868775082 / 11960479115383,
        3355817975965 / 11060851509271,
    ],
    [
        647845179188 / 3216320057751,
        73281519250 / 8382639484533,
        552539513391 / 3454668386233,
        3354512671639 / 8306763924573,
        4040 / 17871,
    ],
)
"""(6, 6) strictly lower triangular."""

IMPLICIT = _rows(
    [],
    [1 / 4, 1 / 4],
    [8611 / 62500, -1743 / 31250, 1 / 4],
    [5012029 / 34652500, -654441 / 2922500, 174375 / 388108, 1 / 4],
    [15267082809 / 155376265600, -71443401 / 120774400, 730878875 / 902184768, 2285395 / 8070912, 1 / 4],
    list(WEIGHTS),
)
"""(6, 6) lower triangular with `GAMMA` on the diagonal, but for the first stage, which is explicit."""

LEFT_OVER = WEIGHTS - EXPLICIT[-1]
"""(6,) what a step adds to its last stage: sum_j of these times h M^-1 F_j. The implicit part adds nothing."""


class Equation(Protocol):
    """M du/dt = -A u + drive(u): what the scheme needs to know of it, on blocks of real and imaginary columns."""

    def mass(self, block: FloatArray) -> FloatArray:
        """M u."""

    def diffusion(self, block: FloatArray) -> FloatArray:
        """A u, symmetric and positive."""

    def solve(self, shift: float, block: FloatArray) -> FloatArray:
        """(M + shift A)^-1 u."""

    def drive(self, block: FloatArray, weights: FloatArray) -> FloatArray:
        """-(i sum_a w_a J_a + sum_b w_b J_b) u for (m, c) weights of the couplings."""


@dataclass(eq=False)
class Trajectory:
    """What a forward evolution leaves for its adjoint.

    Attributes:
        final: (n, 2m) block at the end.
        stages: Per interval and step, the six stages, (n, 2m) each.
    """

    final: FloatArray
    stages: list[list[list[FloatArray]]] = field(default_factory=list)


Contract = Callable[[FloatArray, FloatArray], None]
"""Takes the derivative with respect to A in pieces: d loss = sum over calls of sum_j left_j . (dA right_j)."""


def evolve(equation: Equation, start: FloatArray, drive: Drive, cuts: list[Interval], keep: bool) -> Trajectory:
    """Integrate a block of measurements of one waveform.

    Args:
        equation: The equation.
        start: (n, 2m) real parts, then imaginary parts.
        drive: The measurements.
        cuts: From `intervals`.
        keep: Whether to keep what `pull_back` needs.

    Returns:
        The trajectory.

    Collective if the equation is distributed.
    """
    trajectory = Trajectory(start)
    block = start
    for cut in cuts:
        kept = []
        for index in range(cut.steps):
            block, stages = _step(equation, cut.step, _weights(drive, cut, index), block)
            if keep:
                kept.append(stages)
        trajectory.stages.append(kept)
    trajectory.final = block
    return trajectory


def pull_back(
    equation: Equation,
    drive: Drive,
    cuts: list[Interval],
    trajectory: Trajectory,
    seed: FloatArray,
    contract: Contract,
) -> None:
    """The exact derivative of the discrete scheme with respect to A.

    Args:
        equation: As in `evolve`.
        drive: As in `evolve`.
        cuts: As in `evolve`.
        trajectory: What `evolve(..., keep=True)` returned.
        seed: (n, 2m) cotangent of `trajectory.final`.
        contract: What takes the derivative.

    Collective if the equation is distributed.
    """
    bar, signs = seed, drive.encoding.transposition
    for cut, kept in zip(reversed(cuts), reversed(trajectory.stages), strict=True):
        for index in reversed(range(cut.steps)):
            weights = [None if at is None else signs * at for at in _weights(drive, cut, index)]
            bar = _step_back(equation, cut.step, weights, bar, kept[index], contract)


Weights = Sequence[FloatArray | None]
"""(m, c) weights of the couplings at the stages of a step; None where no gradient acts."""


def _weights(drive: Drive, cut: Interval, index: int) -> Weights:
    return [None if cut.still else drive.weights(cut, index, node) for node in NODES]


def _step(equation: Equation, h: float, weights: Weights, u: FloatArray) -> tuple[FloatArray, list[FloatArray]]:
    """One step, and its stages."""
    start = equation.mass(u)
    stages, driven, diffused = [u], [_driven(equation, u, weights[0])], [-equation.diffusion(u)]
    for i in range(1, STAGES):
        right = start + h * _combined(IMPLICIT[i, :i], diffused)
        if weights[0] is not None:
            right += h * _combined(EXPLICIT[i, :i], driven)
        stages.append(equation.solve(h * GAMMA, right))
        driven.append(_driven(equation, stages[i], weights[i]))
        diffused.append(-equation.diffusion(stages[i]))
    if weights[0] is None:
        return stages[-1], stages
    return stages[-1] + equation.solve(0.0, h * _combined(LEFT_OVER, driven)), stages


def _step_back(
    equation: Equation, h: float, weights: Weights, bar: FloatArray, stages: list[FloatArray], contract: Contract
) -> FloatArray:
    """The transpose of `_step`, with weights for transposed couplings."""
    driven_bar = [np.zeros_like(bar) for _ in range(STAGES)]
    diffused_bar = [np.zeros_like(bar) for _ in range(STAGES)]
    if weights[0] is not None:
        left_over = equation.solve(0.0, bar)
        driven_bar = [h * weight * left_over for weight in LEFT_OVER]
    out = np.zeros_like(bar)
    for i in reversed(range(1, STAGES)):
        stage_bar = _driven(equation, driven_bar[i], weights[i]) - equation.diffusion(diffused_bar[i])
        solved = equation.solve(h * GAMMA, stage_bar + bar if i == STAGES - 1 else stage_bar)
        contract(-diffused_bar[i] - h * GAMMA * solved, stages[i])
        out += equation.mass(solved)
        for j in range(i):
            driven_bar[j] += h * EXPLICIT[i, j] * solved
            diffused_bar[j] += h * IMPLICIT[i, j] * solved
    contract(-diffused_bar[0], stages[0])
    return out + _driven(equation, driven_bar[0], weights[0]) - equation.diffusion(diffused_bar[0])


def _driven(equation: Equation, block: FloatArray, weights: FloatArray | None) -> FloatArray:
    return np.zeros_like(block) if weights is None else equation.drive(block, weights)


def _combined(coefficients: FloatArray, blocks: list[FloatArray]) -> FloatArray:
    """The sum of blocks with coefficients."""
    out = np.zeros_like(blocks[0])
    for coefficient, block in zip(coefficients, blocks, strict=True):
        if coefficient:
            out += coefficient * block
    return out
