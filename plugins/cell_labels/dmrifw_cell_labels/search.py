"""Local search over partitions: moves are ranked by a quadratic model of the misfit, and the best are tried."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmrifw.typing import FloatArray, IntArray
from dmrifw_cell_labels.misfit import Misfit
from dmrifw_cell_labels.moves import Moves, Neighbourhood

_DEPTH = 6
"""Moves that the model strings together, one after the other."""

_WIDTH = 12
"""Best moves at each of them that may be tried."""

_PLACES, _HOPEFUL = 2, 6.0
"""Places that a partition is tried at besides its own, if its misfit there is no more than so many times as large."""

_NEARLY = 1.3
"""Misfit over the lowest known up to which other places are tried."""

_TRIES = 10
"""Partitions that are tried on one linearization."""


@dataclass(frozen=True, eq=False)
class Found:
    """A partition and what it is worth.

    Attributes:
        labels: (E,).
        misfit: See `Misfit.of_labels`.
    """

    labels: IntArray
    misfit: float


class LocalSearch:
    """From a partition to one that no move at hand betters.

    Args:
        misfit: What is lowered.
        neighbourhood: Where moves come from.
        count: Number of compartments, the one around included.

    Local.
    """

    def __init__(self, misfit: Misfit, neighbourhood: Neighbourhood, count: int) -> None:
        self.misfit, self.neighbourhood, self.count = misfit, neighbourhood, count

    def valued(self, labels: IntArray) -> Found:
        """A partition with its misfit. Local."""
        return Found(labels, self.misfit.of_labels(labels))

    def settle(self, start: Found, steps: int, record: float) -> Found:
        """Improve a partition where it is and where it might also be, as long as that helps.

        A closed cell in a leaky surround looks nearly the same wherever it sits.

        Args:
            start: The partition.
            steps: Linearizations at each place, at most.
            record: The lowest misfit known; what is much worse is not worth other places.

        Local.
        """
        best = self.descend(start, steps)
        while best.misfit < _NEARLY * record:
            elsewhere = sorted(map(self.valued, self.neighbourhood.translated(best.labels)), key=lambda one: one.misfit)
            promising = [one for one in elsewhere[:_PLACES] if one.misfit < _HOPEFUL * best.misfit]
            other = min((self.descend(one, steps) for one in promising), key=lambda one: one.misfit, default=best)
            if other.misfit >= best.misfit:
                break
            best = other
        return best

    def descend(self, start: Found, steps: int) -> Found:
        """Improve a partition, one linearization after the other. Local.

        Args:
            start: The partition.
            steps: Linearizations, at most.
        """
        best, seen = start, {start.labels.tobytes()}
        for _ in range(steps):
            residuals, jacobian = self.misfit.linearize_partition(best.labels, self.count)
            slopes = jacobian.reshape(len(residuals), -1)
            improved = False
            while True:
                better, kept_its_promise = self._better(best, residuals, slopes, seen)
                if better is None:
                    break
                best, improved = better, True
                if not kept_its_promise:
                    break
                residuals = self.misfit.of_partition(best.labels)
            if not improved:
                break
        return best

    def _better(
        self, best: Found, residuals: FloatArray, slopes: FloatArray, seen: set[bytes]
    ) -> tuple[Found | None, bool]:
        """The first partition that gains half of what the model promised, and True; or the best that gains at all."""
        found: Found | None = None
        tries = 0
        for promise, labels in self._candidates(best.labels, residuals, slopes):
            if labels.tobytes() in seen:
                continue
            seen.add(labels.tobytes())
            tried = self.valued(labels)
            if promise < 0 and tried.misfit < best.misfit + 0.5 * promise:
                return tried, True
            if tried.misfit < (found or best).misfit:
                found = tried
            tries += 1
            if tries == _TRIES:
                break
        return found, False

    def _candidates(
        self, labels: IntArray, residuals: FloatArray, jacobian: FloatArray
    ) -> list[tuple[float, IntArray]]:
        """Partitions a few moves away and how the model values them, the best first."""
        found: list[tuple[float, IntArray]] = []
        current, moved, value = labels, residuals, 0.0
        barred: set[tuple[int, int]] = set()
        for _ in range(_DEPTH):
            moves = self.neighbourhood.moves(current, self.count)
            if not len(moves):
                break
            effects = moves.differences(current, self.count) @ jacobian.T
            gains = effects @ moved + 0.5 * np.einsum("ij,ij->i", effects, effects)
            order = np.argsort(gains, kind="stable")
            found += [(value + gains[one], moves.applied(one, current)) for one in order[:_WIDTH]]
            choice = next((one for one in order if tuple(moves.subjects[one]) not in barred), None)
            if choice is None:
                break
            barred.add(tuple(moves.subjects[choice]))
            current, moved = moves.applied(choice, current), moved + effects[choice]
            value += float(gains[choice])
        return sorted(found, key=lambda one: one[0])


def kicked(neighbourhood: Neighbourhood, labels: IntArray, count: int, generator: np.random.Generator) -> IntArray:
    """A partition after two to five random moves, mostly of vertices. Local."""
    for _ in range(int(generator.integers(2, 6))):
        moves: Moves = neighbourhood.moves(labels, count)
        vertices = np.flatnonzero(moves.subjects[:, 0] == 0)
        pool = vertices if len(vertices) and generator.random() < 0.8 else np.arange(len(moves))
        if not len(pool):
            break
        labels = moves.applied(int(generator.choice(pool)), labels)
    return labels
