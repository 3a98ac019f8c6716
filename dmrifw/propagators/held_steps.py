"""Time steps by a measured error, held for later calls: so the signal is one smooth function of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from dmrifw.propagators.experiment import Experiment
from dmrifw.propagators.steps import Drive, Steps, intervals, measured_rate, rate_error
from dmrifw.propagators.system import System
from dmrifw.typing import ComplexArray

PROBES = 4
"""Measurements of a sequence that are tried at a time."""

Trial: TypeAlias = Callable[[float], ComplexArray]
"""Attenuations as a function of a rate of steps, 1/ms."""


class HeldSteps:
    """The time steps of every sequence.

    Args:
        tolerance: Error in S/S0, of which a system gives its `time_share` to time stepping.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self._steps: dict[int, Steps] = {}

    def forget(self) -> None:
        """Drop them all. Local."""
        self._steps.clear()

    def of(self, system: System, experiment: Experiment, sequence: int) -> Steps:
        """Those held for a sequence, or new ones whose error on the hardest signals is within the tolerance.

        Both kinds are measured apart, as differences in which the error of the other kind cancels: it may be coarse.

        Collective.
        """
        if sequence not in self._steps:
            drive, target = probe(experiment, sequence), system.time_share * self.tolerance
            first = first_steps(drive, experiment, max(1.0, (1e-3 / self.tolerance) ** 0.25))
            driven, still = _trials(system, drive, first)
            self._steps[sequence] = Steps(
                measured_rate(driven, first.driven, target), measured_rate(still, first.still, target)
            )
        return self._steps[sequence]

    def renewed(self, system: System, experiment: Experiment) -> bool:
        """Measure their errors again and drop those whose error has doubled; whether there were any. Collective."""
        dropped = False
        for sequence in map(int, experiment.sequences):
            drive, held = probe(experiment, sequence), self._steps[sequence]
            trials = zip(_trials(system, drive, held), (held.driven, held.still), strict=True)
            if max(rate_error(trial, rate) for trial, rate in trials) > 2.0 * system.time_share * self.tolerance:
                del self._steps[sequence]
                dropped = True
        return dropped


def probe(experiment: Experiment, sequence: int, turn: int = 0) -> Drive:
    """Some measurements of a sequence: the hardest, and others as turns go on. Local."""
    waveform = experiment.waveforms[sequence]
    return Drive(waveform, experiment.probes(sequence, turn, PROBES), experiment.operators.encoding)


def first_steps(drive: Drive, experiment: Experiment, refinement: float = 1.0) -> Steps:
    """Steps to start from, or `refinement` times as many.

    At least four in the shortest driven interval and two in the shortest still one, so that half as many are a
    different scheme; so many that the fastest precession on the grid turns by less than two radians in a step; and
    along periodic axes, where the drift by 2 D k is explicit, so many that this is stable.

    Local.
    """
    cuts = intervals(drive.waveform, drive.encoding, Steps(1.0, 1.0))
    lengths = {still: [cut.stop - cut.start for cut in cuts if cut.still == still] for still in (True, False)}
    rate = 0.6 * float(np.linalg.norm(drive.q, axis=1).max()) * experiment.reach
    if any(drive.encoding.periodic):
        k = np.linalg.norm(drive.waveform.wavevector(drive.q, drive.waveform.breakpoints), axis=-1).max()
        rate = max(rate, 12.0 * float(k**2 * np.linalg.norm(drive.encoding.mean_diffusivity, 2)))
    driven = max(rate, 4.0 / min(lengths[False], default=np.inf))
    still = max(driven / 8, 2.0 / min(lengths[True], default=np.inf))
    return Steps(refinement * driven, refinement * still)


def coarse(drive: Drive) -> float:
    """Share of the first steps that still gives a picture: along periodic axes fewer are unstable. Local."""
    return 1.0 if any(drive.encoding.periodic) else 0.5


def attenuation(system: System, drive: Drive, steps: Steps) -> ComplexArray:
    """(m,) S/S0 of a block whose first measurement is at b = 0; in its place the logarithm of S0, replicated.

    Collective.
    """
    cuts = intervals(drive.waveform, drive.encoding, steps)
    share = system.read(system.evolve(drive, cuts, False).final, drive.waveform.is_antisymmetric)
    signal = share if system.divided else system.operators.comm.allreduce(share)
    attenuated = signal * drive.encoding.damping(drive.waveform, drive.q) / signal[0]
    attenuated[0] = np.log(signal[0])
    return attenuated


def _trials(system: System, drive: Drive, first: Steps) -> tuple[Trial, Trial]:
    """Attenuations as functions of either rate of steps, in 1/ms."""
    few = coarse(drive) * first.driven
    return (
        lambda rate: attenuation(system, drive, Steps(rate, first.still)),
        lambda rate: attenuation(system, drive, Steps(few, rate)),
    )
