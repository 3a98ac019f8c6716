"""Shapes of several parts: each closed, with a single wall where two touch."""

import numpy as np
import pytest

from dmrifw.errors import InputError
from dmrifw.mesh import NestedSpheres, ParallelCylinders, box, cell_labels, shape_barrier
from dmrifw.mesh.shapes import Sphere


def between(grid, labels):
    """Faces with a part on one side and another one on the other."""
    sides = np.append(labels, 0)[grid.face_cells]
    return (sides > 0).all(axis=1) & (sides[:, 0] != sides[:, 1])


SHAPES = [
    ParallelCylinders(8.0),
    ParallelCylinders(8.0, 2, across=(1.0, 0.0, 0.0)),
    ParallelCylinders(8.0, 2, axis=(0.0, 1.0, 1.0), length=20.0),
    ParallelCylinders(7.0, 4),
    NestedSpheres((7.0, 10.0)),
]


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_every_part_is_closed_and_touches_another(grid, shape):
    """The boundary of a set of cells has no boundary: an even number of its faces at each edge. And walls between."""
    labels = cell_labels(grid, shape)
    assert set(labels) == set(range(shape.parts + 1))
    for part in range(1, shape.parts + 1):
        faces = grid.boundary_faces(labels == part)
        assert (np.bincount(grid.face_edges[faces].ravel()) % 2 == 0).all()
    wall = shape_barrier(grid, shape)
    assert between(grid, labels).any()
    np.testing.assert_array_equal(
        wall, np.any([grid.boundary_faces(labels == part) for part in range(1, shape.parts + 1)], axis=0)
    )


@pytest.mark.parametrize("axis", [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)])
@pytest.mark.parametrize("count", [2, 4])
def test_walls_between_cylinders_along_an_axis_are_flat(grid, axis, count):
    """Cylinders side by side along a face diagonal of the BCC lattice meet in (110) planes, of which its faces consist.

    So all faces between two lie in the plane midway between their axes, and the parts are mirror images: of one volume.
    """
    shape = ParallelCylinders(7.0, count, axis=axis)
    labels = cell_labels(grid, shape)
    corners = grid.points[grid.faces[between(grid, labels)]].reshape(-1, 3)
    distances = np.sort([one.split(corners)[1] for one in shape.cylinders], axis=0)
    np.testing.assert_allclose(distances[0], distances[1], atol=1e-9)
    assert len(set(np.bincount(labels)[1:])) == 1


def test_cylinders_apart_have_no_wall_in_common(grid):
    """Axes 16 um apart, radius 7: two solids, whose walls are those of each alone."""
    shape = ParallelCylinders(7.0, distance=16.0)
    assert not between(grid, cell_labels(grid, shape)).any()
    alone = [shape_barrier(grid, cylinder) for cylinder in shape.cylinders]
    np.testing.assert_array_equal(shape_barrier(grid, shape), np.logical_or.reduce(alone))


def test_axes_stand_in_a_row_or_in_a_square():
    """Two: at distance/2 either way along `across`. Four: a square of side `distance`."""
    two = ParallelCylinders(5.0, 2, 6.0, across=(1.0, 0.0, 5.0), centre=(1.0, 2.0, 3.0))
    assert [one.centre for one in two.cylinders] == [pytest.approx((-2, 2, 3)), pytest.approx((4, 2, 3))]
    four = np.array([one.centre for one in ParallelCylinders(5.0, 4, 6.0).cylinders])
    apart = np.linalg.norm(four[:, None] - four, axis=2)
    np.testing.assert_allclose(np.sort(apart, axis=1), 4 * [[0, 6, 6, 6 * np.sqrt(2)]], atol=1e-12)


def test_any_grid_will_do():
    """On a box of regular tetrahedra the wall between two cylinders lies halfway, up to the size of a cell."""
    grid = box([10.0, 10.0, 4.0], 1.0)
    shape = ParallelCylinders(3.0, 2, 4.0, across=(1.0, 0.0, 0.0), centre=(5.0, 5.0, 2.0))
    labels = cell_labels(grid, shape)
    middles = grid.points[grid.faces[between(grid, labels)]].mean(axis=1)
    assert len(middles) > 20
    assert np.abs(middles[:, 0] - 5.0).max() < 1.0


def test_nested_spheres_have_the_walls_of_each(grid):
    """Inside out, part 1 is the inner ball."""
    shape = NestedSpheres((7.0, 10.0))
    np.testing.assert_array_equal(cell_labels(grid, shape) == 1, Sphere(7.0).label(grid) > 0)
    np.testing.assert_array_equal(
        shape_barrier(grid, shape), shape_barrier(grid, Sphere(7.0)) | shape_barrier(grid, Sphere(10.0))
    )


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: NestedSpheres((10.0,)), "radii: got"),
        (lambda: NestedSpheres((10.0, 10.0)), "radii: got"),
        (lambda: ParallelCylinders(5.0, 3), "count: 3 cylinders; give 2 or 4"),
        (lambda: ParallelCylinders(5.0, 2, 0.0), "distance: 0"),
        (lambda: ParallelCylinders(5.0, axis=(0.0, 0.0, 0.0)), "axis: .*non-zero"),
        (lambda: ParallelCylinders(5.0, across=(0.0, 0.0, 1.0)), "across: .*another direction"),
    ],
)
def test_what_makes_no_sense_is_refused(make, line):
    """One line that names the argument."""
    with pytest.raises(InputError, match=line):
        make()


def test_a_part_without_cells_is_refused(grid):
    """A ball that is too small within one that is not: there would be a wall less than asked for."""
    with pytest.raises(InputError, match="no cell of the grid lies inside part 1 of NestedSpheres"):
        shape_barrier(grid, NestedSpheres((1.0, 10.0)))
