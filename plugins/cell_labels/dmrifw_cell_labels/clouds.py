"""How an attempt begins: with a seeded cloud of shares, and its descent, from coarse mixtures to fine ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dmrifw.typing import FloatArray, IntArray
from dmrifw_cell_labels.attempts import Attempt
from dmrifw_cell_labels.context import Context
from dmrifw_cell_labels.descent import Descent, Kind, descended, with_the_rest
from dmrifw_cell_labels.misfit import EVEN, FINEST, LEVELS, SHARP, Level
from dmrifw_cell_labels.state import WORTH_A_START, State
from dmrifw_cell_labels.tools import Tools

BINARY = 0.2
"""Weight of what makes shares 0 or 1."""

PHASES = (*((one, 0.0) for one in LEVELS), (FINEST, BINARY))
"""Of a descent: mixtures from coarse to fine, then shares are made 0 or 1."""

HEAT = 2
"""Phases after which the attempts of a heat are compared."""

_MIDDLE = LEVELS[HEAT - 1]
"""The mixture by which they are."""

_NEARLY, _WITHIN = 2.0, 1.0
"""Error of the signals of symmetric shares, and of others, over that of such a mixture, below which they go on at once:
shares of another symmetry are mostly off by more."""

LOOSE = 1e-2
"""Error of mixtures of two compartments in a leaky tissue, in S/S0, beside their own. Shares that explain signals more
exactly are rougher, and no nearer to the truth: races from them lead home less often. Three are told apart by it."""

_STARTS = 2
"""Those that go on, at most."""

_ALIKE = 4.0
"""Error of a mixture for a partition, less that for no walls, over what is left of it at most, up to which the first is
that of others as well."""

_SHIFTS, _RACE = 64, (10, 5, 3, 3)
"""Displacements of shares that are looked at, and those of them that take a step, the best of these another, and so
on."""

_WORTH_A_SHIFT = 0.9
"""Share of the misfit to which one must bring it down."""

_APART = 0.5
"""Over which part of the spacing three compartments begin apart."""

_GRAIN = 0.1
"""Standard deviation of shares at random."""

_SMALL, _INNER, _NARROW = (0.04, 0.2), 0.6, 0.85
"""Of small bumps somewhere: volume over that of the grid, between which it is drawn; how far from the middle they are
at most, over half its extent; standard deviation over the radius of a ball of the same volume."""


def cloud(context: Context, state: State, attempt: Attempt, generator: np.random.Generator) -> State:
    """The state with shares at random, of about the volume that signals of the longest echo time are of.

    Symmetric ones form a bump in the middle, which more often ends well; others are even. Where signals tell no volume,
    since nothing is lost, others are small bumps somewhere: even ones would stay a haze.

    For rank 0.
    """
    grid, others = context.neighbourhood, attempt.count - 1
    whole, told = grid.volumes.sum(), context.volume
    volume = np.clip(0.25 if told is None else 1.2 * told / whole, 0.05, 0.6) * whole
    place, grain, narrow = np.zeros(3), _GRAIN, attempt.width
    if attempt.free and told is None:
        volume = np.exp(generator.uniform(*np.log(_SMALL))) * whole
        place, grain, narrow = generator.uniform(-_INNER, _INNER, 3) * grid.reach, _GRAIN / 5, _NARROW
    shares = np.tile(grid.bump(volume, narrow * np.cbrt(0.75 * volume / np.pi), place), (others, 1))
    if attempt.pattern is not None:
        one = 0.5 + 0.5 * np.tanh(attempt.pattern / (_APART * grid.spacing))
        shares *= np.stack([one, 1 - one])
    least = 0.2 * grain
    shares = np.clip(shares, least, 0.9 / others) + grain / others * generator.standard_normal(shares.shape)
    shares = attempt.symmetry.averaged(np.clip(shares, least, 0.98 / others))
    return replace(state, shares=shares, radius=0.5, count=attempt.count)


def clearer(context: Context, state: State, attempt: Attempt, generator: np.random.Generator) -> tuple[State, bool]:
    """The state a phase of the descent later, and whether its shares wait for the others of their heat.

    Those of three compartments in a leaky tissue begin with all wave numbers alike: large ones tell them apart. In a
    reflecting one most of the signal is of the water around, and small ones come first. Free shares that do not explain
    the data are tried elsewhere. After the middle mixture they wait, and so do symmetric ones: those of another
    symmetry than the truth, or apart by another field, or out of place, end at ten times its misfit and more.

    For rank 0.
    """
    even = attempt.count > 2 and context.misfit.leaky
    phase = max(state.phase, 1 if even else 0)
    level, binary = PHASES[phase]
    if even and phase < HEAT:
        level = EVEN
    if attempt.free and phase:
        labels = context.neighbourhood.displaced(state.shares, np.zeros(3))
        state = alike(context, state, labels, _loosened(context, attempt, FINEST))
    kind = _kind(context, state, attempt, level)
    descent, _ = descended(context.tools, kind, _descent(state, attempt), binary, context.steps)
    state, mixture = after(state, descent), with_the_rest(descent.shares)
    gray = context.misfit.gray(*kind)
    if attempt.free and phase and not binary and not gray.explained(mixture, _WITHIN):
        shifted, value = elsewhere(context, descent, kind, generator)
        if value < _WORTH_A_SHIFT * gray.of_shares(mixture):
            return replace(after(state, shifted), phase=phase), False
    state, middle = replace(state, phase=phase + 1), context.misfit.gray(*_kind(context, state, attempt, _MIDDLE))
    if state.phase != HEAT or middle.explained(mixture, _WITHIN if attempt.free else _NEARLY):
        return state, False
    return state.with_waiting(middle.of_shares(mixture), WORTH_A_START, _STARTS), True


def is_told(context: Context, state: State, attempt: Attempt) -> bool:
    """Whether shares explain the data: others are mostly of a wrong shape, and not worth more than a race. Local."""
    gray = context.misfit.gray(*_kind(context, state, attempt, FINEST))
    return state.count > 2 or gray.explained(with_the_rest(state.shares), _WITHIN)


def is_nearly_told(context: Context, state: State, attempt: Attempt) -> bool:
    """Whether symmetric shares explain the data, although no partition of that symmetry may. Local."""
    return context.misfit.gray(*_kind(context, state, attempt, FINEST)).explained(with_the_rest(state.shares), _NEARLY)


def _kind(context: Context, state: State, attempt: Attempt, level: Level) -> Kind:
    """The mixture that is descended in."""
    if attempt.free and level == FINEST and state.like.any():
        level = SHARP
    return _loosened(context, attempt, level), state.like if attempt.free else np.zeros_like(state.like)


def _loosened(context: Context, attempt: Attempt, level: Level) -> Level:
    return replace(level, loose=LOOSE) if attempt.count == 2 and context.misfit.leaky else level


def alike(context: Context, state: State, labels: IntArray, level: Level) -> State:
    """The state that takes a partition for what mixtures are off by, if its signals are nearer than the last's.

    Not one of fragments that touch at edges: a mixture takes them for joined.

    Local.
    """
    misfit = context.misfit
    nearer = misfit.relative_error(labels) < misfit.relative_error(state.like)
    biases = [misfit.gray(level, one).bias for one in (labels, np.zeros_like(labels))]
    difference = np.abs(biases[0] - biases[1]) / misfit.sigma(level)
    return replace(state, like=labels) if nearer and np.sqrt(np.mean(difference**2)) < _ALIKE else state


def elsewhere(context: Context, descent: Descent, kind: Kind, generator: np.random.Generator) -> tuple[Descent, float]:
    """The best of where displaced shares lead in a few steps, and its misfit.

    In the wrong place the grid's border is in the way of a shape, and its shares settle at another.

    For rank 0.
    """
    far = context.misfit.resolution(_MIDDLE)
    shifts = generator.uniform(-far, far, (_SHIFTS, 3))
    shifted = [(context.neighbourhood.shifted(descent.shares[0], one)[None], kind) for one in shifts]
    values = context.workers.map(_value_of_shares, shifted)
    led = [Descent(shifted[one][0], descent.symmetry) for one in np.argsort(values, kind="stable")]
    for count in _RACE:
        found = context.workers.map(descended, [(kind, one, 0.0, 1) for one in led[:count]])
        found.sort(key=lambda one: one[1])
        led, value = [one for one, _ in found], found[0][1]
    return led[0], value


def after(state: State, descent: Descent) -> State:
    """The state with what a descent has led to. Local."""
    return replace(state, shares=descent.shares, radius=descent.radius)


def _descent(state: State, attempt: Attempt) -> Descent:
    return Descent(state.shares, attempt.symmetry, state.radius)


def _value_of_shares(tools: Tools, shares: FloatArray, kind: Kind) -> float:
    return tools.misfit.gray(*kind).of_shares(with_the_rest(shares))
