"""Metrics of recovered barriers, on cases whose values follow from counting or geometry."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmrifw.errors import InputError
from dmrifw.mesh import BentAxon, bcc_grid, from_arrays, shape_barrier
from dmrifw.mesh.shapes import Cylinder, Sphere
from dmrifw.mesh.symmetries import images, reflected_faces
from dmrifw.metrics import (
    Equivalents,
    barrier_metrics,
    barrier_scores,
    chamfer_distance,
    edge_fractions,
    signed_volume_error,
)

STEP = 80 / 12


@pytest.fixture(scope="module")
def slabs():
    """A 2 x 2 x 2 box of unit cubes, each split into six tetrahedra in the same way (Kuhn), so that planes match."""
    corners = np.stack(np.meshgrid(*[np.arange(3.0)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    number = np.arange(27).reshape(3, 3, 3)
    cells = []
    for order in ([0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2]):
        at = np.zeros((4, 3), dtype=int)
        at[1:] = np.cumsum(np.eye(3, dtype=int)[order], axis=0)
        path = np.stack([number[i : i + 2, j : j + 2, k : k + 2] for i, j, k in at], axis=-1).reshape(-1, 4)
        cells.append(path if np.linalg.det(np.eye(3)[order]) > 0 else path[:, [1, 0, 2, 3]])
    return from_arrays(corners, np.concatenate(cells))


def permeability(barrier):
    """Barriers at 0.01 um/ms, all else at 100."""
    return np.where(barrier, 0.01, 100.0)


def in_plane(grid, x):
    return (grid.points[grid.faces][:, :, 0] == x).all(axis=1)


def around_one_edge(grid):
    """The faces at an edge that lies inside the grid."""
    touches_exterior = np.zeros(len(grid.edges), dtype=bool)
    touches_exterior[grid.face_edges[grid.is_exterior]] = True
    edge = np.flatnonzero(~touches_exterior)[0]
    return np.flatnonzero((grid.face_edges == edge).any(axis=1))


def mask_of(grid, faces):
    return np.isin(np.arange(len(grid.faces)), faces)


def test_perfect_recovery(grid, sphere):
    """The truth compared with itself: everything found, nothing false, no distance, a closed surface."""
    values = barrier_metrics(grid, permeability(sphere), sphere)
    for key in ("barrier_recall", "barrier_precision", "barrier_f1", "open_recall"):
        assert values[key] == 1.0
    for key in ("chamfer_um", "chamfer_plain_um", "open_edge_fraction", "branch_edge_fraction", "bad_edge_fraction"):
        assert values[key] == 0.0


def test_shares_by_counting(grid, sphere):
    """Of 48 true faces 12 are lost and 4 false ones added: recall 36/48, precision 36/40, F1 72/88."""
    recovered = sphere.copy()
    recovered[np.flatnonzero(sphere)[:12]] = False
    recovered[np.flatnonzero(~sphere)[:4]] = True
    values = barrier_metrics(grid, permeability(recovered), sphere)
    assert values["barrier_recall"] == pytest.approx(36 / 48)
    assert values["barrier_precision"] == pytest.approx(36 / 40)
    assert values["barrier_f1"] == pytest.approx(72 / 88)
    assert values["open_recall"] == pytest.approx((1248 - 4) / 1248)


def test_threshold_is_exclusive(grid, sphere):
    """Spinverse: kappa < 1e-3 um/us = 1 um/ms is a barrier, so the uniform start at exactly 1 has none."""
    uniform = np.full(len(grid.faces), 1.0)
    assert barrier_metrics(grid, uniform, sphere)["barrier_recall"] == 0.0
    assert barrier_metrics(grid, np.nextafter(uniform, 0), sphere)["barrier_recall"] == 1.0
    assert barrier_metrics(grid, uniform, sphere, threshold=2.0)["barrier_recall"] == 1.0


def test_faces_that_take_no_part_do_not_count(grid):
    """A cylinder through the grid has 96 barrier faces, 16 of them exterior: only 80 matter where it reflects."""
    truth = shape_barrier(grid, Cylinder(10.0))
    inside_only = permeability(truth & ~grid.is_exterior)
    assert barrier_metrics(grid, inside_only, truth)["barrier_recall"] == pytest.approx(80 / 96)
    values = barrier_metrics(grid, inside_only, truth, faces=~grid.is_exterior)
    assert values["barrier_recall"] == values["barrier_precision"] == values["open_recall"] == 1.0


def test_nothing_recovered(grid, sphere):
    """Shares are 0, values of a surface that is not there are None, and all of it is valid JSON."""
    values = barrier_metrics(grid, np.full(len(grid.faces), 100.0), sphere)
    assert values["barrier_recall"] == values["barrier_precision"] == values["barrier_f1"] == 0.0
    assert values["open_recall"] == 1.0
    for key in ("chamfer_um", "chamfer_um_symmetric", "open_edge_fraction", "bad_edge_fraction"):
        assert values[key] is None
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_values_are_plain_floats(grid, sphere):
    """NumPy scalars would not go into JSON."""
    assert {type(value) for value in barrier_metrics(grid, permeability(sphere), sphere).values()} == {float}


def test_chamfer_of_parallel_planes(slabs):
    """Two equal planes 2 um apart: every point is 2 um from the other plane, and they coincide when centred."""
    left, right = in_plane(slabs, 0.0), in_plane(slabs, 2.0)
    assert left.sum() == right.sum() == 8
    assert chamfer_distance(slabs, left, right, centred=False) == pytest.approx(2.0, rel=1e-12)
    assert chamfer_distance(slabs, left, right) == pytest.approx(0.0, abs=1e-12)


def test_chamfer_is_the_mean_of_both_ways(slabs):
    """One plane against itself and one 2 um away: 0 one way, 2 for half of the area the other way, mean 1/2."""
    left, both = in_plane(slabs, 0.0), in_plane(slabs, 0.0) | in_plane(slabs, 2.0)
    assert chamfer_distance(slabs, left, both, centred=False) == pytest.approx(0.5, rel=1e-12)
    assert chamfer_distance(slabs, both, left, centred=False) == pytest.approx(0.5, rel=1e-12)


def test_chamfer_ignores_place_when_centred(grid, sphere):
    """A sphere shifted by one lattice step has the same shape; as it lies, it is at most the shift away."""
    small = shape_barrier(grid, Sphere(8.0, (-STEP / 2, 0.0, 0.0)))
    shifted = shape_barrier(grid, Sphere(8.0, (STEP / 2, 0.0, 0.0)))
    values = barrier_metrics(grid, permeability(shifted), small)
    assert values["chamfer_um"] == pytest.approx(0.0, abs=1e-9)
    assert 0.1 * STEP < values["chamfer_plain_um"] <= STEP


def test_edges_by_counting(grid):
    """1 face: 3 open edges. 2 at an edge: 4 open, 1 closed. 3 at an edge: 6 open, 1 branch."""
    faces = around_one_edge(grid)
    expected = {1: (1.0, 0.0, 1.0), 2: (4 / 5, 0.0, 4 / 5), 3: (6 / 7, 1 / 7, 1.0)}
    for count, (opened, branch, bad) in expected.items():
        values = edge_fractions(grid, mask_of(grid, faces[:count]))
        assert values["open_edge_fraction"] == pytest.approx(opened)
        assert values["branch_edge_fraction"] == pytest.approx(branch)
        assert values["bad_edge_fraction"] == pytest.approx(bad)


def test_a_wall_may_end_on_a_reflecting_exterior(grid):
    """A tube through the grid has no open edge where the exterior reflects, and two open rims where it is permeable."""
    tube = shape_barrier(grid, Cylinder(10.0)) & ~grid.is_exterior
    assert edge_fractions(grid, tube, ~grid.is_exterior)["bad_edge_fraction"] == 0.0
    assert edge_fractions(grid, tube)["open_edge_fraction"] > 0.0


def test_reflection_maps_faces_to_their_mirror_images(grid):
    """The lattice is its own image under x -> -x, and reflecting twice changes nothing."""
    mirror = reflected_faces(grid)
    middles = grid.points[grid.faces].mean(axis=1)
    np.testing.assert_allclose(middles[mirror], -middles, atol=1e-12)
    np.testing.assert_array_equal(mirror[mirror], np.arange(len(grid.faces)))


def test_a_mirror_image_is_told_from_a_miss(grid):
    """|S| is the same for a shape and its point reflection, so a recovered mirror image counts as right up to that."""
    centre = np.array([4.0, 3.0, 2.0])
    truth = shape_barrier(grid, Sphere(8.0, tuple(centre)))
    image = shape_barrier(grid, Sphere(8.0, tuple(-centre)))
    values = barrier_metrics(grid, permeability(image), truth, faces=~grid.is_exterior)
    assert values["barrier_recall"] == values["barrier_f1"] == 0.0
    assert values["barrier_recall_reflected"] == values["barrier_precision_reflected"] == 1.0
    assert values["barrier_f1_reflected"] == values["barrier_f1_symmetric"] == 1.0
    assert values["chamfer_um"] > 0.0
    assert values["chamfer_um_symmetric"] == pytest.approx(0.0, abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_reflecting_the_recovery_swaps_the_two_views(seed):
    """Reflecting what was recovered is the same as reflecting the truth, and leaves the symmetric values alone."""
    grid = bcc_grid(2)
    mirror = reflected_faces(grid)
    truth, recovered = np.random.default_rng(seed).random((2, len(grid.faces))) < 0.3
    one = barrier_metrics(grid, permeability(recovered), truth)
    other = barrier_metrics(grid, permeability(recovered[mirror]), truth)
    for key in ("barrier_recall", "barrier_precision", "barrier_f1", "chamfer_um"):
        assert one[key] == pytest.approx(other[f"{key}_reflected"], abs=1e-9)
    assert one["barrier_f1_symmetric"] == pytest.approx(other["barrier_f1_symmetric"])
    assert one["bad_edge_fraction"] == pytest.approx(other["bad_edge_fraction"])


def test_a_lopsided_grid_has_no_reflection(grid):
    """Without its first cells the lattice is not its own image: the reflected values do not exist."""
    lopsided = from_arrays(grid.points, grid.cells[40:])
    assert reflected_faces(lopsided) is None
    truth = shape_barrier(lopsided, Sphere(10.0))
    values = barrier_metrics(lopsided, permeability(truth), truth)
    assert values["barrier_recall_reflected"] is None
    assert values["chamfer_um_reflected"] is None
    assert values["barrier_f1_symmetric"] == values["barrier_f1"] == 1.0


def test_a_shifted_grid_is_reflected_about_its_own_centre(grid):
    """Where the origin lies is a convention, the signal's magnitude does not depend on it."""
    moved = from_arrays(grid.points + np.array([5.0, -3.0, 100.0]), grid.cells)
    np.testing.assert_array_equal(reflected_faces(moved), reflected_faces(grid))


