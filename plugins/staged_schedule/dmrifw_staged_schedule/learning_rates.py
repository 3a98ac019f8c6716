"""Factors on the learning rate: pure functions of the iteration within a cycle, chosen by `kind` in a schedule's table.

All of them but the constant begin with a linear rise: with w the iterations of the rise, at most a quarter of the
cycle so that a short run learns too, the factor is (i + 1) / w in iteration i < w.

Source: Spinverse, arXiv 2603.04638 (50 iterations of rise, cosine decay to 0.1, restarts); Loshchilov and Hutter,
arXiv 1608.03983 (cosine decay with warm restarts).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from dmrifw.plugins import Count, Positive

Share = Annotated[float, Field(gt=0, le=1)]
"""A factor above 0 and at most 1."""

AtLeastOne = Annotated[int, Field(ge=1)]
"""A whole number of at least 1."""


@dataclass(frozen=True)
class Constant:
    """Always the learning rate itself: the factor is 1.

    Attributes:
        kind: "constant".
    """

    kind: Literal["constant"] = "constant"

    def __call__(self, iteration: int, length: int) -> float:
        """The factor, dimensionless, in an iteration of a cycle of `length`, counted from its start. Local."""
        return 1.0


@dataclass(frozen=True)
class Cosine:
    """A rise to 1, then a half-cosine down to `floor`.

        floor + (1 - floor) (1 + cos(pi s)) / 2         s = (i + 1 - w) / (n - w), at most 1

    in iteration i of a cycle of n, after the rise of w iterations.

    Attributes:
        kind: "cosine".
        warm_up: Iterations of the rise.
        floor: Factor at the end.
    """

    kind: Literal["cosine"] = "cosine"
    warm_up: Count = 50
    floor: Share = 0.1

    def __call__(self, iteration: int, length: int) -> float:
        """The factor, dimensionless, in an iteration of a cycle of `length`, counted from its start. Local."""
        return _risen(iteration, length, self.warm_up, self._decayed)

    def _decayed(self, passed: int, length: int) -> float:
        share = min((passed + 1) / length, 1.0)
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + cos(pi * share))


@dataclass(frozen=True)
class Steps:
    """A rise to 1, then a drop by a factor every so many iterations.

        max(floor, factor^floor((i - w) / every))

    in iteration i, after the rise of w iterations.

    Attributes:
        kind: "step".
        every: Iterations between drops.
        factor: What each drop multiplies by.
        warm_up: Iterations of the rise.
        floor: Least factor.
    """

    kind: Literal["step"] = "step"
    every: AtLeastOne = 100
    factor: Share = 0.5
    warm_up: Count = 50
    floor: Share = 0.1

    def __call__(self, iteration: int, length: int) -> float:
        """The factor, dimensionless, in an iteration of a cycle of `length`, counted from its start. Local."""
        return _risen(iteration, length, self.warm_up, self._dropped)

    def _dropped(self, passed: int, length: int) -> float:
        return max(self.floor, self.factor ** (passed // self.every))


@dataclass(frozen=True)
class WarmRestarts:
    """Several cosine cycles of equal length, each with its rise; see `Cosine`.

    Attributes:
        kind: "warm-restarts".
        cycles: How many; each has at least one iteration.
        warm_up: Iterations of the rise in each.
        floor: Factor at the end of each.
        decay: What the factor of each cycle is multiplied by, compared with the one before.
    """

    kind: Literal["warm-restarts"] = "warm-restarts"
    cycles: AtLeastOne = 2
    warm_up: Count = 50
    floor: Share = 0.1
    decay: Positive = 1.0

    def __call__(self, iteration: int, length: int) -> float:
        """The factor, dimensionless, in an iteration of a run of `length`, counted from its start. Local."""
        cycles = min(self.cycles, length)
        cycle = min(iteration * cycles // length, cycles - 1)
        start, end = (-(-length * one // cycles) for one in (cycle, cycle + 1))  # rounded up, as the line above needs
        return self.decay**cycle * Cosine(warm_up=self.warm_up, floor=self.floor)(iteration - start, end - start)


LearningRate: TypeAlias = Annotated[Constant | Cosine | Steps | WarmRestarts, Field(discriminator="kind")]
"""Annotation of an option that chooses one of them: a table with `kind`."""


def _risen(iteration: int, length: int, warm_up: int, after: Callable[[int, int], float]) -> float:
    """A linear rise to 1, then `after` of the iterations since it and of those left to the cycle."""
    rise = min(warm_up, length // 4)
    return (iteration + 1) / rise if iteration < rise else after(iteration - rise, length - rise)
