"""The penalties, formula by formula."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch

from dmrifw.errors import InputError
from dmrifw.parametrizations import Setting
from dmrifw.plugins import NonNegative, Positive
from dmrifw_interface_priors.neighbourhood import Neighbourhood

UNDECIDED = -3.0
"""log10 of the permeability in um/us that is as likely a barrier as not."""

WIDTH = 0.5
"""Decades over which a face turns from barrier to open."""

LOG10_UM_PER_US = 3.0
"""log10 of 1 um/us in um/ms."""


class FacePrior(ABC):
    """A penalty on face permeabilities times a weight that ramps linearly over iterations.

    Args:
        setting: The problem at hand; uses its grid and exterior.
        weight: Weight after the ramp.
        initial_weight: Weight before the ramp.
        ramp: First and last iteration of the ramp; (0, 0) gives the full weight from the start.

    Raises:
        InputError: The ramp ends before it starts.
    """

    def __init__(self, setting: Setting, weight: float, initial_weight: float, ramp: tuple[int, int]) -> None:
        if ramp[1] < ramp[0]:
            raise InputError(f"{list(ramp)} ends before it starts", "give first and last iteration", key="ramp")
        self.neighbourhood = Neighbourhood.of(setting)
        self.weight, self.initial_weight, self.ramp = weight, initial_weight, ramp

    def __call__(self, fields: Mapping[str, torch.Tensor], iteration: int) -> torch.Tensor:
        """Weight times penalty of fields["permeability"], (F,) in um/ms. Local."""
        kappa = fields["permeability"][self.neighbourhood.faces]
        x = torch.log10(kappa) - LOG10_UM_PER_US
        p = torch.sigmoid((UNDECIDED - x) / WIDTH)
        return self.weight_at(iteration) * self.penalty(x, p)

    def weight_at(self, iteration: int) -> float:
        """The weight at an iteration. Local."""
        first, last = self.ramp
        share = 1.0 if iteration >= last else max(0.0, (iteration - first) / (last - first))
        return self.initial_weight + share * (self.weight - self.initial_weight)

    @abstractmethod
    def penalty(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        """The bare penalty, a scalar, from x and p of the faces in `neighbourhood`, (A,). Local."""


class Continuity(FacePrior):
    """Neighbouring faces have like permeabilities, except across a wall's rim.

    Mean over pairs (i, j) of faces that share an edge of

        w_ij Huber_5(x_i - x_j)             w_ij = 1 - |p_i - p_j|, held constant

    so that a pair of a wall and an open face is not smoothed away. Huber_5(d) is d^2/2 up to |d| = 5 decades.

    Args:
        setting: The problem at hand; uses its grid and exterior.
        weight: Weight after the ramp.
        ramp: First and last iteration of a linear ramp of the weight from 0; from the start in full by default.
    """

    def __init__(self, setting: Setting, *, weight: NonNegative = 2.0, ramp: tuple[int, int] = (0, 0)) -> None:
        super().__init__(setting, weight, 0.0, ramp)

    def penalty(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        """Mean over pairs of w Huber_5(x_i - x_j). Local."""
        first, second = self.neighbourhood.pairs.T
        likeness = 1.0 - (p[first] - p[second]).abs().detach()
        return (likeness * torch.nn.functional.huber_loss(x[first], x[second], reduction="none", delta=5.0)).mean()


class EdgeCoherence(FacePrior):
    """Neighbouring faces agree on being a barrier.

    Mean over pairs (i, j) of faces that share an edge of

        w_ij^2 (p_i - p_j)^2                w_ij = 1 - |p_i - p_j|, held constant

    Args:
        setting: The problem at hand; uses its grid and exterior.
        weight: Weight after the ramp.
        ramp: First and last iteration of a linear ramp of the weight from 0; from the start in full by default.
    """

    def __init__(self, setting: Setting, *, weight: NonNegative = 1.0, ramp: tuple[int, int] = (0, 0)) -> None:
        super().__init__(setting, weight, 0.0, ramp)

    def penalty(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        """Mean over pairs of w^2 (p_i - p_j)^2. Local."""
        first, second = self.neighbourhood.pairs.T
        difference = p[first] - p[second]
        likeness = 1.0 - difference.abs().detach()
        return (likeness * difference).square().mean()


class SoftManifold(FacePrior):
    """At every edge no wall or two walls meet: barriers close into surfaces.

    With k the sum of p over the n faces at an edge, the mean over edges with n >= 2 of

        -t log(exp(-k^2 / t) + exp(-(k - 2)^2 / t)) / n

    Args:
        setting: The problem at hand; uses its grid, exterior and number of iterations.
        weight: Weight after the ramp.
        ramp: First and last iteration of a linear ramp of the weight from 0; the whole run by default.
        temperature: t; the smaller, the sharper the choice between no wall and two.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        weight: NonNegative = 2.0,
        ramp: tuple[int, int] | None = None,
        temperature: Positive = 0.1,
    ) -> None:
        super().__init__(setting, weight, 0.0, ramp or (0, setting.iterations))
        self.temperature = temperature

    def penalty(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        """Mean over edges of the soft energy per face. Local."""
        walls = self.neighbourhood.sum_at_edges(p)
        exponents = -torch.stack([walls, walls - 2.0]).square() / self.temperature
        energy = -self.temperature * torch.logsumexp(exponents, dim=0)
        return (energy / self.neighbourhood.faces_at_edge).mean()


class HardManifold(FacePrior):
    """At every edge no wall or two walls meet, as a polynomial that grows without bound at junctions.

    With k the sum of p over the faces at an edge, the mean over edges with two or more faces of (k (2 - k))^2.

    Args:
        setting: The problem at hand; uses its grid, exterior and number of iterations.
        weight: Weight after the ramp.
        ramp: First and last iteration of a linear ramp of the weight from 0; the whole run by default.
    """

    def __init__(self, setting: Setting, *, weight: NonNegative = 2.0, ramp: tuple[int, int] | None = None) -> None:
        super().__init__(setting, weight, 0.0, ramp or (0, setting.iterations))

    def penalty(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        """Mean over edges of (k (2 - k))^2. Local."""
        walls = self.neighbourhood.sum_at_edges(p)
        return (walls * (2.0 - walls)).square().mean()


class Binarization(FacePrior):
    """Faces commit themselves: mean over faces of p (1 - p).

    Args:
        setting: The problem at hand; uses its grid, exterior and number of iterations.
        weight: Weight after the ramp.
        initial_weight: Weight before the ramp.
        ramp: First and last iteration of a linear ramp of the weight; the whole run by default.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        weight: NonNegative = 1.5,
        initial_weight: NonNegative = 0.05,
        ramp: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(setting, weight, initial_weight, ramp or (0, setting.iterations))

    def penalty(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        """Mean over faces of p (1 - p). Local."""
        return (p * (1.0 - p)).mean()
