"""The gradient's norm is kept within a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, pi

import torch

from dmrifw.parametrizations import Setting
from dmrifw.plugins import Count, Positive
from dmrifw.schedules import ramp


class Clip:
    """Gradients longer than a limit are scaled down to it.

        g min(1, L / |g|)                   |g| over all parameters together
        L = (1 - a) limit + a final         a = (1 - cos(pi s)) / 2

    with s from 0, after `anneal_after` iterations, to 1 at the last: the half-cosine of a cosine blend.

    Args:
        setting: The problem at hand; uses its number of iterations.
        limit: Largest norm, in units of the loss per unit of the parameters.
        final: Largest norm at the end; `limit` throughout by default.
        anneal_after: Iterations before the limit begins to change.

    Source: Spinverse, arXiv 2603.04638 (gradient norm clipped at 1, annealed with the blend).
    """

    def __init__(
        self, setting: Setting, *, limit: Positive = 1.0, final: Positive | None = None, anneal_after: Count = 80
    ) -> None:
        self.limit, self.final, self.anneal_after = limit, final or limit, anneal_after
        self.last = max(setting.iterations - 1, anneal_after + 1)

    def limit_at(self, iteration: int) -> float:
        """The largest norm in an iteration. Local."""
        blend = 0.5 * (1.0 - cos(pi * ramp(iteration, self.anneal_after, self.last)))
        return (1.0 - blend) * self.limit + blend * self.final

    def __call__(
        self, gradients: Sequence[torch.Tensor], fields: Mapping[str, torch.Tensor], iteration: int
    ) -> list[torch.Tensor]:
        """The gradients, all scaled by the same factor. Local."""
        norm = torch.cat([one.flatten() for one in gradients]).norm()
        factor = torch.clamp(self.limit_at(iteration) / norm, max=1.0)
        return [one * factor for one in gradients]
