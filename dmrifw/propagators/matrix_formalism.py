"""Matrix formalism: the signal in a basis of diffusion modes, whose number a measured error chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dmrifw.operators import Operators
from dmrifw.propagators import imex
from dmrifw.propagators.full_order import FullSystem
from dmrifw.propagators.imex import Trajectory
from dmrifw.propagators.modes import Modes, ModeSource
from dmrifw.propagators.propagator import PROBES, Propagator, System
from dmrifw.propagators.reduced import ReducedModel
from dmrifw.propagators.steps import Drive, Interval, intervals
from dmrifw.propagators.threads import blas_threads_for
from dmrifw.typing import ComplexArray, FloatArray, IntArray

_FIRST_MODES = 128
"""Modes to start from at a tolerance of 1e-3; their number grows as its fourth root falls."""

_MODE_SHARE = 0.5
"""Share of the tolerance given to truncation; what time stepping leaves is reserve for the estimates."""

_SNAPSHOTS = (0, 2, 3)
"""Stages of a step whose states span a basis: evenly spread, so that the steps may be twice as long as usual."""

_FEW = 16
"""Distinct measurements for which a basis does not pay."""

_SMALL = 1000
"""Unknowns up to which a basis pays in any case: it may be complete, and ranks need not wait for each other."""

_PER_ROUND = 40
"""Distinct measurements at full order that cost about as much as enlarging a basis once."""


@dataclass(frozen=True, eq=False)
class ReducedSystem:
    """The equation in a basis of modes, the same on every rank: see `System`.

    Attributes:
        model: The operators in the basis.
        modes: The basis.
        operators: The operators it came from.
    """

    model: ReducedModel
    modes: Modes
    operators: Operators

    divided: ClassVar[bool] = True
    time_share: ClassVar[float] = 0.5

    @property
    def size(self) -> int:
        """See `System`."""
        return len(self.model.rates)

    def evolve(self, drive: Drive, cuts: list[Interval], keep: bool) -> Trajectory:
        """See `System`. Local."""
        with blas_threads_for(self.size if len(drive.q) > 8 else 0):
            return imex.evolve(self.model, self.model.start(len(drive.q)), drive, cuts, keep)

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
        sensitivity = np.zeros((self.size, self.size))

        def contract(left: FloatArray, right: FloatArray) -> None:
            sensitivity[:] += left @ right.T

        with blas_threads_for(self.size):
            imex.pull_back(self.model, drive, cuts, trajectory, seed, contract)
        return sensitivity

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

    The basis starts with the lowest modes of the diffusion operator. Its error is measured: the hardest measurements
    are also integrated at full order. Where they differ, what their trajectories leave outside the basis is added to
    it, and the next measurements are compared, until some agree.

    Source: Callaghan, J. Magn. Reson. 129:74 (1997); Barzykin, Phys. Rev. B 58:14171 (1998).
    """

    def _system(self, permeability: FloatArray, rows: IntArray) -> System:
        full = self._full(permeability)
        return self._basis(full, rows, len(rows)) or full  # the basis has seen every measurement long before

    def _full(self, permeability: FloatArray) -> FullSystem:
        return FullSystem(self.operators, self.operators.diffusion(permeability))

    def _basis(self, full: FullSystem, rows: IntArray, rounds: int) -> ReducedSystem | None:
        """The equation in a basis good for the tolerance; None if it was not good after some rounds."""
        operators = self.operators
        source = ModeSource(full.matrix, operators.mass, operators.comm)
        modes = source.lowest(int(np.ceil(_FIRST_MODES * (1e-3 / self.tolerance) ** 0.25)))
        for turn in range(rounds + 1):
            system = ReducedSystem(modes.reduce(operators), modes, operators)
            poor = [] if modes.complete else self._poor(system, full, rows, turn)
            if not poor:
                return system
            if turn < rounds:
                left_out = self._resolution * 0.3 ** self._laps(rows, turn)
                modes = modes.enriched(self._snapshots(full, poor), operators, full.matrix, left_out)
        return None

    @property
    def _resolution(self) -> float:
        """Share of a trajectory, relative to its start, that a basis may leave out: signals are quadratic in it."""
        return 0.1 * float(np.sqrt(self.tolerance))

    def _laps(self, rows: IntArray, turn: int) -> int:
        """How often every measurement has been tried before a round. Local."""
        longest = np.bincount(self.protocol.sequence[rows]).max()
        return turn * PROBES // int(longest)

    def _poor(self, system: ReducedSystem, full: FullSystem, rows: IntArray, turn: int) -> list[Drive]:
        """The measurements of a round on which the basis and full order disagree."""
        poor = []
        for sequence in np.unique(self.protocol.sequence[rows]):
            waveform, q = self._probes(int(sequence), rows, turn)
            if q.any():
                drive = Drive(waveform, q, self.operators.encoding)
                steps = self._first_steps(drive, self._coarse)  # both err alike in time: the difference is the basis
                change = self.attenuation(system, drive, steps) - self.attenuation(full, drive, steps)
                if self.operators.comm.bcast(float(np.abs(change).max())) > _MODE_SHARE * self.tolerance:
                    poor.append(drive)
        return poor

    def _snapshots(self, full: FullSystem, drives: list[Drive]) -> FloatArray:
        """(owned unknowns, n) states of some measurements on their way to the echo, at full order."""
        states = []
        for drive in drives:
            steps = self._first_steps(drive, self._coarse)
            trajectory = full.evolve(drive, intervals(drive.waveform, drive.encoding, steps, whole=True), True)
            states += [stages[stage] for kept in trajectory.stages for stages in kept for stage in _SNAPSHOTS]
            states.append(trajectory.final)
        return np.hstack(states)


class Automatic(MatrixFormalism):
    """The cheaper of the two: modes for many measurements, full order for few, and for those that need all modes."""

    def _system(self, permeability: FloatArray, rows: IntArray) -> System:
        full = self._full(permeability)
        distinct = len(np.unique(np.column_stack([self.protocol.sequence[rows], self.protocol.q[rows]]), axis=0))
        if distinct <= _FEW and self.operators.mass.rows.size_global > _SMALL:
            return full
        return self._basis(full, rows, max(2, distinct // _PER_ROUND)) or full
