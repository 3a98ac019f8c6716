"""Bloch-Torrey dynamics in a small real basis, replicated.

In a basis V that diagonalizes the diffusion operator (V^T M V = I, V^T A V = Lambda) a measurement's coefficients obey

    dy/dt = -Lambda y - i (g(t).X) y,     X_i = V^T X_i V,

with real Lambda and X (along periodic axes other couplings with other weights, see `Encoding`). Real and imaginary
parts of all measurements stand side by side as columns of one real block, so that the work is real matrix products.

Cost of one step for r modes and m measurements: six products (3r x r)(r x 2m), 72 r^2 m flop; the adjoint step costs
the same, and the sensitivity to the operator six products (r x 2m)(2m x r), 24 r^2 m flop.

Source: Callaghan, J. Magn. Reson. 129:74 (1997); Barzykin, Phys. Rev. B 58:14171 (1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmrifw.typing import FloatArray


@dataclass(frozen=True, eq=False)
class ReducedModel:
    """The operators in a basis of r modes, replicated: an `Equation` with M = I and A = Lambda.

    Attributes:
        rates: (r,) eigenvalues of the diffusion operator, 1/ms, ascending, at least 0.
        couplings: (c r, r) the matrices J_i of the couplings stacked; the first three are imaginary terms, usually the
            first moments in um, the others real ones (see `Encoding`).
        total: (r,) integral of each mode, um^(3/2): both the initial coefficients and the receiver.
    """

    rates: FloatArray
    couplings: FloatArray
    total: FloatArray

    def mass(self, block: FloatArray) -> FloatArray:
        """See `Equation`. Local."""
        return block

    def diffusion(self, block: FloatArray) -> FloatArray:
        """See `Equation`. Local."""
        return self.rates[:, None] * block

    def solve(self, shift: float, block: FloatArray) -> FloatArray:
        """See `Equation`. Local."""
        return block / (1.0 + shift * self.rates[:, None]) if shift else block

    def drive(self, block: FloatArray, weights: FloatArray) -> FloatArray:
        """See `Equation`. Local."""
        modes, half = len(self.rates), block.shape[1] // 2
        products = (self.couplings @ block).reshape(-1, modes, 2, half)
        out = np.empty_like(block)
        out[:, :half] = np.einsum("irm,mi->rm", products[:3, :, 1], weights[:, :3])
        out[:, half:] = np.einsum("irm,mi->rm", products[:3, :, 0], -weights[:, :3])
        if len(products) > 3:
            out -= np.einsum("irhm,mi->rhm", products[3:], weights[:, 3:]).reshape(out.shape)
        return out

    def start(self, count: int) -> FloatArray:
        """(r, 2 count) the coefficients of w = 1. Local."""
        block = np.zeros((len(self.rates), 2 * count))
        block[:, :count] = self.total[:, None]
        return block
