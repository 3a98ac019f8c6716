"""Protocols: an ordered list of measurements, each a waveform with a b-value and a direction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences.directions import fibonacci_directions
from dmrifw.sequences.waveforms import PGSE, Waveform
from dmrifw.typing import ArrayLike, FloatArray, IntArray
from dmrifw.units import B_INSIDE_PER_BOUNDARY


@dataclass(frozen=True, eq=False)
class Protocol:
    """Measurements in the order in which signals come back.

    Attributes:
        waveforms: The distinct waveforms, one per sequence.
        sequence: (n,) row of `waveforms` that each measurement plays.
        bvals: (n,) b-values, s/mm^2.
        bvecs: (n, 3) unit gradient directions in the frame of the grid; zero where b is zero and no direction is known.
    """

    waveforms: tuple[Waveform, ...]
    sequence: IntArray
    bvals: FloatArray
    bvecs: FloatArray

    @classmethod
    def pgse(cls, bvals: ArrayLike, bvecs: ArrayLike, delta: float, Delta: float) -> Protocol:
        """Measurements of one PGSE sequence.

        Args:
            bvals: (n,) s/mm^2, at least 0.
            bvecs: (n, 3) directions; normalized here; a zero vector only where b = 0.
            delta: Pulse duration, ms.
            Delta: Time between the starts of the pulses, ms, at least `delta`.

        Returns:
            The protocol.

        Raises:
            InputError: b is negative or not finite, the lengths differ, a direction is missing, or Delta < delta.

        Local.
        """
        values, vectors = _checked_table(bvals, bvecs)
        return cls((PGSE(float(delta), float(Delta)),), np.zeros(len(values), dtype=np.int64), values, vectors)

    @classmethod
    def preset(cls, name: str) -> Protocol:
        """A published protocol by name; `dmrifw.sequences.PRESETS` lists them.

        Raises:
            InputError: There is no preset of that name.

        Local.
        """
        if name not in PRESETS:
            raise InputError(f"there is no preset {name!r}", f"choose one of: {', '.join(PRESETS)}", key="preset")
        return PRESETS[name]()

    @classmethod
    def shells(cls, bvals: ArrayLike, directions: FloatArray, delta: float, Delta: float) -> Protocol:
        """Every b-value along every direction, b by b, of one PGSE sequence.

        Args:
            bvals: (n_b,) s/mm^2.
            directions: (n_d, 3) unit vectors.
            delta: Pulse duration, ms.
            Delta: Time between the starts of the pulses, ms.

        Returns:
            A protocol of n_b n_d measurements.

        Local.
        """
        values = np.atleast_1d(np.asarray(bvals, dtype=float))
        vectors = np.atleast_2d(np.asarray(directions, dtype=float))
        return cls.pgse(np.repeat(values, len(vectors)), np.tile(vectors, (len(values), 1)), delta, Delta)

    def __add__(self, other: Protocol) -> Protocol:
        """The measurements of both, in order; equal waveforms become one sequence."""
        waveforms = list(self.waveforms)
        renumbered = []
        for waveform in other.waveforms:
            if waveform not in waveforms:
                waveforms.append(waveform)
            renumbered.append(waveforms.index(waveform))
        return Protocol(
            tuple(waveforms),
            np.concatenate([self.sequence, np.asarray(renumbered, dtype=np.int64)[other.sequence]]),
            np.concatenate([self.bvals, other.bvals]),
            np.concatenate([self.bvecs, other.bvecs]),
        )

    def __len__(self) -> int:
        return len(self.bvals)

    def select(self, rows: ArrayLike) -> Protocol:
        """The measurements `rows`, indices or a mask; every waveform is kept, so sequence numbers stay. Local."""
        return Protocol(self.waveforms, self.sequence[rows], self.bvals[rows], self.bvecs[rows])

    @cached_property
    def q(self) -> FloatArray:
        """(n, 3) gamma G in rad/(um ms): amplitude and direction of each effective gradient."""
        per_squared_q = np.array([waveform.b_per_squared_q() for waveform in self.waveforms])[self.sequence]
        return np.sqrt(self.bvals * B_INSIDE_PER_BOUNDARY / per_squared_q)[:, None] * self.bvecs

    @cached_property
    def delta(self) -> FloatArray:
        """(n,) pulse duration of each measurement, ms."""
        return np.array([waveform.delta for waveform in self.waveforms])[self.sequence]  # type: ignore[attr-defined]

    @cached_property
    def Delta(self) -> FloatArray:
        """(n,) time between pulse starts of each measurement, ms."""
        return np.array([waveform.Delta for waveform in self.waveforms])[self.sequence]  # type: ignore[attr-defined]


def _checked_table(bvals: ArrayLike, bvecs: ArrayLike) -> tuple[FloatArray, FloatArray]:
    values = np.atleast_1d(np.asarray(bvals, dtype=np.float64))
    vectors = np.atleast_2d(np.asarray(bvecs, dtype=np.float64))
    if values.ndim != 1 or len(values) == 0:
        raise InputError(f"bvals has shape {values.shape}", "give one b-value per measurement", key="bvals")
    if not np.isfinite(values).all() or (values < 0).any():
        row = int(np.flatnonzero(~(np.isfinite(values) & (values >= 0)))[0])
        raise InputError(f"b = {values[row]:g} s/mm^2 at measurement {row}", "give finite b >= 0", key="bvals")
    if vectors.shape == (3, len(values)) and len(values) != 3:
        raise InputError(f"bvecs has shape {vectors.shape}", "transpose it: one row per measurement", key="bvecs")
    if vectors.shape != (len(values), 3):
        raise InputError(f"bvecs has shape {vectors.shape}", f"give shape ({len(values)}, 3)", key="bvecs")
    length = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(vectors).all() or ((length == 0) & (values > 0)).any():
        row = int(np.flatnonzero(~np.isfinite(length) | ((length == 0) & (values > 0)))[0])
        raise InputError(f"direction {row} is {vectors[row]}", "give a finite, non-zero vector", key="bvecs")
    return values, vectors / np.where(length > 0, length, 1.0)[:, None]


def _spinverse() -> Protocol:
    """PGSE 5/6, 10/20 and 10/60 ms, six b-values to 5000 s/mm^2, 30 directions.

    Source: Spinverse, arXiv 2603.04638.
    """
    directions = fibonacci_directions(30)
    bvals = np.arange(6) * 1000.0
    first, *rest = [Protocol.shells(bvals, directions, delta, Delta) for delta, Delta in ((5, 6), (10, 20), (10, 60))]
    return first + rest[0] + rest[1]


PRESETS = {"spinverse": _spinverse}
"""Published protocols by name."""
