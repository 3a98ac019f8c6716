"""What a prior plugin implements: fields in, a penalty out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch


@runtime_checkable
class Prior(Protocol):
    """A belief about the fields."""

    def __call__(self, fields: Mapping[str, torch.Tensor], iteration: int) -> torch.Tensor:
        """The penalty that is added to the data loss, its weight and ramp included.

        Args:
            fields: What the parametrization returned, for example {"permeability": (F,) um/ms}.
            iteration: Iteration from 0, for ramps.

        Returns:
            A scalar, float64, differentiable.

        Local.
        """
