"""Partitions that have the symmetry of an attempt: read off its shares, bettered, and their compartments moved."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from dmrifw_cell_labels.attempts import Attempt
from dmrifw_cell_labels.clouds import BINARY, after, alike
from dmrifw_cell_labels.context import Context
from dmrifw_cell_labels.descent import Descent, descended
from dmrifw_cell_labels.misfit import FINEST, SHARP
from dmrifw_cell_labels.race import each_rounded
from dmrifw_cell_labels.search import STEPS, Found, LocalSearch
from dmrifw_cell_labels.state import WORTH_A_START, State, read_off
from dmrifw_cell_labels.thorough import polished

_LEVELS = (0.3, 0.5, 0.7)
"""Shares from which a cell of a symmetric descent is inside, one tried after the other."""

_HOPEFUL, _HOPEFUL_OF_TWO = 0.12, 0.03
"""Error, beyond the noise and over that of no walls at all, below which a symmetric partition is worth every single
move, and kicks, and below which one is that has a point reflection alone, as magnitudes always show."""

_WORTH_A_STEP = 0.5
"""Share of the misfit to which moves must bring down that of others for more of them: signals of a wrong symmetry, or
of wrong compartments, can be bettered for long."""

_KICKS = 3
"""Iterations without a better one after which it is given up."""

_MOVES, _MOVED, _LONG_TRIAL = 2, (0.1, 0.25), 8
"""Ways in which symmetric compartments are moved apart, each forth and back, how far, over the spacing, and steps by
which the best of them is told."""

_NO_ROOM = 1e-9
"""Displacement, over what was drawn, below which a symmetry leaves none."""


def bettered(context: Context, state: State, attempt: Attempt, generator: np.random.Generator) -> tuple[State, bool]:
    """The state with a partition that symmetric shares lead to, and whether it is worth going on.

    Where the last was near the data it is what that leads to: twice shares apart from it, then each single move of it;
    where symmetry leaves no room, each move, then kicks.

    For rank 0.
    """
    search, shares, stale = context.search(state.count, attempt.symmetry), state.shares, state.stale
    drawn = attempt.symmetry.displacements(generator.uniform(-1, 1, (state.count - 1, 3)))
    room = float(np.abs(drawn).max()) > _NO_ROOM
    if not len(state.pool) or (room and stale < _KICKS - 1):
        state = _apart(context, state, attempt, generator) if len(state.pool) else state
        starts = [search.valued(read_off(state.shares, level)) for level in _LEVELS]
        best = _led(context, search, starts, generator, enough=_HOPEFUL)
    elif room or stale == 0:
        best = polished(context.workers, search, state.known[0], STEPS)
    else:
        starts = [search.kicked(state.pool[0], generator) for _ in _LEVELS]
        best = _led(context, search, starts, generator)
    state = state.kept(best)
    if state.stale:
        state = replace(state, shares=shares)
    return state, state.stale < _KICKS and is_hopeful(context, state, attempt)


def is_hopeful(context: Context, state: State, attempt: Attempt) -> bool:
    """Whether the best partition of a symmetric attempt is near enough the data to be of the right symmetry. Local."""
    return context.is_near(state.pool[0], _HOPEFUL if len(attempt.symmetry.group) > 2 else _HOPEFUL_OF_TWO)


def _led(
    context: Context, search: LocalSearch, starts: list[Found], generator: np.random.Generator, enough: float = 0.0
) -> Found:
    """The best of where some partitions lead, the best first; no others where one comes near enough the data."""
    least = min(one.misfit for one in starts)
    different = {one.labels.tobytes(): one for one in starts if one.misfit < WORTH_A_START * least}.values()
    first, *others = sorted(different, key=lambda one: one.misfit)
    found = each_rounded(context.workers, search, [first], generator)
    if not context.is_near(found[0].labels, enough):
        found += each_rounded(context.workers, search, others, generator)
    best = search.descend(min(found, key=lambda one: one.misfit), STEPS, _WORTH_A_STEP)
    return search.descend(best, STEPS) if context.is_near(best.labels, _HOPEFUL) else best


def _apart(context: Context, state: State, attempt: Attempt, generator: np.random.Generator) -> State:
    """The state with shares displaced, each compartment its own way, and bettered.

    The mixture is that of the best partition: signals of closed compartments hardly tell how far apart they are, so of
    places between the cells the first shares find any.
    """
    grid, state = context.neighbourhood, alike(context, state, state.pool[0], FINEST)
    kind, tried = (SHARP, state.like), []
    draw = partial(generator.standard_normal, (state.count - 1, 3))
    for way in [attempt.symmetry.displacements(draw()) for _ in range(_MOVES)]:
        far = generator.uniform(*_MOVED) * grid.spacing / np.linalg.norm(way, axis=1).max()
        for shifts in (far * way, -far * way):
            shares = np.stack([grid.shifted(*one) for one in zip(state.shares, shifts, strict=True)])
            shares = attempt.symmetry.averaged(shares / np.maximum(shares.sum(axis=0), 1.0))
            tried.append((kind, Descent(shares, attempt.symmetry), 0.0, _LONG_TRIAL))
    best = min(context.workers.map(descended, tried), key=lambda one: one[1])[0]
    for binary in (0.0, BINARY):
        best, _ = descended(context.tools, kind, best, binary, context.steps)
    return after(state, best)
