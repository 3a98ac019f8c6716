"""What a schedule plugin implements: which measurements count at each iteration, and how large a step may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Stage:
    """The terms of one iteration.

    Attributes:
        sequence_weights: Weight in the data loss of each waveform of the protocol, at least 0, in the order of
            `Protocol.waveforms`. A sequence of weight 0 is not simulated.
        learning_rate: Factor on the optimizer's learning rate, above 0.
    """

    sequence_weights: tuple[float, ...]
    learning_rate: float = 1.0


@runtime_checkable
class Schedule(Protocol):
    """The order in which measurements enter an inversion."""

    def __call__(self, iteration: int) -> Stage:
        """The terms of an iteration, counted from 0. A pure function of its argument. Local."""
