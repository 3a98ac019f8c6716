"""`dmrifw train`: what a plugin learns, watched, kept and resumable."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from rich.console import Console

from dmrifw.cli.case import blame
from dmrifw.cli.config import checked, parse_table, read_text
from dmrifw.cli.fields import Section
from dmrifw.cli.folder import CHECKPOINT, HISTORY, METRICS, TRAINING_FILES, RunFolder
from dmrifw.cli.parallel import together, world
from dmrifw.cli.status import Stopped
from dmrifw.errors import InputError
from dmrifw.surface import replacing

if TYPE_CHECKING:
    from dmrifw.inversion import Checkpoint, History
    from dmrifw.trainers import Trainer

CHECKPOINT_SECONDS = 20.0
"""Time between two checkpoints: what a crash may cost."""


class Training(Section):
    """`[training]`: which plugin learns. Its own table stands below it, `[training.NAME]`."""

    model_config = ConfigDict(extra="allow")

    trainer: str
    seed: Annotated[int, Field(ge=0)] = 0

    @classmethod
    def takes_extra(cls, value: Any) -> bool:
        """A table may be a plugin's. Local."""
        return isinstance(value, dict)


class TrainingConfig(Section):
    """A whole config file of a training."""

    training: Training


def train(config_file: Path, output: Path, *, resume: bool, force: bool, console: Console) -> None:
    """Train, and write what was learned, with its history and figures of merit, to a folder.

    Args:
        config_file: The config.
        output: The run folder.
        resume: Whether to continue from the folder's checkpoint.
        force: Whether results in the folder may be overwritten.
        console: Where to show progress and results.

    Raises:
        InputError: The config is at fault, the folder holds results, there is no checkpoint of this training to resume
            from, or there are several processes; nothing is then written.
        Stopped: Ctrl-C or SIGTERM came; a checkpoint of the last whole round has been written.

    Collective.
    """
    plan = together(lambda: _planned(config_file, output, resume=resume, force=force))
    if not resume:
        plan.folder.start(plan.text)
    started = time.monotonic()
    history = plan.rounds(resume, console)
    metrics: dict[str, float] = dict(plan.trainer.write(output))
    metrics |= {
        "loss_initial": history.rows[0]["loss"],
        "loss_final": history.rows[-1]["loss"],
        "rounds": len(history),
        "wall_seconds": time.monotonic() - started,
    }
    with replacing(output / METRICS) as temporary:
        temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    for name, value in metrics.items():
        console.print(f"{name} = {value:.6g}")
    console.print(f"written to {output}/", soft_wrap=True)


@dataclass(frozen=True)
class _Plan:
    """Everything that a training needs, checked before it starts."""

    text: str
    trainer: Trainer
    checkpoint: Checkpoint
    folder: RunFolder

    def rounds(self, resume: bool, console: Console) -> History:
        """Train to the end, from the start or from the checkpoint; returns one row per round. Local."""
        from dmrifw.inversion import History, HistoryWriter, ProgressBar

        history = self._restored() if resume else History()
        watchers = (ProgressBar(console, "round"), HistoryWriter(self.folder.path / HISTORY))
        kept = _packed(self.trainer, history)
        started = time.monotonic()
        for watcher in watchers:
            watcher.on_start(self.trainer.rounds, history)
        try:
            for number in range(len(history), self.trainer.rounds):
                figures = self.trainer.train(number)
                row = {"iteration": number, **figures, "seconds": time.monotonic() - started}
                history.append(row)
                kept = _packed(self.trainer, history)
                for watcher in watchers:
                    watcher.on_iteration(row, {})
                if self.checkpoint.is_due():
                    self.checkpoint.write(kept)
        except KeyboardInterrupt as error:
            again = ["dmrifw", "train", str(self.folder.config), "-o", str(self.folder.path), "--resume"]
            done = len(kept.get("history/loss", ()))
            raise Stopped(f"interrupted after {done} rounds; continue with: {shlex.join(again)}") from error
        finally:
            for watcher in watchers:
                watcher.on_end(history)
            self.checkpoint.write(kept)
        return history

    def _restored(self) -> History:
        from dmrifw.inversion import History

        arrays = self.checkpoint.read()
        parts: dict[str, dict[str, Any]] = {"state": {}, "history": {}}
        for path, array in arrays.items():
            branch, _, name = path.partition("/")
            parts[branch][name] = array
        _load(self.trainer, parts["state"])
        return History.from_columns(parts["history"])


def _planned(config_file: Path, output: Path, *, resume: bool, force: bool) -> _Plan:
    from dmrifw.inversion import Checkpoint

    if world().size > 1:
        raise InputError(f"{world().size} processes", "training runs on one: leave out mpirun")
    if resume and force:
        raise InputError("--resume and --force exclude each other", "give one of them", key="--resume")
    text = read_text(config_file)
    settings = checked(TrainingConfig, parse_table(text, config_file), config_file).training
    folder = RunFolder(output, config_file, TRAINING_FILES)
    folder.refuse_unwritable()
    if not resume and not force:
        folder.refuse_results()
    folder.refuse_to_remove_sources({"training": settings.model_dump()}, config_file)
    trainer = _build(settings, config_file)
    content = json.dumps(settings.model_dump(), sort_keys=True)
    mark = {"config": hashlib.sha256(content.encode()).hexdigest()}
    plan = _Plan(text, trainer, Checkpoint(output / CHECKPOINT, mark, CHECKPOINT_SECONDS), folder)
    if resume:
        plan.checkpoint.read()
    return plan


def _build(settings: Training, file: Path) -> Trainer:
    """The trainer that a config names."""
    from dmrifw import plugins
    from dmrifw.trainers import TrainingSetting

    name, tables = settings.trainer, dict(settings.model_extra or {})
    with blame("training", file):
        factory = plugins.find(plugins.trainers(), name, "training.trainer")
        trainer = plugins.build(factory, TrainingSetting(settings.seed), tables.pop(name, {}), f"training.{name}")
        for idle in tables:
            raise InputError("the table belongs to no plugin in use", f"the trainer is {name!r}", key=idle)
    return trainer


def _packed(trainer: Trainer, history: History) -> dict[str, np.ndarray]:
    """The state after a round, as arrays by path, of its own memory: the next round does not change it."""
    state = {f"state/{name}": value.detach().numpy().copy() for name, value in trainer.state_dict().items()}
    return state | {f"history/{name}": history.column(name) for name in history.columns}


def _load(trainer: Trainer, arrays: dict[str, np.ndarray]) -> None:
    import torch

    trainer.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
