"""Matrix formalism: the signal in a basis of diffusion modes, whose number a measured error chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dmrifw.operators import Operators
from dmrifw.propagators.modes import Modes, ModeSource
from dmrifw.propagators.propagator import Propagator
from dmrifw.propagators.reduced import ReducedModel, Trajectory, evolve, pull_back
from dmrifw.propagators.steps import Drive, Interval
from dmrifw.propagators.threads import blas_threads_for
from dmrifw.typing import ComplexArray, FloatArray, IntArray

_FIRST_MODES = 128
"""Modes to start from at a tolerance of 1e-3; their number grows as its fourth root falls."""

_MODE_GROWTH = 1.5
_PROBE_SHARE = 0.75
"""The error of r modes is measured as the change of the hardest signals from 0.75 r to r modes."""

_MODE_SHARE = 0.6
"""Share of the tolerance given to truncation; what time stepping leaves is reserve for the estimates."""


@dataclass(frozen=True, eq=False)
class ReducedSystem:
    """The equation in a basis of modes, the same on every rank: see `System`.

    Attributes:
        model: The operators in the basis.
        modes: The basis; None where only signals are wanted.
        operators: The operators it came from.
    """

    model: ReducedModel
    modes: Modes
    operators: Operators

    divided: ClassVar[bool] = True
    exact_when_still: ClassVar[bool] = True
    stages: ClassVar[int] = 5

    @property
    def size(self) -> int:
        """See `System`."""
        return len(self.model.rates)

    def evolve(self, drive: Drive, cuts: list[Interval], keep: bool) -> Trajectory:
        """See `System`. Local."""
        with blas_threads_for(self.size if len(drive.q) > 8 else 0):
            return evolve(self.model, drive, cuts, keep)

    def read(self, final: FloatArray, squared: bool) -> ComplexArray:
        """See `System`. Local."""
        real, imaginary = np.hsplit(final, 2)
        if squared:
            return np.einsum("rm,rm->m", real, real) + np.einsum("rm,rm->m", imaginary, imaginary) + 0j
        return self.model.total @ real + 1j * (self.model.total @ imaginary)

    def seed(self, final: FloatArray, cotangent: ComplexArray, squared: bool) -> FloatArray:
        """See `System`. Local."""
        if squared:
            return 2.0 * np.tile(cotangent.real, 2) * final
        return np.outer(self.model.total, np.concatenate([cotangent.real, cotangent.imag]))

    def pull_back(self, drive: Drive, cuts: list[Interval], trajectory: Trajectory, seed: FloatArray) -> FloatArray:
        """(r, r) sensitivity to the diffusion operator in the basis: see `System`. Local."""
        with blas_threads_for(self.size):
            return pull_back(self.model, drive, cuts, trajectory, seed)

    def face_gradient(self, sensitivity: FloatArray | None) -> FloatArray:
        """See `System`. Collective."""
        mine = np.zeros((self.size, self.size)) if sensitivity is None else sensitivity
        vectors = self.modes.vectors
        left = vectors @ self.operators.comm.allreduce(mine)
        return self.operators.per_face(self.operators.facet_products(left, vectors))

    def lift(self, final: FloatArray) -> FloatArray:
        """See `System`. Local."""
        return self.modes.vectors @ final


class MatrixFormalism(Propagator):
    """Signals and their exact derivative in a basis of modes that is held fixed in the derivative.

    Source: Callaghan, J. Magn. Reson. 129:74 (1997); Barzykin, Phys. Rev. B 58:14171 (1998).
    """

    time_share = 0.1

    def _system(self, permeability: FloatArray, rows: IntArray) -> ReducedSystem:
        """Modes in growing number until dropping the last quarter of them no longer changes the hardest signals."""
        source = ModeSource(self.operators.diffusion(permeability), self.operators.mass, self.operators.comm)
        count = int(np.ceil(_FIRST_MODES * (1e-3 / self.tolerance) ** 0.25))
        while True:
            modes = source.lowest(count)
            system = ReducedSystem(modes.reduce(self.operators), modes, self.operators)
            if modes.complete or self._truncation_error(system, rows) <= _MODE_SHARE * self.tolerance:
                return system
            count = int(np.ceil(_MODE_GROWTH * count))

    def _truncation_error(self, system: ReducedSystem, rows: IntArray) -> float:
        smaller = system.model.truncated(int(_PROBE_SHARE * system.size))
        rougher = ReducedSystem(smaller, system.modes, self.operators)
        worst = 0.0
        for sequence in np.unique(self.protocol.sequence[rows]):
            drive = Drive(*self._probes(int(sequence), rows), self.operators.encoding)
            steps = self._first_steps(drive)
            change = self.attenuation(system, drive, steps) - self.attenuation(rougher, drive, steps)
            worst = max(worst, float(np.abs(change).max()))
        return worst
