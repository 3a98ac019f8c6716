"""Matrix formalism: the signal in a basis of diffusion modes, whose number a measured error chooses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dmrifw.propagators.experiment import Experiment
from dmrifw.propagators.full_order import FullSystem
from dmrifw.propagators.held_steps import PROBES, coarse, first_steps, probe
from dmrifw.propagators.modes import Modes, ModeSource
from dmrifw.propagators.propagator import Propagator, Truncation
from dmrifw.propagators.reduced import ReducedSystem
from dmrifw.propagators.steps import intervals
from dmrifw.propagators.system import System
from dmrifw.propagators.trial import relaxed, trial_modes
from dmrifw.typing import FloatArray

_FIRST_MODES = 220
"""Fields to start from at a tolerance of 1e-3; their number grows as its fourth root falls."""

_MODE_SHARE = 0.35
"""Share of the tolerance given to truncation; what time stepping leaves is reserve for the estimates."""

_STATE_SHARE = 0.15
"""Error of states at the echo, relative to the start, over that of gradients: measured, two to six times less."""

_SNAPSHOTS = (0, 3)
"""Stages of a step whose states span a basis: spread, so that the steps may be twice as long as usual."""

_FEW = 16
"""Distinct measurements for which a basis does not pay."""

_SMALL = 1000
"""Unknowns up to which a basis pays in any case: it may be complete, and ranks need not wait for each other."""

_LARGE = 20_000
"""Unknowns above which a basis starts larger: its vectors cost two solves each, those from trajectories many more."""

_PER_ROUND = 12
"""Distinct measurements at full order that cost about as much as enlarging a basis once."""

_RETRY = 10
"""Calls that stay at full order after a basis was given up."""

_GROWTH = 2.0
"""How many times the vectors that it was made with a held basis may have; then it is made anew."""


class MatrixFormalism(Propagator):
    """Signals and their exact derivative in a basis of modes that is held fixed in the derivative.

    The basis starts with smooth fields relaxed by the diffusion operator. Its error is measured: the hardest
    measurements are also integrated at full order. Where signals or states differ, what the trajectories leave outside
    the basis is added to it, and the next measurements are compared, until some agree.

    A basis is held for later calls: in its span the operators of any tissue are diagonalized anew. When inputs have
    changed, measurements of one sequence in turn are compared with full order again; where they differ the basis is
    enriched, or made anew when it has grown too large.

    Source: Callaghan, J. Magn. Reson. 129:74 (1997); Barzykin, Phys. Rev. B 58:14171 (1998).
    """

    def __init__(self, tolerance: float, gradient_tolerance: float | None = None) -> None:
        super().__init__(tolerance, gradient_tolerance)
        self._held: Modes | None = None
        self._compared: Experiment | None = None
        self._made, self._turn = 0, 0

    def forget(self) -> None:
        """See `Propagator`."""
        super().forget()
        self._held, self._compared, self._turn = None, None, 0

    def _system(self, experiment: Experiment) -> System:
        full = FullSystem(experiment.operators, experiment.operators.diffusion(experiment.permeability))
        if self._held is None or any(int(sequence) not in self._measured for sequence in experiment.sequences):
            return self._enlarged(self._first(full), full, experiment) or full
        modes, near = self._held, experiment.is_near(self._compared)
        moved = not near and not modes.complete
        if moved:  # what is stiff follows the tissue at once, and so must the basis
            modes = replace(modes, vectors=relaxed(full, _without_unit(modes, full)))
        modes = modes.carried(experiment.operators, full.matrix)
        if moved:  # derivatives rely on the start w = 1 being in the basis
            modes = modes.enriched(full.unit[:, None], experiment.operators, full.matrix, 1e-9)
        system = ReducedSystem(experiment.operators, modes)
        if system.modes.complete or near:
            return system
        self._turn += 1
        turn, which = divmod(self._turn, len(experiment.sequences))
        states = self._left_out(system, full, experiment, [int(experiment.sequences[which])], turn)
        if not states:
            self._held, self._compared = system.modes, experiment
            return system
        if len(system.rates) > _GROWTH * self._made:
            return self._enlarged(self._first(full), full, experiment) or full
        modes = system.modes.enriched(np.hstack(states), experiment.operators, full.matrix, self._resolution)
        return self._enlarged(modes, full, experiment, anew=False) or full

    def _rounds(self, experiment: Experiment) -> int:
        """How often a basis may be enlarged until it is given up: by then it has seen every measurement long before."""
        return len(experiment.q)

    def _enlarged(
        self, modes: Modes, full: FullSystem, experiment: Experiment, anew: bool = True
    ) -> ReducedSystem | None:
        """The equation in a basis enlarged until it is good for the tolerance, and held; None if it never was."""
        rounds = self._rounds(experiment)
        sequences = [int(sequence) for sequence in experiment.sequences]
        for turn in range(rounds + 1):
            system = ReducedSystem(experiment.operators, modes)
            states = [] if modes.complete else self._left_out(system, full, experiment, sequences, turn)
            if not states:
                self._held, self._compared = modes, experiment
                self._made = len(modes.rates) if anew else self._made
                return system
            if turn < rounds:
                resolution = self._resolution * 0.3 ** self._laps(experiment, turn)
                modes = modes.enriched(np.hstack(states), experiment.operators, full.matrix, resolution)
        self._held, self.truncation = None, Truncation(0.0, 0.0)
        return None

    def _first(self, full: FullSystem) -> Modes:
        """The basis to start from: all modes of a small space."""
        operators = full.operators
        size = operators.mass.rows.size_global
        count = int(np.ceil(_FIRST_MODES * (1e-3 / self.tolerance) ** 0.25))
        if size > _SMALL:
            return trial_modes(full, count * max(1.0, size / _LARGE) ** (1 / 3))
        source = ModeSource(full.matrix, operators.mass, operators.comm)
        modes = source.lowest(count)
        return modes if modes.complete else modes.enriched(full.unit[:, None], operators, full.matrix, 1e-9)

    @property
    def _resolution(self) -> float:
        """Share of a trajectory, relative to its start, that a basis may leave out: signals are quadratic in it."""
        return 0.1 * float(np.sqrt(self.tolerance))

    def _laps(self, experiment: Experiment, turn: int) -> int:
        """How often every measurement has been tried before a round. Local."""
        return turn * PROBES // max(len(experiment.members(int(sequence))) for sequence in experiment.sequences)

    def _left_out(
        self,
        system: ReducedSystem,
        full: FullSystem,
        experiment: Experiment,
        sequences: list[int],
        turn: int,
    ) -> list[FloatArray]:
        """Compare some measurements of some sequences with full order, on the same coarse steps.

        Both err alike in time, so that what remains is the basis.

        Returns:
            (owned unknowns, n) states at full order, relative to what is left at the echo without gradients, for each
            sequence whose error is more than its share.

        Collective.
        """
        comm, poor, errors = experiment.operators.comm, [], [Truncation(0.0, 0.0)]
        for sequence in sequences:
            drive = probe(experiment, sequence, turn)
            if not drive.q.any():
                continue
            cuts = intervals(drive.waveform, drive.encoding, first_steps(drive, experiment, coarse(drive)), whole=True)
            trajectory = full.evolve(drive, cuts, keep=True)
            reduced = system.evolve(drive, cuts, keep=False).final
            missing = trajectory.final - system.lift(reduced)
            whole = np.abs(comm.allreduce(full.read(trajectory.final, True)))  # |u|^2 at the echo, at b = 0 first
            start = comm.allreduce(float(full.total @ full.unit))
            unweighted = np.abs(comm.allreduce(full.read(trajectory.final, False)))[0]
            by_signal = np.abs(comm.allreduce(full.read(missing, False))).max() / unweighted
            by_state = np.sqrt(np.abs(comm.allreduce(full.read(missing, True))).max() / whole[0])
            error = comm.bcast(Truncation(float(by_signal), float(by_state) / _STATE_SHARE))
            errors.append(error)
            if error.signal > _MODE_SHARE * self.tolerance or error.gradient > self.gradient_tolerance:
                states = [stages[stage] for stages in trajectory.stages for stage in _SNAPSHOTS]
                poor.append(np.hstack([*states, trajectory.final]) * np.sqrt(start / whole[0]))
        self.truncation = Truncation(max(one.signal for one in errors), max(one.gradient for one in errors))
        return poor


class Automatic(MatrixFormalism):
    """The cheaper of the two: modes for many measurements, full order for few, and for those that need all modes."""

    def __init__(self, tolerance: float, gradient_tolerance: float | None = None) -> None:
        super().__init__(tolerance, gradient_tolerance)
        self._waiting = 0

    def forget(self) -> None:
        """See `Propagator`."""
        super().forget()
        self._waiting = 0

    def _system(self, experiment: Experiment) -> System:
        few = experiment.distinct_count <= _FEW and experiment.operators.mass.rows.size_global > _SMALL
        if not few and self._waiting == 0:
            system = super()._system(experiment)
            self._waiting = _RETRY * isinstance(system, FullSystem)
            return system
        self._waiting = max(self._waiting - 1, 0)
        return FullSystem(experiment.operators, experiment.operators.diffusion(experiment.permeability))

    def _rounds(self, experiment: Experiment) -> int:
        return max(2, experiment.distinct_count // _PER_ROUND)


def _without_unit(modes: Modes, full: FullSystem) -> FloatArray:
    """(owned unknowns, r - 1) the span of modes but for the field w = 1, which comes back when they have moved."""
    share = full.operators.comm.allreduce(modes.vectors.T @ full.total)
    mirror = share / np.linalg.norm(share)
    mirror[0] += 1.0 if mirror[0] >= 0 else -1.0  # Householder: takes the share to the first column
    turned = modes.vectors - np.outer(modes.vectors @ mirror, 2.0 / (mirror @ mirror) * mirror)
    return np.ascontiguousarray(turned[:, 1:])
