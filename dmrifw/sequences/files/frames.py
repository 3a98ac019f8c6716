"""Image axes and world axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dmrifw.errors import InputError
from dmrifw.typing import ArrayLike, FloatArray


def orientation(affine: ArrayLike | None, image: Path | None) -> FloatArray | None:
    """The matrix that takes FSL vectors of an image to world (RAS+) axes.

    FSL's axes are the image's, the first one flipped where the affine has a positive determinant. Of the affine the
    nearest orthogonal matrix counts (voxel sizes and shears are left out).

    Args:
        affine: (4, 4) or (3, 3) voxel-to-world matrix.
        image: A NIfTI file whose affine to take.

    Returns:
        (3, 3) orthogonal; None where neither is given.

    Raises:
        InputError: Both are given, the file cannot be read, or the matrix is singular or of another shape.

    Local.
    """
    if affine is None and image is None:
        return None
    if affine is not None and image is not None:
        raise InputError("both an affine and an image are given", "give one of them", key="image")
    matrix = np.asarray(affine if image is None else _affine_of(image), dtype=np.float64)
    if matrix.shape not in ((3, 3), (4, 4)) or not np.isfinite(matrix).all():
        raise InputError(f"the affine has shape {matrix.shape}", "give a finite (4, 4) matrix", key="affine")
    left, sizes, right = np.linalg.svd(matrix[:3, :3])
    if sizes[-1] <= 1e-9 * sizes[0]:
        raise InputError("the affine is singular", "give the voxel-to-world matrix of the image", key="affine")
    axes = left @ right
    flip = np.diag([-1.0 if np.linalg.det(axes) > 0 else 1.0, 1.0, 1.0])
    return axes @ flip


def _affine_of(image: Path) -> FloatArray:
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
    except ImportError as error:
        raise InputError("reading a NIfTI file needs nibabel", "install dmrifw[io]", key="image") from error
    try:
        return np.asarray(nibabel.load(image).affine, dtype=np.float64)
    except (OSError, ImageFileError) as error:
        raise InputError(f"cannot read {image}", "give the path of a NIfTI image", key="image") from error
