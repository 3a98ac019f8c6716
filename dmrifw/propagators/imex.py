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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from checkpoint_schedules import Copy, EndReverse, Forward, Move, Reverse, Revolve

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
        start: (n, 2m) block at the start.
        final: (n, 2m) block at the end.
        stages: Per step, the six stages, (n, 2m) each; empty if they were not kept.
    """

    start: FloatArray
    final: FloatArray
    stages: list[list[FloatArray]] = field(default_factory=list)

    def after(self, number: int) -> FloatArray:
        """The state at the end of a step that was kept."""
        last = number == len(self.stages) - 1
        return self.final if last else self.stages[number + 1][0]


class Derivative(Protocol):
    """Takes d loss = sum over calls of sum_j left_j . (d(...) right_j) in pieces, for blocks of the equation."""

    def diffusion(self, left: FloatArray, right: FloatArray) -> None:
        """By dA."""

    def mass(self, left: FloatArray, right: FloatArray, less: FloatArray) -> None:
        """By dM, on `right` less `less`."""

    def drive(self, left: FloatArray, right: FloatArray, weights: FloatArray, moment: Moment) -> None:
        """By d drive, through its couplings or their (m, c) weights."""


class Direction(Protocol):
    """The derivative of the equation along some direction, on blocks."""

    def diffusion(self, block: FloatArray) -> FloatArray | float:
        """DA u."""

    def mass(self, block: FloatArray) -> FloatArray | float:
        """DM u."""

    def drive(self, block: FloatArray, weights: FloatArray, moment: Moment) -> FloatArray | float:
        """How the drive of u changes, through its couplings and their (m, c) weights."""


def evolve(equation: Equation, start: FloatArray, drive: Drive, cuts: list[Interval], keep: bool) -> Trajectory:
    """Integrate a block of measurements of one waveform.

    Args:
        equation: The equation.
        start: (n, 2m) real parts, then imaginary parts.
        drive: The measurements.
        cuts: From `intervals`.
        keep: Whether to keep what derivatives need.

    Returns:
        The trajectory.

    Collective if the equation is distributed.
    """
    trajectory = Trajectory(start, start)
    block = start
    for step in _steps(drive, cuts):
        block, stages = _step(equation, step, block)
        if keep:
            trajectory.stages.append(stages)
    trajectory.final = block
    return trajectory


def pull_back(
    equation: Equation,
    drive: Drive,
    cuts: list[Interval],
    trajectory: Trajectory,
    seed: FloatArray,
    derivative: Derivative,
    snapshots: int = 1,
) -> None:
    """The exact derivative of the discrete scheme, backwards.

    Where the stages were not kept they are computed again, with as few steps as `snapshots` states of memory allow.

    Args:
        equation: As in `evolve`.
        drive: As in `evolve`.
        cuts: As in `evolve`.
        trajectory: What `evolve` returned.
        seed: (n, 2m) cotangent of `trajectory.final`.
        derivative: What takes it.
        snapshots: States that may be held at a time, at least 1, if the trajectory has no stages.

    Collective if the equation is distributed.

    Source: Griewank and Walther, ACM Trans. Math. Softw. 26:19 (2000), for the schedule of states.
    """
    bar = seed
    steps = list(_steps(drive, cuts))
    for number, stages, after in _backwards(equation, steps, trajectory, snapshots):
        bar = _step_back(equation, steps[number], bar, stages, after, derivative)


def push_forward(
    equation: Equation, drive: Drive, cuts: list[Interval], trajectory: Trajectory, direction: Direction
) -> FloatArray:
    """The exact derivative of the discrete scheme, forwards: the transpose of `pull_back`.

    Args:
        equation: As in `evolve`.
        drive: As in `evolve`.
        cuts: As in `evolve`.
        trajectory: What `evolve` returned.
        direction: How the equation changes; the start does not.

    Returns:
        (n, 2m) derivative of `trajectory.final`.

    Collective if the equation is distributed.
    """
    change, after = np.zeros_like(trajectory.final), trajectory.start
    for number, step in enumerate(_steps(drive, cuts)):
        if trajectory.stages:
            stages, after = trajectory.stages[number], trajectory.after(number)
        else:
            after, stages = _step(equation, step, after)
        change = _step_along(equation, step, change, stages, after, direction)
    return change


def _backwards(
    equation: Equation, steps: Sequence[_Step], trajectory: Trajectory, snapshots: int
) -> Iterator[tuple[int, list[FloatArray], FloatArray]]:
    """The steps from the last to the first: number, stages, and state at the end."""
    if trajectory.stages:
        for number in reversed(range(len(steps))):
            yield number, trajectory.stages[number], trajectory.after(number)
        return
    held: dict[int, FloatArray] = {}
    block, stages = trajectory.start, [trajectory.start]
    for action in Revolve(len(steps), max(1, min(snapshots, len(steps) - 1))):
        if isinstance(action, Forward):
            if action.write_ics:
                held[action.n0] = block
            for number in range(action.n0, action.n1):
                block, stages = _step(equation, steps[number], block)
        elif isinstance(action, Copy | Move):
            block = held[action.n] if isinstance(action, Copy) else held.pop(action.n)
        elif isinstance(action, Reverse):
            yield action.n0, stages, block
        elif isinstance(action, EndReverse):
            return


class Moment(NamedTuple):
    """A point in time: ms, and the interval between breakpoints of the waveform that it is reckoned to."""

    time: float
    interval: int


@dataclass(frozen=True, eq=False)
class _Step:
    """One step: its length, ms, and at its stages the moments and the weights of the couplings, None without gradient.

    The signs turn weights into those of the transposed couplings.
    """

    h: float
    moments: Sequence[Moment]
    weights: Sequence[FloatArray] | None
    signs: FloatArray


def _steps(drive: Drive, cuts: list[Interval]) -> Iterator[_Step]:
    signs = drive.encoding.transposition
    for cut in cuts:
        for index in range(cut.steps):
            moments = [Moment(cut.start + (index + node) * cut.step, cut.number) for node in NODES]
            weights = None if cut.still else [drive.weights(*moment) for moment in moments]
            yield _Step(cut.step, moments, weights, signs)


def _step(equation: Equation, step: _Step, u: FloatArray) -> tuple[FloatArray, list[FloatArray]]:
    """One step, and its stages."""
    h, weights = step.h, step.weights
    start = equation.mass(u)
    stages, diffused = [u], [-equation.diffusion(u)]
    driven = [] if weights is None else [equation.drive(u, weights[0])]
    for i in range(1, STAGES):
        right = start + h * _combined(IMPLICIT[i, :i], diffused)
        if weights is not None:
            right += h * _combined(EXPLICIT[i, :i], driven)
        stages.append(equation.solve(h * GAMMA, right))
        diffused.append(-equation.diffusion(stages[i]))
        if weights is not None:
            driven.append(equation.drive(stages[i], weights[i]))
    if weights is None:
        return stages[-1], stages
    return stages[-1] + equation.solve(0.0, h * _combined(LEFT_OVER, driven)), stages


def _step_along(
    equation: Equation,
    step: _Step,
    change: FloatArray,
    stages: list[FloatArray],
    after: FloatArray,
    direction: Direction,
) -> FloatArray:
    """The derivative of `_step`: `after` is the state at its end."""
    h, weights, moments = step.h, step.weights, step.moments
    start = equation.mass(change) + direction.mass(stages[0])
    driven: list[FloatArray] = []
    diffused: list[FloatArray] = []
    for i in range(STAGES):
        moved = direction.diffusion(stages[i])
        if i:
            right = start + h * _combined(IMPLICIT[i, :i], diffused) - direction.mass(stages[i]) - h * GAMMA * moved
            if weights is not None:
                right += h * _combined(EXPLICIT[i, :i], driven)
            change = equation.solve(h * GAMMA, right)
        diffused.append(-equation.diffusion(change) - moved)
        if weights is not None:
            driven.append(equation.drive(change, weights[i]) + direction.drive(stages[i], weights[i], moments[i]))
    if weights is None:
        return change
    return change + equation.solve(0.0, h * _combined(LEFT_OVER, driven) - direction.mass(after - stages[-1]))


def _step_back(
    equation: Equation,
    step: _Step,
    bar: FloatArray,
    stages: list[FloatArray],
    after: FloatArray,
    derivative: Derivative,
) -> FloatArray:
    """The transpose of `_step_along`."""
    h, weights = step.h, step.weights
    driven_bar = [np.zeros_like(bar) for _ in range(STAGES)]
    diffused_bar = [np.zeros_like(bar) for _ in range(STAGES)]
    if weights is not None:
        left_over = equation.solve(0.0, bar)
        derivative.mass(left_over, stages[-1], after)
        driven_bar = [h * weight * left_over for weight in LEFT_OVER]
    out = np.zeros_like(bar)
    for i in reversed(range(STAGES)):
        stage_bar = -equation.diffusion(diffused_bar[i])
        if weights is not None:
            stage_bar += equation.drive(driven_bar[i], step.signs * weights[i])
            derivative.drive(driven_bar[i], stages[i], weights[i], step.moments[i])
        if i == 0:
            derivative.diffusion(-diffused_bar[0], stages[0])
            return out + stage_bar
        solved = equation.solve(h * GAMMA, stage_bar + bar if i == STAGES - 1 else stage_bar)
        derivative.diffusion(-diffused_bar[i] - h * GAMMA * solved, stages[i])
        derivative.mass(solved, stages[0], stages[i])
        out += equation.mass(solved)
        for j in range(i):
            driven_bar[j] += h * EXPLICIT[i, j] * solved
            diffused_bar[j] += h * IMPLICIT[i, j] * solved
    raise AssertionError("the loop ends at its first stage")


def _combined(coefficients: FloatArray, blocks: list[FloatArray]) -> FloatArray:
    """The sum of blocks with coefficients."""
    out = np.zeros_like(blocks[0])
    for coefficient, block in zip(coefficients, blocks, strict=True):
        if coefficient:
            out += coefficient * block
    return out
