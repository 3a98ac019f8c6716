"""Eigenvalues and eigenvectors of symmetric matrices, also of those on which the fastest method fails."""

from __future__ import annotations

import numpy as np
import scipy.linalg as sl

from dmrifw.typing import FloatArray


def symmetric_modes(matrix: FloatArray, mass: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
    """Solutions of A v = lambda M v, all of them.

    By divide and conquer, which is the fastest, but finds no solution of one sound matrix in many millions (with
    OpenBLAS 0.3.29, of the position in the modes of a symmetric shape, 125 x 125); those are left to QR iterations.

    Args:
        matrix: A, (n, n), symmetric and finite; the lower half counts.
        mass: M, (n, n), symmetric, finite and positive definite; the identity by default.

    Returns:
        (n,) lambda, ascending, and (n, n) vectors in columns, orthonormal with respect to M.

    Raises:
        numpy.linalg.LinAlgError: M is not positive definite.

    Local.
    """
    try:
        return np.linalg.eigh(matrix) if mass is None else sl.eigh(matrix, mass, driver="gvd")
    except np.linalg.LinAlgError:
        return sl.eigh(matrix, mass, driver="ev" if mass is None else "gv")
