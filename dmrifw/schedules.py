"""What a schedule plugin implements: which measurements count at each iteration, and how large a step may be; ramps."""

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


def ramp(iteration: int, first: int, last: int, blocks: int = 0) -> float:
    """How far something has gone from its start to its end: (iteration - first) / (last - first), from 0 to 1.

    Args:
        iteration: Iteration from 0.
        first: Iteration up to which it is 0.
        last: Iteration from which on it is 1; at least `first`.
        blocks: 0 for a straight line, otherwise the steps of a `staircase`.

    Local.
    """
    if iteration >= last:
        return 1.0
    share = max(0.0, (iteration - first) / (last - first))
    return staircase(share, blocks) if blocks else share


def staircase(share: float, blocks: int) -> float:
    """The height, from 0 to 1, at a share of the way up equally long steps, of which the first is at 0, the last at 1.

    Args:
        share: From 0 to 1.
        blocks: How many steps, at least 2.

    Local.
    """
    return min(int(share * blocks), blocks - 1) / (blocks - 1)


@runtime_checkable
class Schedule(Protocol):
    """The order in which measurements enter an inversion."""

    def __call__(self, iteration: int) -> Stage:
        """The terms of an iteration, counted from 0. A pure function of its argument. Local."""
