"""The table of b-values and directions that every protocol starts from."""

from __future__ import annotations

import numpy as np

from dmrifw.errors import InputError
from dmrifw.typing import ArrayLike, FloatArray


def checked_table(bvals: ArrayLike, bvecs: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """b-values and unit vectors, one each for a measurement.

    Args:
        bvals: (n,) s/mm^2, at least 0.
        bvecs: (n, 3) directions; a zero vector only where b = 0.

    Returns:
        (n,) b-values and (n, 3) vectors of length 1, or 0; those of length 1 to rounding are not touched.

    Raises:
        InputError: b is negative or not finite, the lengths differ, or a direction is missing.

    Local.
    """
    values = np.atleast_1d(np.asarray(bvals, dtype=np.float64))
    vectors = np.atleast_2d(np.asarray(bvecs, dtype=np.float64))
    if values.ndim != 1 or len(values) == 0:
        raise InputError(f"bvals has shape {values.shape}", "give one b-value per measurement", key="bvals")
    if not np.isfinite(values).all() or (values < 0).any():
        row = int(np.flatnonzero(~(np.isfinite(values) & (values >= 0)))[0])
        raise InputError(f"b = {values[row]:g} s/mm^2 at measurement {row}", "give finite b >= 0", key="bvals")
    if vectors.shape == (3, len(values)) and len(values) != 3:
        raise InputError(f"bvecs has shape {vectors.shape}", "transpose it: one row per measurement", key="bvecs")
    if vectors.shape != (len(values), 3):
        raise InputError(f"bvecs has shape {vectors.shape}", f"give shape ({len(values)}, 3)", key="bvecs")
    length = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(vectors).all() or ((length == 0) & (values > 0)).any():
        row = int(np.flatnonzero(~np.isfinite(length) | ((length == 0) & (values > 0)))[0])
        raise InputError(f"direction {row} is {vectors[row]}", "give a finite, non-zero vector", key="bvecs")
    return values, vectors / np.where((length == 0) | (np.abs(length - 1) < 1e-14), 1.0, length)[:, None]
