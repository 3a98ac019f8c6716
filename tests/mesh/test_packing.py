"""Packed cylinders and spheres: nothing overlaps, walls are closed, periodic sides match."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_checks import assert_interfaces_are_closed, compartment_volumes, interface_areas
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dmrifw.errors import InputError
from dmrifw.mesh import Grid
from dmrifw.mesh.generators import packed_cylinders, packed_spheres
from dmrifw.mesh.generators.layers import layers
from dmrifw.mesh.generators.packing import gamma_radii, pack
from dmrifw.mesh.periodic import matching_faces


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), dimension=st.sampled_from([2, 3]), periodic=st.booleans())
def test_no_two_are_closer_than_the_gap(seed: int, dimension: int, periodic: bool) -> None:
    radii = gamma_radii(12, 1.0, 0.3, seed)
    packing = pack(radii, 0.25, dimension, 0.1, periodic, seed)
    away = packing.centres[:, None] - packing.centres[None]
    if periodic:
        away -= packing.side * np.round(away / packing.side)
    else:
        assert (packing.centres - radii[:, None] > 0).all()
        assert (packing.centres + radii[:, None] < packing.side).all()
    distance = np.linalg.norm(away, axis=-1) - radii[:, None] - radii[None] + 1e9 * np.eye(12)
    assert distance.min() >= 0.1 - 1e-9


def test_radii_have_the_moments_asked_for() -> None:
    """Means of 20000 draws err by 0.3 / sqrt(20000) = 0.002."""
    radii = gamma_radii(20_000, 1.0, 0.3, 1)
    assert radii.mean() == pytest.approx(1, abs=0.01)
    assert radii.std() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_array_equal(gamma_radii(3, 2.0, 0, 1), [2, 2, 2])


@pytest.mark.parametrize("periodic", [False, True])
def test_cylinders_have_the_area_of_circles(periodic: bool) -> None:
    """Exactly where they are whole; within 1 % where the box cuts them."""
    grid = packed_cylinders(8, length=2, axial_h=1, fraction=0.5, periodic=periodic, seed=2)
    circles = np.pi * gamma_radii(8, 1.0, 0.3, 2) ** 2
    volumes = compartment_volumes(grid)
    np.testing.assert_allclose(volumes[:-1], 2 * circles, rtol=1e-2 if periodic else 1e-9)
    assert volumes.sum() == pytest.approx(2 * circles.sum() / 0.5)
    np.testing.assert_array_equal(grid.interface_pairs, [(i, 8) for i in range(8)])
    assert_interfaces_are_closed(grid)


def test_opposite_sides_of_a_periodic_box_match() -> None:
    grid = packed_cylinders(8, length=2, axial_h=1, fraction=0.5, periodic=True)
    pairs = [matching_faces(grid, axis) for axis in range(3)]
    assert sorted(np.concatenate(pairs).ravel()) == np.flatnonzero(grid.is_exterior).tolist()
    for axis, matched in enumerate(pairs):
        step = np.diff(grid.points[grid.faces].mean(axis=1)[matched], axis=1)[:, 0]
        np.testing.assert_allclose(step, np.ptp(grid.points, axis=0)[axis] * np.eye(3)[axis] + 0 * step, atol=1e-6)
        tags = grid.cell_tags[grid.face_cells[matched, 0]]
        np.testing.assert_array_equal(tags[:, 0], tags[:, 1])


@pytest.mark.parametrize("make", ["cylinders", "spheres"])
def test_what_the_box_cuts_stays_one_compartment(make: str) -> None:
    """Its pieces lie on opposite sides, have one number, and together the wall of a whole one.

    Joined where sides match, they are in one piece again, and no wall runs along the sides.
    """
    if make == "cylinders":
        grid = packed_cylinders(8, length=2, axial_h=1, fraction=0.5, periodic=True, seed=2)
        walls = 2 * np.pi * gamma_radii(8, 1.0, 0.3, 2) * 2
    else:
        grid = packed_spheres(4, 2.0, 0.3, fraction=0.25, h=0.8, periodic=True, seed=1)
        walls = 4 * np.pi * gamma_radii(4, 2.0, 0.3, 1) ** 2
    np.testing.assert_allclose(interface_areas(grid), walls, rtol=0.04)
    pairs = np.concatenate([matching_faces(grid, axis) for axis in range(3)])
    sides = grid.face_cells[pairs, 0]
    np.testing.assert_array_equal(grid.cell_tags[sides[:, 0]], grid.cell_tags[sides[:, 1]])
    inside = grid.face_cells[~grid.is_exterior]
    inside = inside[grid.cell_tags[inside[:, 0]] == grid.cell_tags[inside[:, 1]]]
    assert _piece_count(grid, inside) > grid.compartment_count
    assert _piece_count(grid, np.concatenate([inside, sides])) == grid.compartment_count


def _piece_count(grid: Grid, neighbours: np.ndarray) -> int:
    """Connected pieces of the cells of a grid by pairs of neighbours."""
    count = len(grid.cells)
    graph = coo_matrix((np.ones(len(neighbours)), neighbours.T), shape=(count, count))
    return int(connected_components(graph, directed=False)[0])


def test_sides_of_layers_match_too() -> None:
    grid = layers([2, 3], h=1.0, transverse=[2, 2])
    assert [len(matching_faces(grid, axis)) for axis in range(3)] == [8, 20, 20]


def test_sides_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match=r"the faces at x = .* and .* um do not match"):
        matching_faces(packed_cylinders(4, length=1, fraction=0.4), 0)


@pytest.mark.parametrize("periodic", [False, True])
def test_spheres_have_about_the_volume_of_balls(periodic: bool) -> None:
    grid = packed_spheres(4, 2.0, 0.3, fraction=0.25, periodic=periodic, seed=1)
    balls = 4 / 3 * np.pi * gamma_radii(4, 2.0, 0.3, 1) ** 3
    np.testing.assert_allclose(compartment_volumes(grid)[:-1], balls, rtol=0.03)
    assert grid.volume == pytest.approx(balls.sum() / 0.25)
    np.testing.assert_array_equal(grid.interface_pairs, [(i, 4) for i in range(4)])
    assert_interfaces_are_closed(grid)
    if periodic:
        pairs = [matching_faces(grid, axis) for axis in range(3)]
        assert sorted(np.concatenate(pairs).ravel()) == np.flatnonzero(grid.is_exterior).tolist()


def test_the_same_seed_gives_the_same_mesh() -> None:
    first, second = (packed_cylinders(5, length=1, axial_h=1, fraction=0.4, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.points, second.points)
    assert len(packed_cylinders(5, length=1, axial_h=1, fraction=0.4, seed=5).points) != len(first.points)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"fraction": 0.95, "count": 5}, "5 of these radii do not fit at 0.95"),
        ({"fraction": 1.2}, "fraction = 1.2; give a number between 0 and 1"),
        ({"fraction": 0.0}, "fraction = 0; give a number between 0 and 1"),
        ({"gap": 0.0}, "gap = 0; give a positive number"),
        ({"h": -1.0}, "h = -1; give a positive number"),
        ({"seed": -1}, "seed = -1; give a whole number of at least 0"),
        ({"mean_radius": 1e6}, "tetrahedra; enlarge h, or check the units"),
        ({"count": 0}, "count = 0; give a whole number of at least 1"),
        ({"count": 1, "fraction": 0.9}, "the largest does not fit into the box"),
    ],
)
@pytest.mark.parametrize("make", [packed_cylinders, packed_spheres])
def test_what_cannot_be_packed_is_refused(make: Callable[..., Grid], arguments: dict, line: str) -> None:
    with pytest.raises(InputError) as refusal:
        make(**arguments)
    assert line in str(refusal.value)
