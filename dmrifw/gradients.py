"""What a gradient-rule plugin implements: the gradient of the loss in, the one that the optimizer steps along out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch


@runtime_checkable
class GradientRule(Protocol):
    """A change of the gradient between `backward` and the optimizer's step, such as clipping."""

    def __call__(
        self, gradients: Sequence[torch.Tensor], fields: Mapping[str, torch.Tensor], iteration: int
    ) -> Sequence[torch.Tensor]:
        """The gradients after this rule. A pure function of its arguments, which it leaves alone.

        Args:
            gradients: One per parameter of the parametrization that has one, in their order, replicated.
            fields: What the parametrization returned, detached, for example {"permeability": (F,) um/ms}.
            iteration: Iteration from 0.

        Returns:
            Gradients of the same shapes, which still point uphill.

        Local.
        """
