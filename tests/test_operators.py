"""Assembled operators against integrals known in closed form, on a grid small enough to see through."""

import numpy as np
import pytest
from operator_cases import operators_of

from dmrifw.mesh import bcc_grid
from dmrifw.spaces import BrokenSpace


@pytest.fixture(scope="module")
def grid():
    return bcc_grid(cells=2, size=10.0)


@pytest.fixture(scope="module")
def operators(grid):
    return operators_of(BrokenSpace(grid), 2.0, 0.01, permeable=True)


def nodal(operators, function) -> np.ndarray:
    return function(operators.space.dofs.tabulate_dof_coordinates())[:, None]


def test_total_is_the_volume(grid, operators) -> None:
    """Int 1 dx; 48 tetrahedra of volume a^3/12 with a = 5 um."""
    assert operators.total.sum() == pytest.approx(48 * 5.0**3 / 12, rel=1e-13)


def test_decay_of_a_linear_field(grid, operators) -> None:
    """For w = x: (D grad w, grad w) + (w/T2, w) = D V + sum of int x^2 / T2, exact for linear elements."""
    x = nodal(operators, lambda p: p[:, 0])
    corners = grid.points[grid.cells][:, :, 0]
    second = (corners.sum(axis=1) ** 2 + (corners**2).sum(axis=1)) / 20 * grid.cell_volumes
    expected = 2.0 * grid.volume + 0.01 * second.sum()
    decay = operators.decay @ x + operators.slowest_relaxation * (operators.mass @ x)
    assert operators.slowest_relaxation == 0.01
    assert float((x.T @ decay).item()) == pytest.approx(expected, rel=1e-12)


def test_continuous_fields_cross_interior_faces_freely(grid, operators) -> None:
    """[w] = 0 for a continuous w: only exterior faces cost, kappa int w^2 ds with w = 1, that is kappa times area."""
    kappa = np.random.default_rng(0).uniform(0.01, 100, len(grid.faces))
    one = nodal(operators, lambda p: np.ones(len(p)))
    exchange = operators.diffusion(kappa) @ one - operators.decay @ one
    lost = (kappa * grid.face_areas)[grid.is_exterior].sum()
    assert float((one.T @ exchange).item()) == pytest.approx(lost, rel=1e-12)


def test_one_face_exchanges_in_proportion_to_its_area(grid, operators) -> None:
    """W = 1 in one cell, 0 elsewhere: energy kappa_F area_F summed over the four faces of that cell."""
    kappa = np.random.default_rng(1).uniform(0.1, 10, len(grid.faces))
    cell = 7
    local = int(np.flatnonzero(operators.space.cell_of_local == cell)[0])
    w = np.zeros((operators.mass.columns.size_local, 1))
    w[operators.space.dofs.dofmap.cell_dofs(local)] = 1.0
    faces = (grid.face_cells == cell).any(axis=1)
    energy = float((w.T @ (operators.diffusion(kappa) @ w - operators.decay @ w)).item())
    assert energy == pytest.approx((kappa * grid.face_areas)[faces].sum(), rel=1e-12)
    shares = operators.per_face(operators.facet_products(w, w))
    np.testing.assert_allclose(shares, np.where(faces, grid.face_areas, 0.0), rtol=1e-12, atol=1e-12)


def test_traces_reproduce_the_assembled_exchange(grid, operators) -> None:
    """Two roads to sum_F kappa_F int [w]^2: the UFL form, and the facet traces that the gradient uses."""
    kappa = np.random.default_rng(2).uniform(0.01, 100, len(grid.faces))
    w = np.random.default_rng(3).standard_normal((operators.mass.columns.size_local, 1))
    energy = float((w.T @ (operators.diffusion(kappa) @ w - operators.decay @ w)).item())
    assert operators.per_face(operators.facet_products(w, w)) @ kappa == pytest.approx(energy, rel=1e-12)


def test_reflecting_exterior_loses_nothing(grid) -> None:
    """Closed exterior, no relaxation: the constant field does not decay, whatever the permeability says there."""
    closed = operators_of(BrokenSpace(grid))
    one = np.ones((closed.mass.columns.size_local, 1))
    assert np.abs(closed.diffusion(np.full(len(grid.faces), 5.0)) @ one).max() < 1e-11
    assert not closed.per_face(closed.facet_products(one, one))[grid.is_exterior].any()


def test_tensor_diffusivity(grid) -> None:
    """For w = n.x: (D grad w, grad w) = n.D.n V."""
    tensor = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, 0.2], [0.1, 0.2, 0.5]])
    anisotropic = operators_of(BrokenSpace(grid), tensor)
    n = np.array([1.0, -2.0, 0.5])
    w = nodal(anisotropic, lambda p: p @ n)
    assert float((w.T @ (anisotropic.decay @ w)).item()) == pytest.approx(n @ tensor @ n * grid.volume, rel=1e-12)


def test_without_interfaces_the_field_is_continuous(grid) -> None:
    """No wall anywhere: as many unknowns as used vertices, and no permeability has an effect."""
    space = BrokenSpace(grid, np.zeros(len(grid.faces), dtype=bool))
    whole = operators_of(space)
    unknowns = whole.mass.columns.size_local
    assert unknowns == len(np.unique(grid.cells))
    w = np.random.default_rng(4).standard_normal((unknowns, 1))
    np.testing.assert_allclose(whole.diffusion(np.full(len(grid.faces), 9.0)) @ w, whole.decay @ w, atol=1e-11)
    assert np.abs(whole.per_face(whole.facet_products(w, w))).max() < 1e-20


def test_a_wall_lets_the_field_jump_there_alone(grid) -> None:
    """A closed surface around some cells doubles its vertices; one half 1, the other 0: energy = sum kappa area."""
    left = grid.points[grid.cells][:, :, 0].mean(axis=1) < 0
    wall = grid.boundary_faces(left) & ~grid.is_exterior
    whole = operators_of(BrokenSpace(grid, wall))
    shared = np.unique(grid.faces[wall])
    assert whole.mass.columns.size_local == len(np.unique(grid.cells)) + len(shared)
    kappa = np.random.default_rng(5).uniform(0.1, 1.0, len(grid.faces))
    side = np.empty(whole.mass.columns.size_local)
    side[whole.space.merged] = np.repeat(left, 4)
    w = side[:, None].astype(float)
    energy = float((w.T @ (whole.diffusion(kappa) @ w)).item())
    assert energy == pytest.approx((kappa * grid.face_areas)[wall].sum(), rel=1e-12)
