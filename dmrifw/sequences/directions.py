"""Sets of gradient directions."""

from __future__ import annotations

import numpy as np

from dmrifw.errors import InputError
from dmrifw.typing import FloatArray


def fibonacci_directions(count: int) -> FloatArray:
    """Unit vectors spread over the sphere along a golden-angle spiral.

    Args:
        count: How many, at least 1.

    Returns:
        (count, 3): z_i = 1 - (2i+1)/count, azimuth i pi (3 - sqrt 5).

    Raises:
        InputError: `count` is below 1.

    Local.
    """
    if int(count) != count or count < 1:
        raise InputError(f"directions = {count}", "give a whole number of at least 1", key="directions")
    index = np.arange(int(count))
    z = 1.0 - (2.0 * index + 1.0) / count
    azimuth = index * np.pi * (3.0 - np.sqrt(5.0))
    across = np.sqrt(1.0 - z**2)
    return np.column_stack([across * np.cos(azimuth), across * np.sin(azimuth), z])
