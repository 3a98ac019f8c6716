"""Tissue as a partition: every cell belongs to a compartment, and walls stand between compartments.

Nothing is assumed about the number, the place or the topology of the compartments; but a wall closes. The search for
them, `label-search`, works in a model in which cells can be shared and no water leaks while they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import Field

from dmrifw.hookspecs import hookimpl
from dmrifw.inversion import OptimizerSettings
from dmrifw.parametrizations import Parametrization, Setting
from dmrifw.plugins import Positive
from dmrifw_cell_labels.optimizer import LabelSearch, LabelSearchSettings
from dmrifw_cell_labels.parametrization import CellLabels

__all__ = ["CellLabels", "LabelSearch", "LabelSearchSettings"]

Count = Annotated[int, Field(ge=1)]


def label_search(
    setting: Setting,
    *,
    descent: Count = LabelSearchSettings.descent,
    scans: Count = LabelSearchSettings.scans,
    patience: Count = LabelSearchSettings.patience,
    minutes: Positive | None = LabelSearchSettings.minutes,
) -> LabelSearchSettings:
    """The search for a partition; see `LabelSearchSettings`. Local."""
    return LabelSearchSettings(setting.seed, descent, scans, patience, minutes)


@hookimpl
def dmrifw_parametrizations() -> Mapping[str, Callable[..., Parametrization]]:
    """The name that `[inversion] parametrization` uses."""
    return {"cell-labels": CellLabels}


@hookimpl
def dmrifw_optimizers() -> Mapping[str, Callable[..., OptimizerSettings]]:
    """The name that `[inversion] optimizer` uses."""
    return {"label-search": label_search}
