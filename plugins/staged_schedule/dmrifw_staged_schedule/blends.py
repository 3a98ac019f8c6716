"""From a sequence of long diffusion time to one of short, bit by bit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import cos, pi
from typing import Annotated

from pydantic import Field

from dmrifw.errors import InputError
from dmrifw.parametrizations import Setting
from dmrifw.plugins import Count, Positive
from dmrifw.schedules import Stage, ramp, staircase
from dmrifw_staged_schedule.learning_rates import AtLeastOne, Cosine, LearningRate
from dmrifw_staged_schedule.sequences import Weights, by_diffusion_time

Floor = Annotated[float, Field(ge=0, le=1)]
"""A share from 0 to 1."""


class Blend(ABC):
    """A sequence of long diffusion time that fades into one of short.

    The weights are 1 - a and a, with a = max(floor, rise(s)); s goes from 0, after `blend_after` iterations, to 1 at
    the last. The floor keeps the second sequence from ever being silent. How a rises is what the subclasses say.

    Args:
        setting: The problem at hand; uses its protocol and number of iterations.
        sequences: Two rows of `Protocol.waveforms`; the two of longest diffusion time by default.
        blend_after: Iterations before a begins to rise.
        floor: Least value of a.
        learning_rate: Factor on the learning rate over the run.
        strength: First and last factor on the weights; see `Weights`.

    Raises:
        InputError: There are not exactly two sequences, or one does not exist.

    Source: Spinverse, arXiv 2603.04638 (measurement schedule).
    """

    def __init__(
        self,
        setting: Setting,
        *,
        sequences: list[int] | None = None,
        blend_after: Count = 80,
        floor: Floor = 0.2,
        learning_rate: LearningRate = Cosine(),
        strength: tuple[Positive, Positive] = (1.0, 1.0),
    ) -> None:
        order = by_diffusion_time(setting, sequences)[: None if sequences else 2]
        if len(order) != 2:
            raise InputError(f"there are {len(order)} sequences to blend", "choose two", key="sequences")
        self.long, self.short = order
        self.weights = Weights(setting, strength)
        self.blend_after, self.floor = blend_after, floor
        self.iterations, self.learning_rate = setting.iterations, learning_rate

    def __call__(self, iteration: int) -> Stage:
        """The terms of an iteration. Local."""
        last = max(self.iterations - 1, self.blend_after + 1)
        blend = max(self.floor, self.rise(ramp(iteration, self.blend_after, last)))
        shares = {self.long: 1.0 - blend, self.short: blend}
        return Stage(self.weights(shares, iteration), self.learning_rate(iteration, self.iterations))

    @abstractmethod
    def rise(self, share: float) -> float:
        """The value of a, from 0 to 1, at a share s of the blend. Local."""


class CosineBlend(Blend):
    """From a sequence of long diffusion time to one of short, by half-cosines that may drop back and rise again.

    The weights are 1 - a and a. In cycle j of m equally long ones, with u from 0 to 1 within it,

        a = low_j + (high_j - low_j) (1 - cos(pi u)) / 2
        high_j = (j + 1) / m        low_0 = 0        low_j = high_(j-1) - drop (high_(j-1) - low_(j-1))

    and never below `floor`. Each cycle after the first begins lower than the one before ended, by a fraction of what
    that one gained: a warm restart. One cycle is a single half-cosine.

    Args:
        setting: The problem at hand; uses its protocol and number of iterations.
        sequences: Two rows of `Protocol.waveforms`; the two of longest diffusion time by default.
        blend_after: Iterations before a begins to rise.
        floor: Least value of a.
        cycles: m.
        drop: Fraction of the last gain that is lost at a restart.
        learning_rate: Factor on the learning rate over the run.
        strength: First and last factor on the weights; see `Weights`.

    Raises:
        InputError: There are not exactly two sequences, or one does not exist.

    Source: Spinverse, arXiv 2603.04638 (measurement schedule: blend, warm restarts, floor); equal cycles are ours.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        sequences: list[int] | None = None,
        blend_after: Count = 80,
        floor: Floor = 0.2,
        cycles: AtLeastOne = 1,
        drop: Floor = 0.5,
        learning_rate: LearningRate = Cosine(),
        strength: tuple[Positive, Positive] = (1.0, 1.0),
    ) -> None:
        super().__init__(
            setting,
            sequences=sequences,
            blend_after=blend_after,
            floor=floor,
            learning_rate=learning_rate,
            strength=strength,
        )
        self.highs = [(one + 1) / cycles for one in range(cycles)]
        self.lows = [0.0]
        for high in self.highs[:-1]:
            self.lows.append(high - drop * (high - self.lows[-1]))

    def rise(self, share: float) -> float:
        """The value of a, from 0 to 1, at a share s of the blend. Local."""
        cycles = len(self.highs)
        cycle = min(int(share * cycles), cycles - 1)
        low, high = self.lows[cycle], self.highs[cycle]
        return low + (high - low) * 0.5 * (1.0 - cos(pi * (share * cycles - cycle)))


class LinearRamp(Blend):
    """From a sequence of long diffusion time to one of short, on a straight line.

    The weights are 1 - a and a, with a = max(floor, s); s = (i - blend_after) / (n - 1 - blend_after) in iteration i of
    n, at least 0.

    Args:
        setting: The problem at hand; uses its protocol and number of iterations.
        sequences: Two rows of `Protocol.waveforms`; the two of longest diffusion time by default.
        blend_after: Iterations before a begins to rise.
        floor: Least value of a.
        learning_rate: Factor on the learning rate over the run.
        strength: First and last factor on the weights; see `Weights`.

    Raises:
        InputError: There are not exactly two sequences, or one does not exist.

    Source: Spinverse, arXiv 2603.04638 (measurement schedule); the line is ours.
    """

    def rise(self, share: float) -> float:
        """The value of a, from 0 to 1, at a share s of the blend. Local."""
        return share


class BlockRamp(Blend):
    """From a sequence of long diffusion time to one of short, in blocks of constant weights.

    The weights are 1 - a and a, with a = max(floor, floor(m s) / (m - 1)) in m equally long blocks: 0 in the first and
    1 in the last; s = (i - blend_after) / (n - 1 - blend_after) in iteration i of n, at least 0.

    Args:
        setting: The problem at hand; uses its protocol and number of iterations.
        sequences: Two rows of `Protocol.waveforms`; the two of longest diffusion time by default.
        blend_after: Iterations before a begins to rise.
        floor: Least value of a.
        blocks: m, at least 2.
        learning_rate: Factor on the learning rate over the run.
        strength: First and last factor on the weights; see `Weights`.

    Raises:
        InputError: There are not exactly two sequences, or one does not exist.

    Source: Spinverse, arXiv 2603.04638 (measurement schedule); the blocks are ours.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        sequences: list[int] | None = None,
        blend_after: Count = 80,
        floor: Floor = 0.2,
        blocks: Annotated[int, Field(ge=2)] = 4,
        learning_rate: LearningRate = Cosine(),
        strength: tuple[Positive, Positive] = (1.0, 1.0),
    ) -> None:
        super().__init__(
            setting,
            sequences=sequences,
            blend_after=blend_after,
            floor=floor,
            learning_rate=learning_rate,
            strength=strength,
        )
        self.blocks = blocks

    def rise(self, share: float) -> float:
        """The value of a, from 0 to 1, at a share s of the blend. Local."""
        return staircase(share, self.blocks)
