"""Grids: the published lattice, the caller's numbering, and input that is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmrifw.errors import InputError
from dmrifw.mesh import bcc_grid, from_arrays

CORNERS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
TETRAHEDRON = np.array([[0, 1, 2, 3]])


def face_coordinates(grid):
    """The faces as a set of point triples, whatever their numbers."""
    rounded = np.round(grid.points, 9) + 0.0
    return {frozenset(map(tuple, rounded[face])) for face in grid.faces}


def test_lattice_has_the_published_size(grid):
    """Spinverse (arXiv 2603.04638): 189 points, 576 tetrahedra, 1296 faces, volume 14222.22 um^3."""
    assert grid.points.shape == (189, 3)
    assert grid.cells.shape == (576, 4)
    assert grid.faces.shape == (1296, 3)
    assert grid.volume == pytest.approx(14222.22, abs=0.005)


def test_tetrahedra_have_equal_volume(grid):
    """Each is a^3/12 for cube edge a = 80/12 um, which is 24.691 um^3, and right-handed."""
    np.testing.assert_allclose(grid.cell_volumes, (80 / 12) ** 3 / 12, rtol=1e-12)
    assert grid.cell_volumes[0] == pytest.approx(24.691, abs=5e-4)


def test_counts_fit_a_ball(grid):
    """A ball has V - E + F - C = 1; faces have two cells inside and one outside: 4 C = 2 F - F_exterior."""
    used = len(np.unique(grid.cells))
    assert used == 189 - 8  # the outermost corners of the box belong to no cell
    assert used - len(grid.edges) + len(grid.faces) - len(grid.cells) == 1
    assert grid.is_exterior.sum() == 2 * 1296 - 4 * 576


@pytest.mark.parametrize("cells", [2, 3, 5])
def test_other_lattices_fill_the_squares_that_two_cubes_share(cells):
    """Four tetrahedra around each of the 3 n^2 (n-1) shared squares, a third of a cube's volume in all."""
    grid = bcc_grid(cells, size=3.0)
    squares = 3 * cells**2 * (cells - 1)
    assert len(grid.cells) == 4 * squares
    assert grid.volume == pytest.approx(squares * (3.0 / cells) ** 3 / 3, rel=1e-12)


def test_faces_are_ordered_and_lie_in_their_cells(grid):
    """The contract of the numbering: rows ascend, rows are sorted, and both cells of a face contain it."""
    assert (np.diff(grid.faces, axis=1) > 0).all()
    assert (np.lexsort(grid.faces.T[::-1]) == np.arange(len(grid.faces))).all()
    for side in (0, 1):
        known = grid.face_cells[:, side] >= 0
        cells = grid.cells[grid.face_cells[known, side]]
        assert (cells[:, None, :] == grid.faces[known][:, :, None]).any(axis=2).all()


def test_face_edges_are_the_edges_of_the_face(grid):
    """The three edges of a face name each of its vertices twice."""
    vertices = np.sort(grid.edges[grid.face_edges].reshape(-1, 6), axis=1)
    np.testing.assert_array_equal(vertices, np.repeat(grid.faces, 2, axis=1))


def test_areas_of_the_lattice(grid):
    """Every face has an edge of length a and two of a sqrt(3)/2 (corner to centre), so an area of a^2 sqrt(2)/4."""
    np.testing.assert_allclose(grid.face_areas, (80 / 12) ** 2 * np.sqrt(2) / 4, rtol=1e-12)


def test_boundary_of_sets_of_cells(grid):
    """All cells together are bounded by the exterior, no cells by nothing, one cell by its four faces."""
    everything = np.ones(576, dtype=bool)
    np.testing.assert_array_equal(grid.boundary_faces(everything), grid.is_exterior)
    assert not grid.boundary_faces(~everything).any()
    for cell in (0, 300, 575):
        assert grid.boundary_faces(np.arange(576) == cell).sum() == 4


