"""What all propagators share: distinct measurements in blocks, time steps by a measured error, and the tape."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from dmrifw.operators import Operators
from dmrifw.propagators.imex import STAGES, Trajectory
from dmrifw.propagators.steps import Drive, Interval, Steps, intervals, measured_rate
from dmrifw.sequences import Protocol as Measurements
from dmrifw.sequences import Waveform
from dmrifw.typing import ComplexArray, FloatArray, IntArray

_BLOCK_BYTES = 5e8
"""Memory that the trajectories of one block of measurements may take."""

PROBES = 4
"""Measurements of a sequence that are tried at a time."""

_TAPE_BYTES = 1e9
"""Memory that a tape may take; where trajectories take more, the way back runs every block once more."""


class System(Protocol):
    """The equation in some basis, ready for time integration. Blocks hold real parts, then imaginary parts.

    Attributes:
        divided: Whether ranks integrate measurements of their own; otherwise unknowns are distributed.
        time_share: Share of the tolerance given to time stepping.
    """

    divided: ClassVar[bool]
    time_share: ClassVar[float]

    @property
    def size(self) -> int:
        """Rows of a block on this rank."""

    def evolve(self, drive: Drive, cuts: list[Interval], keep: bool) -> Trajectory:
        """The trajectory of a block, with its `final` one. Collective unless `divided`."""

    def read(self, final: FloatArray, squared: bool) -> ComplexArray:
        """(m,) what this rank adds to the signals: their total, or |u|^2 at half the echo time. Local."""

    def seed(self, final: FloatArray, cotangent: ComplexArray, squared: bool) -> FloatArray:
        """The transpose of the derivative of `read`. Local."""

    def pull_back(self, drive: Drive, cuts: list[Interval], trajectory: Trajectory, seed: FloatArray) -> FloatArray:
        """This rank's sensitivity to the diffusion operator, in a form of its own. Collective unless `divided`."""

    def face_gradient(self, sensitivity: FloatArray | None) -> FloatArray:
        """(F,) gradient with respect to the permeability from a summed sensitivity. Collective."""

    def lift(self, final: FloatArray) -> FloatArray:
        """(owned unknowns, 2m) the magnetization over density, from a block. Local."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Distinct measurements of one waveform that this rank integrates.

    Attributes:
        drive: The measurements.
        cuts: Their time steps.
        damping: (m,) factor of their signals: see `Encoding.damping` and `Operators.slowest_relaxation`.
        first: Offset of these measurements among all distinct ones of the tape.
        squared: Whether the evolution stops at half the echo time, where |u|^2 is the signal.
    """

    drive: Drive
    cuts: list[Interval]
    damping: FloatArray
    first: int
    squared: bool

    @property
    def rows(self) -> slice:
        """Where these measurements stand among all distinct ones."""
        return slice(self.first, self.first + len(self.damping))


@dataclass(frozen=True, eq=False)
class Tape:
    """What a forward run leaves for its derivative.

    Attributes:
        system: The equation that was integrated.
        batches: This rank's blocks, and their trajectories where they were kept.
        expand: (n,) distinct measurement of each requested row.
        distinct: Number of distinct measurements.
    """

    system: System
    batches: list[tuple[Batch, Trajectory | None]]
    expand: IntArray
    distinct: int


