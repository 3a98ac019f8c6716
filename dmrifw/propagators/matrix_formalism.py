"""Matrix formalism: the signal in a basis of diffusion modes; measured errors choose mode count and time step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmrifw.operators import Operators
from dmrifw.propagators.modes import Modes, ModeSource
from dmrifw.propagators.reduced import Interval, ReducedModel, Trajectory, evolve, intervals, pull_back
from dmrifw.propagators.threads import blas_threads_for
from dmrifw.sequences import Protocol, Waveform
from dmrifw.typing import ComplexArray, FloatArray, IntArray

_FIRST_MODES = 128
"""Modes to start from at a tolerance of 1e-3; their number grows as its fourth root falls."""

_MODE_GROWTH = 1.5
_PROBE_SHARE = 0.75
"""The error of r modes is measured as the change of the hardest signals from 0.75 r to r modes."""

_MODE_SHARE = 0.6
_TIME_SHARE = 0.1
"""Shares of the tolerance given to truncation and to time stepping; the rest is reserve for the estimates."""

_TAPE_BYTES = 5e8
"""Memory that the trajectories of one block of measurements may take."""


@dataclass(frozen=True, eq=False)
class Batch:
    """The distinct measurements of one waveform that this rank integrates.

    Attributes:
        waveform: The waveform.
        cuts: Its time steps.
        q: (m, 3) rad/(um ms), distinct.
        first: Offset of these measurements among all distinct ones of the tape.
    """

    waveform: Waveform
    cuts: list[Interval]
    q: FloatArray
    first: int


@dataclass(frozen=True, eq=False)
class Tape:
    """What a forward run leaves for its derivative.

    Attributes:
        modes: The basis held.
        model: The operators in it.
        batches: This rank's blocks and their trajectories.
        expand: (n,) distinct measurement of each requested row.
        distinct: Number of distinct measurements.
    """

    modes: Modes
    model: ReducedModel
    batches: list[tuple[Batch, Trajectory]]
    expand: IntArray
    distinct: int


class MatrixFormalism:
    """Signals and their exact derivative in a basis of modes that is held fixed in the derivative.

    Args:
        operators: The assembled operators.
        protocol: The measurements.
        tolerance: Error in S/S0, by measured estimates.

    Source: Callaghan, J. Magn. Reson. 129:74 (1997); Barzykin, Phys. Rev. B 58:14171 (1998).
    """

    def __init__(self, operators: Operators, protocol: Protocol, tolerance: float) -> None:
        self.operators, self.protocol, self.tolerance = operators, protocol, tolerance
        used = operators.space.grid.points[operators.space.grid.cells.reshape(-1)]
        self._reach = 0.5 * float(np.linalg.norm(np.ptp(used, axis=0)))

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
        modes, model = self._basis(permeability, rows)
        comm = self.operators.comm
        batches, expand, distinct = self._batches(model, rows)
        signal = np.zeros(distinct, dtype=np.complex128)
        taped = []
        for batch in batches:
            with blas_threads_for(len(model.rates)):
                trajectory = evolve(model, batch.waveform, batch.q, batch.cuts, keep)
            signal[batch.first : batch.first + len(batch.q)] = _read(model, batch.waveform, trajectory.final)
            if keep:
                taped.append((batch, trajectory))
        return comm.allreduce(signal)[expand], Tape(modes, model, taped, expand, distinct)

    def pull_back(self, tape: Tape, cotangent: ComplexArray) -> FloatArray:
        """Gradient with respect to the permeability of every face.

        Args:
            tape: From `signal(..., keep=True)`.
            cotangent: (n,) d loss = Re sum conj(cotangent) dS, torch's convention; replicated.

        Returns:
            (F,) d loss / d kappa per um/ms, replicated.

        Collective.
        """
        model = tape.model
        gathered = np.zeros(tape.distinct, dtype=np.complex128)
        np.add.at(gathered, tape.expand, cotangent)
        sensitivity = np.zeros((len(model.rates), len(model.rates)))
        for batch, trajectory in tape.batches:
            mine = gathered[batch.first : batch.first + len(batch.q)]
            seed = _seed(model, batch.waveform, trajectory.final, mine)
            with blas_threads_for(len(model.rates)):
                sensitivity += pull_back(model, batch.waveform, batch.q, batch.cuts, trajectory, seed)
        return self.operators.face_gradient(tape.modes.vectors, self.operators.comm.allreduce(sensitivity))

    def _basis(self, permeability: FloatArray, rows: IntArray) -> tuple[Modes, ReducedModel]:
        """Modes in growing number until dropping the last quarter of them no longer changes the hardest signals."""
        source = ModeSource(self.operators.diffusion(permeability), self.operators.mass, self.operators.comm)
        count = int(np.ceil(_FIRST_MODES * (1e-3 / self.tolerance) ** 0.25))
        while True:
            modes = source.lowest(count)
            model = modes.reduce(self.operators)
            if modes.complete or self._truncation_error(model, rows) <= _MODE_SHARE * self.tolerance:
                return modes, model
            count = int(np.ceil(_MODE_GROWTH * count))

    def _truncation_error(self, model: ReducedModel, rows: IntArray) -> float:
        smaller = model.truncated(int(_PROBE_SHARE * len(model.rates)))
        worst = 0.0
        for sequence in np.unique(self.protocol.sequence[rows]):
            waveform, q = self._probes(int(sequence), rows)
            cuts = intervals(waveform, self._guess(waveform, q))
            change = _attenuation(model, waveform, q, cuts) - _attenuation(smaller, waveform, q, cuts)
            worst = max(worst, float(np.abs(change).max()))
        return worst

    def _probes(self, sequence: int, rows: IntArray) -> tuple[Waveform, FloatArray]:
        """The hardest measurements of a sequence: up to four directions at the largest q."""
        q = self.protocol.q[rows[self.protocol.sequence[rows] == sequence]]
        strength = np.linalg.norm(q, axis=1)
        hardest = np.flatnonzero(strength >= 0.99 * strength.max())
        return self.protocol.waveforms[sequence], q[np.unique(hardest[np.linspace(0, len(hardest) - 1, 4).astype(int)])]

    def _guess(self, waveform: Waveform, q: FloatArray) -> float:
        """Steps per ms to start from.

        At least four in the shortest interval, so that half as many are a different scheme; and so many that the
        fastest precession on the grid turns by less than two radians in a step.
        """
        shortest = min((cut.stop - cut.start for cut in intervals(waveform, 1.0) if cut.steps), default=1.0)
        return max(0.6 * float(np.linalg.norm(q, axis=1).max()) * self._reach, 4.0 / shortest)

    def _cuts(self, model: ReducedModel, waveform: Waveform, q: FloatArray) -> list[Interval]:
        """Time steps whose error, measured by doubling them on the hardest signals, is within tolerance.

        Their number comes from a coarse ladder, so that it stays put under small changes of the tissue.
        """
        target, base, rung = _TIME_SHARE * self.tolerance, self._guess(waveform, q), 0
        while True:
            rate = base * 2.0 ** (rung / 2)
            fine = _attenuation(model, waveform, q, intervals(waveform, rate))
            change = float(np.abs(fine - _attenuation(model, waveform, q, intervals(waveform, rate / 2))).max())
            missing = int(
                np.ceil(0.5 * np.log2(max(change / 8 / target, 0.25)))
            )  # fourth order would allow change / 15
            if missing <= 0:
                return intervals(waveform, base * 2.0 ** ((rung + missing) / 2))
            rung += missing + (missing == 1 and rung > 0)  # stiff modes lower the order: do not creep

    def _batches(self, model: ReducedModel, rows: IntArray) -> tuple[list[Batch], IntArray, int]:
        """Distinct measurements, sequence by sequence, dealt out to the ranks in blocks that fit the memory budget."""
        comm, batches, offset = self.operators.comm, [], 0
        expand = np.empty(len(rows), dtype=np.int64)
        for sequence in np.unique(self.protocol.sequence[rows]):
            members = np.flatnonzero(self.protocol.sequence[rows] == sequence)
            distinct, inverse = np.unique(self.protocol.q[rows[members]] + 0.0, axis=0, return_inverse=True)
            expand[members] = offset + inverse.reshape(-1)
            waveform, probes = self._probes(int(sequence), rows)
            cuts = self._cuts(model, waveform, probes)
            start, stop = (len(distinct) * part // comm.size for part in (comm.rank, comm.rank + 1))
            per_measurement = 80.0 * len(model.rates) * sum(max(cut.steps, 1) for cut in cuts)
            block = max(4, int(_TAPE_BYTES / per_measurement))
            for first in range(start, stop, block):
                part = distinct[first : min(first + block, stop)]
                batches.append(Batch(waveform, cuts, part, offset + first))
            offset += len(distinct)
        return batches, expand, offset


def _read(model: ReducedModel, waveform: Waveform, final: FloatArray) -> ComplexArray:
    """(m,) signals: |y|^2 at half the echo time where symmetry allows, else the total at the echo time."""
    real, imaginary = np.hsplit(final, 2)
    if waveform.is_antisymmetric:
        return np.einsum("rm,rm->m", real, real) + np.einsum("rm,rm->m", imaginary, imaginary) + 0j
    return model.total @ real + 1j * (model.total @ imaginary)


def _seed(model: ReducedModel, waveform: Waveform, final: FloatArray, cotangent: ComplexArray) -> FloatArray:
    """(r, 2m) cotangent of the final block: the transpose of `_read`."""
    if waveform.is_antisymmetric:
        return 2.0 * np.tile(cotangent.real, 2) * final
    return np.outer(model.total, np.concatenate([cotangent.real, cotangent.imag]))


def _attenuation(model: ReducedModel, waveform: Waveform, q: FloatArray, cuts: list[Interval]) -> ComplexArray:
    """(m,) S/S0 with the S0 of the same waveform."""
    unweighted = model.total**2 @ np.exp(-model.rates * waveform.breakpoints[-1])
    with blas_threads_for(0):  # a handful of columns
        final = evolve(model, waveform, q, cuts, False).final
    return _read(model, waveform, final) / unweighted
