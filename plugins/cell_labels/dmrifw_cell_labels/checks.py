"""What does not go with a label search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dmrifw.errors import InputError
from dmrifw.gradients import GradientRule
from dmrifw.inversion import InversionProblem
from dmrifw.parametrizations import Parametrization
from dmrifw.priors import Prior
from dmrifw.schedules import Stage
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
