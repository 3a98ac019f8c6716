"""Eigenvalues of symmetric matrices: -u'' on a string held at both ends, and where LAPACK's fastest method fails."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg as sl

from dmrifw.eigen import symmetric_modes

N = 40
STIFFNESS = (N + 1) * (2 * np.eye(N) - np.eye(N, k=1) - np.eye(N, k=-1))
MASS = (4 * np.eye(N) + np.eye(N, k=1) + np.eye(N, k=-1)) / (6 * (N + 1))
COSINES = np.cos(np.pi * np.arange(1, N + 1) / (N + 1))
"""Of linear elements lambda = 6 (N + 1)^2 (1 - c) / (2 + c) (Strang and Fix 1973, ch. 6), of A 2 (N + 1) (1 - c)."""


@pytest.fixture(params=[False, True], ids=["sound", "failing"])
def _lapack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, or with divide and conquer that converges nowhere."""
    if not request.param:
        return
    sound = sl.eigh

    def failing(matrix: np.ndarray, mass: np.ndarray | None = None, *, driver: str = "") -> object:
        if driver.endswith("d") or not driver:
            raise np.linalg.LinAlgError("did not converge")
        return sound(matrix, mass, driver=driver)

    monkeypatch.setattr(np.linalg, "eigh", failing)
    monkeypatch.setattr(sl, "eigh", failing)


@pytest.mark.usefixtures("_lapack")
def test_modes_of_a_string() -> None:
    rates, modes = symmetric_modes(STIFFNESS, MASS)
    np.testing.assert_allclose(rates, 6 * (N + 1) ** 2 * (1 - COSINES) / (2 + COSINES), rtol=1e-12)
    np.testing.assert_allclose(modes.T @ MASS @ modes, np.eye(N), atol=1e-13)
    np.testing.assert_allclose(STIFFNESS @ modes, MASS @ modes * rates, atol=1e-9 * rates[-1])


@pytest.mark.usefixtures("_lapack")
def test_modes_without_a_mass() -> None:
    rates, modes = symmetric_modes(STIFFNESS)
    np.testing.assert_allclose(rates, 2 * (N + 1) * (1 - COSINES), rtol=1e-11)
    np.testing.assert_allclose(modes.T @ modes, np.eye(N), atol=1e-13)
    np.testing.assert_allclose(STIFFNESS @ modes, modes * rates, atol=1e-10 * rates[-1])


@pytest.mark.usefixtures("_lapack")
def test_a_mass_that_is_none_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        symmetric_modes(STIFFNESS, -MASS)
