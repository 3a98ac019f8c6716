"""Matrix formalism: the signal in a basis of diffusion modes, whose number a measured error chooses."""

from __future__ import annotations

import numpy as np

from dmrifw.propagators.experiment import Experiment
from dmrifw.propagators.full_order import FullSystem
from dmrifw.propagators.held_steps import PROBES, attenuation, coarse, first_steps, probe
from dmrifw.propagators.modes import Modes, ModeSource
from dmrifw.propagators.propagator import Propagator
from dmrifw.propagators.reduced import ReducedSystem
from dmrifw.propagators.steps import Drive, intervals
from dmrifw.propagators.system import System
from dmrifw.typing import FloatArray

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


_RETRY = 10
"""Calls that stay at full order after a basis was given up."""

_STALE = 2.0
"""How many times the error of a new basis a held one may have."""

_GROWTH = 2.0
"""How many times as many vectors as at its making a held basis may have: then it is made anew."""


class MatrixFormalism(Propagator):
    """Signals and their exact derivative in a basis of modes that is held fixed in the derivative.

    The basis starts with the lowest modes of the diffusion operator. Its error is measured: the hardest measurements
    are also integrated at full order. Where they differ, what their trajectories leave outside the basis is added to
    it, and the next measurements are compared, until some agree.

    A basis is held for later calls: in its span the operators of any tissue are diagonalized anew. When signals have
    moved far, other measurements are compared with full order, and the basis is enriched or made anew.

    Source: Callaghan, J. Magn. Reson. 129:74 (1997); Barzykin, Phys. Rev. B 58:14171 (1998).
    """

    def __init__(self, tolerance: float) -> None:
        super().__init__(tolerance)
        self._held: Modes | None = None
        self._made = 0
        self._turn = 0

    def forget(self) -> None:
        """See `Propagator`."""
        super().forget()
        self._held = None

    def _system(self, experiment: Experiment) -> System:
        full = _full(experiment)
        new = any(int(sequence) not in self._tested for sequence in experiment.sequences)
        if self._held is not None and not new:
            return ReducedSystem(experiment.operators, self._held.carried(experiment.operators, full.matrix))
        return self._made_system(full, experiment) or full  # the basis has seen every measurement long before

    def _confirmed(self, system: System, experiment: Experiment) -> System:
        if not isinstance(system, ReducedSystem) or system.modes.complete:
            return system
        self._turn += 1
        full = _full(experiment)
        if not self._poor(system, full, experiment, self._turn, _STALE * _MODE_SHARE):
            return system
        return self._made_system(full, experiment, system) or full

    def _rounds(self, experiment: Experiment) -> int:
        """How often a basis may be enlarged until it is given up."""
        return len(experiment.q)

    def _made_system(
        self, full: FullSystem, experiment: Experiment, stale: ReducedSystem | None = None
    ) -> ReducedSystem | None:
        """The equation in a basis good for the tolerance, from a stale one or from the lowest modes.

        None if it was not good after some rounds.
        """
        operators = experiment.operators
        modes = self._lowest(full) if stale is None else stale.modes
        if stale is None or len(modes.rates) > _GROWTH * self._made:
            modes, self._made, self._turn = self._lowest(full), 0, 0
        rounds = self._rounds(experiment)
        for turn in range(rounds + 1):
            system = ReducedSystem(operators, modes)
            poor = [] if modes.complete else self._poor(system, full, experiment, self._turn + turn, _MODE_SHARE)
            if not poor:
                self._held, self._made = modes, self._made or len(modes.rates)
                return system
            if turn < rounds:
                left_out = self._resolution * 0.3 ** self._laps(experiment, turn)
                modes = modes.enriched(self._snapshots(full, poor, experiment), operators, full.matrix, left_out)
        self._held = None
        return None

    def _lowest(self, full: FullSystem) -> Modes:
        """The lowest modes, and the field w = 1, with which every measurement starts."""
        operators = full.operators
        source = ModeSource(full.matrix, operators.mass, operators.comm)
        modes = source.lowest(int(np.ceil(_FIRST_MODES * (1e-3 / self.tolerance) ** 0.25)))
        return modes if modes.complete else modes.enriched(full.unit[:, None], operators, full.matrix, 1e-9)

    @property
    def _resolution(self) -> float:
        """Share of a trajectory, relative to its start, that a basis may leave out: signals are quadratic in it."""
        return 0.1 * float(np.sqrt(self.tolerance))

    def _laps(self, experiment: Experiment, turn: int) -> int:
        """How often every measurement has been tried before a round. Local."""
        return turn * PROBES // max(len(experiment.members(int(sequence))) for sequence in experiment.sequences)

    def _poor(
        self, system: ReducedSystem, full: FullSystem, experiment: Experiment, turn: int, share: float
    ) -> list[Drive]:
        """The measurements of a round on which the basis and full order differ by a share of the tolerance."""
        poor = []
        for sequence in map(int, experiment.sequences):
            drive = probe(experiment, sequence, turn)
            if drive.q.any():
                steps = first_steps(drive, experiment, coarse(drive))  # both err alike: the rest is the basis
                change = attenuation(system, drive, steps) - attenuation(full, drive, steps)
                if experiment.operators.comm.bcast(float(np.abs(change).max())) > share * self.tolerance:
                    poor.append(drive)
        return poor

    def _snapshots(self, full: FullSystem, drives: list[Drive], experiment: Experiment) -> FloatArray:
        """(owned unknowns, n) states of some measurements on their way to the echo, at full order."""
        states = []
        for drive in drives:
            steps = first_steps(drive, experiment, coarse(drive))
            trajectory = full.evolve(drive, intervals(drive.waveform, drive.encoding, steps, whole=True), True)
            states += [stages[stage] for stages in trajectory.stages for stage in _SNAPSHOTS]
            states.append(trajectory.final)
        return np.hstack(states)


class Automatic(MatrixFormalism):
    """The cheaper of the two: modes for many measurements, full order for few, and for those that need all modes."""

    def __init__(self, tolerance: float) -> None:
        super().__init__(tolerance)
        self._given_up = 0

    def forget(self) -> None:
        """See `Propagator`."""
        super().forget()
        self._given_up = 0

    def _system(self, experiment: Experiment) -> System:
        few = experiment.distinct_count <= _FEW and experiment.operators.mass.rows.size_global > _SMALL
        if few or self._given_up > 0:
            self._given_up -= 0 if few else 1
            return _full(experiment)
        return super()._system(experiment)

    def _rounds(self, experiment: Experiment) -> int:
        return max(2, experiment.distinct_count // _PER_ROUND)

    def _made_system(
        self, full: FullSystem, experiment: Experiment, stale: ReducedSystem | None = None
    ) -> ReducedSystem | None:
        system = super()._made_system(full, experiment, stale)
        if system is None:
            self._given_up = _RETRY
        return system


def _full(experiment: Experiment) -> FullSystem:
    return FullSystem(experiment.operators, experiment.operators.diffusion(experiment.permeability))
