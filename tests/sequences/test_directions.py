"""Gradient directions."""

import math

import numpy as np
import pytest

from dmrifw.errors import InputError
from dmrifw.sequences import fibonacci_directions


def test_spiral_formula():
    """z_i = 1 - (2i+1)/n, azimuth i pi (3 - sqrt 5): evaluated one by one with the math module."""
    directions = fibonacci_directions(30)
    for i in range(30):
        z = 1 - (2 * i + 1) / 30
        azimuth = i * math.pi * (3 - math.sqrt(5))
        across = math.sqrt(1 - z * z)
        expected = [across * math.cos(azimuth), across * math.sin(azimuth), z]
        np.testing.assert_allclose(directions[i], expected, atol=1e-13)


@pytest.mark.parametrize("count", [1, 2, 30, 500])
def test_directions_are_unit_vectors(count):
    """A gradient direction carries no amplitude."""
    directions = fibonacci_directions(count)
    assert directions.shape == (count, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0, rtol=1e-14)


def test_directions_cover_the_sphere_evenly():
    """For an isotropic set the mean of g g^T is I/3; the error of this spiral falls about as 1/n."""
    directions = fibonacci_directions(500)
    np.testing.assert_allclose(directions.T @ directions / 500, np.eye(3) / 3, atol=1e-2)


@pytest.mark.parametrize("count", [0, -3, 2.5])
def test_bad_counts_are_refused(count):
    """There is no such number of directions."""
    with pytest.raises(InputError, match="whole number of at least 1") as caught:
        fibonacci_directions(count)
    assert caught.value.key == "directions"