def test_scores_agree_with_the_full_metrics(grid, sphere):
    """The cheap scores of every iteration are the ones of the final report."""
    recovered = sphere ^ (np.random.default_rng(0).random(len(sphere)) < 0.05)
    full = barrier_metrics(grid, permeability(recovered), sphere)
    for key, value in barrier_scores(recovered, sphere).items():
        assert full[key] == value


def test_a_translated_cell_is_as_good_in_a_lossy_surround(grid):
    """The cells around a vertex, recovered around another one: no face is right, all are up to translation.

    Where the exterior reflects the box is known, and a cell in another place is wrong.
    """
    truth = shape_barrier(grid, Sphere(STEP, (0.0, 0.0, 0.0)))
    moved = shape_barrier(grid, Sphere(STEP, (STEP, -STEP, STEP)))
    values = barrier_metrics(grid, permeability(moved), truth)
    assert values["barrier_f1"] == values["barrier_f1_reflected"] == 0.0
    for key in ("barrier_recall", "barrier_precision", "barrier_f1", "open_recall"):
        assert values[f"{key}_symmetric"] == 1.0
    assert values["chamfer_plain_um"] > 0.5 * STEP
    assert values["chamfer_plain_um_symmetric"] == pytest.approx(0.0, abs=1e-9)
    assert values["signed_volume_error"] == pytest.approx(0.0, abs=1e-12)
    for options in ({"faces": ~grid.is_exterior}, {"translations": False}):
        assert barrier_metrics(grid, permeability(moved), truth, **options)["barrier_f1_symmetric"] == 0.0


