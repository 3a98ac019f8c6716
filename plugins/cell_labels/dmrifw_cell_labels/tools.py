"""What every process of a label search has."""

from __future__ import annotations

from dataclasses import dataclass

from dmrifw_cell_labels.misfit import Misfit
from dmrifw_cell_labels.moves import Neighbourhood


@dataclass(frozen=True, eq=False)
class Tools:
    """The first argument of what processes do side by side; see `dmrifw.inversion.Workers`.

    Attributes:
        misfit: What is lowered.
        neighbourhood: Where changes of partitions come from.
    """

    misfit: Misfit
    neighbourhood: Neighbourhood
