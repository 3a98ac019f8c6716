"""Geometric priors on permeable faces: walls go on, close, and commit themselves.

All of them read a face's permeability kappa through

    x = log10(kappa in um/us)               p = sigmoid((-3 - x) / 0.5)

where p is the probability that the face is a barrier; 1e-3 um/us = 1 um/ms is undecided.

A gradient rule reads p too: faces that have not committed themselves move faster.

Source of every formula but that of the barrier: Spinverse, arXiv 2603.04638 (geometric priors).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dmrifw.gradients import GradientRule
from dmrifw.hookspecs import hookimpl
from dmrifw.priors import Prior
from dmrifw_interface_priors.fill_in import FillIn
from dmrifw_interface_priors.neighbourhood import Neighbourhood
from dmrifw_interface_priors.penalties import (
    Binarization,
    Continuity,
    EdgeCoherence,
    FacePrior,
    HardManifold,
    LogBarrier,
    PairPrior,
    SoftManifold,
)

__all__ = [
    "Binarization",
    "Continuity",
    "EdgeCoherence",
    "FacePrior",
    "FillIn",
    "HardManifold",
    "LogBarrier",
    "Neighbourhood",
    "PairPrior",
    "SoftManifold",
]


@hookimpl
def dmrifw_priors() -> Mapping[str, Callable[..., Prior]]:
    """The names that `[inversion] priors` uses."""
    return {
        "binarization": Binarization,
        "continuity": Continuity,
        "edge-coherence": EdgeCoherence,
        "hard-manifold": HardManifold,
        "log-barrier": LogBarrier,
        "soft-manifold": SoftManifold,
    }


@hookimpl
def dmrifw_gradient_rules() -> Mapping[str, Callable[..., GradientRule]]:
    """The name that `[inversion] gradient_rules` uses."""
    return {"fill-in": FillIn}
