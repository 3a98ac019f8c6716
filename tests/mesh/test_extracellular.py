"""Space around cells: the last compartment, outside a wall whose triangles are those of the cell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from mesh_checks import assert_interfaces_are_closed, compartment_volumes, interface_areas
from scipy.spatial import ConvexHull

from dmrifw.errors import InputError
from dmrifw.mesh import Extracellular, Grid, axon, cylinders, ellipsoid, matching_faces, spheres, torus
from dmrifw.mesh.doctor import radius_ratios

CELLS: dict[str, Callable[[Extracellular | None], Grid]] = {
    "spheres": lambda space: spheres([3, 5], 1.2, space),
    "cylinders": lambda space: cylinders([2], 6, 0.8, extracellular=space),
    "ellipsoid": lambda space: ellipsoid([2, 3, 5], 1.0, space),
    "torus": lambda space: torus(5, 2, 1.0, space),
    "axon": lambda space: axon([1.0], 10, 0.6, 10, 0.2, 5, 40, h=0.6, extracellular=space),
}


@pytest.mark.parametrize("kind", ["box", "hull"])
@pytest.mark.parametrize("name", CELLS)
def test_it_is_added_to_the_cell_as_it_is(name: str, kind: str) -> None:
    cell, grid = CELLS[name](None), CELLS[name](Extracellular(kind, 1.0))
    inner = len(cell.cells)
    np.testing.assert_array_equal(grid.points[: len(cell.points)], cell.points)
    np.testing.assert_array_equal(grid.cells[:inner], cell.cells)
    np.testing.assert_array_equal(grid.cell_tags[:inner], cell.cell_tags)
    last = cell.compartment_count
    assert (grid.cell_tags[inner:] == last).all()
    np.testing.assert_array_equal(grid.interface_pairs, [(i, i + 1) for i in range(last)])
    assert interface_areas(grid)[-1] == pytest.approx(cell.face_areas[cell.is_exterior].sum(), rel=1e-12)
    assert grid.cell_volumes.min() > 0
    assert radius_ratios(grid.points, grid.cells).min() > 0.05
    assert_interfaces_are_closed(grid)


@pytest.mark.parametrize("name", CELLS)
def test_a_box_leaves_the_gap_and_its_sides_match(name: str) -> None:
    cell, grid = CELLS[name](None), CELLS[name](Extracellular("box", 0.8))
    extent = np.ptp(cell.points, axis=0) + 2 * 0.8
    np.testing.assert_allclose(np.ptp(grid.points, axis=0), extent)
    assert compartment_volumes(grid)[-1] == pytest.approx(np.prod(extent) - cell.volume, rel=1e-9)
    pairs = [matching_faces(grid, axis) for axis in range(3)]
    assert sorted(np.concatenate(pairs).ravel()) == np.flatnonzero(grid.is_exterior).tolist()


def test_a_hull_around_a_ball_is_a_shell() -> None:
    """From 4 to 5.5 um; the outside is one of triangles, of second order."""
    errors = []
    for h in (1.2, 0.6):
        grid = spheres([4.0], h, Extracellular("hull", 1.5))
        errors.append(abs(grid.volume / (4 / 3 * np.pi * 5.5**3) - 1))
    assert errors[1] < errors[0] / 2.5 and errors[1] < 0.01


@pytest.mark.parametrize("gap", [0.3, 1.0, 2.0])
def test_a_hull_keeps_its_distance(gap: float) -> None:
    """Vertices lie at the gap from the planes of the convex hull, edges rounded off by less than half of it.

    The torus's hole is filled.
    """
    cell, grid = torus(4, 1.5, 1.0), torus(4, 1.5, 1.0, Extracellular("hull", gap))
    outside = grid.points[np.unique(grid.faces[grid.is_exterior])]
    planes = ConvexHull(cell.points).equations
    distance = (outside @ planes[:, :3].T + planes[:, 3]).max(axis=1)
    assert 0.5 * gap < distance.min() and distance.max() < gap * (1 + 1e-9)
    assert distance.mean() == pytest.approx(gap, rel=0.03)
    axis = np.linalg.norm(grid.points[grid.cells].mean(axis=1)[:, :2], axis=1) < 1
    assert axis.any() and (grid.cell_tags[axis] == 1).all()


def test_ends_of_nested_tubes_touch_it_too() -> None:
    grid = axon([0.7, 1.0], 6, h=0.5, extracellular=Extracellular("box", 0.5))
    np.testing.assert_array_equal(grid.interface_pairs, [[0, 1], [0, 2], [1, 2]])


@pytest.mark.parametrize("gap", [0.0, -1.0, np.nan])
def test_a_gap_is_positive(gap: float) -> None:
    with pytest.raises(InputError, match=r"extracellular\.gap"):
        Extracellular("box", gap)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"extracellular\.kind: there is no 'ball'; choose 'box' or 'hull'"):
        Extracellular("ball")  # type: ignore[arg-type]
