"""Scenes are PNGs in which each surface shows its colour, from the same place."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np
import pytest

from dmrifw.mesh import bcc_grid, shape_barrier
from dmrifw.mesh.shapes import Sphere
from dmrifw.plotting import Surface, scene


@pytest.fixture(scope="module")
def grid():
    return bcc_grid()


def pixels(surfaces, grid) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(scene(surfaces, grid.points)), format="png")[:, :, :3]


def is_green(image: np.ndarray) -> np.ndarray:
    return (image[..., 1] > 2 * image[..., 0]) & (image[..., 1] > 2 * image[..., 2])


def test_a_larger_sphere_covers_more_of_the_same_view(grid) -> None:
    """Radii of 10 and 13.4 um mark 48 and more faces; the box and the camera stay where they are."""
    small, large = (pixels([Surface(grid, shape_barrier(grid, Sphere(r)), "#00ff00")], grid) for r in (10.0, 13.4))
    assert small.shape == large.shape
    shares = [is_green(image).mean() for image in (small, large)]
    assert 0.02 < shares[0] < shares[1]
    assert (small[0] == 1.0).all()  # white around


def test_nothing_to_draw_is_drawn(grid) -> None:
    image = pixels([Surface(grid, np.zeros(len(grid.faces), dtype=bool), "#00ff00")], grid)
    assert not is_green(image[:-150]).any()  # the axes in the corner have a green one
