"""Shapes on the 576-tet grid, against the counts that Spinverse publishes."""

import numpy as np
import pytest

from dmrifw.errors import InputError
from dmrifw.mesh import cells_inside, shape_barrier
from dmrifw.mesh.shapes import Cylinder, Sphere, Torus


@pytest.mark.parametrize(
    ("shape", "cells", "faces"),
    [
        (Sphere(10.0), 48, 48),
        (Cylinder(10.0), 112, 96),
        (Torus(10.0, 6.0), 64, 88),
        (Cylinder(8.0, axis=(0.0, 1.0, -1.0), length=22.0), 48, 52),
    ],
    ids=["sphere", "cylinder", "torus", "tilted cylinder"],
)
def test_published_counts(grid, shape, cells, faces):
    """Spinverse (arXiv 2603.04638): tetrahedra and barrier faces of its standard shapes."""
    assert cells_inside(grid, shape).sum() == cells
    assert shape_barrier(grid, shape).sum() == faces


@pytest.mark.parametrize("shape", [Sphere(10.0), Cylinder(10.0), Torus(10.0, 6.0)])
def test_barriers_are_closed(grid, shape):
    """The boundary of a solid has no boundary: every edge has an even number of its faces."""
    barrier = shape_barrier(grid, shape)
    per_edge = np.bincount(grid.face_edges[barrier].ravel())
    assert (per_edge % 2 == 0).all()


def test_only_whole_tetrahedra_are_inside(grid):
    """The all-vertices rule: no vertex of an inside cell is out, and every other cell has one that is."""
    inside = cells_inside(grid, Sphere(10.0))
    out = np.linalg.norm(grid.points, axis=1) > 10.0
    assert not out[grid.cells[inside]].any()
    assert out[grid.cells[~inside]].any(axis=1).all()


def test_a_vertex_on_the_surface_is_inside(grid):
    """Radii are inclusive: the body centres nearest the origin lie at a sqrt(3)/2, and rounding must not lose them."""
    nearest = 80 / 12 * np.sqrt(3) / 2
    centres = np.isclose(np.linalg.norm(grid.points, axis=1), nearest)
    assert centres.sum() == 8
    assert Sphere(nearest).contains(grid.points)[centres].all()


def test_shapes_move_with_their_centre():
    """A point is inside a shifted shape where the point shifted back is inside the original."""
    points = np.random.default_rng(0).uniform(-15, 15, (500, 3))
    centre = (3.0, -2.0, 1.0)
    for shape, moved in (
        (Sphere(8.0), Sphere(8.0, centre)),
        (Cylinder(5.0, (1.0, 2.0, 3.0), 12.0), Cylinder(5.0, (1.0, 2.0, 3.0), 12.0, centre)),
        (Torus(8.0, 3.0), Torus(8.0, 3.0, centre=centre)),
    ):
        np.testing.assert_array_equal(moved.contains(points), shape.contains(points - centre))
        assert 0 < moved.contains(points).sum() < 500


def test_an_infinite_cylinder_contains_its_axis():
    """Length None means no caps; the length of the axis vector does not matter."""
    far = np.array([[0.0, 1e6, -1e6]])
    assert Cylinder(1.0, axis=(0.0, 3.0, -3.0)).contains(far).all()
    assert not Cylinder(1.0, axis=(0.0, 3.0, -3.0), length=10.0).contains(far).any()


def test_a_torus_has_a_hole():
    """The middle is out, the core circle is in."""
    assert Torus(10.0, 3.0).contains(np.array([[0.0, 0, 0], [10, 0, 0], [0, 0, 3]])).tolist() == [False, True, False]


def test_an_empty_shape_is_refused(grid):
    """A sphere smaller than any tetrahedron makes no barrier, and the error says so."""
    with pytest.raises(InputError, match="no cell of the grid lies inside Sphere") as caught:
        shape_barrier(grid, Sphere(1.0))
    assert "enlarge the shape or refine the grid" in str(caught.value)


def test_an_axis_without_length_is_refused(grid):
    """A zero vector has no direction."""
    with pytest.raises(InputError, match="axis"):
        cells_inside(grid, Cylinder(5.0, axis=(0.0, 0.0, 0.0)))


def test_a_torus_without_a_hole_is_refused():
    """A tube as wide as its ring closes the hole."""
    with pytest.raises(InputError, match="minor: 6 um leaves no hole; give less than major"):
        Torus(6.0, 6.0)
