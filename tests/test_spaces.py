"""Quadratic elements and the nodes that periodicity and walls make one."""

import numpy as np
import pytest
from operator_cases import operators_of
from scipy.linalg import eigh

from dmrifw import Protocol
from dmrifw.errors import InputError
from dmrifw.mesh import bcc_grid, from_arrays, layers
from dmrifw.simulator import SignalModel
from dmrifw.spaces import NODES, BrokenSpace


def no_walls(grid) -> np.ndarray:
    return np.zeros(len(grid.faces), dtype=bool)


@pytest.mark.parametrize("degree", [1, 2])
def test_nodes_that_are_one(degree: int) -> None:
    """Without walls: one unknown a vertex, and one an edge for degree 2; DG has its own in every cell."""
    grid = bcc_grid(cells=2, size=6.0)
    broken = operators_of(BrokenSpace(grid, degree=degree))
    whole = operators_of(BrokenSpace(grid, no_walls(grid), degree))
    assert broken.mass.rows.size_global == NODES[degree] * len(grid.cells)
    assert whole.mass.rows.size_global == len(np.unique(grid.cells)) + (len(grid.edges) if degree == 2 else 0)
    for operators in (broken, whole):
        assert operators.total.sum() == pytest.approx(grid.volume, rel=1e-12)


@pytest.mark.parametrize("axes", [(True, False, False), (True, True, False), (True, True, True)])
@pytest.mark.parametrize("degree", [1, 2])
def test_opposite_sides_are_one(axes, degree: int) -> None:
    """A box of 3 x 4 x 5 cubes whose lattice of nodes, half as wide for degree 2, goes round along periodic axes."""
    grid = layers([3.0], [4.0, 5.0], 1.0, 1.0)
    space = BrokenSpace(grid, no_walls(grid), degree, axes)
    expected = np.prod([degree * n + (not periodic) for n, periodic in zip((3, 4, 5), axes, strict=True)])
    assert operators_of(space).mass.rows.size_global == expected
    outside = np.abs(grid.points[grid.faces] - [1.5, 2.0, 2.5]) > np.array([1.5, 2.0, 2.5]) - 1e-9
    closed = outside.all(axis=1) & ~np.array(axes)
    np.testing.assert_array_equal(space.outside, closed.any(axis=1))


def test_a_wall_may_not_lie_in_a_periodic_side() -> None:
    """Compartments 0 and 1 would meet there."""
    grid = layers([2.0, 2.0], [2.0, 2.0], 1.0, 1.0)
    with pytest.raises(InputError, match=r"compartments \[0, 1\] meet where x is periodic"):
        BrokenSpace(grid, grid.is_interface, periodic=(True, False, False))


def test_sides_that_do_not_match() -> None:
    """The truncated lattice has no flat sides."""
    grid = bcc_grid(cells=2, size=6.0)
    points = grid.points.copy()
    points[np.argmax(points[:, 0])] += [0.0, 0.1, 0.0]
    with pytest.raises(InputError, match="do not match"):
        BrokenSpace(from_arrays(points, grid.cells), periodic=(True, False, False))


@pytest.mark.parametrize("periodic", [False, True])
def test_quadratic_elements_converge_with_the_fourth_power(periodic: bool) -> None:
    """Eigenvalues D (pi n/a)^2 of a closed slab, D (2 pi n/a)^2 of a periodic one: error h^4, against h^2 of linear."""
    n = 4 if not periodic else 2
    exact = 2.0 * ((2 if periodic else 1) * np.pi * n / 4.0) ** 2
    orders = {}
    for degree in (1, 2):
        errors = []
        for count in (8, 16):
            grid = layers([4.0], [0.2, 0.2], 4.0 / count, 0.2)
            space = BrokenSpace(grid, no_walls(grid), degree, (periodic, False, False))
            operators = operators_of(space)
            decay, mass = (m.to_dense(grid.comm) for m in (operators.decay, operators.mass))
            errors.append(np.abs(eigh(decay, mass, eigvals_only=True) - exact).min() / exact)
        orders[degree] = np.log2(errors[0] / errors[1])
    assert 1.9 < orders[1] < 2.2
    assert 3.8 < orders[2] < 4.4


def test_signal_of_a_slab_with_quadratic_elements() -> None:
    """The signal converges with the fourth power of h too: differences of three halvings fall by 16."""
    protocol = Protocol.pgse([1500.0], [[1.0, 0.0, 0.0]], 2.0, 4.0)
    signals = []
    for count in (3, 6, 12):
        grid = layers([4.0], [0.5, 0.5], 4.0 / count, 0.5)
        model = SignalModel(grid, protocol, interfaces=no_walls(grid), degree=2, tolerance=1e-8, method="full-order")
        signals.append(model.signal(0.0, keep=False)[0].real[0] / grid.volume)
    assert np.log2(abs(signals[0] - signals[1]) / abs(signals[1] - signals[2])) > 3.7


def test_faces_of_quadratic_elements(degree: int = 2) -> None:
    """On DG2: energy of a unit jump around a cell is kappa times area; traces give the same for any field."""
    grid = bcc_grid(cells=2, size=6.0)
    space = BrokenSpace(grid, degree=degree)
    operators = operators_of(space, permeable=True)
    kappa = np.random.default_rng(0).uniform(0.1, 10, len(grid.faces))
    cell = 7
    inside = (space.node_of_dof() // NODES[degree] == cell).astype(float)[:, None]
    faces = (grid.face_cells == cell).any(axis=1)
    shares = operators.per_face(operators.facet_products(inside, inside))
    np.testing.assert_allclose(shares, np.where(faces, grid.face_areas, 0.0), rtol=1e-11, atol=1e-11)
    w = np.random.default_rng(1).standard_normal(inside.shape)
    energy = float((w.T @ (operators.diffusion(kappa) @ w - operators.decay @ w)).item())
    assert operators.per_face(operators.facet_products(w, w)) @ kappa == pytest.approx(energy, rel=1e-11)
