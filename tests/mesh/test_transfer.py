"""Walls carried from grid to grid stay where they are."""

from __future__ import annotations

import numpy as np
import pytest

from dmrifw.mesh import Grid, Sphere, bcc_grid, carry_faces, from_arrays, shape_barrier
from dmrifw.mesh.generators import layers
from dmrifw.metrics import edge_fractions
from dmrifw.typing import FloatArray


def ball(grid: Grid) -> FloatArray:
    return np.where(shape_barrier(grid, Sphere(10.0)), 0.01, 100.0)


def test_a_grid_gives_itself_its_permeabilities() -> None:
    grid = bcc_grid(4)
    kappa = np.random.default_rng(0).uniform(0.01, 100.0, len(grid.faces))
    for elsewhere in (np.nan, 1e-9):
        np.testing.assert_array_equal(carry_faces(kappa, grid, grid, elsewhere), kappa)


def test_a_refined_lattice_has_the_same_walls_in_four_faces_each() -> None:
    """The BCC lattice of half the spacing cuts every face into four: same area, closed, within the old ones' planes."""
    coarse, fine = bcc_grid(4), bcc_grid(8)
    carried = carry_faces(ball(coarse), coarse, fine, 100.0)
    walls, before = carried < 1.0, ball(coarse) < 1.0
    assert walls.sum() == 4 * before.sum()
    assert fine.face_areas[walls].sum() == pytest.approx(coarse.face_areas[before].sum())
    assert edge_fractions(fine, walls, np.ones_like(walls))["bad_edge_fraction"] == 0.0
    assert set(np.unique(carried)) == {0.01, 100.0}


def test_a_wall_between_two_layers_lies_there_on_a_finer_mesh() -> None:
    coarse, fine = (layers([8.0, 12.0], [2.0, 2.0], h=h) for h in (4.0, 1.0))
    kappa = np.where(coarse.is_interface, 0.02, 100.0)
    np.testing.assert_array_equal(carry_faces(kappa, coarse, fine, 100.0) < 1.0, fine.is_interface)


def test_the_least_permeability_on_the_way_counts() -> None:
    """Two tall cells share a face at x = 4; from middle to middle, 3 to 5, lie walls of 0.5, 0.2 and 0.4."""
    fine = layers([3.5, 0.5, 0.5, 3.5], [2.0, 2.0], h=2.0)
    places = fine.points[fine.faces].mean(axis=1)[:, 0] - fine.bounds[0, 0]
    kappa = np.full(len(fine.faces), 100.0)
    for x, value in ((3.5, 0.5), (4.0, 0.2), (4.5, 0.4)):
        kappa[fine.is_interface & np.isclose(places, x)] = value
    points = np.array([[0, 0.5, 0.5], [4, 0.1, 0.1], [4, 1.9, 0.1], [4, 0.1, 1.9], [8, 0.5, 0.5]]) + fine.bounds[0]
    coarse = from_arrays(points, [[0, 1, 2, 3], [1, 2, 3, 4]])
    carried = carry_faces(kappa, fine, coarse, np.nan)
    assert carried[~coarse.is_exterior] == pytest.approx([0.2])


def test_faces_elsewhere_in_space_are_told() -> None:
    grid = bcc_grid(2)
    moved = from_arrays(grid.points + 1000.0, grid.cells)
    for elsewhere in (np.nan, 7.0):
        carried = carry_faces(np.ones(len(grid.faces)), grid, moved, elsewhere)
        np.testing.assert_array_equal(carried, np.full(len(grid.faces), elsewhere))
