"""Full order: the assembled equation stepped in time, with one factorization for all measurements."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from dmrifw.matrices import DistributedMatrix
from dmrifw.operators import Operators
from dmrifw.propagators import imex
from dmrifw.propagators.factorization import Factorization
from dmrifw.propagators.imex import Trajectory
from dmrifw.propagators.propagator import Propagator
from dmrifw.propagators.steps import Drive, Interval
from dmrifw.typing import ComplexArray, FloatArray, IntArray

_HELD = 4
"""Factorizations held at a time: a sequence has few lengths of step."""


class FullSystem:
    """The assembled equation, distributed by unknowns: a `System` and its own `Equation`."""

    divided: ClassVar[bool] = False
    time_share: ClassVar[float] = 0.5

    def __init__(self, operators: Operators, diffusion: DistributedMatrix) -> None:
        self.operators, self.matrix = operators, diffusion
        self._factors: dict[float, Factorization] = {}

    @property
    def size(self) -> int:
        """See `System`."""
        return self.operators.mass.rows.size_local

    def evolve(self, drive: Drive, cuts: list[Interval], keep: bool) -> Trajectory:
        """See `System`. Collective."""
        block = np.zeros((self.size, 2 * len(drive.q)))
        block[:, : len(drive.q)] = 1.0
        return imex.evolve(self, block, drive, cuts, keep)

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
        facets = np.zeros(self.operators.facet_count)

        def contract(left: FloatArray, right: FloatArray) -> None:
            facets[:] += self.operators.facet_products(left, right)

        imex.pull_back(self, drive, cuts, trajectory, seed, contract)
        return facets

    def face_gradient(self, sensitivity: FloatArray | None) -> FloatArray:
        """See `System`. Collective."""
        facets = np.zeros(self.operators.facet_count) if sensitivity is None else sensitivity
        return self.operators.per_face(facets)

    def lift(self, final: FloatArray) -> FloatArray:
        """See `System`. Local."""
        return final

    def mass(self, block: FloatArray) -> FloatArray:
        """See `Equation`. Collective."""
        return self.operators.mass @ block

    def diffusion(self, block: FloatArray) -> FloatArray:
        """See `Equation`. Collective."""
        return self.matrix @ block

    def solve(self, shift: float, block: FloatArray) -> FloatArray:
        """See `Equation`. Collective."""
        return self._factor(shift).solve(block)

    def drive(self, block: FloatArray, weights: FloatArray) -> FloatArray:
        """See `Equation`. Collective."""
        out = np.zeros_like(block)
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
            self._factors[key] = Factorization(self.operators.mass, self.matrix, shift, self.operators.comm)
        else:
            self._factors[key] = self._factors.pop(key)  # the one used last is dropped last
        return self._factors[key]


class FullOrder(Propagator):
    """Signals and their exact discrete derivative by the assembled equation itself."""

    def _system(self, permeability: FloatArray, rows: IntArray) -> FullSystem:
        return FullSystem(self.operators, self.operators.diffusion(permeability))
