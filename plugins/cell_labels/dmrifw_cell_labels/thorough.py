"""What is done to a record, by all processes: it is tried at other places, and with every single move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmrifw.inversion import Workers
from dmrifw.typing import FloatArray, IntArray
from dmrifw_cell_labels.misfit import slower
from dmrifw_cell_labels.moves import Moves
from dmrifw_cell_labels.search import Found, LocalSearch, valued
from dmrifw_cell_labels.symmetry import Symmetry
from dmrifw_cell_labels.tools import Tools

PLACES, _HOPEFUL = 5, 6.0
"""Places that a partition is tried at besides its own, if its misfit there is no more than so many times as large."""

_GLANCE = 1
"""Linearizations at each of more places, by which the best of them are chosen."""

_MOST_MOVES = 500
"""Moves up to which each of them is tried on a record."""

_PAIRS = 60
"""Pairs of moves that are tried after them."""

_MOST_TRIED, _AS_MANY = 600, 50
"""Partitions that are tried in polishing one, at most, on a grid for which that is meant: one far from the data can be
bettered for long; and what a descent counts as."""

_AT_ONCE = 8
"""Moves that are tried before one looks whether any has helped."""


def settle(
    workers: Workers[Tools],
    search: LocalSearch,
    start: Found,
    steps: int,
    known: Sequence[Found] = (),
    places: int | None = PLACES,
) -> Found:
    """Improve a partition where it is and where it might also be, as long as that helps.

    A closed cell in a leaky surround looks nearly the same wherever it sits.

    Args:
        workers: Who work.
        search: Tells the number of compartments, and what is one.
        start: The partition.
        steps: Linearizations at each place, at most.
        known: Partitions that were settled before: one that is not better is not worth other places.
        places: Other places, at most; None for all, of which only the most promising are followed to the end.

    For rank 0.
    """

    def descended(starts: Sequence[Found], steps: int) -> list[Found]:
        return workers.map(_descended, [(search.count, search.symmetry, one, steps) for one in starts])

    best, record = search.descend(start, steps), min((one.misfit for one in known), default=np.inf)
    while best.misfit < record:
        labels = [(one,) for one in search.neighbourhood.translated(best.labels)]
        elsewhere = sorted(workers.map(valued, labels), key=lambda one: one.misfit)
        promising = [one for one in elsewhere[:places] if one.misfit < _HOPEFUL * best.misfit]
        if len(promising) > PLACES:
            promising = sorted(descended(promising, _GLANCE), key=lambda one: one.misfit)[:PLACES]
        other = min(descended(promising, steps), key=lambda one: one.misfit, default=best)
        if other.misfit >= best.misfit:
            break
        best = other
    return best


def polished(workers: Workers[Tools], search: LocalSearch, start: Found, steps: int) -> Found:
    """Try every single move, unless they are too many, the most promising first; then the best pairs of them.

    From what helps, descend.

    For rank 0.
    """
    best, left = start, _MOST_TRIED / slower(len(start.labels))
    while left > 0:
        moves = search.moves(best.labels)
        if len(moves) > _MOST_MOVES:
            return best
        better, tried = _moved(workers, search, best, moves)
        if better is None:
            return best
        best, left = search.descend(better, steps), left - tried - _AS_MANY
    return best


def _moved(workers: Workers[Tools], search: LocalSearch, best: Found, moves: Moves) -> tuple[Found | None, int]:
    """What the best of the first single moves or pairs that better a partition leads to, and how many were tried.

    Pairs are ranked as if differences between signals added up: then their change of the misfit is that of each alone,
    and the product of the changes of differences.
    """
    misfit, tried = search.misfit, 0
    before, jacobian = misfit.linearize_partition(best.labels, search.count)
    effects = moves.differences(best.labels, search.count) @ jacobian.reshape(len(before), -1).T
    promised = effects @ before + 0.5 * np.einsum("ij,ij->i", effects, effects)
    changes, gains = np.empty((len(moves), len(before))), np.empty(len(moves))
    for numbers in _batches(np.argsort(promised, kind="stable")):
        labels = [moves.applied(int(one), best.labels) for one in numbers]
        residuals = workers.map(_residuals, [(one,) for one in labels])
        values = [misfit.of_residuals(*one) for one in zip(residuals, labels, strict=True)]
        tried += len(numbers)
        if min(values) < best.misfit:
            return Found(labels[int(np.argmin(values))], min(values)), tried
        changes[numbers], gains[numbers] = np.array(residuals) - before, np.array(values) - best.misfit
    first, second = np.triu_indices(len(moves), 1)
    promises = gains[first] + gains[second] + (changes @ changes.T)[first, second]
    for pairs in _batches(np.argsort(promises, kind="stable")[:_PAIRS]):
        both = [(moves.applied(int(second[one]), moves.applied(int(first[one]), best.labels)),) for one in pairs]
        found = min(workers.map(valued, both), key=lambda one: one.misfit)
        tried += len(pairs)
        if found.misfit < best.misfit:
            return found, tried
    return None, tried


def _batches(numbers: IntArray) -> list[IntArray]:
    return [numbers[first : first + _AT_ONCE] for first in range(0, len(numbers), _AT_ONCE)]


def _descended(tools: Tools, count: int, symmetry: Symmetry, start: Found, steps: int) -> Found:
    return LocalSearch(tools, count, symmetry).descend(start, steps)


def _residuals(tools: Tools, labels: IntArray) -> FloatArray:
    return tools.misfit.of_partition(labels)
