"""The label search: from a cloud of shares to partitions, and from partition to partition."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from dmrifw.errors import InputError
from dmrifw.gradients import GradientRule
from dmrifw.inversion import InversionProblem, Remainder, Workers
from dmrifw.inversion.collective import on_root
from dmrifw.inversion.optimizer import Look, Objective, detached
from dmrifw.parametrizations import Parametrization
from dmrifw.priors import Prior
from dmrifw.schedules import Schedule, Stage
from dmrifw.typing import FloatArray, IntArray
from dmrifw_cell_labels.attempts import Attempt, attempts
from dmrifw_cell_labels.descent import Descent, Kind, descended, with_the_rest
from dmrifw_cell_labels.misfit import EVEN, FINEST, LEVELS, SHARP, Level, Misfit
from dmrifw_cell_labels.mixture import Walls
from dmrifw_cell_labels.moves import Neighbourhood
from dmrifw_cell_labels.parametrization import CellLabels
from dmrifw_cell_labels.race import displaced, each_rounded, raced
from dmrifw_cell_labels.search import Found, LocalSearch, valued
from dmrifw_cell_labels.state import State, read_off
from dmrifw_cell_labels.symmetry import Symmetry
from dmrifw_cell_labels.thorough import polished, settle
from dmrifw_cell_labels.tools import Tools

_BINARY = 0.2
"""Weight of what makes shares 0 or 1."""

_PHASES = (*((one, 0.0) for one in LEVELS), (FINEST, _BINARY))
"""Of a descent: mixtures from coarse to fine, then shares are made 0 or 1."""

_HEAT = 2
"""Phases after which the attempts of a heat are compared."""

_MIDDLE = LEVELS[_HEAT - 1]
"""The mixture by which they are."""

_NEARLY, _WITHIN = 2.0, 1.0
"""Error of the signals of symmetric shares, and of others, over that of such a mixture, below which they go on at once:
shares of another symmetry are mostly off by more."""

_ALIKE = 4.0
"""Error of a mixture for a partition, less that for no walls, over what is left of it at most, up to which the first is
that of others as well."""

_SHIFTS, _RACE = 64, (10, 5, 3, 3)
"""Displacements of shares that are looked at, and those of them that take a step, the best of these another, and so
on."""

_WORTH_A_SHIFT = 0.9
"""Share of the misfit to which one must bring it down."""

_STARTS = 2
"""Those that go on, at most."""

_LEVELS = (0.3, 0.5, 0.7)
"""Shares from which a cell of a symmetric descent is inside, one tried after the other."""

_WORTH_A_START = 4.0
"""Misfit over that of the best of them up to which partitions read off shares, and shares that wait, are bettered."""

_HOPEFUL, _HOPEFUL_OF_TWO, _NEAR = 0.12, 0.03, 0.15
"""Error, beyond the noise and over that of no walls at all, below which a symmetric partition is worth every single
move, and kicks, below which one is that has a point reflection alone, as magnitudes always show, and below which any
other is worth the former."""

_WORTH_A_STEP = 0.5
"""Share of the misfit to which moves must bring down that of others for more of them: signals of a wrong symmetry, or
of wrong compartments, can be bettered for long."""

_KICKS = 3
"""Iterations without a better one after which it is given up."""

_APART = 0.5
"""Over which part of the spacing three compartments begin apart."""

_MOVES, _MOVED, _LONG_TRIAL = 2, (0.1, 0.25), 8
"""Ways in which symmetric compartments are moved apart, each forth and back, how far, over the spacing, and steps by
which the best of them is told."""

_NO_ROOM = 1e-9
"""Displacement, over what was drawn, below which a symmetry leaves none."""

_GRAIN = 0.1
"""Standard deviation of shares at random."""

_SMALL, _INNER, _NARROW = (0.04, 0.2), 0.6, 0.85
"""Of small bumps somewhere: volume over that of the grid, between which it is drawn; how far from the middle they are
at most, over half its extent; standard deviation over the radius of a ball of the same volume."""

_KICKED = 16
"""Partitions that are made of one by random moves."""

_POLISHED = 2
"""Iterations without a better partition, at most, after which each single move of the best is tried."""

_STEPS = 15
"""Linearizations of one local search, at most."""

_POOL = 8
"""Partitions that are kept of each round."""

_WORTH_A_CUT = 0.7
"""Share of the misfit to which a cut must bring it down."""

_CUT_INTO, _CUTS = 3, 4
"""Labels after a cut, and cuts that are followed."""

_FAITHFUL, _WITHIN_NOISE = 5e-4, 1.0
"""Error in S/S0, half of what the simulator is asked for, and excess over the noise, in standard deviations, either of
which a partition that explains signals has at most."""

_PLAUSIBLE, _LASTING = (2e-3, 2.0), 10
"""Error in S/S0 beyond the noise, and excess, either of which the best of so many iterations may have."""

_TELLING = 0.02
"""Error over that of no walls at all, above which it may not: walls of a reflecting tissue change little."""

_LEAST_SECONDS, _SECONDS_PER_CELL = 570.0, 0.6
"""How long a search takes at most, unless it is told: the larger of the two."""

_WORTH_A_CHECK = 1e-2
"""Error in S/S0 below which the simulator is asked: of a leaky tissue its tolerance may be that large a part."""


@dataclass(frozen=True)
class LabelSearchSettings:
    """Settings of the label search.

    Attributes:
        seed: Seed of everything random.
        descent: Gauss-Newton steps of shares in each of the four phases in which an attempt begins, at most.
        scans: Iterations after them that displace the shares, before others displace partitions; one where the shares
            do not explain the signals.
        patience: Iterations without a better partition after which compartments are cut in two, and after which, when
            that does not help either, the attempt ends and the next begins elsewhere.
        minutes: Time in iterations, those before a resume included: none begins that would not end in it if it took as
            long as the longest. By default 9.5, or 0.6 s for each cell if that is more.
    """

    seed: int = 0
    descent: int = 20
    scans: int = 1
    patience: int = 2
    minutes: float | None = None

    limits: ClassVar[tuple[str, ...]] = ("minutes",)
    renewal: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for name in ("descent", "scans", "patience"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}", "give at least 1", key=name)
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"minutes = {self.minutes}", "give more than 0", key="minutes")

    def start(self, objective: Objective) -> LabelSearch:
        """See `OptimizerSettings.start`. Local.

        Raises:
            InputError: As of `check`; or the labels' exterior is not the simulator's, or the tissue has more to it than
                diffusivity and T2: see `Misfit`.
        """
        self.check(objective.parametrization, objective.priors, objective.gradient_rules)
        return LabelSearch(objective, cast(CellLabels, objective.parametrization), self)

    def check(
        self,
        parametrization: Parametrization,
        priors: Mapping[str, Prior],
        gradient_rules: Sequence[GradientRule],
        schedule: Schedule | None = None,
        restarts: int = 0,
    ) -> None:
        """See `inversion.optimizer.check_together`. Local.

        Raises:
            InputError: The parametrization is not one by labels, or has too many; there are priors, gradient rules or
                further starts; or the schedule weighs sequences by anything but 1.
        """
        if not isinstance(parametrization, CellLabels):
            raise InputError("a label search moves labels", 'set parametrization = "cell-labels"', key="optimizer")
        if parametrization.compartments > _CUT_INTO:
            raise InputError(
                f"a label search tells {_CUT_INTO} compartments apart",
                f"give at most {_CUT_INTO}: cells that do not touch may share one",
                key="cell-labels.compartments",
            )
        if gradient_rules:
            raise InputError("a label search follows no gradient rules", "leave them out", key="gradient_rules")
        if priors:
            raise InputError(
                "a label search weighs walls by their area, and knows no priors", "leave them out", key="priors"
            )
        if restarts:
            raise InputError("a label search makes new attempts by itself", "leave further starts out", key="restarts")
        if schedule is not None:
            _check_weights(schedule(0))


class LabelSearch:
    """See `Optimizer`. Rank 0 searches in a model of its own, all simulate what it finds.

    An attempt begins with Gauss-Newton steps of shares from a seeded cloud. Where signals show a symmetry, partitions
    that have it are tried first: shares are read off the cells, and bettered by Gauss-Newton steps that are rounded and
    by single moves. Then any: shares tell a shape between the cells of the grid, since signals of a closed cell tell
    its shape rather than its place; so it is displaced by parts of a cell, and bettered by the same steps and by
    translations. Further iterations go on from the best partitions, or from the mean of several. Where that brings
    nothing better for a while, compartments are cut in two; where that does not either, the next attempt begins.

    Args:
        objective: What is explained.
        parametrization: What is moved.
        settings: The settings.

    Source: ours; see docs/permeability.md.
    """

    mend = "check the target"

    def __init__(self, objective: Objective, parametrization: CellLabels, settings: LabelSearchSettings) -> None:
        self.parametrization, self.settings = parametrization, settings
        problem, grid = objective.problem, objective.problem.simulator.grid
        _check_alike(problem, parametrization)
        walls = Walls(parametrization.minimum, parametrization.maximum, parametrization.exterior == "permeable")
        self._problem, self._misfit = problem, Misfit(problem, walls)
        self._neighbourhood = Neighbourhood(grid)
        self._tools = Tools(self._misfit, self._neighbourhood)
        self._workers = Workers(problem.comm, self._tools)
        nothing = np.zeros(len(grid.cells), dtype=np.int64)
        self._hopeless = on_root(problem.comm, partial(self._misfit.relative_error, nothing))
        plain = self._misfit.without_walls()
        self._attempts = attempts(problem, plain, self._misfit.noise, parametrization.compartments)
        by_default = max(_LEAST_SECONDS, _SECONDS_PER_CELL * len(grid.cells))
        self._seconds = by_default if settings.minutes is None else 60 * settings.minutes
        self.state = State.new(len(grid.cells))

    @property
    def converged(self) -> bool:
        """See `Optimizer`. What may explain the signals counts when nothing better turns up, or no time is left."""
        return self._explained or self._plausible or self._late

    @property
    def ending(self) -> str:
        """See `Optimizer`."""
        if self._explained:
            return "the signals are explained"
        if self._plausible:
            return f"the signals are nearly explained, and {_LASTING} iterations found nothing better"
        return (
            f"its {self._seconds / 60:.3g} minutes are over, and the signals are not explained: raise minutes in "
            "[inversion.label-search], and resume"
        )

    @property
    def _explained(self) -> bool:
        return self.state.error <= _FAITHFUL or self.state.excess <= _WITHIN_NOISE

    @property
    def _plausible(self) -> bool:
        state, (least, excess) = self.state, _PLAUSIBLE
        allowed = max(_FAITHFUL, min(least, _TELLING * self._hopeless))
        plausible = state.excess <= excess or state.error <= float(np.hypot(allowed, state.noise))
        return plausible and state.idle >= _LASTING

    @property
    def _late(self) -> bool:
        return self.state.spent + self.state.longest > self._seconds

    def look(self, iteration: int, stage: Stage) -> Look:
        """See `Optimizer.look`. The loss is the misfit of the best partition, in the model of the search.

        Raises:
            InputError: The schedule weighs sequences by anything but 1.

        Local.
        """
        _check_weights(stage)
        with torch.no_grad():
            fields = detached(self.parametrization())
        state = self.state
        loss = state.misfit if np.isfinite(state.misfit) else self._cloudy(state)
        control = {"attempt": float(state.attempt), "compartments": float(state.count)}
        return Look(loss, {"data_loss": loss}, control, 0.0, fields, 0.0, 0.0)

    def move(self) -> dict[str, float]:
        """See `Optimizer.move`. Collective."""
        before, started = self.state.misfit, time.perf_counter()
        with threadpool_limits(1, user_api="blas"):  # matrices are small: threads would wait for each other
            self.state = self._workers.on_root(partial(self._advanced, self.state))
        self.parametrization.place(self.state.shown)
        searched = time.perf_counter()
        if self.state.misfit < before:
            error, rest = self._problem.comm.bcast(self._error())
            self.state = replace(self.state, error=error, noise=rest.noise, excess=rest.excess)
        ended = time.perf_counter()
        took = self._problem.comm.bcast(ended - started)
        self.state = replace(self.state, spent=self.state.spent + took, longest=max(self.state.longest, took))
        seconds = {"search_seconds": searched - started, "check_seconds": ended - searched}
        return {"signal_error": min(self.state.error, 1e3)} | seconds

    def state_dict(self) -> dict[str, Any]:
        """See `Optimizer.state_dict`. Local."""
        return {
            "state": {0: {name: torch.from_numpy(np.array(value)) for name, value in vars(self.state).items()}},
            "param_groups": [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `Optimizer.load_state_dict`; a `KeyError` for a state of another version. Local."""
        values = {name: value.numpy() for name, value in state_dict["state"].get(0, {}).items()}
        if values.keys() != vars(self.state).keys():
            raise KeyError(f"of another version: {', '.join(sorted(values.keys() ^ vars(self.state).keys()))}")
        self.state = replace(self.state, **{name: one if one.ndim else one.item() for name, one in values.items()})

    def _error(self) -> tuple[float, Remainder]:
        """Of the best partition, by the model of the search, or where that is small by the simulator; and its parts.

        Of complex signals it is that of each part.
        """
        noise = self._misfit.noise
        error = on_root(self._problem.comm, partial(self._misfit.relative_error, self.state.best))
        if error > max(_WORTH_A_CHECK, 2 * noise):
            return error, Remainder(noise, np.inf)
        with torch.no_grad():
            fields = dict(self.parametrization())
            self._problem.forget()
            return self._misfit.left_over(self._problem.relative(self._problem.simulator(**fields)))

    def _cloudy(self, state: State) -> float:
        return self._misfit.gray(FINEST, np.zeros_like(state.best)).of_shares(with_the_rest(state.shares))

    def _begins_a_heat(self, number: int) -> bool:
        several = self._numbered(number).heat != self._numbered(number - 1).heat
        return several or number % len(self._attempts) == 0

    def _numbered(self, number: int) -> Attempt:
        return self._attempts[number % len(self._attempts)]

    def _advanced(self, state: State) -> State:
        """The state an iteration later."""
        settings, attempt = self.settings, self._numbered(state.attempt)
        generator = np.random.default_rng([settings.seed, state.tick])
        state = replace(state, tick=state.tick + 1, idle=state.idle + 1)
        if state.phase < len(_PHASES):
            return self._clearer(state if state.phase else self._cloud(state, attempt, generator), attempt, generator)
        if not attempt.free:
            return self._symmetric(state, attempt, generator)
        if state.came_back:
            return self._another(state)
        state = replace(state, age=state.age + 1)
        if state.stale == min(_POLISHED, settings.patience) and len(state.pool) and self._is_near(state.pool[0], _NEAR):
            search, workers = self._search(state.count), self._workers
            better = polished(workers, search, state.known[0], _STEPS)
            return self._kept(state, settle(workers, search, better, _STEPS, places=None))
        if not len(state.pool) or state.stale < (settings.patience if self._is_told(state, attempt) else 0):
            return self._hopped(state, generator)
        worth = state.values[0] <= state.misfit and _WORTH_A_CUT * state.values[0] > self._misfit.of_noise
        if worth and state.count < min(_CUT_INTO, self.parametrization.compartments):
            return self._cut(state, generator)
        return self._another(state)

    def _is_told(self, state: State, attempt: Attempt) -> bool:
        """Whether shares explain the data: others are mostly of a wrong shape, and not worth more than a race."""
        gray = self._misfit.gray(*self._kind(state, attempt, FINEST))
        return state.count > 2 or gray.explained(with_the_rest(state.shares), _WITHIN)

    def _cloud(self, state: State, attempt: Attempt, generator: np.random.Generator) -> State:
        """Shares at random, of about the volume that signals of the longest echo time are of.

        Symmetric ones form a bump in the middle, which more often ends well; others are even. Where signals tell no
        volume, since nothing is lost, others are small bumps somewhere: even ones would stay a haze.
        """
        grid, others = self._neighbourhood, attempt.count - 1
        lossy = self.parametrization.exterior == "permeable"
        known = lossy and not self._problem.arbitrary_unit
        somewhere = attempt.free and not known
        whole = grid.volumes.sum()
        volume = np.clip(1.2 * self._misfit.volume / whole if known else 0.25, 0.05, 0.6) * whole
        place, grain, narrow = np.zeros(3), _GRAIN, attempt.width
        if somewhere:
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

    def _clearer(self, state: State, attempt: Attempt, generator: np.random.Generator) -> State:
        """Some steps of the shares, until they have settled.

        Those of three compartments begin with all wave numbers alike: large ones tell them apart. Free shares that do
        not explain the data are tried elsewhere. After the middle mixture they wait for the others of their heat, and
        so do symmetric ones: those of another symmetry than the truth, or apart by another field, or out of place, end
        at ten times its misfit and more.
        """
        phase = max(state.phase, attempt.count - 2)
        level, binary = _PHASES[phase]
        if attempt.count > 2 and phase < _HEAT:
            level = EVEN
        if attempt.free and phase:
            state = self._alike(state, self._neighbourhood.displaced(state.shares, np.zeros(3)))
        kind = self._kind(state, attempt, level)
        descent, _ = descended(self._tools, kind, _descent(state, attempt), binary, self.settings.descent)
        state, mixture = _after(state, descent), with_the_rest(descent.shares)
        gray = self._misfit.gray(*kind)
        if attempt.free and phase and not binary and not gray.explained(mixture, _WITHIN):
            elsewhere, value = self._shifted(descent, kind, generator)
            if value < _WORTH_A_SHIFT * gray.of_shares(mixture):
                return replace(_after(state, elsewhere), phase=phase)
        state, middle = replace(state, phase=phase + 1), self._misfit.gray(*self._kind(state, attempt, _MIDDLE))
        if state.phase != _HEAT or middle.explained(mixture, _WITHIN if attempt.free else _NEARLY):
            return state
        return self._another(state.with_waiting(middle.of_shares(mixture), _WORTH_A_START, _STARTS))

    def _kind(self, state: State, attempt: Attempt, level: Level) -> Kind:
        """The mixture that is descended in."""
        if attempt.free and level == FINEST and state.like.any():
            level = SHARP
        return level, state.like if attempt.free else np.zeros_like(state.like)

    def _alike(self, state: State, labels: IntArray) -> State:
        """The state that takes a partition for what mixtures are off by, if its signals are nearer than the last's.

        Not one of fragments that touch at edges: a mixture takes them for joined.
        """
        nearer = self._misfit.relative_error(labels) < self._misfit.relative_error(state.like)
        biases = [self._misfit.gray(FINEST, one).bias for one in (labels, np.zeros_like(labels))]
        difference = np.abs(biases[0] - biases[1]) / self._misfit.sigma(FINEST)
        return replace(state, like=labels) if nearer and np.sqrt(np.mean(difference**2)) < _ALIKE else state

    def _shifted(self, descent: Descent, kind: Kind, generator: np.random.Generator) -> tuple[Descent, float]:
        """The best of where displaced shares lead in a few steps.

        In the wrong place the grid's border is in the way of a shape, and its shares settle at another.
        """
        far = self._misfit.resolution(_MIDDLE)
        shifts = generator.uniform(-far, far, (_SHIFTS, 3))
        shifted = [(self._neighbourhood.shifted(descent.shares[0], one)[None], kind) for one in shifts]
        values = self._workers.map(_value_of_shares, shifted)
        led = [Descent(shifted[one][0], descent.symmetry) for one in np.argsort(values, kind="stable")]
        for count in _RACE:
            found = self._workers.map(descended, [(kind, one, 0.0, 1) for one in led[:count]])
            found.sort(key=lambda one: one[1])
            led, value = [one for one, _ in found], found[0][1]
        return led[0], value

    def _symmetric(self, state: State, attempt: Attempt, generator: np.random.Generator) -> State:
        """A partition that symmetric shares lead to; or, where the last was near the data, what that leads to.

        Twice shares apart from it, then each single move of it; where symmetry leaves no room, each move, then kicks.
        """
        search, shares, stale = self._search(state.count, attempt.symmetry), state.shares, state.stale
        drawn = attempt.symmetry.displacements(generator.uniform(-1, 1, (state.count - 1, 3)))
        room = float(np.abs(drawn).max()) > _NO_ROOM
        if not len(state.pool) or (room and stale < _KICKS - 1):
            state = self._apart(state, attempt, generator) if len(state.pool) else state
            starts = [search.valued(read_off(state.shares, level)) for level in _LEVELS]
            best = self._led(search, starts, generator, enough=_HOPEFUL)
        elif room or stale == 0:
            best = polished(self._workers, search, state.known[0], _STEPS)
        else:
            starts = [search.kicked(state.pool[0], generator) for _ in _LEVELS]
            best = self._led(search, starts, generator)
        state = self._kept(state, best)
        if state.stale:
            state = replace(state, shares=shares)
        hopeful = self._is_near(state.pool[0], _HOPEFUL if len(attempt.symmetry.group) > 2 else _HOPEFUL_OF_TWO)
        return state if hopeful and state.stale < _KICKS else self._another(state)

    def _led(
        self,
        search: LocalSearch,
        starts: list[Found],
        generator: np.random.Generator,
        enough: float = 0.0,
    ) -> Found:
        """The best of where some partitions lead, the best first; no others where one comes near enough the data."""
        least = min(one.misfit for one in starts)
        different = {one.labels.tobytes(): one for one in starts if one.misfit < _WORTH_A_START * least}.values()
        first, *others = sorted(different, key=lambda one: one.misfit)
        found = each_rounded(self._workers, search, [first], generator)
        if not self._is_near(found[0].labels, enough):
            found += each_rounded(self._workers, search, others, generator)
        best = search.descend(min(found, key=lambda one: one.misfit), _STEPS, _WORTH_A_STEP)
        return search.descend(best, _STEPS) if self._is_near(best.labels, _HOPEFUL) else best

    def _apart(self, state: State, attempt: Attempt, generator: np.random.Generator) -> State:
        """The state with shares displaced, each compartment its own way, and bettered.

        The mixture is that of the best partition: signals of closed compartments hardly tell how far apart they are, so
        of places between the cells the first shares find any.
        """
        state = self._alike(state, state.pool[0])
        kind, tried = (SHARP, state.like), []
        draw = partial(generator.standard_normal, (state.count - 1, 3))
        for way in [attempt.symmetry.displacements(draw()) for _ in range(_MOVES)]:
            far = generator.uniform(*_MOVED) * self._neighbourhood.spacing / np.linalg.norm(way, axis=1).max()
            for shifts in (far * way, -far * way):
                moved = zip(state.shares, shifts, strict=True)
                shares = np.stack([self._neighbourhood.shifted(*one) for one in moved])
                shares = attempt.symmetry.averaged(shares / np.maximum(shares.sum(axis=0), 1.0))
                tried.append((kind, Descent(shares, attempt.symmetry), 0.0, _LONG_TRIAL))
        best = min(self._workers.map(descended, tried), key=lambda one: one[1])[0]
        for binary in (0.0, _BINARY):
            best, _ = descended(self._tools, kind, best, binary, self.settings.descent)
        return _after(state, best)

    def _is_near(self, labels: IntArray, least: float) -> bool:
        """Whether a partition's error is less than such a part of that of no walls, beyond the noise."""
        return self._misfit.relative_error(labels) < float(np.hypot(least * self._hopeless, self._misfit.noise))

    def _hopped(self, state: State, generator: np.random.Generator) -> State:
        """A shape displaced, or a partition kicked, and bettered."""
        search = self._search(state.count)
        if state.count == 2 and (self._early(state) or generator.random() < 0.8):
            starts = displaced(self._workers, search, self._shapes(state, generator), generator)
        else:
            choice = state.pool[min(int(generator.exponential(1.0)), len(state.pool) - 1)]
            starts = [search.kicked(choice, generator) for _ in range(_KICKED)]
        return self._bettered(state, starts, generator)

    def _early(self, state: State) -> bool:
        return not len(state.pool) or state.age <= self.settings.scans

    def _shapes(self, state: State, generator: np.random.Generator) -> list[FloatArray]:
        """The shares, the best partition, or several, of which the mean is displaced."""
        partitions = [(one > 0).astype(float) for one in state.pool]
        choices = [[state.shares[0]], partitions[:1], partitions]
        return choices[0] if self._early(state) else choices[int(generator.integers(len(choices)))]

    def _bettered(self, state: State, starts: list[Found], generator: np.random.Generator) -> State:
        """The state with where some partitions lead; the best of them bettered by single moves and at other places."""
        search = self._search(state.count)
        first, *others = raced(self._workers, search, starts, generator)
        best = settle(self._workers, search, first, _STEPS, state.known)
        return self._kept(state, best, first, *others)

    def _cut(self, state: State, generator: np.random.Generator) -> State:
        """The attempt goes on with a compartment cut in two, where that explains much more; otherwise it is over."""
        cuts = self._neighbourhood.cuts(state.pool[0], _CUT_INTO)
        tried = sorted(self._workers.map(valued, [(one,) for one in cuts]), key=lambda one: one.misfit)
        after = replace(state, count=_CUT_INTO, pool=state.pool[:0], values=state.values[:0])
        for one in tried[:_CUTS]:
            after = self._bettered(after, [one], generator)
        if len(after.values) and after.values[0] <= _WORTH_A_CUT * state.values[0]:
            return replace(after, stale=0)
        return self._another(replace(state, best=after.best, misfit=after.misfit, idle=after.idle))

    def _another(self, state: State) -> State:
        """The state with what is tried next: shares that wait, the best first, as soon as no others will join them."""
        ends = np.append(state.ends, state.values[:1])
        state = replace(state, phase=0, age=0, stale=0, pool=state.pool[:0], values=state.values[:0], ends=ends)
        begun = state.begun + 1
        if len(state.grays) and self._begins_a_heat(begun):
            return replace(state.with_first_waiting(self._numbered(int(state.owners[0])).count), phase=_HEAT)
        return replace(state, attempt=begun, begun=begun)

    def _kept(self, state: State, best: Found, *others: Found) -> State:
        """The state with partitions among those of the attempt, which is where they belong if they are new."""
        better = len(state.values) == 0 or best.misfit < state.values[0] - 1e-9
        for found in (best, *others):
            if not (state.pool == found.labels).all(axis=1).any():
                pool, values = np.vstack([state.pool, found.labels]), np.append(state.values, found.misfit)
                order = np.argsort(values, kind="stable")[:_POOL]
                state = replace(state, pool=pool[order], values=values[order])
        state = replace(state, stale=0 if better else state.stale + 1)
        if best.misfit < state.misfit:
            state = replace(state, best=best.labels, misfit=best.misfit, idle=0)
        return state

    def _search(self, count: int, symmetry: Symmetry | None = None) -> LocalSearch:
        return LocalSearch(self._tools, count, symmetry)


def _check_weights(stage: Stage) -> None:
    """Refuse weights of sequences, which a label search does not know."""
    if set(stage.sequence_weights) != {1.0}:
        raise InputError("a label search uses all sequences alike, always", "leave it out", key="schedule")


def _check_alike(problem: InversionProblem, parametrization: CellLabels) -> None:
    """Refuse labels whose exterior is not the simulator's."""
    exterior = getattr(problem.simulator, "exterior", parametrization.exterior)
    if exterior != parametrization.exterior:
        raise InputError(
            f"the simulator's exterior is {exterior}, that of the labels {parametrization.exterior}",
            "give the same in the Setting of CellLabels",
            key="exterior",
        )


def _descent(state: State, attempt: Attempt) -> Descent:
    return Descent(state.shares, attempt.symmetry, state.radius)


def _after(state: State, descent: Descent) -> State:
    return replace(state, shares=descent.shares, radius=descent.radius)


def _value_of_shares(tools: Tools, shares: FloatArray, kind: Kind) -> float:
    return tools.misfit.gray(*kind).of_shares(with_the_rest(shares))
