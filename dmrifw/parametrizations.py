"""What a parametrization plugin implements: learnable numbers in, physical fields out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from dmrifw.mesh import Grid
from dmrifw.sequences import Protocol as MeasurementProtocol


@dataclass(frozen=True)
class Setting:
    """What every plugin factory is told about the problem at hand.

    Attributes:
        grid: The grid that is inverted.
        protocol: The measurements.
        exterior: "reflecting" or "permeable".
        iterations: Number of iterations planned.
        seed: Seed for anything random.
        barrier_permeability: Of walls, um/ms, as far as it is known.
        open_permeability: Of faces without a wall, um/ms.
        folder: What names of files are relative to.
    """

    grid: Grid
    protocol: MeasurementProtocol
    exterior: str = "reflecting"
    iterations: int = 1
    seed: int = 0
    barrier_permeability: float = 0.01
    open_permeability: float = 100.0
    folder: Path = Path()


@runtime_checkable
class Parametrization(Protocol):
    """The unknown of an inversion. Any `torch.nn.Module` whose forward takes nothing and returns fields satisfies this.

    The parameters are replicated: every rank holds the same numbers and must compute the same fields.
    """

    def __call__(self) -> Mapping[str, torch.Tensor]:
        """Physical inputs of `Simulator` by keyword, such as {"permeability": (F,) um/ms}, differentiable. Local."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """The learnable tensors. Local."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint must keep, as tensors by name. Local."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Restore what `state_dict` gave. Local."""
