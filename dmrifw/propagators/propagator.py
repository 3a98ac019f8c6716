"""What all propagators share: distinct measurements in blocks, time steps by a measured error, and the record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from mpi4py import MPI

from dmrifw.errors import InputError
from dmrifw.propagators import imex
from dmrifw.propagators.drives import DriveChange, DriveGradient
from dmrifw.propagators.experiment import Experiment
from dmrifw.propagators.held_steps import HeldSteps
from dmrifw.propagators.imex import STAGES, Trajectory
from dmrifw.propagators.steps import Drive, Interval, intervals
from dmrifw.propagators.system import Along, Gathering, System, Wanted
from dmrifw.typing import ComplexArray, FloatArray, IntArray

_BLOCK_BYTES = 5e8
"""Memory that the trajectories of one block of measurements may take."""

_TAPE_BYTES = 1e9
"""Memory that the stages of a tape may take; where they take more, the way back computes them once more."""

_FAR = 10.0
"""How far signals may move, in tolerances, until the error of held time steps is measured again."""

Fields: TypeAlias = dict[str, FloatArray]
"""Arrays by the name of an input."""


@dataclass(frozen=True)
class Truncation:
    """What a basis leaves out, as last compared with full order on some of the hardest measurements.

    Attributes:
        signal: Error of signals, over that at b = 0.
        gradient: Estimate of the relative error of gradients, from that of states at the echo.
    """

    signal: float
    gradient: float


@dataclass(frozen=True, eq=False)
class Batch:
    """Distinct measurements of one waveform that this rank integrates.

    Attributes:
        sequence: The sequence that they play.
        drive: The measurements.
        cuts: Their time steps.
        damping: (m,) factor of their signals: see `Encoding.damping` and `Operators.slowest_relaxation`.
        first: Offset of these measurements among all distinct ones of the record.
        squared: Whether the evolution stops at half the echo time, where |u|^2 is the signal.
    """

    sequence: int
    drive: Drive
    cuts: list[Interval]
    damping: FloatArray
    first: int
    squared: bool

    @property
    def rows(self) -> slice:
        """Where these measurements stand among all distinct ones."""
        return slice(self.first, self.first + len(self.damping))


@dataclass(eq=False)
class Record:
    """What a forward run leaves for its derivatives.

    Attributes:
        experiment: What was simulated.
        system: The equation that was integrated.
        batches: This rank's blocks.
        trajectories: Theirs, with stages as far as these were kept; None if no derivative was to follow.
        expand: (n,) distinct measurement of each one.
        signal: (distinct,) signals, replicated.
    """

    experiment: Experiment
    system: System
    batches: list[Batch]
    trajectories: list[Trajectory | None]
    expand: IntArray
    signal: ComplexArray

    def trajectory(self, number: int) -> Trajectory:
        """The trajectory of a block, with its stages if they fit into memory. Collective unless divided.

        Raises:
            InputError: The signals were computed without `keep`.
        """
        kept, batch = self.trajectories[number], self.batches[number]
        if kept is None:
            raise InputError("these signals were computed without derivatives", "set keep=True", key="keep")
        if kept.stages or _bytes(self.system, batch.cuts) * len(batch.damping) > 2 * _BLOCK_BYTES:
            return kept
        return self.system.evolve(batch.drive, batch.cuts, True)


class Propagator(ABC):
    """Signals of experiments, and their exact derivatives.

    Time steps are chosen by measured errors and then held, as long as signals stay near those that they were chosen
    for: so the signal is one smooth function of its inputs, and what is differentiated is what was computed.

    Args:
        tolerance: Error in S/S0, by measured estimates.
        gradient_tolerance: Relative error of gradients by what a basis leaves out, by measured estimates; 0.02 by
            default at a tolerance of 1e-3, and as its square root.

    Attributes:
        truncation: What the basis in use leaves out; nothing at full order and in a complete basis.
    """

    def __init__(self, tolerance: float, gradient_tolerance: float | None = None) -> None:
        self.tolerance = tolerance
        self.gradient_tolerance = gradient_tolerance or 0.02 * (tolerance / 1e-3) ** 0.5
        self.truncation = Truncation(0.0, 0.0)
        self.steps = HeldSteps(tolerance)
        self._measured: dict[int, ComplexArray] = {}

    @abstractmethod
    def _system(self, experiment: Experiment) -> System:
        """The equation to integrate, which may be held from an earlier call. Collective."""

    def forget(self) -> None:
        """Drop all that is held from earlier calls, so that the next one does not depend on them. Local."""
        self.steps.forget()
        self._measured.clear()

    def signal(self, experiment: Experiment, keep: bool) -> tuple[ComplexArray, Record]:
        """Signals of an experiment.

        Args:
            experiment: The experiment.
            keep: Whether derivatives will be asked for.

        Returns:
            (n,) um^3, replicated, and the record.

        Raises:
            ConvergenceError: The tolerance cannot be met.

        Collective.
        """
        held = all(int(sequence) in self._measured for sequence in experiment.sequences)
        system = self._system(experiment)
        record = self._run(system, experiment, keep)
        if held and self._moved(record) <= _FAR * self.tolerance:
            return record.signal[record.expand], record
        if held and self.steps.renewed(system, experiment):
            record = self._run(system, experiment, keep)
        self._measured.update(_by_sequence(record))
        return record.signal[record.expand], record

    def pull_back(self, record: Record, cotangent: ComplexArray, wanted: tuple[str, ...] = ("permeability",)) -> Fields:
        """Gradients with respect to inputs.

        Args:
            record: From `signal(..., keep=True)`.
            cotangent: (n,) d loss = Re sum conj(cotangent) dS, torch's convention; replicated.
            wanted: Names: "permeability", those in `Tissue`, "q", and "samples 0" for those of sequence 0 and so on.

        Returns:
            By name, arrays of the shape of the input; "q" has a row for each measurement of the record. Replicated.

        Collective.
        """
        system, experiment = record.system, record.experiment
        operators = experiment.operators
        needs = Wanted.by(wanted, any(operators.encoding.periodic))
        gathered = np.zeros(len(record.signal), dtype=np.complex128)
        np.add.at(gathered, record.expand, cotangent)
        gathering = Gathering(system, needs)
        by_q = np.zeros((len(record.signal), 3))
        by_samples = {name: _no_samples(experiment, name) for name in wanted if name.startswith("samples")}
        for number, batch in enumerate(record.batches):
            trajectory = record.trajectory(number)
            samples = f"samples {batch.sequence}"
            gathering.drives = (
                DriveGradient(batch.drive, samples in by_samples) if needs.q or samples in by_samples else None
            )
            cotangents = gathered[batch.rows] * batch.damping
            seed = system.seed(trajectory.final, cotangents, batch.squared, gathering)
            with system.threads(len(batch.drive.q)):
                snapshots = int(_BLOCK_BYTES / trajectory.final.nbytes) + 1
                imex.pull_back(system, batch.drive, batch.cuts, trajectory, seed, gathering, snapshots)
            if gathering.drives is not None:
                if system.divided or operators.comm.rank == 0:
                    gathering.drives.add_damping((gathered[batch.rows].conj() * record.signal[batch.rows]).real)
                by_q[batch.rows] += gathering.drives.q
                if samples in by_samples:
                    by_samples[samples] += gathering.drives.samples
        inputs = [name for name in wanted if name != "q" and name not in by_samples]
        gradients = operators.gradient(gathering.collected(), experiment.permeability, inputs)
        if needs.q:
            gradients["q"] = operators.comm.allreduce(by_q)[record.expand]
        return gradients | {name: operators.comm.allreduce(part) for name, part in by_samples.items()}

    def push_forward(self, record: Record, directions: Fields) -> ComplexArray:
        """The derivative of the signals along a direction of inputs: the transpose of `pull_back`.

        Args:
            record: From `signal(..., keep=True)`.
            directions: By name as in `pull_back`, arrays of the shape of the input, replicated.

        Returns:
            (n,) um^3, replicated.

        Collective.
        """
        system, experiment = record.system, record.experiment
        operators = experiment.operators
        inputs = {name: value for name, value in directions.items() if name != "q" and not name.startswith("samples")}
        matrices = system.projected(operators.along(experiment.permeability, inputs))
        by_q = np.zeros((len(record.signal), 3))
        if "q" in directions:
            by_q[record.expand] = directions["q"]
        change = np.zeros(len(record.signal), dtype=np.complex128)
        for number, batch in enumerate(record.batches):
            trajectory = record.trajectory(number)
            samples = directions.get(f"samples {batch.sequence}")
            drives = None
            if "q" in directions or samples is not None:
                drives = DriveChange(batch.drive, by_q[batch.rows] if "q" in directions else None, samples)
            along = Along(system, matrices, drives)
            with system.threads(len(batch.drive.q)):
                final = imex.push_forward(system, batch.drive, batch.cuts, trajectory, along)
            moved = along.mass(trajectory.final)
            read = system.read_along(trajectory.final, final, batch.squared, moved) * batch.damping
            if drives is not None and (system.divided or operators.comm.rank == 0):
                read = read + record.signal[batch.rows] * drives.damping()
            change[batch.rows] = read
        return operators.comm.allreduce(change)[record.expand]

    def compartment_signal(self, experiment: Experiment) -> ComplexArray:
        """(n, C) the signal of each compartment at the echo, um^3, replicated. Collective."""
        operators = experiment.operators
        record = self._run(self._system(experiment), experiment, keep=False, whole=True)
        signal = np.zeros((len(record.signal), operators.space.grid.compartment_count), dtype=np.complex128)
        for batch, final in _lifted(record):
            real, imaginary = np.hsplit(operators.compartment_totals(final), 2)
            signal[batch.rows] = ((real + 1j * imaginary) * batch.damping).T
        return signal[record.expand]

    def magnetization(self, experiment: Experiment) -> ComplexArray:
        """(n, E, 4) magnetization at the echo at the vertices of every cell, replicated. Collective."""
        operators = experiment.operators
        record = self._run(self._system(experiment), experiment, keep=False, whole=True)
        fields = np.empty((len(record.signal), *operators.space.grid.cells.shape), dtype=np.complex128)
        for batch, final in _lifted(record):
            real, imaginary = np.split(operators.at_vertices(final), 2)
            fields[batch.rows] = (real + 1j * imaginary) * batch.damping[:, None, None]
        return fields[record.expand]

    def _run(self, system: System, experiment: Experiment, keep: bool, whole: bool = False) -> Record:
        """Integrate all measurements; `whole` evolutions go on to the echo, undivided, and keep their last block."""
        batches, expand, count = self._batches(system, experiment, whole)
        comm = experiment.operators.comm
        store = keep and self._bytes_of(system, batches, comm) <= _TAPE_BYTES
        signal = np.zeros(count, dtype=np.complex128)
        trajectories: list[Trajectory | None] = []
        for batch in batches:
            trajectory = system.evolve(batch.drive, batch.cuts, store)
            signal[batch.rows] = system.read(trajectory.final, batch.squared) * batch.damping
            trajectories.append(trajectory if keep or whole else None)
        return Record(experiment, system, batches, trajectories, expand, comm.allreduce(signal))

    def _batches(self, system: System, experiment: Experiment, whole: bool) -> tuple[list[Batch], IntArray, int]:
        """Distinct measurements, sequence by sequence, in blocks that fit the memory budget."""
        operators, batches, offset = experiment.operators, [], 0
        comm, encoding = operators.comm, operators.encoding
        expand = np.empty(len(experiment.q), dtype=np.int64)
        for sequence in map(int, experiment.sequences):
            distinct, which = experiment.distinct(sequence)
            expand[experiment.members(sequence)] = offset + which
            waveform = experiment.waveforms[sequence]
            cuts = intervals(waveform, encoding, self.steps.of(system, experiment, sequence), whole)
            start, stop = 0, len(distinct)
            if system.divided and not whole:
                start, stop = (len(distinct) * part // comm.size for part in (comm.rank, comm.rank + 1))
            block = max(4, int(_BLOCK_BYTES / _bytes(system, cuts)))
            relaxed = np.exp(-operators.slowest_relaxation * waveform.echo_time)
            for first in range(start, stop, block):
                part = distinct[first : min(first + block, stop)]
                batches.append(
                    Batch(
                        sequence,
                        Drive(waveform, part, encoding),
                        cuts,
                        relaxed * encoding.damping(waveform, part),
                        offset + first,
                        waveform.is_antisymmetric and not whole,
                    )
                )
            offset += len(distinct)
        return batches, expand, offset

    def _bytes_of(self, system: System, batches: list[Batch], comm: MPI.Comm) -> float:
        """Bytes that the trajectories of the fullest rank take."""
        return max(comm.allgather(sum(_bytes(system, batch.cuts) * len(batch.damping) for batch in batches)))

    def _moved(self, record: Record) -> float:
        """How far signals have moved since steps were measured, in S/S0; infinitely if others are there. Local."""
        farthest = 0.0
        for sequence, signal in _by_sequence(record):
            before = self._measured[sequence]
            same = before.shape == signal.shape
            farthest = max(farthest, float(np.abs(signal - before).max()) if same else np.inf)
        return farthest


def _no_samples(experiment: Experiment, name: str) -> FloatArray:
    """Zeros like the samples that a name such as "samples 0" means."""
    return np.zeros((len(experiment.waveforms[int(name.split()[1])].samples), 3))  # type: ignore[attr-defined]


def _lifted(record: Record) -> Iterator[tuple[Batch, FloatArray]]:
    """Batches with their final magnetization over density, on this rank's unknowns."""
    for number, batch in enumerate(record.batches):
        trajectory = record.trajectories[number]
        assert trajectory is not None
        yield batch, record.system.lift(trajectory.final)


def _by_sequence(record: Record) -> Iterator[tuple[int, ComplexArray]]:
    """The signals of each sequence, over the largest of all."""
    experiment = record.experiment
    for sequence in map(int, experiment.sequences):
        signal = record.signal[record.expand[experiment.members(sequence)]]
        yield sequence, signal / np.abs(signal).max()


def _bytes(system: System, cuts: list[Interval]) -> float:
    """Memory that the trajectory of one measurement takes."""
    return 16.0 * len(system.unit) * STAGES * sum(cut.steps for cut in cuts)
