"""`dmrifw invert`: from signals to barriers or shapes, watched, kept and resumable."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from dmrifw.cli.case import Case, blame, build_case
from dmrifw.cli.config import Config, load
from dmrifw.cli.folder import CHECKPOINT, HISTORY, INVERSION_FILES, METRICS, RunFolder
from dmrifw.cli.outcome import Outcome
from dmrifw.cli.parallel import is_first, together
from dmrifw.cli.search import Search, build_search
from dmrifw.cli.simulate import geometry_line, summary
from dmrifw.cli.status import Stopped
from dmrifw.cli.stopwatch import Stopwatch
from dmrifw.cli.subject import Subject, subject_of
from dmrifw.cli.target import (
    build_truth,
    describe_target,
    read_target,
    simulate_fields,
    simulate_truth,
    target_of,
    true_fields,
)
from dmrifw.errors import InputError
from dmrifw.report import mesh_hash
from dmrifw.typing import ComplexArray, FloatArray

if TYPE_CHECKING:
    import torch

    from dmrifw.bridge import Simulator
    from dmrifw.inversion import Checkpoint, History, InversionProblem, Observer

CHECKPOINT_SECONDS = 20.0
"""Time between two checkpoints: what a crash may cost."""

RENEWAL_ITERATIONS = 10
"""Iterations between two states that a checkpoint may hold: what an interruption, and a crash on top, may cost.
Optimizers may ask for another number."""


def invert(config_file: Path, output: Path, *, resume: bool, force: bool, console: Console) -> None:
    """Recover barriers or a shape from signals and write everything about them to a folder.

    Args:
        config_file: The config.
        output: The run folder.
        resume: Whether to continue from the folder's checkpoint.
        force: Whether results in the folder may be overwritten.
        console: Where to show progress and results.

    Raises:
        InputError: The config is at fault, the folder holds results, or there is no checkpoint of this inversion to
            resume from; nothing is then written.
        Stopped: Ctrl-C or SIGTERM came; a checkpoint has been written.

    Collective.
    """
    run_inversion(lambda: load(config_file), config_file, output, resume=resume, force=force, console=console)


def run_inversion(
    read: Callable[[], Config], config_file: Path | None, output: Path, *, resume: bool, force: bool, console: Console
) -> Outcome:
    """The same for a config from anywhere; returns what was found. Collective."""
    folder = RunFolder(output, config_file, INVERSION_FILES)
    watch = Stopwatch()
    with watch.lap("config, meshes and plugins"):
        plan = together(lambda: _planned(read, folder, resume=resume, force=force))
        plan.check()
    console.print(summary(plan.case))
    console.print(geometry_line(plan.case), soft_wrap=True)
    console.print(plan.told, soft_wrap=True)
    with watch.lap("simulator and target"):
        problem = plan.problem(resume)
    outcome = plan.solve(problem, resume, console, watch)
    if is_first():
        written = outcome.write(output, watch)
        console.print(outcome.table())
        if outcome.result.ending:
            console.print(f"ended because {outcome.result.ending}", soft_wrap=True)
        console.print(f"written to {output}/: {', '.join([*written, HISTORY, CHECKPOINT])}", soft_wrap=True)
    return outcome


@dataclass(frozen=True)
class _Plan:
    """Everything that an inversion needs, checked before anything expensive is made."""

    case: Case
    search: Search
    target: ComplexArray | None
    truth: Case | None
    true_fields: dict[str, FloatArray] | None
    subject: Subject
    folder: RunFolder

    @property
    def told(self) -> str:
        """Where the target comes from, in words."""
        return describe_target(self.case, self.truth)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint of this inversion and of no other."""
        from dmrifw.inversion import Checkpoint, fingerprint

        case, target = self.case, self.target
        content = case.config.model_dump(include={"tissue", "solver", "inversion"})
        name, limits = self.search.settings.optimizer, getattr(self.search.optimizer, "limits", ())
        kept = {key: one for key, one in content["inversion"].pop(name, {}).items() if key not in limits}
        content["inversion"] |= {name: kept} if kept else {}  # a table of limits alone is as good as none
        for key in content["inversion"].keys() & limits:
            del content["inversion"][key]
        content["truth"] = None if case.true_barrier is None else np.flatnonzero(case.true_barrier).tolist()
        content["signal"] = None if target is None else [target.real.tolist(), target.imag.tolist()]
        content["mesh"] = None if self.truth is None else mesh_hash(self.truth.grid)
        content |= {"files": files} if (files := self._digests()) else {}
        mark = fingerprint(case.grid, case.protocol, content)
        return Checkpoint(self.folder.path / CHECKPOINT, mark, CHECKPOINT_SECONDS)

    def _digests(self) -> dict[str, str]:
        """SHA-256 of the files that options of the parametrization name, by option: an inversion starts from them."""
        options, folder = self.search.options[self.search.settings.parametrization], self.case.config.path.parent
        named = {option: folder / value for option, value in options.items() if isinstance(value, str)}
        return {option: sha256(file.read_bytes()).hexdigest() for option, file in named.items() if file.is_file()}

    @cached_property
    def simulator(self) -> Simulator:
        """The forward model. Collective on first use."""
        return self.case.simulator()

    def check(self) -> None:
        """Refuse what takes all ranks, or the forward model, to know.

        Raises:
            PluginError: On every rank, where they do not have the same plugins.
            InputError: The optimizer does not know enough about the tissue.

        Collective.
        """
        from dmrifw import plugins
        from dmrifw.inversion.optimizer import check_model

        plugins.check_same_on_all_ranks(self.case.grid.comm)
        with blame("inversion", self.case.config.path):
            check_model(self.search.optimizer, lambda: self.simulator)

    def problem(self, resume: bool) -> InversionProblem:
        """The simulator and the target, which is simulated where neither a file nor a checkpoint gives it.

        Collective.
        """
        import torch

        from dmrifw.inversion import InversionProblem, add_noise

        if self.case.grid.comm.size > 1:
            torch.set_num_threads(1)  # ranks share the cores
        settings, wanted, comm = self.search.settings, target_of(self.case), self.case.grid.comm
        simulator = self.simulator
        target = self._kept_target() if resume else None
        with blame("inversion", self.case.config.path, other={"protocol": "", "snr": "inversion.target"}):
            if target is None:
                target = self.target if self.target is not None else self._simulated_target(simulator)
                if wanted.snr is not None:
                    target = add_noise(target, self.case.protocol, wanted.snr, wanted.seed, wanted.noise)
            target = comm.bcast(target)  # ranks that add in another order would each have other last digits
            return InversionProblem(
                simulator,
                target,
                settings.magnitude,
                settings.data_weight,
                likelihood=settings.likelihood,
                sigma=settings.sigma,
                arbitrary_unit=wanted.arbitrary_unit,
            )

    def _kept_target(self) -> ComplexArray | None:
        """(n,) that of the checkpoint, to the last digit; None where it keeps none."""
        from dmrifw.inversion.loop import TARGET

        return together(self.checkpoint.read).get(TARGET)

    def _simulated_target(self, simulator: Simulator) -> ComplexArray:
        import torch

        if self.truth is not None:
            return simulate_truth(self.truth)
        if self.true_fields is not None:
            return simulate_fields(self.case, self.true_fields)
        with torch.no_grad():
            return np.asarray(simulator(permeability=torch.from_numpy(self.case.required_permeability())).numpy())

    def solve(self, problem: InversionProblem, resume: bool, console: Console, watch: Stopwatch) -> Outcome:
        """Run the inversion. Collective.

        Raises:
            Stopped: Ctrl-C or SIGTERM came; a checkpoint has been written.
        """
        from dmrifw.inversion import Interrupted, invert

        search = self.search
        try:
            with blame("inversion", self.case.config.path), watch.lap("inversion"):
                result = invert(
                    problem,
                    search.parametrization,
                    search.priors,
                    search.schedule,
                    search.optimizer,
                    search.settings.iterations,
                    gradient_rules=list(search.gradient_rules.values()),
                    observers=self._observers(console, resume),
                    diagnostics=self.subject.diagnostics,
                    checkpoint=self.checkpoint,
                    resume=resume,
                    renewal=getattr(search.optimizer, "renewal", RENEWAL_ITERATIONS),
                    restarts=search.restarts,
                )
        except Interrupted as stop:
            words = ["dmrifw", "invert", str(self.case.config.path), "-o", str(self.folder.path), "--resume"]
            again = shlex.join(words)
            raise Stopped(f"interrupted after {stop.iterations} iterations; continue with: {again}") from stop
        with watch.lap("judging the result"):
            return Outcome.of(self.case, self.told, self.subject, problem, result, search.options)

    def _observers(self, console: Console, resume: bool) -> list[Observer]:
        from dmrifw.inversion import HistoryWriter, ProgressBar

        path = self.folder.path
        begun = _Resumed(self.folder) if resume else _Begun(self.folder, self.case.config.text)
        return [begun, ProgressBar(console), HistoryWriter(path / HISTORY), *self.subject.observers(path)]


