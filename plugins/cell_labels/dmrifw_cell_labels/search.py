"""Local search over partitions: moves are ranked by a quadratic model of the misfit, and the best are tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from dmrifw.typing import FloatArray, IntArray
from dmrifw_cell_labels.moves import Moves
from dmrifw_cell_labels.symmetry import Symmetry
from dmrifw_cell_labels.tools import Tools

_DEPTH = 6
"""Moves that the model strings together, one after the other."""

_WIDTH = 12
"""Best moves at each of them that may be tried."""

_TRIES = 10
"""Partitions that are tried on one linearization."""

STEPS = 15
"""Linearizations of one local search, at most."""


Subject: TypeAlias = tuple[int, int]
"""What moves: see `Moves.subjects`."""


@dataclass(frozen=True, eq=False)
class Found:
    """A partition and what it is worth.

    Attributes:
        labels: (E,).
        misfit: See `Misfit.of_labels`.
    """

    labels: IntArray
    misfit: float


def valued(tools: Tools, labels: IntArray) -> Found:
    """A partition with its misfit. Local."""
    return Found(labels, tools.misfit.of_labels(labels))


@dataclass(frozen=True, eq=False)
class _String:
    """Moves one after the other.

    Attributes:
        labels: (E,) what they lead to.
        promise: By how much the model says that the misfit changes.
        subjects: What moves.
    """

    labels: IntArray
    promise: float
    subjects: tuple[Subject, ...]


class LocalSearch:
    """From a partition to one that no move at hand betters.

    Args:
        tools: What is lowered, and where moves come from.
        count: Number of compartments, the one around included.
        symmetry: Which moves are one; by default each is on its own.

    Local.
    """

    def __init__(self, tools: Tools, count: int, symmetry: Symmetry | None = None) -> None:
        self._tools, self.misfit, self.neighbourhood, self.count = tools, tools.misfit, tools.neighbourhood, count
        self.symmetry = symmetry or Symmetry.none(len(tools.neighbourhood.cells), count)

    def valued(self, labels: IntArray) -> Found:
        """A partition with its misfit. Local."""
        return valued(self._tools, labels)

    def descend(self, start: Found, steps: int, worth: float = 1.0) -> Found:
        """Improve a partition, one linearization after the other. Local.

        Args:
            start: The partition.
            steps: Linearizations, at most.
            worth: Share of the misfit to which moves must bring it down for others to be tried.
        """
        best, seen = start, {start.labels.tobytes()}
        for _ in range(steps):
            residuals, jacobian = self.misfit.linearize_partition(best.labels, self.count)
            slopes = jacobian.reshape(len(residuals), -1)
            before = best.misfit
            while True:
                last = best.misfit
                better, kept_its_promise = self._better(best, residuals, slopes, seen)
                best = better or best
                if not kept_its_promise or best.misfit > worth * last:
                    break
                residuals = self.misfit.of_partition(best.labels)
            if best.misfit >= before or best.misfit > worth * before:
                break
        return best

    def kicked(self, labels: IntArray, generator: np.random.Generator) -> Found:
        """A partition after two to five random moves, mostly of vertices. Local."""
        for _ in range(int(generator.integers(2, 6))):
            moves = self.moves(labels)
            vertices = np.flatnonzero(moves.subjects[:, 0] == 0)
            pool = vertices if len(vertices) and generator.random() < 0.8 else np.arange(len(moves))
            if not len(pool):
                break
            labels = moves.applied(int(generator.choice(pool)), labels)
        return self.valued(labels)

    def moves(self, labels: IntArray) -> Moves:
        """Those at hand, of what is one together. Local."""
        return self.neighbourhood.moves(labels, self.count).under(self.symmetry)

    def _better(
        self, best: Found, residuals: FloatArray, slopes: FloatArray, seen: set[bytes]
    ) -> tuple[Found | None, bool]:
        """The first partition that gains half of what the model promised, and True; or the best that gains at all."""
        found: Found | None = None
        trusted: set[Subject] = set()
        barred: set[Subject] = set()
        strings = self._strings(best.labels, residuals, slopes, barred)
        for _ in range(_TRIES):
            string = next((one for one in strings if one.labels.tobytes() not in seen), None)
            if string is None:
                break
            first = string.subjects[0]
            if first not in trusted:  # nothing is built on a move that has not held
                string = next((one for one in strings if one.subjects == (first,)), string)
            seen.add(string.labels.tobytes())
            tried = self.valued(string.labels)
            if string.promise < 0 and tried.misfit < best.misfit + 0.5 * string.promise:
                return tried, True
            if tried.misfit < (found or best).misfit:
                found = tried
            if first not in trusted and tried.misfit >= best.misfit:
                # The model is wrong about it, as about cells that touch at an edge only.
                barred.add(first)
                strings = self._strings(best.labels, residuals, slopes, barred)
            trusted.add(first)
        return found, False

    def _strings(
        self, labels: IntArray, residuals: FloatArray, slopes: FloatArray, barred: set[Subject]
    ) -> list[_String]:
        """Moves strung together, the most promising strings first."""
        found: list[_String] = []
        taken: list[Subject] = []
        current, moved, value = labels, residuals, 0.0
        for _ in range(_DEPTH):
            moves = self.moves(current)
            effects = moves.differences(current, self.count) @ slopes.T
            gains = effects @ moved + 0.5 * np.einsum("ij,ij->i", effects, effects)
            subjects = [(int(kind), int(number)) for kind, number in moves.subjects]
            allowed = [int(one) for one in np.argsort(gains, kind="stable") if subjects[one] not in barred]
            found += [
                _String(moves.applied(one, current), value + float(gains[one]), (*taken, subjects[one]))
                for one in allowed[:_WIDTH]
            ]
            choice = next((one for one in allowed if subjects[one] not in taken), None)
            if choice is None:
                break
            taken.append(subjects[choice])
            current, moved = moves.applied(choice, current), moved + effects[choice]
            value += float(gains[choice])
        return sorted(found, key=lambda one: one.promise)
