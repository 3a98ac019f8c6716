"""The label search: from a cloud of shares to partitions, and from partition to partition."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from dmrifw.errors import InputError
from dmrifw.gradients import GradientRule
from dmrifw.inversion import ForwardModel, Remainder, Workers
from dmrifw.inversion.collective import on_root
from dmrifw.inversion.optimizer import Look, Objective, detached
from dmrifw.parametrizations import Parametrization
from dmrifw.priors import Prior
from dmrifw.schedules import Schedule, Stage
from dmrifw.typing import FloatArray
from dmrifw_cell_labels import clouds, symmetric
from dmrifw_cell_labels.attempts import Attempt, attempts
from dmrifw_cell_labels.checks import MOST, check_alike, check_weights, checked, covered
from dmrifw_cell_labels.context import Context
from dmrifw_cell_labels.misfit import Misfit
from dmrifw_cell_labels.mixture import Walls
from dmrifw_cell_labels.moves import Neighbourhood
from dmrifw_cell_labels.parametrization import CellLabels
from dmrifw_cell_labels.race import displaced, raced
from dmrifw_cell_labels.search import STEPS, Found, valued
from dmrifw_cell_labels.state import State
from dmrifw_cell_labels.thorough import polished, settle
from dmrifw_cell_labels.tools import Tools

_NEAR = 0.15
"""Error, beyond the noise and over that of no walls at all, below which a partition is worth every single move."""

_KICKED = 16
"""Partitions that are made of one by random moves."""

_POLISHED = 2
"""Iterations without a better partition, at most, after which each single move of the best of an attempt is tried."""

_UNPOLISHED, _NEARER = 3, 0.04
"""Idle iterations after which those of the best of all are, if they were not, and the error, as above, below which that
is worth it: others can be bettered for long, and lead nowhere."""

_WORTH_A_CUT, _CUTS = 0.7, 4
"""Share of the misfit to which a cut must bring it down, and cuts that are followed."""

_FAITHFUL, _WITHIN_NOISE = 5e-4, 1.0
"""Error in S/S0, half of what the simulator is asked for, and excess over the noise, in standard deviations, either of
which a partition that explains signals has at most."""

_PLAUSIBLE, _LASTING = (2e-3, 2.0), 10
"""Error in S/S0 beyond the noise, and excess, either of which the best of so many idle iterations may have."""

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

    limits: ClassVar[tuple[str, ...]] = ("minutes", "iterations")
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
        parametrization = checked(objective.parametrization, objective.priors, objective.gradient_rules)
        return LabelSearch(objective, parametrization, self)

    def check(
        self,
        parametrization: Parametrization,
        priors: Mapping[str, Prior],
        gradient_rules: Sequence[GradientRule],
        schedule: Schedule,
        restarts: int,
    ) -> None:
        """See `inversion.optimizer.check_together`. Local.

        Raises:
            InputError: The parametrization is not one by labels, or has too many; there are priors, gradient rules or
                further starts; or the schedule weighs sequences by anything but 1.
        """
        checked(parametrization, priors, gradient_rules)
        if restarts:
            raise InputError("a label search makes new attempts by itself", "leave further starts out", key="restarts")
        check_weights(schedule(0))

    def check_model(self, model: ForwardModel) -> None:
        """See `inversion.optimizer.check_model`. Local.

        Raises:
            InputError: As of `checks.covered`.
        """
        covered(model)


class LabelSearch:
    """See `Optimizer`. Rank 0 searches in a model of its own, all simulate what it finds.

    An attempt begins with Gauss-Newton steps of shares from a seeded cloud. Where signals show a symmetry, partitions
    that have it are tried first: shares are read off the cells, and bettered by Gauss-Newton steps that are rounded and
    by single moves; where only the shares explain the signals, as of a shape off the middle of the grid, they are laid
    elsewhere, and held to no symmetry any more. Then any: shares tell a shape between the cells of the grid, since
    signals of a closed cell tell its shape rather than its place; so it is displaced by parts of a cell, and bettered
    by the same steps and by translations. Further iterations go on from the best partitions, or from the mean of
    several. Where that brings nothing better for a while, compartments are cut in two; where that does not either, the
    next attempt begins.

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
        check_alike(problem, parametrization)
        walls = Walls(parametrization.minimum, parametrization.maximum, parametrization.exterior == "permeable")
        self._problem, self._misfit = problem, Misfit(problem, walls)
        tools = Tools(self._misfit, Neighbourhood(grid))
        nothing = np.zeros(len(grid.cells), dtype=np.int64)
        hopeless = on_root(problem.comm, partial(self._misfit.relative_error, nothing))
        volume = None if problem.arbitrary_unit or not self._misfit.leaky else self._misfit.volume
        self._context = Context(Workers(problem.comm, tools), tools, settings.descent, volume, hopeless)
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
        allowed = max(_FAITHFUL, min(least, _TELLING * self._context.hopeless))
        plausible = state.excess <= excess or state.error <= float(np.hypot(allowed, state.noise))
        return plausible and state.idle >= _LASTING

    @property
    def _late(self) -> bool:
        return self.state.spent + self.state.longest > self._seconds

    def look(self, iteration: int, stage: Stage) -> Look:
        """See `Optimizer.look`. The loss is the misfit of the partition that is shown, in the model of the search.

        Raises:
            InputError: The schedule weighs sequences by anything but 1.

        Local.
        """
        check_weights(stage)
        with torch.no_grad():
            fields = detached(self.parametrization())
        state = self.state
        loss = state.misfit if np.isfinite(state.misfit) else self._misfit.of_labels(state.shown)
        control = {"attempt": float(state.attempt), "compartments": float(state.count)}
        return Look(loss, {"data_loss": loss}, control, 0.0, fields, 0.0, 0.0)

    def move(self) -> dict[str, float]:
        """See `Optimizer.move`. Collective."""
        before, started = self.state.misfit, time.perf_counter()
        with threadpool_limits(1, user_api="blas"):  # matrices are small: threads would wait for each other
            self.state = self._context.workers.on_root(partial(self._advanced, self.state))
        self.parametrization.place(self.state.shown)
        searched = time.perf_counter()
        if self.state.misfit < before:
            error, rest = self._problem.comm.bcast(self._error())
            self.state = replace(self.state, error=error, noise=rest.noise, excess=rest.excess)
        ended = time.perf_counter()
        took = self._problem.comm.bcast(ended - started)
        self.state = replace(self.state, spent=self.state.spent + took, longest=max(self.state.longest, took))
        seconds = {"search_seconds": searched - started, "check_seconds": ended - searched}
        error = self.state.error if np.isfinite(self.state.error) else np.nan
        return {"signal_error": error} | seconds

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

    def _advanced(self, state: State) -> State:
        """The state an iteration later."""
        attempt, context = self._numbered(state.attempt), self._context
        generator = np.random.default_rng([self.settings.seed, state.tick])
        state = replace(state, tick=state.tick + 1)
        if state.phase < len(clouds.PHASES):
            begun = state if state.phase else clouds.cloud(context, state, attempt, generator)
            state, waits = clouds.clearer(context, begun, attempt, generator)
            return self._another(state) if waits else state
        state = replace(state, idle=state.idle + 1)
        if state.idle > _UNPOLISHED and state.misfit != state.polished and context.is_near(state.best, _NEARER):
            return self._record_polished(state)
        if attempt.free or state.age:
            return self._free(state, attempt, generator)
        state, goes_on = symmetric.bettered(context, state, attempt, generator)
        if goes_on:
            return state
        placeless = context.misfit.leaky and state.count == 2 and not state.came_back
        near = placeless and symmetric.is_hopeful(context, state, attempt)
        worth = near and clouds.is_nearly_told(context, state, attempt)
        return self._freed(state, generator) if worth else self._another(state)

    def _free(self, state: State, attempt: Attempt, generator: np.random.Generator) -> State:
        """A partition of any symmetry that shares or others lead to, polished or cut; or the next attempt."""
        settings, context = self.settings, self._context
        if state.came_back:
            return self._another(state)
        state = replace(state, age=state.age + 1)
        stale = state.stale == min(_POLISHED, settings.patience)
        if stale and len(state.pool) and context.is_near(state.pool[0], _NEAR):
            tried = replace(state, polished=min(state.polished, state.values[0]))
            return tried.kept(self._polished(state.known[0], state.count))
        patience = settings.patience if clouds.is_told(context, state, attempt) else 0
        if not len(state.pool) or state.stale < patience:
            return self._hopped(state, generator)
        worth = state.values[0] <= state.misfit and _WORTH_A_CUT * state.values[0] > self._misfit.of_noise
        if worth and state.count < min(MOST, self.parametrization.compartments):
            return self._cut(state, generator)
        return self._another(state)

    def _freed(self, state: State, generator: np.random.Generator) -> State:
        """Symmetric shares, laid elsewhere as free ones are: off the middle of a shape a grid may not be symmetric."""
        search = self._context.search(state.count)
        starts = displaced(self._context.workers, search, [state.shares[0]], generator)
        return self._bettered(replace(state, age=1), starts, generator)

    def _record_polished(self, state: State) -> State:
        """The best of all, if the attempt that found it is over and left it so. The one under way stays as it is."""
        found = self._polished(Found(state.best, state.misfit), max(2, int(state.best.max()) + 1))
        state = replace(state, polished=state.misfit)
        return replace(state, best=found.labels, misfit=found.misfit, idle=0) if found.misfit < state.misfit else state

    def _polished(self, start: Found, count: int) -> Found:
        """A partition into so many compartments bettered by single moves and pairs of them, whatever its symmetry."""
        search, workers = self._context.search(count), self._context.workers
        return settle(workers, search, polished(workers, search, start, STEPS), STEPS, places=None)

    def _hopped(self, state: State, generator: np.random.Generator) -> State:
        """A shape displaced, or a partition kicked, and bettered."""
        search = self._context.search(state.count)
        if state.count == 2 and (self._early(state) or generator.random() < 0.8):
            starts = displaced(self._context.workers, search, self._shapes(state, generator), generator)
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
        search, workers = self._context.search(state.count), self._context.workers
        first, *others = raced(workers, search, starts, generator)
        return state.kept(settle(workers, search, first, STEPS, state.known), first, *others)

    def _cut(self, state: State, generator: np.random.Generator) -> State:
        """The attempt goes on with a compartment cut in two, where that explains much more; otherwise it is over."""
        cuts = self._context.neighbourhood.cuts(state.pool[0], MOST)
        tried = sorted(self._context.workers.map(valued, [(one,) for one in cuts]), key=lambda one: one.misfit)
        after = replace(state, count=MOST, pool=state.pool[:0], values=state.values[:0])
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
            return replace(state.with_first_waiting(self._numbered(int(state.owners[0])).count), phase=clouds.HEAT)
        return replace(state, attempt=begun, begun=begun)

    def _begins_a_heat(self, number: int) -> bool:
        several = self._numbered(number).heat != self._numbered(number - 1).heat
        return several or number % len(self._attempts) == 0

    def _numbered(self, number: int) -> Attempt:
        return self._attempts[number % len(self._attempts)]