def test_cell_tags_name_compartments():
    """Without tags there is one compartment; with tags there are as many as the largest one says."""
    cells = np.array([[0, 1, 2, 3], [1, 2, 3, 4]])
    assert from_arrays(CORNERS, cells).compartment_count == 1
    assert from_arrays(CORNERS, cells, cell_tags=[0, 1]).compartment_count == 2


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_numbering_does_not_change_the_faces(random):
    """Points and cells in any order describe the same solid: same faces, same volume, same exterior."""
    grid = bcc_grid(2)
    order = np.array(random.sample(range(len(grid.points)), len(grid.points)))
    cells = np.argsort(order)[grid.cells[random.sample(range(len(grid.cells)), len(grid.cells))]]
    shuffled = from_arrays(grid.points[order], cells)
    assert face_coordinates(shuffled) == face_coordinates(grid)
    assert shuffled.volume == pytest.approx(grid.volume, rel=1e-12)
    assert shuffled.is_exterior.sum() == grid.is_exterior.sum()


@settings(max_examples=15, deadline=None)
@given(
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    angle=st.floats(-np.pi, np.pi),
    shift=st.tuples(*[st.floats(-50, 50)] * 3),
)
def test_moving_a_grid_keeps_areas_and_volumes(axis, angle, shift):
    """A rigid motion (Rodrigues' rotation and a shift) changes no length."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    grid = bcc_grid(2)
    moved = from_arrays(grid.points @ rotation.T + shift, grid.cells)
    np.testing.assert_array_equal(moved.faces, grid.faces)
    np.testing.assert_allclose(moved.face_areas, grid.face_areas, rtol=1e-10)
    np.testing.assert_allclose(moved.cell_volumes, grid.cell_volumes, rtol=1e-10)


@pytest.mark.parametrize(
    ("points", "cells", "key", "words"),
    [
        (CORNERS, [[1, 0, 2, 3]], "cells", ["inverted", "swap two of its vertices"]),
        (CORNERS * [1, 1, 0], TETRAHEDRON, "cells", ["tetrahedron 0", "flat (zero volume)"]),
        (CORNERS, [[0, 1, 2, 3], [1, 2, 0, 3]], "cells", ["tetrahedron 1 duplicates tetrahedron 0", "remove one"]),
        (CORNERS, [[0, 1, 2, 5]], "cells", ["cell 0", "5 points", "use indices 0 to 4"]),
        (CORNERS, [[0, 1, 2, -1]], "cells", ["cell 0", "use indices 0 to 4"]),
        (CORNERS, [[0, 1, 2]], "cells", ["shape (1, 3)", "integers of shape (E, 4)"]),
        (CORNERS, [[0.0, 1.0, 2.0, 3.0]], "cells", ["float64", "integers of shape (E, 4)"]),
        (CORNERS, np.empty((0, 4), dtype=int), "cells", ["shape (0, 4)"]),
        (CORNERS[:, :2], TETRAHEDRON, "points", ["shape (5, 2)", "shape (V, 3)"]),
        (np.where(CORNERS == 1, np.nan, 0), TETRAHEDRON, "points", ["point 1", "not finite"]),
        (np.where(CORNERS == 1, np.inf, 0), TETRAHEDRON, "points", ["point 1", "not finite"]),
    ],
)
def test_bad_arrays_are_refused(points, cells, key, words):
    """The error names the argument, what is wrong and how to mend it, in one line."""
    with pytest.raises(InputError) as caught:
        from_arrays(points, cells)
    line = str(caught.value)
    assert caught.value.key == key
    assert line.startswith(f"{key}: ")
    assert "\n" not in line
    for word in words:
        assert word in line


def test_a_face_of_three_cells_is_refused():
    """Three tetrahedra on one triangle overlap: two of their tips lie on the same side."""
    points = np.vstack([CORNERS[:3], [[0, 0, 1], [0, 0, -1], [0.5, 0.5, 1]]])
    with pytest.raises(InputError, match=r"face \[0, 1, 2\] belongs to 3 tetrahedra"):
        from_arrays(points, [[0, 1, 2, 3], [1, 0, 2, 4], [0, 1, 2, 5]])


def test_bad_tags_are_refused():
    """One tag per cell, from 0."""
    for tags in ([0, 1], [-1]):
        with pytest.raises(InputError, match="cell_tags") as caught:
            from_arrays(CORNERS, TETRAHEDRON, cell_tags=tags)
        assert "give 1 compartment numbers from 0" in str(caught.value)


@pytest.mark.parametrize(("arguments", "key"), [((1,), "cells"), ((2.5,), "cells"), ((4, 0.0), "size")])
def test_bad_lattices_are_refused(arguments, key):
    """A lattice needs two cubes along each edge, for a square to be shared, and a positive size."""
    with pytest.raises(InputError) as caught:
        bcc_grid(*arguments)
    assert caught.value.key == key
