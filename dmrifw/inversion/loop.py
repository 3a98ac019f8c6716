"""The inversion loop: one step after another, watched, kept, and interruptible."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from mpi4py import MPI

from dmrifw.errors import ConvergenceError, DmrifwError, InputError
from dmrifw.gradients import GradientRule
from dmrifw.inversion.checkpoint import Checkpoint, pack
from dmrifw.inversion.collective import on_root
from dmrifw.inversion.history import History
from dmrifw.inversion.interruption import noted_signals
from dmrifw.inversion.observers import Observer, observing
from dmrifw.inversion.optimizer import Fields, Look, Objective, check_model, check_together, detached
from dmrifw.inversion.problem import InversionProblem
from dmrifw.inversion.restarts import Restarts, Starts
from dmrifw.optimizers import OptimizerSettings
from dmrifw.parametrizations import Parametrization
from dmrifw.priors import Prior
from dmrifw.schedules import Schedule

RENEWAL = 10
"""Iterations between two renewals, by default."""

TARGET = "target"
"""Where a checkpoint keeps the target: simulated again, by several ranks, its last digits would be others."""

_RETREATS = 20
"""How often a step is halved that led to where there is no loss."""

T = TypeVar("T")
Diagnostics: TypeAlias = Callable[[Fields], Mapping[str, float]]


class Interrupted(DmrifwError):
    """The inversion was asked to stop, by Ctrl-C or SIGTERM, and did so between two iterations.

    Attributes:
        iterations: Iterations that are done; up to a renewal's worth of the last ones will be done again.
        checkpoint: The file from which the inversion can go on, if there is one.
    """

    def __init__(self, iterations: int, checkpoint: Path | None) -> None:
        self.iterations, self.checkpoint = iterations, checkpoint
        kept = f"resume from {checkpoint}" if checkpoint else "nothing was kept: no checkpoint was asked for"
        super().__init__(f"interrupted after {iterations} iterations; {kept}")


@dataclass(frozen=True)
class Result:
    """What an inversion found.

    Attributes:
        fields: The fields after the last step of the best start, detached, replicated.
        history: One row per iteration, those before a resume and of other starts included.
        start: The best start, counted from 0: the one whose signals are nearest to the target.
        ending: Why the last start ended, in words; nothing where that was before a resume.
        figures: What the diagnostics tell of the fields.
    """

    fields: dict[str, torch.Tensor]
    history: History
    start: int = 0
    ending: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def iterations(self) -> int:
        """Number of iterations done."""
        return len(self.history)

    @property
    def course(self) -> list[Mapping[str, float]]:
        """The rows of the history, and what is known of where the last step led, if it is of the best start."""
        *_, last = rows = list[Mapping[str, float]](self.history.rows)
        if last.get("start", 0) != self.start:
            return rows
        return [*rows, {"iteration": len(rows), "start": self.start} | dict(self.figures)]

    @property
    def loss_initial(self) -> float:
        """Loss of the first iteration."""
        return self.history.rows[0]["loss"]

    @property
    def loss_final(self) -> float:
        """Loss of the last iteration of the best start, before its step."""
        return [row["loss"] for row in self.history.rows if row.get("start", 0) == self.start][-1]

    @property
    def wall_seconds(self) -> float:
        """Time in iterations, those before a resume included."""
        return float(self.history.column("seconds").sum())


def invert(
    problem: InversionProblem,
    parametrization: Parametrization,
    priors: Mapping[str, Prior],
    schedule: Schedule,
    optimizer: OptimizerSettings,
    iterations: int,
    *,
    gradient_rules: Sequence[GradientRule] = (),
    observers: Sequence[Observer] = (),
    diagnostics: Diagnostics | None = None,
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
    renewal: int = RENEWAL,
    restarts: Restarts | None = None,
) -> Result:
    """Minimize the data loss and the priors over the parameters.

    Every rank does the same steps on the same numbers; only rank 0 observes and writes.

    A forward model may keep things from one iteration to the next, such as a basis, which a checkpoint does not hold.
    So it is made to forget them at every renewal, and checkpoints hold the state at the last renewal: from there a
    resumed inversion and one that nobody interrupted go on alike.

    A step to where there is no loss, since the simulator refuses the fields or a prior is infinite, is halved until
    there is one.

    Args:
        problem: Simulator and target.
        parametrization: The unknown; its parameters are changed in place.
        priors: Penalties by name; the history keeps each as `prior_NAME`.
        schedule: The terms of each iteration.
        optimizer: How to step: `AdamSettings`, `GaussNewtonSettings`, `LbfgsSettings`, or those of a plugin.
        iterations: Iterations of each start in all, those before a resume included; at least 1. An optimizer that can
            tell that it has converged stops earlier, once neither the schedule nor a prior brings other terms.
        gradient_rules: What happens to the gradient before a step of Adam, one rule after the other.
        observers: Called on rank 0 after each iteration.
        diagnostics: Numbers to keep in the history, computed from the (detached) fields of each iteration.
        checkpoint: Written from time to time, at the end, and on interruption.
        resume: Start from the checkpoint.
        renewal: Iterations between two renewals; at least 1. Another number makes another trajectory, as far as the
            forward model's tolerance lets it.
        restarts: Further starts, of which the best is kept; rows of the history then tell their `start`.

    Returns:
        The fields found and the history.

    Raises:
        InputError: `iterations` or `renewal` is below 1, the checkpoint is missing, damaged or another inversion's, or
            the optimizer refuses what it is to go together with.
        ConvergenceError: The loss or its gradient is not finite; the step is not taken.
        Interrupted: Ctrl-C or SIGTERM came in on some rank; the checkpoint has been written.

    Collective.
    """
    if iterations < 1:
        raise InputError(f"{iterations} iterations", "give at least 1", key="inversion.iterations")
    if renewal < 1:
        raise InputError(f"a renewal after {renewal} iterations", "give at least 1", key="renewal")
    objective = Objective(problem, parametrization, priors, gradient_rules)
    starts = Starts(parametrization, restarts or Restarts())
    run = _Run(objective, schedule, optimizer, iterations, diagnostics, checkpoint, starts)
    if resume:
        run.resume()
    total = iterations * (1 + starts.settings.count)
    with noted_signals(run.heed) as signals, observing(problem.comm, observers, total, run.history):
        run.renew()
        while not run.is_over():
            row, fields, stop = run.iterate(signals)
            ended = run.is_done()
            if ended:
                run.end_start()
            if len(run.history) % renewal == 0 or ended:
                run.renew()
            due = on_root(problem.comm, partial(run.notify, observers, row, fields))
            if due or stop:
                run.save()
            if stop:
                raise Interrupted(len(run.history), checkpoint.path if checkpoint else None)
        run.save()
    with torch.no_grad():
        fields = detached(parametrization())
    return Result(fields, run.history, starts.best, run.ending, run.figures(fields))


@dataclass
class _Run:
    """The state of a running inversion."""

    objective: Objective
    schedule: Schedule
    settings: OptimizerSettings
    iterations: int
    diagnostics: Diagnostics | None
    checkpoint: Checkpoint | None
    starts: Starts
    history: History = field(default_factory=History)
    renewed: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        aim, further = self.objective, self.starts.settings.count
        check_together(self.settings, aim.parametrization, aim.priors, aim.gradient_rules, self.schedule, further)
        check_model(self.settings, lambda: aim.problem.simulator)
        self.optimizer = self.settings.start(self.objective)
        self.ending = ""
        self.is_saving = False

    @property
    def problem(self) -> InversionProblem:
        """Simulator and target."""
        return self.objective.problem

    @property
    def done(self) -> int:
        """Iterations that the start under way has behind it."""
        return sum(row.get("start", 0) == self.starts.number for row in self.history.rows)

    def is_over(self) -> bool:
        """Whether no start is left."""
        return self.starts.are_over if self.starts.settings.count else self.is_done()

    def is_done(self) -> bool:
        """Whether all iterations of a start are done, or no step is of use any more."""
        done = self.done
        if done >= self.iterations or not self.optimizer.converged:
            self.ending = f"all {self.iterations} iterations are done"
            return done >= self.iterations
        self.ending = getattr(self.optimizer, "ending", "no further step is of use")
        return not self._other_terms_follow(max(0, done - 1))

    def _other_terms_follow(self, last: int) -> bool:
        """Whether the schedule brings other measurements after an iteration, or priors weigh more or less then."""
        left = range(last, self.iterations)
        if len({self.schedule(iteration).sequence_weights for iteration in left}) > 1:
            return True
        fields, penalties = self._fields(), self.objective.penalties
        with torch.no_grad():
            terms = ([one.item() for one in penalties(fields, iteration).values()] for iteration in left)
            now = next(terms)
            others = any(one != now for one in terms)  # the first other one is enough
        return bool(self.problem.comm.bcast(others, root=0))

    def end_start(self) -> None:
        """Judge where a start has led to, and go on to the next one, or to the best.

        The simulation also makes sure that there is a loss where the last step led. Collective.
        """
        error = self._where_there_is_a_loss(self.done, lambda: self.problem.relative_error(self._fields()))
        if self.starts.settings.count:
            self.starts.end(self.problem.comm.bcast(error, root=0))
            if not self.starts.are_over:
                self.optimizer = self.settings.start(self.objective)

    def resume(self) -> None:
        if self.checkpoint is None:
            raise InputError("no checkpoint was given to resume from", "name its file", key="checkpoint")
        arrays = on_root(self.problem.comm, self.checkpoint.read)
        self.history = self.checkpoint.restore(arrays, self.objective.parametrization, self.optimizer)
        self.starts.unpack(arrays)

    def renew(self) -> None:
        """Make a point from which this inversion goes on as one that is resumed there."""
        self.problem.forget()
        state = pack(self.objective.parametrization, self.optimizer, self.history) | self.starts.pack()
        self.renewed = state | {TARGET: self.problem.target}

    def save(self) -> None:
        """Write the state of the last renewal."""
        if self.checkpoint is not None:
            self.is_saving = True
            on_root(self.problem.comm, partial(self.checkpoint.write, self.renewed))
            self.is_saving = False

    def heed(self) -> None:
        """Asked to stop: write it at once, since whoever asked may not wait until the iteration is done. For rank 0."""
        if self.problem.comm.rank:
            return
        os.write(2, b"\nstopping when this iteration is done; once more stops at once\n")  # print is not reentrant
        if self.checkpoint is not None and self.renewed and not self.is_saving:
            with suppress(OSError):  # the write when the iteration is done tells
                self.checkpoint.write(self.renewed)

    def notify(self, observers: Iterable[Observer], row: Mapping[str, float], fields: Fields) -> bool:
        """Tell the observers; whether the checkpoint is due. For rank 0."""
        for observer in observers:
            observer.on_iteration(row, fields)
        return self.checkpoint is not None and self.checkpoint.is_due()

    def iterate(self, signals: Sequence[int]) -> tuple[dict[str, float], dict[str, torch.Tensor], bool]:
        """One step: its row of the history, the fields before it, and whether some rank was asked to stop."""
        started = time.perf_counter()
        look = self._look(self.done)
        row: dict[str, float] = {"iteration": len(self.history)}
        row |= {"start": self.starts.number} if self.starts.settings.count else {}
        row |= {"loss": look.loss} | look.terms | look.control
        row |= {"gradient_norm": look.gradient_norm}
        self._check_finite(row)
        row |= {"signal_seconds": look.signal_seconds, "gradient_seconds": look.gradient_seconds}
        row |= self.optimizer.move()
        extra = self.figures(look.fields)
        row |= {"seconds": time.perf_counter() - started} | extra
        self.history.append(row)
        return row, look.fields, self.problem.comm.allreduce(bool(signals), op=MPI.LOR)

    def figures(self, fields: Fields) -> dict[str, float]:
        """What the diagnostics tell of some fields. Local."""
        return {name: float(one) for name, one in self.diagnostics(fields).items()} if self.diagnostics else {}

    def _look(self, iteration: int) -> Look:
        look = self._where_there_is_a_loss(iteration, lambda: self.optimizer.look(iteration, self.schedule(iteration)))
        self.starts.settle()
        return look

    def _where_there_is_a_loss(self, iteration: int, work: Callable[[], T]) -> T:
        """What some work returns, nearer to the last place where there was a loss if there is none here.

        Priors are asked first: what they bar, such as elements that are nearly flat, may take forever to simulate.
        """
        for _ in range(_RETREATS):
            if not self._is_barred(iteration):
                try:
                    return work()
                except InputError as error:
                    if error.key not in self._fields():
                        raise
            if not self.starts.retreat():
                break
        return work()

    def _is_barred(self, iteration: int) -> bool:
        """Whether a prior is infinite at the parameters; rank 0 decides."""
        with torch.no_grad():
            penalties = self.objective.penalties(self._fields(), iteration)
        barred = any(one.item() == math.inf for one in penalties.values())
        return bool(self.problem.comm.bcast(barred, root=0))

    def _fields(self) -> Fields:
        with torch.no_grad():
            return detached(self.objective.parametrization())

    def _check_finite(self, row: Mapping[str, float]) -> None:
        """All ranks find that the numbers are, or none goes on."""
        broken = [name for name, value in row.items() if not math.isfinite(value)]
        if self.problem.comm.allreduce(bool(broken), op=MPI.LOR):
            raise ConvergenceError(
                f"iteration {row['iteration']}: not finite: {', '.join(broken) or 'the loss of another rank'}; "
                f"{self.optimizer.mend}"
            )
