"""Full order: the assembled equation stepped in time, with one factorization for all measurements.

A step of length h from u takes five solves with M + h gamma A, one with M, and six products with each coupling and with
A, for all measurements at once:

    (M + h gamma A) U_i = M u + h sum_{j<i} (e_ij F_j + d_ij G_j),   F_j = drive(U_j),   G_j = -A U_j,
    u_next = U_6 + h sum_j (b_j - e_6j) M^-1 F_j.

Where no gradient acts F vanishes, and with it the solve with M.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from dmrifw.matrices import DistributedMatrix
from dmrifw.operators import Operators
from dmrifw.propagators import imex
from dmrifw.propagators.factorization import Factorization
from dmrifw.propagators.propagator import Propagator
from dmrifw.propagators.steps import Drive, Interval
from dmrifw.typing import ComplexArray, FloatArray, IntArray

_HELD = 4
"""Factorizations held at a time: a sequence has few lengths of step."""


@dataclass(eq=False)
class Trajectory:
    """What a forward evolution leaves for its adjoint.

    Attributes:
        final: (owned unknowns, 2m) block at the end.
        stages: Per interval and step, the six stages, (owned unknowns, 2m) each.
    """

    final: FloatArray
    stages: list[list[list[FloatArray]]] = field(default_factory=list)


class FullSystem:
    """The assembled equation, distributed by unknowns: see `System`. Collective throughout."""

    divided: ClassVar[bool] = False
    exact_when_still: ClassVar[bool] = False
    stages: ClassVar[int] = imex.STAGES

    def __init__(self, operators: Operators, diffusion: DistributedMatrix) -> None:
        self.operators, self.diffusion = operators, diffusion
        self._factors: dict[float, Factorization] = {}

    @property
    def size(self) -> int:
        """See `System`."""
        return self.operators.mass.rows.size_local

    def evolve(self, drive: Drive, cuts: list[Interval], keep: bool) -> Trajectory:
        """See `System`. Collective."""
        block: FloatArray = np.zeros((self.size, 2 * len(drive.q)))
        block[:, : len(drive.q)] = 1.0
        trajectory = Trajectory(block)
        for cut in cuts:
            kept = []
            for index in range(cut.steps):
                block, stages = self._step(cut.step, _weights(drive, cut, index), block)
                if keep:
                    kept.append(stages)
            trajectory.stages.append(kept)
        trajectory.final = block
        return trajectory

    def read(self, final: FloatArray, squared: bool) -> ComplexArray:
        """See `System`. Collective."""
        if squared:
            products = np.einsum("nm,nm->m", final, self.operators.mass @ final)
            return products.reshape(2, -1).sum(axis=0) + 0j
        real, imaginary = np.split(self.operators.total @ final, 2)
        return real + 1j * imaginary

    def seed(self, final: FloatArray, cotangent: ComplexArray, squared: bool) -> FloatArray:
        """See `System`. Collective."""
        if squared:
            return 2.0 * np.tile(cotangent.real, 2) * (self.operators.mass @ final)
        return np.outer(self.operators.total, np.concatenate([cotangent.real, cotangent.imag]))

    def pull_back(self, drive: Drive, cuts: list[Interval], trajectory: Trajectory, seed: FloatArray) -> FloatArray:
        """(owned facets,) sensitivity to the permeability: see `System`. Collective."""
        bar = seed
        facets = np.zeros(self.operators.facet_count)
        for cut, kept in zip(reversed(cuts), reversed(trajectory.stages), strict=True):
            for index in reversed(range(cut.steps)):
                weights = [
                    None if at is None else drive.encoding.transposition * at for at in _weights(drive, cut, index)
                ]
                bar = self._step_back(cut.step, weights, bar, kept[index], facets)
        return facets

    def face_gradient(self, sensitivity: FloatArray | None) -> FloatArray:
        """See `System`. Collective."""
        facets = np.zeros(self.operators.facet_count) if sensitivity is None else sensitivity
        return self.operators.per_face(facets)

    def lift(self, final: FloatArray) -> FloatArray:
        """See `System`. Local."""
        return final

    def _step(self, h: float, weights: list[FloatArray | None], u: FloatArray) -> tuple[FloatArray, list[FloatArray]]:
        """One step, and its stages."""
        solver, start = self._factor(h * imex.GAMMA), self.operators.mass @ u
        stages, driven, diffused = [u], [self._drive(u, weights[0])], [-(self.diffusion @ u)]
        for i in range(1, imex.STAGES):
            implicit, explicit = imex.IMPLICIT[i, :i], imex.EXPLICIT[i, :i]
            right = start + h * (_combined(implicit, diffused) + _combined(explicit, driven))
            stages.append(solver.solve(right))
            driven.append(self._drive(stages[i], weights[i]))
            diffused.append(-(self.diffusion @ stages[i]))
        if weights[0] is None:
            return stages[-1], stages
        return stages[-1] + self._factor(0.0).solve(h * _combined(imex.LEFT_OVER, driven)), stages

    def _step_back(
        self,
        h: float,
        weights: list[FloatArray | None],
        bar: FloatArray,
        stages: list[FloatArray],
        facets: FloatArray,
    ) -> FloatArray:
        """The transpose of `_step`, with weights for transposed couplings; adds to the sensitivity of the facets."""
        solver, count = self._factor(h * imex.GAMMA), imex.STAGES
        driven_bar = [np.zeros_like(bar) for _ in range(count)]
        diffused_bar = [np.zeros_like(bar) for _ in range(count)]
        if weights[0] is not None:
            left_over = self._factor(0.0).solve(bar)
            for j in range(count):
                driven_bar[j] += h * imex.LEFT_OVER[j] * left_over
        out = np.zeros_like(bar)
        for i in reversed(range(1, count)):
            stage_bar = self._drive(driven_bar[i], weights[i]) - self.diffusion @ diffused_bar[i]
            solved = solver.solve(stage_bar + bar if i == count - 1 else stage_bar)
            facets -= self.operators.facet_products(diffused_bar[i] + h * imex.GAMMA * solved, stages[i])
            out += self.operators.mass @ solved
            for j in range(i):
                driven_bar[j] += h * imex.EXPLICIT[i, j] * solved
                diffused_bar[j] += h * imex.IMPLICIT[i, j] * solved
        facets -= self.operators.facet_products(diffused_bar[0], stages[0])
        return out + self._drive(driven_bar[0], weights[0]) - self.diffusion @ diffused_bar[0]

    def _drive(self, block: FloatArray, weights: FloatArray | None) -> FloatArray:
        """-(i sum_a w_a J_a + sum_b w_b J_b) u on real and imaginary columns; the couplings may be transposed."""
        out = np.zeros_like(block)
        if weights is None:
            return out
        half = block.shape[1] // 2
        for number, coupling in enumerate(self.operators.couplings):
            if not weights[:, number].any():
                continue
            product = coupling @ block
            if number < 3:
                out[:, :half] += weights[:, number] * product[:, half:]
                out[:, half:] -= weights[:, number] * product[:, :half]
            else:
                out -= np.tile(weights[:, number], 2) * product
        return out

    def _factor(self, shift: float) -> Factorization:
        key = float(f"{shift:.12e}")
        if key not in self._factors:
            while len(self._factors) >= _HELD:
                self._factors.pop(next(iter(self._factors)))
            self._factors[key] = Factorization(self.operators.mass, self.diffusion, shift, self.operators.comm)
        else:
            self._factors[key] = self._factors.pop(key)  # the one used last is dropped last
        return self._factors[key]


class FullOrder(Propagator):
    """Signals and their exact discrete derivative by the assembled equation itself."""

    time_share = 0.5

    def _system(self, permeability: FloatArray, rows: IntArray) -> FullSystem:
        return FullSystem(self.operators, self.operators.diffusion(permeability))


def _weights(drive: Drive, cut: Interval, index: int) -> list[FloatArray | None]:
    """Weights of the couplings at the stages of a step; None where no gradient acts."""
    if cut.still:
        return [None] * imex.STAGES
    return [drive.weights(cut, index, node) for node in imex.NODES]


def _combined(coefficients: FloatArray, blocks: list[FloatArray]) -> FloatArray:
    """The sum of blocks with coefficients."""
    out = np.zeros_like(blocks[0])
    for coefficient, block in zip(coefficients, blocks, strict=True):
        if coefficient:
            out += coefficient * block
    return out