def test_scores_up_to_symmetry_by_counting(grid):
    """The translated cell with 6 of its 24 faces lost and 2 false ones: recall 18/24, precision 18/20, F1 36/44."""
    truth = shape_barrier(grid, Sphere(STEP))
    moved = shape_barrier(grid, Sphere(STEP, (-STEP, STEP, STEP)))
    recovered = moved.copy()
    recovered[np.flatnonzero(moved)[:6]] = False
    recovered[np.flatnonzero(~moved & ~truth)[:2]] = True
    values = barrier_metrics(grid, permeability(recovered), truth)
    assert values["barrier_recall_symmetric"] == pytest.approx(18 / 24)
    assert values["barrier_precision_symmetric"] == pytest.approx(18 / 20)
    assert values["barrier_f1_symmetric"] == pytest.approx(36 / 44)
    assert values["open_recall_symmetric"] == pytest.approx((1296 - 24 - 2) / (1296 - 24))


def test_images_stay_within_the_grid(grid):
    """The cells around a vertex: one image for each of the 27 corners and 8 body centres that lie inside the grid.

    The cell is point-symmetric, so reflections add none. Around (STEP, 0, 0) there are as many.
    """
    for centre in ((0.0, 0.0, 0.0), (STEP, 0.0, 0.0)):
        maps = images(grid, shape_barrier(grid, Sphere(STEP, centre)), translations=True)
        assert len(maps.faces) == 35
    assert len(images(grid, shape_barrier(grid, Sphere(STEP)), translations=False).faces) == 1
    assert len(images(grid, np.zeros(len(grid.faces), dtype=bool), translations=True).faces) == 1


