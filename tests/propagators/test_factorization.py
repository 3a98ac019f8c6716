"""Factors of the assembled equation solve it, also after MUMPS was given too little memory at first."""

import numpy as np
import pytest
from mpi4py import MPI

from dmrifw import Protocol, mesh
from dmrifw.errors import ConvergenceError
from dmrifw.propagators import factorization
from dmrifw.propagators.factorization import Factorization
from dmrifw.simulator import SignalModel

STARVED = -90
"""Percent of its estimate by which MUMPS is given more: too little."""


def factors_and_matrix() -> tuple[Factorization, np.ndarray]:
    """Of M + 0.3 A of 576 cells."""
    operators = SignalModel(mesh.bcc_grid(4), Protocol.pgse([0], [[1, 0, 0]], 5.0, 6.0)).operators
    mass, decay = operators.mass, operators.diffusion(np.full(len(operators.space.grid.faces), 0.5))
    comm = MPI.COMM_SELF
    return Factorization(mass, decay, 0.3, comm), mass.to_dense(comm) + 0.3 * decay.to_dense(comm)


def test_factors_solve_after_a_retry_with_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factorization, "_RESERVES", (STARVED, 50))
    factors, matrix = factors_and_matrix()
    right = np.random.default_rng(0).standard_normal((len(matrix), 3))
    np.testing.assert_allclose(matrix @ factors.solve(right), right, atol=1e-9)


def test_starved_factors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factorization, "_RESERVES", (STARVED,))
    with pytest.raises(ConvergenceError, match="MUMPS cannot factorize 2304 unknowns on 1 ranks"):
        factors_and_matrix()
