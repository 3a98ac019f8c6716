"""Where a label search is, between two iterations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmrifw.typing import FloatArray, IntArray
from dmrifw_cell_labels.search import Found


@dataclass(frozen=True, eq=False)
class State:
    """Where a search is.

    Attributes:
        shares: (K - 1, E) of the descent.
        best: (E,) the best partition of all attempts.
        pool: (n, E) the best partitions of the attempt.
        values: (n,) their misfits, ascending.
        misfit: That of the best of all; infinite before there is one.
        error: Root mean square of the differences between its signals and the target, in S/S0.
        count: Number of compartments that are told apart.
        radius: Of the descent.
        tick: Iterations done.
        attempt: Attempts done.
        steps: Steps of the descent of this attempt.
        age: Iterations after it.
        stale: Iterations since they found something better.
        idle: Iterations since any attempt did.
    """

    shares: FloatArray
    best: IntArray
    pool: IntArray
    values: FloatArray
    misfit: float = np.inf
    error: float = np.inf
    count: int = 2
    radius: float = 0.5
    tick: int = 0
    attempt: int = 0
    steps: int = 0
    age: int = 0
    stale: int = 0
    idle: int = 0

    @classmethod
    def new(cls, cells: int) -> State:
        """Of a search on so many cells that has not begun. Local."""
        none = np.zeros((0, cells), dtype=np.int64)
        return cls(np.zeros((1, cells)), np.zeros(cells, dtype=np.int64), none, np.zeros(0))

    @property
    def known(self) -> list[Found]:
        """The pool."""
        return [Found(labels, float(value)) for labels, value in zip(self.pool, self.values, strict=True)]

    @property
    def shown(self) -> IntArray:
        """(E,) the partition that stands for it."""
        return self.best if np.isfinite(self.misfit) else read_off(self.shares, 0.5)


def read_off(shares: FloatArray, level: float) -> IntArray:
    """(E,) labels: 0 where the (K - 1, E) shares of the others are less than a level together, else the largest."""
    return np.where(shares.sum(axis=0) > level, 1 + np.argmax(shares, axis=0), 0)