def test_a_tetrahedron_goes_to_those_of_its_class(grid):
    """In a BCC lattice tetrahedra have six orientations under translation, and reflection pairs them: 576/3 images.

    Each map takes the middles of the faces to the middles of their images.
    """
    alone = grid.boundary_faces(np.arange(len(grid.cells)) == 7)
    maps = images(grid, alone, translations=True)
    assert len(maps.faces) == 192
    assert (maps.signs > 0).sum() == 96
    assert maps.faces[0].tolist() == np.flatnonzero(alone).tolist()
    middles = grid.points[grid.faces].mean(axis=1)
    moved = maps.signs[:, None, None] * middles[alone] + maps.shifts[:, None, :]
    np.testing.assert_allclose(moved, middles[maps.faces], atol=1e-9)


def test_a_reflected_and_translated_cell_is_found(grid):
    """A bent axon is neither its reflection nor any translation of it; both together are one more image."""
    truth = shape_barrier(grid, BentAxon(6.0, 20.0, 3))
    maps = images(grid, truth, translations=True)
    other = np.flatnonzero((maps.signs < 0) & (np.abs(maps.shifts).max(axis=1) > 1.0))[0]
    values = barrier_metrics(grid, permeability(mask_of(grid, maps.faces[other])), truth)
    assert values["barrier_f1"] < 1.0
    assert values["barrier_f1_reflected"] < 1.0
    assert values["barrier_f1_symmetric"] == 1.0
    assert values["chamfer_plain_um_symmetric"] == pytest.approx(0.0, abs=1e-9)
    assert values["chamfer_um_symmetric"] == pytest.approx(0.0, abs=1e-9)


