"""Bent axons are tubes to a topologist, follow their seed, and lie on any grid."""

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from dmrifw.errors import InputError
from dmrifw.mesh import BentAxon, Cylinder, Torus, bcc_grid, box, cell_labels, cells_inside, shape_barrier
from dmrifw.mesh.bent_axons import Tube
from dmrifw.mesh.topology import is_ball


@pytest.mark.parametrize("seed", range(12))
def test_it_is_a_tube(grid, seed):
    """Joined through faces; its wall is one closed surface, two faces at each edge, V - E + F = 2: no handle."""
    inside = cell_labels(grid, BentAxon(6.0, 30.0, seed)) == 1
    sides = grid.face_cells[~grid.is_exterior]
    joined = sides[inside[sides].all(axis=1)]
    links = np.zeros((len(inside), len(inside)), dtype=bool)
    links[joined[:, 0], joined[:, 1]] = True
    assert connected_components(links[np.ix_(inside, inside)], directed=False)[0] == 1
    faces = grid.faces[shape_barrier(grid, BentAxon(6.0, 30.0, seed))]
    edges, uses = np.unique(
        np.sort(faces[:, [[0, 1], [0, 2], [1, 2]]].reshape(-1, 2), axis=1), axis=0, return_counts=True
    )
    assert (uses == 2).all()
    assert len(np.unique(faces)) - len(edges) + len(faces) == 2


def test_seeds_decide(grid):
    """The same seed gives the same axon, and twelve seeds give twelve."""
    walls = {shape_barrier(grid, BentAxon(6.0, 30.0, seed)).tobytes() for seed in range(12)}
    assert len(walls) == 12
    assert shape_barrier(grid, BentAxon(6.0, 30.0, 5)).tobytes() in walls


def test_it_is_as_long_as_asked_for_and_bends(grid):
    """A tube of length 30 in a box of 26.7 um: its cells reach over more than half of that, and no line holds them."""
    for seed in range(6):
        middles = grid.points[grid.cells[cells_inside(grid, BentAxon(6.0, 30.0, seed))]].mean(axis=1)
        spread = np.sqrt(np.linalg.eigvalsh(np.cov(middles.T)))
        assert np.linalg.norm(np.ptp(middles, axis=0)) > 13
        assert spread[1] > 0.1 * spread[2]


@pytest.mark.parametrize("make", [lambda: bcc_grid(6), lambda: box([12.0, 12.0, 12.0], 2.0)], ids=["finer", "box"])
def test_any_grid_will_do(make):
    """The walk goes along the edges of the grid at hand."""
    grid = make()
    labels = cell_labels(grid, BentAxon(4.0, 15.0, 1))
    assert is_ball(grid, labels)


def test_a_tube_holds_all_points_near_its_line():
    """Distance from an L of two segments: inside within the radius, round at the ends and at the bend."""
    tube = Tube(1.0, np.array([[0.0, 0, 0], [4, 0, 0], [4, 4, 0]]))
    points = np.array([[-1.0, 0, 0], [-1.1, 0, 0], [2, 0, 1], [2, 0, 1.1], [4.7, -0.7, 0], [4.8, -0.8, 0], [4, 5, 0]])
    assert tube.contains(points).tolist() == [True, False, True, False, True, False, True]


def test_what_is_no_ball(grid):
    """A torus has a handle; cells that share no face are not joined; a hollow cylinder has two surfaces."""
    assert is_ball(grid, cells_inside(grid, Cylinder(10.0, length=15.0)))
    assert not is_ball(grid, cells_inside(grid, Torus(10.0, 6.0)))
    one = np.zeros(len(grid.cells), dtype=bool)
    assert not is_ball(grid, one)
    one[0] = True
    assert is_ball(grid, one)
    for shared in (0, 1, 2):  # vertices that another cell has in common with the first
        common = np.isin(grid.cells, grid.cells[0]).sum(axis=1)
        pair = one.copy()
        pair[np.flatnonzero(common == shared)[0]] = True
        assert not is_ball(grid, pair)
    hollow = cells_inside(grid, Cylinder(10.0, length=15.0))
    middle = np.argmin(np.linalg.norm(grid.points[grid.cells].mean(axis=1), axis=1))
    hollow[middle] = False
    assert not is_ball(grid, hollow)


@pytest.mark.parametrize(("radius", "length"), [(6.0, 500.0), (1.0, 20.0)], ids=["too long", "too thin"])
def test_a_tube_that_does_not_fit_is_refused(grid, radius, length):
    """Too long for the grid, or thinner than its cells."""
    with pytest.raises(InputError, match="no tube of radius") as caught:
        shape_barrier(grid, BentAxon(radius, length))
    assert "smaller length, another radius or seed, or a finer grid" in str(caught.value)


def test_a_negative_seed_is_refused():
    """Random generators take none."""
    with pytest.raises(InputError, match="seed"):
        BentAxon(6.0, 30.0, -1)
