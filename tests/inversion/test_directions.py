"""Shells, and polynomials of directions."""

from __future__ import annotations

import numpy as np
import pytest

from dmrifw.inversion.directions import polynomials, shells
from dmrifw.sequences import PGSE, Protocol


def test_each_measurement_is_in_the_shell_of_its_sequence_and_b() -> None:
    protocol = Protocol.preset("spinverse")
    parts = shells(protocol)
    rows = np.concatenate([one for one, _ in parts])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(protocol.bvals)))
    for members, directions in parts:
        assert len(set(protocol.sequence[members])) == 1
        assert np.ptp(protocol.bvals[members]) < 50
        length = 1.0 if protocol.bvals[members[0]] else 0.0
        np.testing.assert_allclose(np.linalg.norm(directions, axis=1), length, atol=1e-12)


def test_b_values_that_scatter_are_one_shell_and_b_zero_is_another() -> None:
    bvals = [0.0, 5.0, *np.linspace(945.0, 1035.0, 12), 1100.0, 2990.0, 3010.0]
    directions = np.random.default_rng(0).standard_normal((len(bvals), 3))
    order = np.random.default_rng(1).permutation(len(bvals))
    protocol = Protocol.single(PGSE(10.0, 20.0), np.array(bvals)[order], directions[order])
    found = [sorted(protocol.bvals[rows].round(6)) for rows, _ in shells(protocol)]
    assert [len(one) for one in found] == [2, 12, 1, 2]
    assert [b for one in found for b in one] == pytest.approx(bvals)


@pytest.mark.parametrize(("degree", "count"), [(1, 3), (2, 6), (3, 10), (4, 15)])
def test_polynomials_on_the_sphere_are_as_many_as_spherical_harmonics(degree: int, count: int) -> None:
    """(l + 1)(l + 2) / 2 even, or odd, ones up to degree l."""
    directions = np.random.default_rng(0).standard_normal((40, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    basis = polynomials(directions, degree)
    np.testing.assert_allclose(basis.T @ basis, np.eye(count), atol=1e-12)
    lower = directions[:, 0] ** (degree - 2) if degree > 1 else directions[:, 0]
    np.testing.assert_allclose(basis @ (basis.T @ lower), lower, atol=1e-12)
