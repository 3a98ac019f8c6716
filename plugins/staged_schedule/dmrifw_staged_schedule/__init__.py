"""Diffusion times that enter an inversion in stages.

A long diffusion time shows outlines, a short one details; the schedules differ in how the second joins the first.

Source: Spinverse, arXiv 2603.04638 (measurement schedule and optimizer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import cos, pi

from dmrifw.errors import InputError
from dmrifw.hookspecs import hookimpl
from dmrifw.parametrizations import Setting
from dmrifw.plugins import Count, NonNegative
from dmrifw.schedules import Schedule, Stage
from dmrifw.sequences import Waveform

__all__ = ["AllAtOnce", "CosineBlend", "Staged"]

FLOOR = 0.1
"""Factor on the learning rate to which each cycle decays."""


class Staged:
    """One sequence after the other, the longest diffusion time first, with equal shares of the iterations.

    The learning rate starts anew at each stage: see `learning_rate`.

    Args:
        setting: The problem at hand; uses its protocol and number of iterations.
        sequences: Rows of `Protocol.waveforms` to use; the two of longest diffusion time by default.
        warm_up: Iterations of rising learning rate in each stage.

    Raises:
        InputError: A sequence does not exist or is named twice, or there are more of them than iterations.
    """

    def __init__(self, setting: Setting, *, sequences: list[int] | None = None, warm_up: Count = 50) -> None:
        self.order = by_diffusion_time(setting, sequences)[: None if sequences else 2]
        self.count = len(setting.protocol.waveforms)
        self.warm_up = warm_up
        self.starts = [round(setting.iterations * one / len(self.order)) for one in range(len(self.order) + 1)]
        if len(set(self.starts)) < len(self.starts):
            raise InputError(
                f"{len(self.order)} stages do not fit into {setting.iterations} iterations",
                "use more iterations or fewer sequences",
                key="sequences",
            )

    def __call__(self, iteration: int) -> Stage:
        """The terms of an iteration; beyond the last one planned, those of the last stage go on. Local."""
        stage = sum(iteration >= start for start in self.starts[1:-1])
        start, end = self.starts[stage : stage + 2]
        factor = learning_rate(iteration - start, end - start, self.warm_up)
        return Stage(weights(self.count, {self.order[stage]: 1.0}), factor)


class AllAtOnce:
    """All sequences with equal weight from first to last.

    Args:
        setting: The problem at hand; uses its protocol and number of iterations.
        sequences: Rows of `Protocol.waveforms` to use; all by default.
        warm_up: Iterations of rising learning rate.

    Raises:
        InputError: A sequence does not exist or is named twice.
    """

    def __init__(self, setting: Setting, *, sequences: list[int] | None = None, warm_up: Count = 50) -> None:
        chosen = by_diffusion_time(setting, sequences)
        self.sequence_weights = weights(len(setting.protocol.waveforms), dict.fromkeys(chosen, 1.0))
        self.iterations, self.warm_up = setting.iterations, warm_up

    def __call__(self, iteration: int) -> Stage:
        """The terms of an iteration. Local."""
        return Stage(self.sequence_weights, learning_rate(iteration, self.iterations, self.warm_up))


class CosineBlend:
    """From a sequence of long diffusion time to one of short, by a half-cosine.

    The weights are 1 - a and a; a = (1 - cos(pi s)) / 2 while s goes from 0, after `blend_after` iterations, to 1 at
    the last, and never below `floor`, so that the second sequence is never silent.

    Args:
        setting: The problem at hand; uses its protocol and number of iterations.
        sequences: Two rows of `Protocol.waveforms`; the two of longest diffusion time by default.
        blend_after: Iterations before a begins to rise.
        floor: Least value of a, at most 1.
        warm_up: Iterations of rising learning rate.

    Raises:
        InputError: There are not exactly two sequences, one does not exist, or `floor` is above 1.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        sequences: list[int] | None = None,
        blend_after: Count = 80,
        floor: NonNegative = 0.2,
        warm_up: Count = 50,
    ) -> None:
        order = by_diffusion_time(setting, sequences)[: None if sequences else 2]
        if len(order) != 2:
            raise InputError(f"there are {len(order)} sequences to blend", "choose two", key="sequences")
        if floor > 1:
            raise InputError(f"{floor:g} is above 1", "give a share from 0 to 1", key="floor")
        self.long, self.short = order
        self.count = len(setting.protocol.waveforms)
        self.blend_after, self.floor = blend_after, floor
        self.iterations, self.warm_up = setting.iterations, warm_up

    def __call__(self, iteration: int) -> Stage:
        """The terms of an iteration. Local."""
        share = (iteration - self.blend_after) / max(self.iterations - 1 - self.blend_after, 1)
        blend = max(self.floor, 0.5 * (1.0 - cos(pi * min(max(share, 0.0), 1.0))))
        terms = weights(self.count, {self.long: 1.0 - blend, self.short: blend})
        return Stage(terms, learning_rate(iteration, self.iterations, self.warm_up))


def learning_rate(iteration: int, length: int, warm_up: int) -> float:
    """Factor on the learning rate in a cycle: a linear rise to 1, then a half-cosine down to 0.1.

    Args:
        iteration: Counted from the start of the cycle; past its end the factor stays 0.1.
        length: Iterations in the cycle.
        warm_up: Iterations of the rise; at most a quarter of the cycle is used, so that a short run learns too.

    Returns:
        The factor, above 0.

    Local.
    """
    rise = min(warm_up, length // 4)
    if iteration < rise:
        return (iteration + 1) / rise
    share = min((iteration + 1 - rise) / (length - rise), 1.0)
    return FLOOR + (1.0 - FLOOR) * 0.5 * (1.0 + cos(pi * share))


def by_diffusion_time(setting: Setting, sequences: list[int] | None) -> list[int]:
    """The chosen sequences, or all, the longest diffusion time first; ties in the order of the protocol.

    Raises:
        InputError: A sequence does not exist or is named twice, or the list is empty.

    Local.
    """
    waveforms = setting.protocol.waveforms
    chosen = list(range(len(waveforms))) if sequences is None else sequences
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(len(waveforms))):
        raise InputError(
            f"{chosen} is not a choice among {len(waveforms)} sequences",
            f"give distinct numbers from 0 to {len(waveforms) - 1}",
            key="sequences",
        )
    return sorted(sorted(chosen), key=lambda one: -diffusion_time(waveforms[one]))


def diffusion_time(waveform: Waveform) -> float:
    """Delta of a pulsed sequence, the echo time of any other waveform, ms. Local."""
    return float(getattr(waveform, "Delta", waveform.breakpoints[-1]))


def weights(count: int, of: Mapping[int, float]) -> tuple[float, ...]:
    """(count,) weights, 0 for every sequence that is not named. Local."""
    return tuple(of.get(one, 0.0) for one in range(count))


@hookimpl
def dmrifw_schedules() -> Mapping[str, Callable[..., Schedule]]:
    """The names that `[inversion] schedule` uses."""
    return {"all-at-once": AllAtOnce, "cosine-blend": CosineBlend, "staged": Staged}
