"""What a trainer plugin implements: something that learns in rounds, and writes down what it has learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class TrainingSetting:
    """What every trainer's factory is told.

    Attributes:
        seed: Seed for anything random.
    """

    seed: int = 0


@runtime_checkable
class Trainer(Protocol):
    """Learning, round by round, on one process. Round `n` depends on the state before it and on `n` alone.

    Attributes:
        rounds: Number of rounds.
    """

    rounds: int

    def train(self, number: int) -> Mapping[str, float]:
        """Do a round, counted from 0.

        Returns:
            What to show and to keep of it: "loss", and whatever else, by column name.

        Local.
        """

    def state_dict(self) -> Mapping[str, Any]:
        """Everything that a checkpoint must keep, as tensors by name. Local."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Restore what `state_dict` gave. Local."""

    def write(self, folder: Path) -> Mapping[str, float]:
        """Write what was learned to a folder, and return figures of merit by name. Local."""
