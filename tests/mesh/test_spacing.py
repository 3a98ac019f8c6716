"""How far walls are apart, where geometry tells."""

import numpy as np
import pytest

from dmrifw.mesh import box, cylinders, layers, spheres
from dmrifw.mesh.spacing import wall_spacing


def test_layers_are_as_far_apart_as_they_are_wide() -> None:
    """The narrower of two layers; without the wall between them the box counts, across its shortest side."""
    grid = layers([5.0, 3.0], [4.0, 6.0])
    assert wall_spacing(grid, grid.is_interface) == pytest.approx(3.0)
    assert wall_spacing(grid, np.zeros(len(grid.faces), dtype=bool)) == pytest.approx(4.0)
    assert wall_spacing(box([2.0, 3.0, 4.0]), np.zeros(1, dtype=bool)) == pytest.approx(2.0)


@pytest.mark.parametrize("make", [lambda: spheres([3.0, 5.0], 1.0), lambda: cylinders([3.0, 5.0], 10.0, 0.6)])
def test_shells_are_as_far_apart_as_their_radii(make) -> None:
    """2 um between radii of 3 and 5, less what polygons cut off."""
    grid = make()
    assert wall_spacing(grid, grid.is_interface) == pytest.approx(2.0, rel=0.03)


def test_a_ball_is_as_wide_as_its_diameter() -> None:
    """From the middles of its triangles straight across."""
    grid = spheres([5.0], 1.0)
    assert wall_spacing(grid, grid.is_interface) == pytest.approx(10.0, rel=0.01)
