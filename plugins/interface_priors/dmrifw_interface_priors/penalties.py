"""The penalties, formula by formula.

Values are taken by `index_select`: the derivative of indexing with brackets runs on all threads, which wait for each
other where cores are busy (0.6 ms against 4 to 60 ms for the pairs of the 576-tetrahedron grid).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import log

import torch

from dmrifw.errors import InputError
from dmrifw.parametrizations import Setting
from dmrifw.plugins import Count, NonNegative, Positive
from dmrifw.schedules import ramp as ramp_share
from dmrifw_interface_priors.likelihood import UNDECIDED, WIDTH, barrier_probability, commitment, log10_permeability
from dmrifw_interface_priors.neighbourhood import Neighbourhood


class FacePrior(ABC):
    """A penalty on face permeabilities times a weight that ramps over iterations.

    The weight is initial + share (weight - initial), share = (iteration - first) / (last - first) from 0 to 1, or a
    staircase of `blocks` equally long steps from 0 to 1.

    Args:
        setting: The problem at hand; uses its grid and exterior.
        weight: Weight after the ramp.
        initial_weight: Weight before the ramp.
        ramp: First and last iteration of the ramp; (0, 0) gives the full weight from the start.
        blocks: Steps of the ramp, at least 2; 0 for a straight line.

    Raises:
        InputError: The ramp ends before it starts, or begins before the first iteration, or has a single step.
    """

    def __init__(
        self, setting: Setting, weight: float, initial_weight: float, ramp: tuple[int, int], blocks: int
    ) -> None:
        if ramp[0] < 0:
            raise InputError(f"iteration {ramp[0]}: the first is 0", "give first and last iteration", key="ramp")
        if ramp[1] < ramp[0]:
            raise InputError(f"{list(ramp)} ends before it starts", "give first and last iteration", key="ramp")
        if blocks == 1:
            raise InputError(
                "a ramp of 1 block does not rise", "give at least 2, or 0 for a straight line", key="blocks"
            )
        self.neighbourhood = Neighbourhood.of(setting)
        self.weight, self.initial_weight, self.ramp, self.blocks = weight, initial_weight, ramp, blocks

    def __call__(self, fields: Mapping[str, torch.Tensor], iteration: int) -> torch.Tensor:
        """Weight times penalty of fields["permeability"], (F,) in um/ms. Local."""
        x = log10_permeability(fields["permeability"].index_select(0, self.neighbourhood.faces))
        return self.weight_at(iteration) * self.penalty(x, barrier_probability(x))

    def weight_at(self, iteration: int) -> float:
        """The weight at an iteration. Local."""
        share = ramp_share(iteration, *self.ramp, self.blocks)
        return self.initial_weight + share * (self.weight - self.initial_weight)

    @abstractmethod
    def penalty(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        """The bare penalty, a scalar, from x and p of the faces in `neighbourhood`, (A,). Local."""


class PairPrior(FacePrior):
    """The mean of a penalty over pairs (i, j) of faces that share an edge, gated at walls.

    A pair is weighed by its gate w_ij = 1 - |p_i - p_j|, held constant: a wall and an open face beside it are let be,
    and no gradient makes a wall vanish to please its gate.

    Args:
        setting: The problem at hand; uses its grid and exterior.
        weight: Weight after the ramp.
        ramp: First and last iteration of a ramp of the weight from 0; from the start in full by default.
        blocks: Steps of the ramp; 0 for a straight line.
    """

    def __init__(
        self, setting: Setting, *, weight: NonNegative = 1.0, ramp: tuple[int, int] = (0, 0), blocks: Count = 0
    ) -> None:
        super().__init__(setting, weight, 0.0, ramp, blocks)

    def penalty(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        """Mean over pairs. Local."""
        pairs = self.neighbourhood.pairs
        x_ends, p_ends = (one.index_select(0, pairs.reshape(-1)).reshape(pairs.shape).T for one in (x, p))
        gate = 1.0 - (p_ends[0] - p_ends[1]).abs().detach()
        return _mean(self.pair_penalty(x_ends, p_ends, gate))

    @abstractmethod
    def pair_penalty(self, x: torch.Tensor, p: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """(P,) penalty of each pair from x and p of its faces, (2, P), and its gate, (P,). Local."""


class Continuity(PairPrior):
    """Neighbouring faces have like permeabilities, except across a wall's rim.

    Mean over pairs (i, j) of faces that share an edge of

        w_ij Huber_5(x_i - x_j)             w_ij = 1 - |p_i - p_j|, held constant

    so that a pair of a wall and an open face is not smoothed away. Huber_5(d) is d^2/2 up to |d| = 5 decades, and
    5 (|d| - 5/2) beyond.

    Args:
        setting: The problem at hand; uses its grid and exterior.
        weight: Weight after the ramp, dimensionless.
        ramp: First and last iteration of a ramp of the weight from 0; from the start in full by default.
        blocks: Steps of the ramp; 0 for a straight line.

    Source: Spinverse, arXiv 2603.04638 (continuity prior).
    """

    def __init__(
        self, setting: Setting, *, weight: NonNegative = 2.0, ramp: tuple[int, int] = (0, 0), blocks: Count = 0
    ) -> None:
        super().__init__(setting, weight=weight, ramp=ramp, blocks=blocks)

    def pair_penalty(self, x: torch.Tensor, p: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """Gate times Huber_5(x_i - x_j). Local."""
        return gate * torch.nn.functional.huber_loss(x[0], x[1], reduction="none", delta=5.0)


class EdgeCoherence(PairPrior):
    """Neighbouring faces agree on being a barrier.

    Mean over pairs (i, j) of faces that share an edge of

        w_ij^2 (p_i - p_j)^2                w_ij = 1 - |p_i - p_j|, held constant

    and with `commitment` that times 0.2 + 0.8 max(c_i, c_j), c = |2 p - 1|, held constant too: a face that has
    committed itself draws its neighbours along, and two undecided ones hardly hold each other back.

    Args:
        setting: The problem at hand; uses its grid and exterior.
        weight: Weight after the ramp, dimensionless.
        ramp: First and last iteration of a ramp of the weight from 0; from the start in full by default.
        blocks: Steps of the ramp; 0 for a straight line.
        commitment: Whether pairs are weighed by the larger commitment of their faces.

    Source: Spinverse, arXiv 2603.04638 (edge coherence).
    """

    def __init__(
        self,
        setting: Setting,
        *,
        weight: NonNegative = 1.0,
        ramp: tuple[int, int] = (0, 0),
        blocks: Count = 0,
        commitment: bool = False,
    ) -> None:
        super().__init__(setting, weight=weight, ramp=ramp, blocks=blocks)
        self.commitment = commitment

    def pair_penalty(self, x: torch.Tensor, p: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """Square of gate times p_i - p_j, times the factor for commitment. Local."""
        squared = (gate * (p[0] - p[1])).square()
        return squared * (0.2 + 0.8 * commitment(p.detach()).amax(dim=0)) if self.commitment else squared


class SoftManifold(FacePrior):
    """At every edge no wall or two walls meet: barriers close into surfaces.

    With k the sum of p over the n faces at an edge, the mean over edges with n >= 2 of

        -t log(exp(-k^2 / t) + exp(-(k - 2)^2 / t)) / n

    Args:
        setting: The problem at hand; uses its grid, exterior and number of iterations.
        weight: Weight after the ramp, dimensionless.
        ramp: First and last iteration of a ramp of the weight from 0; the whole run by default.
        blocks: Steps of the ramp; 0 for a straight line.
        temperature: t, dimensionless; the smaller, the sharper the choice between no wall and two.

    Source: Spinverse, arXiv 2603.04638 (manifold prior, soft form).
    """

    def __init__(
        self,
        setting: Setting,
        *,
        weight: NonNegative = 2.0,
        ramp: tuple[int, int] | None = None,
        blocks: Count = 0,
        temperature: Positive = 0.1,
    ) -> None:
        super().__init__(setting, weight, 0.0, ramp or (0, setting.iterations), blocks)
        self.temperature = temperature

    def penalty(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        """Mean over edges of the soft energy per face. Local."""
        walls = self.neighbourhood.sum_at_edges(p)
        exponents = -torch.stack([walls, walls - 2.0]).square() / self.temperature
        energy = -self.temperature * torch.logsumexp(exponents, dim=0)
        return _mean(energy / self.neighbourhood.faces_at_edge)


class HardManifold(FacePrior):
    """At every edge no wall or two walls meet, as a polynomial that grows without bound at junctions.

    With k the sum of p over the faces at an edge, the mean over edges with two or more faces of (k (2 - k))^2.

    Args:
        setting: The problem at hand; uses its grid, exterior and number of iterations.
        weight: Weight after the ramp, dimensionless.
        ramp: First and last iteration of a ramp of the weight from 0; the whole run by default.
        blocks: Steps of the ramp; 0 for a straight line.

    Source: Spinverse, arXiv 2603.04638 (manifold prior, hard form).
    """

    def __init__(
        self,
        setting: Setting,
        *,
        weight: NonNegative = 2.0,
        ramp: tuple[int, int] | None = None,
        blocks: Count = 0,
    ) -> None:
        super().__init__(setting, weight, 0.0, ramp or (0, setting.iterations), blocks)

    def penalty(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        """Mean over edges of (k (2 - k))^2. Local."""
        walls = self.neighbourhood.sum_at_edges(p)
        return _mean((walls * (2.0 - walls)).square())


class Binarization(FacePrior):
    """Faces commit themselves: mean over faces of p (1 - p).

    Args:
        setting: The problem at hand; uses its grid, exterior and number of iterations.
        weight: Weight after the ramp, dimensionless.
        initial_weight: Weight before the ramp, dimensionless.
        ramp: First and last iteration of a ramp of the weight; the whole run by default.
        blocks: Steps of the ramp; 0 for a straight line.

    Source: Spinverse, arXiv 2603.04638 (binarization).
    """

    def __init__(
        self,
        setting: Setting,
        *,
        weight: NonNegative = 1.5,
        initial_weight: NonNegative = 0.05,
        ramp: tuple[int, int] | None = None,
        blocks: Count = 0,
    ) -> None:
        super().__init__(setting, weight, initial_weight, ramp or (0, setting.iterations), blocks)

    def penalty(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        """Mean over faces of p (1 - p). Local."""
        return _mean(p * (1.0 - p))


class LogBarrier(FacePrior):
    """Faces stay undecided as long as the weight is large: mean over faces of -log(4 p (1 - p)).

    It is 0 where p = 1/2 and grows without bound towards 0 and 1. Falling while that of "binarization" rises, its
    weight leads from a smooth problem to one of walls and open faces.

    Args:
        setting: The problem at hand; uses its grid, exterior and number of iterations.
        weight: Weight after the ramp, dimensionless.
        initial_weight: Weight before the ramp, dimensionless.
        ramp: First and last iteration of a ramp of the weight; the whole run by default.
        blocks: Steps of the ramp; 0 for a straight line.

    Source: Murray and Ng, Comput. Optim. Appl. 47:257, 2010 (smoothing by a logarithmic barrier for binary unknowns).
    """

    def __init__(
        self,
        setting: Setting,
        *,
        weight: NonNegative = 0.01,
        initial_weight: NonNegative = 1.0,
        ramp: tuple[int, int] | None = None,
        blocks: Count = 0,
    ) -> None:
        super().__init__(setting, weight, initial_weight, ramp or (0, setting.iterations), blocks)

    def penalty(self, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        """Mean over faces of -log(4 p (1 - p)). Local."""
        z = (UNDECIDED - x) / WIDTH  # the logit of p, also where p rounds to 0 or 1
        return _mean(torch.nn.functional.softplus(z) + torch.nn.functional.softplus(-z) - 2.0 * log(2.0))


def _mean(values: torch.Tensor) -> torch.Tensor:
    """Their mean; 0 of none, as on grids of a few cells."""
    return values.sum() / max(values.numel(), 1)
