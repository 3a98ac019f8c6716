"""What does not go with a label search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dmrifw.errors import InputError
from dmrifw.gradients import GradientRule
from dmrifw.inversion import ForwardModel, InversionProblem
from dmrifw.parametrizations import Parametrization
from dmrifw.priors import Prior
from dmrifw.schedules import Stage
from dmrifw.simulator import SignalModel
from dmrifw_cell_labels.parametrization import CellLabels

MOST = 3
"""Compartments that a search tells apart, the one around included."""


def checked(
    parametrization: Parametrization, priors: Mapping[str, Prior], gradient_rules: Sequence[GradientRule]
) -> CellLabels:
    """The parametrization, if it is one by labels, and nothing goes with it that a label search does not know.

    Raises:
        InputError: It is none, or has too many labels; or there are priors or gradient rules.

    Local.
    """
    if not isinstance(parametrization, CellLabels):
        raise InputError("a label search moves labels", 'set parametrization = "cell-labels"', key="optimizer")
    if parametrization.compartments > MOST:
        raise InputError(
            f"a label search tells {MOST} compartments apart",
            f"give at most {MOST}: cells that do not touch may share one",
            key="cell-labels.compartments",
        )
    if gradient_rules:
        raise InputError("a label search follows no gradient rules", "leave them out", key="gradient_rules")
    if priors:
        raise InputError(
            "a label search weighs walls by their area, and knows no priors", "leave them out", key="priors"
        )
    return parametrization


def check_weights(stage: Stage) -> None:
    """Refuse weights of sequences, which a label search does not know. Local.

    Raises:
        InputError: One of them is not 1.
    """
    if set(stage.sequence_weights) != {1.0}:
        raise InputError("a label search uses all sequences alike, always", "leave it out", key="schedule")


def check_alike(problem: InversionProblem, parametrization: CellLabels) -> None:
    """Refuse labels whose exterior is not the simulator's. Local.

    Raises:
        InputError: It is not.
    """
    exterior = getattr(problem.simulator, "exterior", parametrization.exterior)
    if exterior != parametrization.exterior:
        raise InputError(
            f"the simulator's exterior is {exterior}, that of the labels {parametrization.exterior}",
            "give the same in the Setting of CellLabels",
            key="exterior",
        )


def covered(model: ForwardModel) -> SignalModel:
    """The forward model, if partitions and mixtures leave nothing out that it has.

    Raises:
        InputError: The forward model is not a `SignalModel`, or it has a density, relaxing surfaces, a periodic axis,
            quadratic elements, or faces across which the magnetization may not jump.

    Local.
    """
    if not isinstance(model, SignalModel):
        raise InputError("this forward model tells no tissue", "give a Simulator, or use Adam", key="optimizer")
    tissue, space = model.operators.tissue, model.operators.space
    for present, name in (
        (np.any(tissue.density != 1), "a density other than 1"),
        (np.any(tissue.surface_relaxivity), "surface_relaxivity"),
        (any(space.periodic), "periodic axes"),
        (space.degree != 1, "elements of another degree than 1"),
        (not space.walls[~model.grid.is_exterior].all(), "faces that cannot be walls, as in this geometry"),
    ):
        if present:
            raise InputError(
                f"a label search does not know {name}", 'do without, or choose optimizer = "adam"', key="optimizer"
            )
    return model
