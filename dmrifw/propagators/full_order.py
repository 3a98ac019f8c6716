"""Full order: the assembled equation stepped in time, with one factorization for all measurements."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import numpy as np

from dmrifw.matrices import DistributedMatrix
from dmrifw.operators import Change, Operators, Sensitivity
from dmrifw.propagators.experiment import Experiment
from dmrifw.propagators.factorization import Factorization
from dmrifw.propagators.propagator import Propagator
from dmrifw.propagators.system import Matrices, System
from dmrifw.typing import BoolArray, FloatArray

_HELD = 4
"""Factorizations held at a time: a sequence has few lengths of step."""


class FullSystem(System):
    """The assembled equation, distributed by unknowns."""

    divided: ClassVar[bool] = False
    facets_apart: ClassVar[bool] = True

    def __init__(self, operators: Operators, diffusion: DistributedMatrix) -> None:
        self.operators, self.matrix = operators, diffusion
        self.unit, self.total = np.ones(operators.mass.rows.size_local), operators.total
        self._factors: dict[float, Factorization] = {}

    def mass(self, block: FloatArray) -> FloatArray:
        """See `System`. Collective."""
        return self.operators.mass @ block

    def diffusion(self, block: FloatArray) -> FloatArray:
        """See `System`. Collective."""
        return self.matrix @ block

    def solve(self, shift: float, block: FloatArray) -> FloatArray:
        """See `System`. Collective."""
        inverse = self.operators.assembly.merge is None and shift == 0.0
        return self.operators.mass_inverse @ block if inverse else self._factor(shift).solve(block)

    def coupled(self, block: FloatArray, needed: BoolArray) -> list[FloatArray | None]:
        """See `System`. Collective."""
        return [
            coupling @ block if wanted else None
            for coupling, wanted in zip(self.operators.couplings, needed, strict=True)
        ]

    def outer(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """(owned cells, n, n): see `System`. Collective."""
        return self.operators.cell_products(left, right)

    def facets(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """(owned facets,): see `System`. Collective."""
        return self.operators.facet_products(left, right)

    def collected(self, pieces: dict[str, FloatArray], groups: Sequence[str], exchange: bool) -> Sensitivity:
        """See `System`. Local."""
        couplings = [pieces[name] for name in groups if name.startswith("coupling")]
        return Sensitivity(
            diffusion=pieces["diffusion"] if "diffusion" in groups else None,
            exchange=pieces["exchange"] if exchange else None,
            mass=pieces["mass"] if "mass" in groups else None,
            couplings=np.stack(couplings) if couplings else None,
        )

    def projected(self, change: Change) -> Matrices:
        """See `System`. Local."""
        return Matrices(change.diffusion, change.mass, change.couplings)

    def lift(self, block: FloatArray) -> FloatArray:
        """See `System`. Local."""
        return block

    def threads(self, columns: int) -> AbstractContextManager[Any]:
        """See `System`. Local."""
        return nullcontext()

    def _factor(self, shift: float) -> Factorization:
        key = float(f"{shift:.12e}")
        if key not in self._factors:
            while len(self._factors) >= _HELD:
                self._factors.pop(next(iter(self._factors)))
            self._factors[key] = Factorization(self.operators.mass, self.matrix, shift, self.operators.comm)
        else:
            self._factors[key] = self._factors.pop(key)  # the one used last is dropped last
        return self._factors[key]


class FullOrder(Propagator):
    """Signals and their exact discrete derivative by the assembled equation itself."""

    def _system(self, experiment: Experiment) -> FullSystem:
        return FullSystem(experiment.operators, experiment.operators.diffusion(experiment.permeability))
