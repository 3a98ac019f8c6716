"""Where a label search is, between two iterations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dmrifw.typing import FloatArray, IntArray
from dmrifw_cell_labels.search import Found

_SAME = 1e-5
"""Relative difference of misfits up to which two partitions are taken for one, or for its reflection."""

_POOL = 8
"""Partitions that are kept of an attempt."""

WORTH_A_START = 4.0
"""Misfit over that of the best of them up to which partitions read off shares, and shares that wait, are bettered."""


@dataclass(frozen=True, eq=False)
class State:
    """Where a search is.

    Attributes:
        shares: (K - 1, E) of the descent.
        best: (E,) the best partition of all attempts.
        like: (E,) one that tells what mixtures are off by: its signals are the nearest to those measured.
        pool: (n, E) the best partitions of the attempt.
        values: (n,) their misfits, ascending.
        misfit: That of the best of all; infinite before there is one.
        polished: That of the last best of all of which every single move was tried.
        error: Root mean square of the differences between its signals and the target, in S/S0.
        noise: That in these differences.
        excess: What they have beyond it, over its standard deviation; see `Remainder`.
        count: Number of compartments that are told apart.
        waiting: (n, 2, E) shares of other attempts of the heat, which wait to go on; 0 of a compartment that is none.
        grays: (n,) their misfits, ascending.
        owners: (n,) their attempts.
        ends: (n,) misfits at which attempts were given up.
        radius: Of the descent.
        tick: Iterations done.
        attempt: The attempt that is made.
        begun: Attempts begun before it.
        phase: Phases of the descent of this attempt that are over.
        age: Iterations after it.
        stale: Iterations since they found something better.
        idle: Iterations since any attempt did that bettered partitions, and no shares.
        spent: Time that iterations took, s.
        longest: Time of the longest.
    """

    shares: FloatArray
    best: IntArray
    like: IntArray
    pool: IntArray
    values: FloatArray
    waiting: FloatArray
    grays: FloatArray
    owners: IntArray
    ends: FloatArray
    misfit: float = np.inf
    polished: float = np.inf
    error: float = np.inf
    noise: float = 0.0
    excess: float = np.inf
    count: int = 2
    radius: float = 0.5
    tick: int = 0
    attempt: int = 0
    begun: int = 0
    phase: int = 0
    age: int = 0
    stale: int = 0
    idle: int = 0
    spent: float = 0.0
    longest: float = 0.0

    @classmethod
    def new(cls, cells: int) -> State:
        """Of a search on so many cells that has not begun. Local."""
        shares, none, nothing = np.zeros((1, cells)), np.zeros((0, cells), dtype=np.int64), np.zeros(0)
        best, nobody = np.zeros(cells, dtype=np.int64), np.zeros(0, dtype=np.int64)
        return cls(shares, best, best, none, nothing, np.zeros((0, 2, cells)), nothing, nobody, nothing)

    def with_waiting(self, gray: float, most: float, count: int) -> State:
        """The state in which its shares wait, with the best whose misfit is up to so many times the lowest. Local."""
        shares = np.concatenate([self.shares, np.zeros((2 - len(self.shares), self.shares.shape[1]))])
        waiting, grays = np.concatenate([self.waiting, shares[None]]), np.append(self.grays, gray)
        owners, order = np.append(self.owners, self.attempt), np.argsort(grays, kind="stable")
        order = order[grays[order] <= most * grays.min()][:count]
        return replace(self, waiting=waiting[order], grays=grays[order], owners=owners[order])

    def with_first_waiting(self, count: int) -> State:
        """The state that goes on with the shares of the lowest misfit that wait, of so many compartments. Local."""
        shares, attempt = self.waiting[0, : count - 1], int(self.owners[0])
        left = replace(self, waiting=self.waiting[1:], grays=self.grays[1:], owners=self.owners[1:])
        return replace(left, shares=shares, attempt=attempt, count=count, radius=0.5)

    def kept(self, best: Found, *others: Found) -> State:
        """The state with partitions among those of the attempt, which is where they belong if they are new. Local."""
        better = len(self.values) == 0 or best.misfit < self.values[0] - 1e-9
        pool, values = self.pool, self.values
        for found in (best, *others):
            if not (pool == found.labels).all(axis=1).any():
                pool, values = np.vstack([pool, found.labels]), np.append(values, found.misfit)
                order = np.argsort(values, kind="stable")[:_POOL]
                pool, values = pool[order], values[order]
        state = replace(self, pool=pool, values=values, stale=0 if better else self.stale + 1)
        if best.misfit < state.misfit:
            state = replace(state, best=best.labels, misfit=best.misfit, idle=0)
        return state

    @property
    def came_back(self) -> bool:
        """Whether the attempt is where another was given up."""
        return bool(np.isclose(self.values[:1], self.ends[:, None], rtol=_SAME, atol=0.0).any())

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