@dataclass(frozen=True)
class _Begun:
    """Makes the run folder when the inversion begins, and not before: what is refused costs no earlier results."""

    folder: RunFolder
    text: str

    def on_start(self, iterations: int, history: History) -> None:
        """See `Observer`."""
        self.folder.start(self.text)

    def on_iteration(self, row: Mapping[str, float], fields: Mapping[str, torch.Tensor]) -> None:
        """See `Observer`."""

    def on_end(self, history: History) -> None:
        """See `Observer`."""


@dataclass
class _Resumed:
    """Removes what an inversion had ended with when it goes on beyond that: until its new end it is unfinished."""

    folder: RunFolder
    removed: bool = False

    def on_start(self, iterations: int, history: History) -> None:
        """See `Observer`."""

    def on_iteration(self, row: Mapping[str, float], fields: Mapping[str, torch.Tensor]) -> None:
        """See `Observer`. Only the first of a session finds anything to remove."""
        if not self.removed:
            self.removed = True
            self.folder.reopen()

    def on_end(self, history: History) -> None:
        """See `Observer`."""


def _planned(read: Callable[[], Config], folder: RunFolder, *, resume: bool, force: bool) -> _Plan:
    if resume and force:
        raise InputError("--resume and --force exclude each other", "give one of them", key="--resume")
    file = folder.path / CHECKPOINT
    if resume and not file.exists():
        raise InputError("there is no checkpoint to resume from", "start without --resume", key="--resume", file=file)
    folder.refuse_unwritable()
    if not resume and not force:
        unfinished = file.exists() and not (folder.path / METRICS).exists()
        folder.refuse_results(*(["continue with --resume, or overwrite with --force"] if unfinished else []))
    config = read()
    folder.refuse_to_remove_sources(config.model_dump(), config.path)
    case = build_case(config)
    search, truth, fields = build_search(case), build_truth(case), true_fields(case)
    subject = subject_of(case, truth, fields, list(search.parametrization()))
    plan = _Plan(case, search, read_target(case), truth, fields, subject, folder)
    if resume:
        plan.checkpoint.read()
    return plan
