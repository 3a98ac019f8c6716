"""Protocols: an ordered list of measurements, each a waveform with a b-value and a direction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences.pulsed import DDE, PGSE
from dmrifw.sequences.table import checked_table
from dmrifw.sequences.waveforms import Waveform, local_vectors
from dmrifw.typing import ArrayLike, FloatArray, IntArray
from dmrifw.units import B_INSIDE_PER_BOUNDARY, Q_PER_GRADIENT

if TYPE_CHECKING:
    from dipy.core.gradients import GradientTable


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
        return cls.single(PGSE(float(delta), float(Delta)), bvals, bvecs)

    @classmethod
    def single(cls, waveform: Waveform, bvals: ArrayLike, bvecs: ArrayLike) -> Protocol:
        """Measurements of one waveform, whatever it is.

        Args:
            waveform: The waveform.
            bvals: (n,) s/mm^2, at least 0.
            bvecs: (n, 3) directions; normalized here; a zero vector only where b = 0.

        Returns:
            The protocol.

        Raises:
            InputError: b is negative or not finite, the lengths differ, or a direction is missing.

        Local.
        """
        values, vectors = checked_table(bvals, bvecs)
        return cls((waveform,), np.zeros(len(values), dtype=np.int64), values, vectors)

    @classmethod
    def from_gradients(cls, waveform: Waveform, amplitudes: ArrayLike, bvecs: ArrayLike) -> Protocol:
        """Measurements of one waveform at gradient amplitudes; b follows from them.

        Args:
            waveform: The waveform.
            amplitudes: (n,) largest gradient of each measurement, mT/m, at least 0.
            bvecs: (n, 3) directions; normalized here.

        Returns:
            The protocol.

        Raises:
            InputError: An amplitude is negative or not finite, the lengths differ, or a direction is missing.

        Local.
        """
        strength = np.atleast_1d(np.asarray(amplitudes, dtype=np.float64))
        if not np.isfinite(strength).all() or (strength < 0).any():
            raise InputError("a gradient is negative or not finite", "give amplitudes >= 0 in mT/m", key="amplitudes")
        bvals = (strength * Q_PER_GRADIENT) ** 2 * waveform.b_per_squared_q() / B_INSIDE_PER_BOUNDARY
        return cls.single(waveform, bvals, bvecs)

    @classmethod
    def dde(
        cls,
        bvals: ArrayLike,
        first: ArrayLike,
        second: ArrayLike,
        delta: float,
        Delta: float,
        mixing: float,
        ramp: float = 0.0,
    ) -> Protocol:
        """Double diffusion encoding along pairs of directions.

        Measurements whose second directions agree in the local frame of the first are one sequence.

        Args:
            bvals: (n,) s/mm^2 of both blocks together.
            first: (n, 3) directions of the first block, what `bvecs` then is; zero only where b = 0.
            second: (n, 3) directions of the second block; zero only where b = 0.
            delta: As in `DDE`, ms.
            Delta: As in `DDE`, ms.
            mixing: As in `DDE`, ms.
            ramp: As in `DDE`, ms.

        Returns:
            The protocol.

        Raises:
            InputError: The table is unsound, or the timing.

        Local.
        """
        values, vectors = checked_table(bvals, first)
        _, others = checked_table(bvals, second)
        x, y, z = local_vectors(vectors, others).T
        across = np.hypot(x, y)
        pair = np.column_stack([np.degrees(np.arctan2(across, z)), np.degrees(np.arctan2(y, x))]).round(8)
        pair[across < 1e-10, 1] = 0.0
        known = vectors.any(axis=1) & others.any(axis=1)
        pair[~known] = pair[known][0] if known.any() else 0.0
        kinds, sequence = np.unique(pair, axis=0, return_inverse=True)
        waveforms = tuple(DDE(delta, Delta, mixing, float(angle), float(turn), ramp) for angle, turn in kinds)
        return cls(waveforms, sequence.reshape(-1).astype(np.int64), values, vectors)

    @classmethod
    def preset(cls, name: str) -> Protocol:
        """A published protocol by name; `dmrifw.sequences.PRESETS` lists them.

        Raises:
            InputError: There is no preset of that name.

        Local.
        """
        from dmrifw.sequences.presets import PRESETS  # presets are made of protocols

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
        return cls.product(PGSE(float(delta), float(Delta)), bvals, directions)

    @classmethod
    def product(cls, waveform: Waveform, bvals: ArrayLike, directions: ArrayLike) -> Protocol:
        """Every b-value along every direction, b by b, of one waveform.

        Args:
            waveform: The waveform.
            bvals: (n_b,) s/mm^2.
            directions: (n_d, 3) vectors.

        Returns:
            A protocol of n_b n_d measurements.

        Raises:
            InputError: A b-value or a direction is unsound.

        Local.
        """
        values = np.atleast_1d(np.asarray(bvals, dtype=float))
        vectors = np.atleast_2d(np.asarray(directions, dtype=float))
        return cls.single(waveform, np.repeat(values, len(vectors)), np.tile(vectors, (len(values), 1)))

    @classmethod
    def read(cls, path: str | Path, **options: Any) -> Protocol:
        """The protocol in a file, of the format that its name or its first line tells.

        See `dmrifw.sequences.files.read` for the formats, their frames and the options.

        Raises:
            InputError: The file cannot be read or is unsound, or the timing is not known.

        Local.
        """
        from dmrifw.sequences.files import read  # readers make protocols

        return read(path, **options)

    @classmethod
    def from_dipy(cls, table: GradientTable, **options: Any) -> Protocol:
        """The protocol of a DIPY gradient table; see `dmrifw.sequences.files.from_dipy`.

        Raises:
            InputError: The timing is not known, or the table has b-tensors that no waveform given has.

        Local.
        """
        from dmrifw.sequences.files import from_dipy

        return from_dipy(table, **options)

    def write(self, path: str | Path, **options: Any) -> None:
        """Write the protocol in the format that the name tells; see `dmrifw.sequences.files.write`.

        Raises:
            InputError: The format cannot hold this protocol; nothing is then written.

        Local; call it on one rank.
        """
        from dmrifw.sequences.files import write

        write(self, path, **options)

    def to_dipy(self, b0_threshold: float = 0.0) -> GradientTable:
        """A DIPY gradient table of the same b-values and vectors; see `dmrifw.sequences.files.to_dipy`. Local."""
        from dmrifw.sequences.files import to_dipy

        return to_dipy(self, b0_threshold)

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
    def amplitudes(self) -> FloatArray:
        """(n,) largest gradient of each measurement, mT/m."""
        return np.linalg.norm(self.q, axis=1) / Q_PER_GRADIENT

    @cached_property
    def btensors(self) -> FloatArray:
        """(n, 3, 3) b-tensors, ms/um^2: their traces are the b-values, their frame is that of `bvecs`."""
        tensors = np.zeros((len(self), 3, 3))
        for number, waveform in enumerate(self.waveforms):
            rows = self.sequence == number
            tensors[rows] = waveform.btensor(self.q[rows])
        return tensors

    @cached_property
    def echo_times(self) -> FloatArray:
        """(n,) time from the start of the first gradient to the echo, ms."""
        return self._of_waveforms("echo_time")

    @cached_property
    def delta(self) -> FloatArray:
        """(n,) duration of a pulse or train, ms; NaN where a waveform has none."""
        return self._of_waveforms("delta")

    @cached_property
    def Delta(self) -> FloatArray:
        """(n,) time between the starts of two pulses or trains, ms; NaN where a waveform has none."""
        return self._of_waveforms("Delta")

    def _of_waveforms(self, name: str) -> FloatArray:
        return np.array([getattr(waveform, name, np.nan) for waveform in self.waveforms], dtype=float)[self.sequence]
