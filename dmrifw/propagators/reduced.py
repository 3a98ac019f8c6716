"""Bloch-Torrey dynamics in a small real basis, replicated.

In a basis V that diagonalizes the diffusion operator (V^T M V = I, V^T A V = Lambda) a measurement's coefficients obey

    dy/dt = -Lambda y - i (g(t).X) y,     X_i = V^T X_i V,

with real Lambda and X (along periodic axes other couplings with other weights, see `Encoding`). Real and imaginary
parts of all measurements stand side by side as columns of one real block, so that the work is real matrix products.

Cost of one step for r modes and m measurements: six products (3r x r)(r x 2m), 72 r^2 m flop; the adjoint step costs
the same, and the sensitivity to the operator six products (r x 2m)(2m x r), 24 r^2 m flop.

The derivative holds the span of V fixed: no eigenvector is differentiated. With P the matrix of all `outer` products,
d loss = sum_kl P_kl v_k.(dA v_l), so the sensitivity of the full operator is that of the pairs of fields (V P)_l, v_l.

Source: Callaghan, J. Magn. Reson. 129:74 (1997); Barzykin, Phys. Rev. B 58:14171 (1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np

from dmrifw.matrices import DistributedMatrix
from dmrifw.operators import Change, Operators, Sensitivity
from dmrifw.propagators.modes import Modes
from dmrifw.propagators.system import Matrices, System
from dmrifw.propagators.threads import blas_threads_for
from dmrifw.typing import BoolArray, FloatArray

_FEW_COLUMNS = 16
"""Columns of a block up to which one thread does."""


class ReducedSystem(System):
    """The equation in a basis of modes, the same on every rank: M = I and A = Lambda.

    Args:
        operators: The operators.
        modes: The basis.

    Collective.
    """

    divided: ClassVar[bool] = True
    facets_apart: ClassVar[bool] = False

    def __init__(self, operators: Operators, modes: Modes) -> None:
        comm, vectors = operators.comm, modes.vectors
        self.operators, self.modes, self.rates = operators, modes, modes.rates
        couplings = np.concatenate([vectors.T @ (coupling @ vectors) for coupling in operators.couplings])
        self.couplings: FloatArray = comm.allreduce(couplings)
        self.total = self.unit = comm.allreduce(vectors.T @ operators.total)

    def mass(self, block: FloatArray) -> FloatArray:
        """See `System`. Local."""
        return block

    def diffusion(self, block: FloatArray) -> FloatArray:
        """See `System`. Local."""
        return self.rates[:, None] * block

    def solve(self, shift: float, block: FloatArray) -> FloatArray:
        """See `System`. Local."""
        return block / (1.0 + shift * self.rates[:, None]) if shift else block

    def coupled(self, block: FloatArray, needed: BoolArray) -> list[FloatArray | None]:
        """See `System`. Local."""
        return list((self.couplings @ block).reshape(len(needed), *block.shape))

    def outer(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """(r, r): see `System`. Local."""
        return left @ right.T

    def collected(self, pieces: dict[str, FloatArray], groups: Sequence[str], exchange: bool) -> Sensitivity:
        """See `System`. Collective."""
        size, vectors, operators = len(self.rates), self.modes.vectors, self.operators
        summed = {}
        for name in sorted({*groups, *(["diffusion"] if exchange else [])}):  # in one order on all ranks
            mine = pieces.get(name, np.zeros((size, size)))
            summed[name] = vectors @ operators.comm.allreduce(mine)
        cells = {name: operators.cell_products(summed[name], vectors) for name in groups}
        couplings = [cells[name] for name in groups if name.startswith("coupling")]
        return Sensitivity(
            diffusion=cells.get("diffusion"),
            exchange=operators.facet_products(summed["diffusion"], vectors) if exchange else None,
            mass=cells.get("mass"),
            couplings=np.stack(couplings) if couplings else None,
        )

    def projected(self, change: Change) -> Matrices:
        """See `System`. Collective."""

        def project(matrix: DistributedMatrix | None) -> FloatArray | None:
            vectors = self.modes.vectors
            return None if matrix is None else self.operators.comm.allreduce(vectors.T @ (matrix @ vectors))

        return Matrices(project(change.diffusion), project(change.mass), [project(one) for one in change.couplings])

    def lift(self, block: FloatArray) -> FloatArray:
        """See `System`. Local."""
        return self.modes.vectors @ block

    def threads(self, columns: int) -> AbstractContextManager[Any]:
        """See `System`. Local."""
        return blas_threads_for(len(self.rates) if 2 * columns > _FEW_COLUMNS else 0)
