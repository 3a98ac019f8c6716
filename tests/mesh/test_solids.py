"""Ellipsoid, torus and box: exact volumes, walls on the surface, sides that match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mesh_checks import assert_interfaces_are_closed, total_exterior_area

from dmrifw.errors import InputError
from dmrifw.mesh import box, ellipsoid, matching_faces, torus
from dmrifw.mesh.doctor import radius_ratios


@pytest.mark.parametrize("semi_axes", [[3, 3, 3], [2, 3, 5], [1, 1, 8]])
def test_an_ellipsoid_has_the_exact_volume(semi_axes: list[float]) -> None:
    grid = ellipsoid(semi_axes, h=0.8)
    assert grid.volume == pytest.approx(4 / 3 * np.pi * np.prod(semi_axes), rel=1e-9)
    assert grid.interface_count == 0
    assert radius_ratios(grid.points, grid.cells).min() > 0.15
    wall = grid.points[np.unique(grid.faces[grid.is_exterior])]
    np.testing.assert_allclose(np.linalg.norm(wall / semi_axes, axis=1), 1, atol=0.05)
    assert_interfaces_are_closed(grid)


def test_the_area_of_a_spheroid_is_of_second_order() -> None:
    """A prolate spheroid has 2 pi a^2 (1 + c/(a e) asin e), e^2 = 1 - a^2/c^2."""
    a, c = 2.0, 4.0
    e = np.sqrt(1 - a**2 / c**2)
    exact = 2 * np.pi * a**2 * (1 + c / (a * e) * np.arcsin(e))
    errors = [abs(total_exterior_area(ellipsoid([a, a, c], h)) / exact - 1) for h in (1.2, 0.6)]
    assert errors[1] < errors[0] / 3


@pytest.mark.parametrize(("major", "minor"), [(5.0, 2.0), (3.0, 2.5)])
def test_a_torus_has_the_exact_volume(major: float, minor: float) -> None:
    grid = torus(major, minor, h=0.9)
    assert grid.volume == pytest.approx(2 * np.pi**2 * major * minor**2, rel=1e-9)
    assert grid.cell_volumes.min() > 0
    assert radius_ratios(grid.points, grid.cells).min() > 0.15
    assert total_exterior_area(grid) == pytest.approx(4 * np.pi**2 * major * minor, rel=0.03)
    assert len(grid.points) - len(grid.edges) + len(grid.faces) - len(grid.cells) == 0  # Euler: a ring
    assert_interfaces_are_closed(grid)


def test_a_box_is_full_and_its_sides_match() -> None:
    """Sides of 3, 4 and 5 um in steps of 1 um: two triangles for each square."""
    grid = box([3, 4, 5], h=1.0)
    assert grid.volume == pytest.approx(60)
    np.testing.assert_array_equal([grid.points.min(axis=0), grid.points.max(axis=0)], [[0, 0, 0], [3, 4, 5]])
    assert grid.interface_count == 0 and grid.compartment_count == 1
    assert [len(matching_faces(grid, axis)) for axis in range(3)] == [40, 30, 24]


@pytest.mark.parametrize(
    ("make", "arguments", "line"),
    [
        (ellipsoid, {"semi_axes": [1, 2]}, "semi_axes: got [1, 2]; give 3 lengths in um"),
        (ellipsoid, {"semi_axes": [1, 2, -3]}, "semi_axes = -3; give a positive number, in um"),
        (ellipsoid, {"semi_axes": [1e4, 1e4, 1e4]}, "tetrahedra; enlarge h, or check the units"),
        (torus, {"major": 2, "minor": 2}, "minor: a tube of 2 um leaves no hole; give less than major = 2 um"),
        (torus, {"major": 2, "minor": 0}, "minor = 0; give a positive number"),
        (torus, {"major": 5, "minor": 2, "h": -1}, "h = -1; give a positive number"),
        (box, {"size": [5]}, "size: got [5]; give 3 lengths in um"),
        (box, {"size": [5, 5, 0]}, "size = 0; give a positive number"),
        (box, {"size": [5e9, 5, 5]}, "tetrahedra; enlarge h, or check the units"),
    ],
)
def test_nonsense_is_refused(make: Callable[..., Any], arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as refusal:
        make(**arguments)
    assert line in str(refusal.value)
