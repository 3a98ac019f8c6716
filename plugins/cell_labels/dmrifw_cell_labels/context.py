"""What the parts of a label search share, on rank 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmrifw.inversion import Workers
from dmrifw.typing import IntArray
from dmrifw_cell_labels.misfit import Misfit
from dmrifw_cell_labels.moves import Neighbourhood
from dmrifw_cell_labels.search import LocalSearch
from dmrifw_cell_labels.symmetry import Symmetry
from dmrifw_cell_labels.tools import Tools


@dataclass(frozen=True, eq=False)
class Context:
    """Who works, with what.

    Attributes:
        workers: Processes that work side by side.
        tools: What each of them has.
        steps: Gauss-Newton steps in one phase of a descent, at most.
        volume: That of the compartments, um^3, where signals tell it; None where nothing is lost, or their unit is
            unknown.
        hopeless: Error of the signals of no walls, in S/S0.
    """

    workers: Workers[Tools]
    tools: Tools
    steps: int
    volume: float | None
    hopeless: float

    @property
    def misfit(self) -> Misfit:
        """What is lowered."""
        return self.tools.misfit

    @property
    def neighbourhood(self) -> Neighbourhood:
        """Where changes of partitions come from."""
        return self.tools.neighbourhood

    def search(self, count: int, symmetry: Symmetry | None = None) -> LocalSearch:
        """A local search over partitions into so many compartments. Local."""
        return LocalSearch(self.tools, count, symmetry)

    def is_near(self, labels: IntArray, least: float) -> bool:
        """Whether a partition's error is less than such a part of that of no walls, beyond the noise. Local."""
        return self.misfit.relative_error(labels) < float(np.hypot(least * self.hopeless, self.misfit.noise))