def test_a_symmetric_value_is_never_worse_than_the_plain_one(grid):
    """The truth is one of its own images."""
    generator = np.random.default_rng(1)
    truth = shape_barrier(grid, BentAxon(6.0, 30.0, 1))
    values = barrier_metrics(grid, permeability(truth ^ (generator.random(len(truth)) < 0.02)), truth)
    for key in ("barrier_recall", "barrier_precision", "barrier_f1", "open_recall"):
        assert values[f"{key}_symmetric"] >= values[key]
    assert values["chamfer_um_symmetric"] <= values["chamfer_um"]
    assert values["chamfer_plain_um_symmetric"] <= values["chamfer_plain_um"]


def test_signed_volume_by_counting_cells(grid):
    """All tetrahedra have one volume: 24 of them for 48 is -1/2, 48 for 24 is +1, and a hole lets all out."""
    large, small = shape_barrier(grid, Sphere(10.0)), shape_barrier(grid, Sphere(STEP))
    assert signed_volume_error(grid, small, large) == pytest.approx(-0.5)
    assert signed_volume_error(grid, large, small) == pytest.approx(1.0)
    assert signed_volume_error(grid, large, large) == pytest.approx(0.0, abs=1e-12)
    assert signed_volume_error(grid, small | large, large) == pytest.approx(0.0, abs=1e-12)
    holed = large.copy()
    holed[np.flatnonzero(large)[0]] = False
    assert signed_volume_error(grid, holed, large) == -1.0
    assert signed_volume_error(grid, large, holed) is None


def test_the_outside_of_a_reflecting_box_is_the_largest_piece(grid):
    """A tube of 112 cells through the box: closed by the reflecting sides, open where these are permeable."""
    tube = shape_barrier(grid, Cylinder(10.0))
    inside = ~grid.is_exterior
    assert signed_volume_error(grid, tube & inside, tube, inside) == 0.0
    assert signed_volume_error(grid, tube & inside, tube) == -1.0


@pytest.mark.parametrize("argument", ["permeability", "truth", "faces"])
def test_wrong_lengths_are_refused(grid, sphere, argument):
    """One entry per face; the error names the argument and the right length."""
    arguments = {"permeability": permeability(sphere), "truth": sphere, "faces": ~grid.is_exterior}
    arguments[argument] = arguments[argument][:-1]
    with pytest.raises(InputError, match="each of the 1296 faces") as caught:
        barrier_metrics(grid, **arguments)
    assert caught.value.key == argument


def test_nan_is_refused(grid, sphere):
    """NaN would silently count as open."""
    kappa = permeability(sphere)
    kappa[7] = np.nan
    with pytest.raises(InputError, match="permeability of face 7 is NaN"):
        barrier_metrics(grid, kappa, sphere)


@pytest.mark.parametrize("exterior", [True, False])
def test_the_nearest_image_of_a_truth_is_what_was_recovered(grid, exterior: bool) -> None:
    """A ball off the middle, found at the other side; and a lattice vector away, which only a leaky surround hides."""
    spacing = 20 / 3
    ball, turned, away = (
        shape_barrier(grid, Sphere(5.0, centre))
        for centre in ((3.0, 0.5, 0.0), (-3.0, -0.5, 0.0), (3.0, 0.5 + spacing, 0.0))
    )
    assert not np.array_equal(ball, turned)
    equivalents = Equivalents.of(grid, ball, None if exterior else ~grid.is_exterior)
    for recovered in (ball, turned):
        image, scores = equivalents.nearest(recovered)
        np.testing.assert_array_equal(image, recovered)
        assert scores["barrier_f1"] == 1.0
    assert (equivalents.nearest(away)[1]["barrier_f1"] == 1.0) == exterior
