"""What all generators ask of their arguments."""

from __future__ import annotations

import numpy as np

from dmrifw.errors import InputError
from dmrifw.typing import ArrayLike, FloatArray

MOST_CELLS = 20_000_000
"""A mesh of more tetrahedra than this is taken for a slip of units."""


def positive(value: float, key: str, unit: str = "um") -> float:
    """A positive finite number.

    Raises:
        InputError: It is not.

    Local.
    """
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"{key} = {value:g}", f"give a positive number, in {unit}", key=key)
    return float(value)


def lengths(values: ArrayLike, key: str, count: int | None = None) -> FloatArray:
    """One or more positive lengths, um.

    Raises:
        InputError: They are not, or not as many as asked for.

    Local.
    """
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if array.ndim != 1 or len(array) == 0 or (count is not None and len(array) != count):
        wanted = "one or more" if count is None else str(count)
        raise InputError(f"got {np.asarray(values).tolist()}", f"give {wanted} lengths in um", key=key)
    for value in array:
        positive(float(value), key)
    return array


def ascending(values: ArrayLike, key: str) -> FloatArray:
    """One or more positive lengths, each larger than the one before.

    Raises:
        InputError: They are not.

    Local.
    """
    array = lengths(values, key)
    if (np.diff(array) <= 0).any():
        raise InputError(f"{array.tolist()} do not grow", "give them inside out, each once", key=key)
    return array


def affordable(cells: float, key: str = "h") -> None:
    """Refuse a mesh that no one can have meant.

    Raises:
        InputError: There would be more than `MOST_CELLS` cells.

    Local.
    """
    if cells > MOST_CELLS:
        raise InputError(f"about {cells:.1g} tetrahedra", f"enlarge h, or check the units of lengths ({key})", key=key)
