"""How likely a permeability is that of a barrier."""

from __future__ import annotations

import torch

UNDECIDED = -3.0
"""log10 of the permeability in um/us that is as likely a barrier as not."""

WIDTH = 0.5
"""Decades over which a face turns from barrier to open."""

LOG10_UM_PER_US = 3.0
"""log10 of 1 um/us in um/ms."""


def log10_permeability(kappa: torch.Tensor) -> torch.Tensor:
    """Logarithm x = log10(kappa in um/us) of permeabilities in um/ms, of any shape. Local."""
    return torch.log10(kappa) - LOG10_UM_PER_US


def barrier_probability(x: torch.Tensor) -> torch.Tensor:
    """Probability p = sigmoid((-3 - x) / 0.5) of x = log10(kappa in um/us), of any shape. Local."""
    return torch.sigmoid((UNDECIDED - x) / WIDTH)


def commitment(p: torch.Tensor) -> torch.Tensor:
    """Commitment c = |2 p - 1|: 0 for an undecided face, 1 for a barrier or an open one. Local."""
    return (2.0 * p - 1.0).abs()
