"""The sequences of a protocol by diffusion time, and weights for them."""

from __future__ import annotations

from collections.abc import Mapping

from dmrifw.errors import InputError
from dmrifw.parametrizations import Setting
from dmrifw.schedules import ramp


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
    return sorted(sorted(chosen), key=lambda one: -waveforms[one].diffusion_time)


class Weights:
    """Weights of a protocol's sequences, 0 where not named, times a strength that ramps over the run.

        strength = first + (last - first) i / (n - 1)       in iteration i of n

    Args:
        setting: The problem at hand; uses its protocol and number of iterations.
        strength: First and last value: (0.5, 2) takes a data weight of 100 from 50 to 200.

    Source: Spinverse, arXiv 2603.04638 (data loss).
    """

    def __init__(self, setting: Setting, strength: tuple[float, float]) -> None:
        self.count, self.iterations, self.strength = len(setting.protocol.waveforms), setting.iterations, strength

    def __call__(self, shares: Mapping[int, float], iteration: int) -> tuple[float, ...]:
        """(count,) weight of each sequence in an iteration. Local."""
        first, last = self.strength
        strength = first + (last - first) * ramp(iteration, 0, self.iterations - 1)
        return tuple(strength * shares.get(one, 0.0) for one in range(self.count))
