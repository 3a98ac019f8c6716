"""One experiment: a tissue, and the measurements made on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dmrifw.operators import Operators
from dmrifw.sequences import Waveform
from dmrifw.typing import FloatArray, IntArray

_NEAR = 0.05
"""Root mean square change of inputs, relative, that counts as none."""

_CLOSED = 1e-4
"""Permeability below which a face is as good as closed, um/ms."""


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
        return 0.5 * float(np.linalg.norm(np.ptp(self.operators.space.grid.bounds, axis=0)))

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

    def is_near(self, other: Experiment | None) -> bool:
        """Whether inputs differ so little from those of another experiment that a basis good for it is good here.

        Local.
        """
        if other is None:
            return False
        ours, theirs = self._inputs, other._inputs
        return all(
            ours[name].shape == theirs[name].shape and _distance(ours[name], theirs[name]) <= _NEAR for name in ours
        )

    @cached_property
    def _inputs(self) -> dict[str, FloatArray]:
        grid, tissue = self.operators.space.grid, vars(self.operators.tissue)
        size = np.cbrt(grid.cell_volumes.mean())
        return {
            **tissue,
            "points": (tissue["points"] - grid.points) / size + 1.0,
            "permeability": np.log(np.maximum(self.permeability[self.operators.open_faces], _CLOSED)),
            "q": self.q,
        }

    @cached_property
    def distinct_count(self) -> int:
        """Number of distinct measurements."""
        return sum(len(self.distinct(int(sequence))[0]) for sequence in self.sequences)


def _distance(one: FloatArray, other: FloatArray) -> float:
    """Root mean square difference, over the root mean square where that is above 1."""
    if one is other:
        return 0.0
    return float(np.sqrt(np.mean((one - other) ** 2)) / max(1.0, np.sqrt(np.mean(other**2))))
