"""What all generators ask of their arguments."""

from __future__ import annotations

import numpy as np

from dmrifw.errors import InputError
from dmrifw.typing import ArrayLike, FloatArray

MOST_CELLS = 20_000_000
"""A mesh of more tetrahedra than this is taken for a slip of units."""

_PER_CUBE = 12
"""About as many tetrahedra fill a cube of their edge length."""


def positive(value: float, key: str, unit: str = "um") -> float:
    """A positive finite number.

    Raises:
        InputError: It is not.

    Local.
    """
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"{key} = {value:g}", f"give a positive number, in {unit}", key=key)
    return float(value)


def at_least_zero(value: float, key: str, unit: str = "um") -> float:
    """A finite number that is not negative.

    Raises:
        InputError: It is not.

    Local.
    """
    if not (np.isfinite(value) and value >= 0):
        raise InputError(f"{key} = {value:g}", f"give a number of at least 0, in {unit}", key=key)
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


def concentric(radii: ArrayLike, h: float) -> tuple[FloatArray, float]:
    """Radii of concentric walls (n,), each larger than the one before, and the size of elements between them, um.

    Raises:
        InputError: The radii do not grow, or a length is not positive.

    Local.
    """
    array = lengths(radii, "radii")
    if (np.diff(array) <= 0).any():
        raise InputError(f"{array.tolist()} do not grow", "give them inside out, each once", key="radii")
    return array, positive(h, "h")


def drawn_out(length: float, h: float, axial_h: float | None) -> tuple[float, float]:
    """Length of what is drawn out along an axis, and its largest spacing there, `h` by default, um.

    Raises:
        InputError: One of them is not positive.

    Local.
    """
    length = positive(length, "length")
    return length, min(length, h if axial_h is None else positive(axial_h, "axial_h"))


def affordable(cells: float, key: str = "h") -> None:
    """Refuse a mesh that no one can have meant.

    Raises:
        InputError: There would be more than `MOST_CELLS` cells.

    Local.
    """
    if cells > MOST_CELLS:
        raise InputError(f"about {cells:.1g} tetrahedra", f"enlarge h, or check the units of lengths ({key})", key=key)


def affordable_volume(volume: float, h: float, axial_h: float | None = None) -> None:
    """The same for a volume, um^3, filled with elements of edge `h`, and `axial_h` along one axis, um.

    Raises:
        InputError: There would be more than `MOST_CELLS` cells.

    Local.
    """
    affordable(_PER_CUBE * float(volume) / (h * h * (axial_h or h)))