class Propagator(ABC):
    """Signals of a protocol on assembled operators, and their exact derivative.

    Args:
        operators: The assembled operators.
        protocol: The measurements.
        tolerance: Error in S/S0, by measured estimates.
    """

    def __init__(self, operators: Operators, protocol: Measurements, tolerance: float) -> None:
        self.operators, self.protocol, self.tolerance = operators, protocol, tolerance
        used = operators.space.grid.points[operators.space.grid.cells.reshape(-1)]
        self._reach = 0.5 * float(np.linalg.norm(np.ptp(used, axis=0)))

    @abstractmethod
    def _system(self, permeability: FloatArray, rows: IntArray) -> System:
        """The equation for (F,) um/ms, good for some rows of the protocol. Collective."""

    def signal(self, permeability: FloatArray, rows: IntArray, keep: bool) -> tuple[ComplexArray, Tape]:
        """Signals of some measurements.

        Args:
            permeability: (F,) um/ms, replicated.
            rows: (n,) rows of the protocol.
            keep: Whether `pull_back` will follow.

        Returns:
            (n,) um^3, replicated, and the tape.

        Raises:
            ConvergenceError: The tolerance cannot be met.

        Collective.
        """
        system = self._system(permeability, rows)
        batches, expand, distinct = self._batches(system, rows)
        store = keep and self._tape_bytes(system, batches) <= _TAPE_BYTES
        signal = np.zeros(distinct, dtype=np.complex128)
        taped = []
        for batch in batches:
            trajectory = system.evolve(batch.drive, batch.cuts, store)
            signal[batch.rows] = system.read(trajectory.final, batch.squared) * batch.damping
            taped.append((batch, trajectory if store else None))
        return self.operators.comm.allreduce(signal)[expand], Tape(system, taped, expand, distinct)

    def pull_back(self, tape: Tape, cotangent: ComplexArray) -> FloatArray:
        """Gradient with respect to the permeability of every face.

        Args:
            tape: From `signal(..., keep=True)`.
            cotangent: (n,) d loss = Re sum conj(cotangent) dS, torch's convention; replicated.

        Returns:
            (F,) d loss / d kappa per um/ms, replicated.

        Collective.
        """
        system = tape.system
        gathered = np.zeros(tape.distinct, dtype=np.complex128)
        np.add.at(gathered, tape.expand, cotangent)
        sensitivity: FloatArray | None = None
        for batch, kept in tape.batches:
            trajectory = kept if kept is not None else system.evolve(batch.drive, batch.cuts, True)
            seed = system.seed(trajectory.final, gathered[batch.rows] * batch.damping, batch.squared)
            part = system.pull_back(batch.drive, batch.cuts, trajectory, seed)
            sensitivity = part if sensitivity is None else sensitivity + part
        return system.face_gradient(sensitivity)

    def compartment_signal(self, permeability: FloatArray, rows: IntArray) -> ComplexArray:
        """(n, C) the signal of each compartment at the echo, um^3, replicated; arguments as of `signal`. Collective."""
        system = self._system(permeability, rows)
        batches, expand, distinct = self._batches(system, rows, whole=True, divided=False)
        signal = np.zeros((distinct, self.operators.space.grid.compartment_count), dtype=np.complex128)
        for batch in batches:
            final = system.lift(system.evolve(batch.drive, batch.cuts, False).final)
            real, imaginary = np.hsplit(self.operators.compartment_totals(final), 2)
            signal[batch.rows] = ((real + 1j * imaginary) * batch.damping).T
        return signal[expand]

    def magnetization(self, permeability: FloatArray, rows: IntArray) -> ComplexArray:
        """(n, E, 4) magnetization at the echo at the vertices of every cell, replicated. Collective."""
        system = self._system(permeability, rows)
        batches, expand, distinct = self._batches(system, rows, whole=True, divided=False)
        fields = np.empty((distinct, *self.operators.space.grid.cells.shape), dtype=np.complex128)
        for batch in batches:
            final = system.lift(system.evolve(batch.drive, batch.cuts, False).final)
            real, imaginary = np.split(self.operators.at_vertices(final), 2)
            fields[batch.rows] = (real + 1j * imaginary) * batch.damping[:, None, None]
        return fields[expand]

    def _batches(
        self, system: System, rows: IntArray, whole: bool = False, divided: bool = True
    ) -> tuple[list[Batch], IntArray, int]:
        """Distinct measurements, sequence by sequence, in blocks that fit the memory budget.

        `whole` evolutions go on to the echo; `divided` ones are dealt out to the ranks if the system can.
        """
        comm, encoding, batches, offset = self.operators.comm, self.operators.encoding, [], 0
        expand = np.empty(len(rows), dtype=np.int64)
        for sequence in np.unique(self.protocol.sequence[rows]):
            members = np.flatnonzero(self.protocol.sequence[rows] == sequence)
            distinct, inverse = np.unique(self.protocol.q[rows[members]] + 0.0, axis=0, return_inverse=True)
            expand[members] = offset + inverse.reshape(-1)
            waveform, probes = self._probes(int(sequence), rows)
            cuts = intervals(waveform, encoding, self._steps(system, Drive(waveform, probes, encoding)), whole)
            start, stop = 0, len(distinct)
            if divided and system.divided:
                start, stop = (len(distinct) * part // comm.size for part in (comm.rank, comm.rank + 1))
            block = max(4, int(_BLOCK_BYTES / _bytes(system, cuts)))
            for first in range(start, stop, block):
                part = distinct[first : min(first + block, stop)]
                drive = Drive(waveform, part, encoding)
                squared = waveform.is_antisymmetric and not whole
                relaxed = np.exp(-self.operators.slowest_relaxation * waveform.echo_time)
                batches.append(Batch(drive, cuts, relaxed * encoding.damping(waveform, part), offset + first, squared))
            offset += len(distinct)
        return batches, expand, offset

    def _tape_bytes(self, system: System, batches: list[Batch]) -> float:
        """Bytes that the trajectories of the fullest rank take."""
        mine = sum(_bytes(system, batch.cuts) * len(batch.damping) for batch in batches)
        return max(self.operators.comm.allgather(mine))

    def _probes(self, sequence: int, rows: IntArray, turn: int = 0) -> tuple[Waveform, FloatArray]:
        """The waveform of a sequence, and q = 0 with the next few of its measurements, the hardest first.

        Measurements at the largest q come first, spread over their directions, then the others, then from the start.
        """
        q = np.unique(self.protocol.q[rows[self.protocol.sequence[rows] == sequence]], axis=0)
        strength = np.linalg.norm(q, axis=1)
        spread = np.modf(0.6180339887498949 * np.arange(len(q)))[0]  # neighbours in `q` come far apart
        order = np.lexsort((spread, strength < 0.99 * strength.max()))
        hardest = order[strength[order] > 0]
        first = (turn * PROBES) % max(len(hardest), 1)
        chosen = q[hardest[first : first + PROBES]]
        return self.protocol.waveforms[sequence], np.vstack([np.zeros((1, 3)), chosen])

    def _first_steps(self, drive: Drive, refinement: float = 1.0) -> Steps:
        """Steps to start from, or `refinement` times as many.

        At least four in the shortest driven interval and two in the shortest still one, so that half as many are a
        different scheme; so many that the fastest precession on the grid turns by less than two radians in a step; and
        along periodic axes, where the drift by 2 D k is explicit, so many that this is stable.
        """
        cuts = intervals(drive.waveform, drive.encoding, Steps(1.0, 1.0))
        lengths = {still: [cut.stop - cut.start for cut in cuts if cut.still == still] for still in (True, False)}
        rate = 0.6 * float(np.linalg.norm(drive.q, axis=1).max()) * self._reach
        if any(drive.encoding.periodic):
            k = np.linalg.norm(drive.waveform.wavevector(drive.q, drive.waveform.breakpoints), axis=-1).max()
            rate = max(rate, 12.0 * float(k**2 * np.linalg.norm(drive.encoding.mean_diffusivity, 2)))
        driven = max(rate, 4.0 / min(lengths[False], default=np.inf))
        still = max(driven / 8, 2.0 / min(lengths[True], default=np.inf))
        return Steps(refinement * driven, refinement * still)

    @property
    def _coarse(self) -> float:
        """Share of the first steps that still gives a picture: along periodic axes fewer are unstable."""
        return 1.0 if any(self.operators.encoding.periodic) else 0.5

    def _steps(self, system: System, drive: Drive) -> Steps:
        """Time steps whose error on the hardest signals is within its share of the tolerance.

        Both kinds are measured apart, as differences in which the error of the other kind cancels: it may be coarse.
        """
        target = system.time_share * self.tolerance
        first = self._first_steps(drive, max(1.0, (1e-3 / self.tolerance) ** 0.25))
        driven = measured_rate(lambda r: self.attenuation(system, drive, Steps(r, first.still)), first.driven, target)
        coarse = self._coarse * first.driven
        still = measured_rate(lambda r: self.attenuation(system, drive, Steps(coarse, r)), first.still, target)
        return Steps(driven, still)

    def attenuation(self, system: System, drive: Drive, steps: Steps) -> ComplexArray:
        """(m,) S/S0 of a block whose first measurement is at b = 0; in its place the logarithm of S0, replicated.

        Collective.
        """
        cuts = intervals(drive.waveform, drive.encoding, steps)
        share = system.read(system.evolve(drive, cuts, False).final, drive.waveform.is_antisymmetric)
        signal = share if system.divided else self.operators.comm.allreduce(share)
        attenuated = signal * drive.encoding.damping(drive.waveform, drive.q) / signal[0]
        attenuated[0] = np.log(signal[0])
        return attenuated


def _bytes(system: System, cuts: list[Interval]) -> float:
    """Memory that the trajectory of one measurement takes."""
    return 16.0 * system.size * STAGES * sum(cut.steps for cut in cuts)
