"""One experiment: a tissue, and the measurements made on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dmrifw.operators import Operators
from dmrifw.sequences import Waveform
from dmrifw.typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Experiment:
    """What a propagator is asked for.

    Attributes:
        operators: The assembled operators.
        permeability: (F,) um/ms, replicated.
        waveforms: The waveform of each sequence.
        sequence: (n,) the sequence that each measurement plays.
        q: (n, 3) amplitude and direction of each measurement, rad/(um ms).
        apart: Whether equal measurements are kept apart, because a derivative by each is wanted.
    """

    operators: Operators
    permeability: FloatArray
    waveforms: tuple[Waveform, ...]
    sequence: IntArray
    q: FloatArray
    apart: bool = False

    @cached_property
    def reach(self) -> float:
        """Half the diagonal of the grid's bounding box, um: how far positions spread."""
        grid = self.operators.space.grid
        return 0.5 * float(np.linalg.norm(np.ptp(grid.points[grid.cells.reshape(-1)], axis=0)))

    @cached_property
    def sequences(self) -> IntArray:
        """The sequences that are played, ascending."""
        return np.unique(self.sequence)

    def members(self, sequence: int) -> IntArray:
        """The measurements that play a sequence. Local."""
        return np.flatnonzero(self.sequence == sequence)

    def distinct(self, sequence: int) -> tuple[FloatArray, IntArray]:
        """(m, 3) distinct q of a sequence, rad/(um ms), and (n,) which of them each of its members has. Local."""
        q = self.q[self.members(sequence)] + 0.0
        if self.apart:
            return q, np.arange(len(q))
        values, inverse = np.unique(q, axis=0, return_inverse=True)
        return values, inverse.reshape(-1)

    def probes(self, sequence: int, turn: int, count: int) -> FloatArray:
        """Q = 0 with the next `count` measurements of a sequence, the hardest first.

        Measurements at the largest q come first, spread over their directions, then the others, then from the start.

        Local.
        """
        q = np.unique(self.q[self.members(sequence)] + 0.0, axis=0)
        strength = np.linalg.norm(q, axis=1)
        spread = np.modf(0.6180339887498949 * np.arange(len(q)))[0]  # neighbours in `q` come far apart
        order = np.lexsort((spread, strength < 0.99 * strength.max()))
        hardest = order[strength[order] > 0]
        first = (turn * count) % max(len(hardest), 1)
        return np.vstack([np.zeros((1, 3)), q[hardest[first : first + count]]])

    @cached_property
    def distinct_count(self) -> int:
        """Number of distinct measurements."""
        return sum(len(self.distinct(int(sequence))[0]) for sequence in self.sequences)
