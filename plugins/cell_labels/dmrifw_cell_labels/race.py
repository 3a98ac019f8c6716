"""A race of partitions: many take one rounded step, the better of them more, and so on.

Shares tell a shape better than its place between the cells of the grid. Laid where the truth is they are a few cells
off, but by their misfit they are one among fifty then: others, read off elsewhere, happen to be nearer to the data.
What tells them apart is where a step or two lead. And it matters where in the grid they lie: in a leaky tissue a closed
cell's signals change little with its place, yet more than with one of its cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmrifw.inversion import Workers
from dmrifw.typing import FloatArray, IntArray
from dmrifw_cell_labels.misfit import slower
from dmrifw_cell_labels.rounding import MOST_STEPS, rounded
from dmrifw_cell_labels.search import Found, LocalSearch, valued
from dmrifw_cell_labels.tools import Tools

_LAPS = ((48, 1), (20, 2), (8, MOST_STEPS))
"""Partitions that take steps, at most, and how many steps each takes."""

_SCANNED = 256
"""Displacements that are looked at: about 1 um apart on the published grid."""

_WHERE_NOTHING_LEAKS = 2
"""Part of both in a tissue that nothing leaves, where signals tell a place better and take three times as long."""

_EVENLY = 1.1673039782614187 ** -np.arange(1, 5)
"""Steps of a sequence that fills four dimensions evenly; the number is the root of x^5 = x + 1 (R_4 of M. Roberts)."""

_WIDTHS = (0.25, 0.45)
"""Kernels that read shares off, between which they are drawn, over the spacing of the grid."""

_GUIDES, _NEAR = 8, 6
"""Partitions that are tried at all places, and places near the best of those that the others are tried at."""


def displaced(
    workers: Workers[Tools], search: LocalSearch, shapes: Sequence[FloatArray], generator: np.random.Generator
) -> list[Found]:
    """Partitions read off a shape at many places within a cell, each once, the lowest misfit first.

    Args:
        workers: Who work.
        search: Tells the neighbourhood, and whether the tissue is leaky: then the shape is in the grid's middle.
        shapes: (E,) shares inside, one array each; see `Neighbourhood.displaced`.
        generator: Draws where the sequence of places begins.

    For rank 0.
    """
    grid = search.neighbourhood
    centre = grid.to_middle(shapes[0]) if search.misfit.leaky else np.zeros(3)
    drawn = np.modf(generator.random(4) + np.outer(np.arange(_part(_SCANNED, search)), _EVENLY))[0]
    shifts, widths = centre + (drawn[:, :3] - 0.5) * grid.spacing, _WIDTHS[0] + np.ptp(_WIDTHS) * drawn[:, 3]
    return _sorted(workers.map(_displaced, [(shapes, *one) for one in zip(shifts, widths, strict=True)]))


def raced(
    workers: Workers[Tools], search: LocalSearch, starts: Sequence[Found], generator: np.random.Generator
) -> list[Found]:
    """Where the best of some partitions lead, the lowest misfit first.

    Args:
        workers: Who work.
        search: Tells the number of compartments, and what is one.
        starts: The partitions.
        generator: Draws how far linearizations are trusted.

    For rank 0.
    """
    found = list(starts)
    for number, (most, steps) in enumerate(_LAPS, start=1):
        count = _part(most, search)
        if search.misfit.leaky and number < len(_LAPS):
            found = _placed(workers, search, found, count)
        found = _sorted(each_rounded(workers, search, found[:count], generator, steps))
    return found


def each_rounded(
    workers: Workers[Tools],
    search: LocalSearch,
    starts: Sequence[Found],
    generator: np.random.Generator,
    steps: int = MOST_STEPS,
) -> list[Found]:
    """Where rounded steps lead from each of some partitions; see `rounded`. For rank 0."""
    pairs = zip(starts, generator.spawn(len(starts)), strict=True)
    return workers.map(rounded, [(one, search.count, draws, search.symmetry, steps) for one, draws in pairs])


def _part(most: int, search: LocalSearch) -> int:
    """How many of so many there are time for."""
    part = slower(len(search.neighbourhood.cells))
    return int(np.ceil(most / (part if search.misfit.leaky else part * _WHERE_NOTHING_LEAKS)))


def _placed(workers: Workers[Tools], search: LocalSearch, starts: Sequence[Found], count: int) -> list[Found]:
    """The first of some partitions, but one of those that are translations of each other, each where it fits best.

    The first are tried everywhere; the others, which are much the same shapes, near where the best of these lies.
    """
    grid, seen = search.neighbourhood, set[bytes]()
    everywhere: list[list[IntArray]] = []
    for one in starts:
        if len(everywhere) == count:
            break
        images = [one.labels, *grid.translated(one.labels)]
        name = min(image.tobytes() for image in images)
        if name not in seen:
            everywhere.append(images)
        seen.add(name)
    guides = _best_of_each(workers, everywhere[:_GUIDES])
    best = grid.middle_of(min(guides, key=lambda one: one.misfit).labels > 0)
    near = []
    for images in everywhere[_GUIDES:]:
        distances = [float(np.linalg.norm(grid.middle_of(one > 0) - best)) for one in images]
        near.append([images[number] for number in np.argsort(distances, kind="stable")[:_NEAR]])
    return _sorted([*guides, *_best_of_each(workers, near)])


def _best_of_each(workers: Workers[Tools], groups: Sequence[Sequence[IntArray]]) -> list[Found]:
    """Of each of some groups of labels that of the lowest misfit."""
    found = iter(workers.map(valued, [(labels,) for group in groups for labels in group]))
    return [min((next(found) for _ in group), key=lambda one: one.misfit) for group in groups]


def _sorted(found: Sequence[Found]) -> list[Found]:
    """Each once, the lowest misfit first."""
    return sorted({one.labels.tobytes(): one for one in found}.values(), key=lambda one: one.misfit)


def _displaced(tools: Tools, shapes: Sequence[FloatArray], shift: FloatArray, width: float) -> Found:
    return valued(tools, tools.neighbourhood.displaced(shapes, shift, width))
