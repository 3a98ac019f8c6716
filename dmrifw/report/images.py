"""Signals of a voxel, or of the voxels of a mask, from a NIfTI image with one volume for each measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences import Protocol
from dmrifw.typing import BoolArray, ComplexArray

_SLACK = 0.01
"""Differences between affines, over the length of a voxel, that are rounding."""


def read_image(
    path: str | Path, protocol: Protocol, voxel: Sequence[int] | None = None, mask: str | Path | None = None
) -> ComplexArray:
    """Signals from an image.

    Args:
        path: A NIfTI file of four dimensions, real (magnitudes) or complex.
        protocol: The measurements that its volumes are of, in order.
        voxel: Indices i, j, k of the voxel, from 0 on.
        mask: A NIfTI file of three dimensions on the image's grid; the mean over the voxels where it is neither 0 nor
            NaN is taken.

    Returns:
        (n,) complex signals in the image's unit.

    Raises:
        InputError: A file is missing, no NIfTI or of the wrong shape; the voxel is not in it; the mask is empty or lies
            elsewhere; or a signal is not finite, or negative at b = 0.

    Local.
    """
    image = _load(Path(path), "image")
    if len(image.shape) != 4:
        told = f"{path} has {len(image.shape)} dimensions, {_size(image.shape)}"
        raise InputError(told, "give an image of four, a volume for each measurement", key="image")
    if image.shape[3] != len(protocol):
        told = f"{path} has {image.shape[3]} volumes where the protocol has {len(protocol)} measurements"
        raise InputError(told, "give the image and the gradient table of the same scan", key="image")
    if voxel is not None:
        if not all(0 <= index < size for index, size in zip(voxel, image.shape, strict=False)):
            told = f"there is no voxel {list(voxel)} in {path}, which has {_size(image.shape[:3])}"
            raise InputError(told, "give indices from 0 on, each below that size", key="voxel")
        signal = _values(image, path, tuple(voxel))
    else:
        inside = _mask(Path(str(mask)), image)
        signal = _values(image, path)[inside].mean(axis=0)
    if not np.isfinite(signal).all():
        row = int(np.flatnonzero(~np.isfinite(signal))[0])
        told = f"the signal in volume {row} of {path} is not finite"
        raise InputError(told, "choose other voxels, or mend that volume", key="mask" if voxel is None else "voxel")
    if not np.iscomplexobj(signal) and signal[protocol.bvals == 0].sum() < 0:
        told = f"the signal of {path} at b = 0 is negative"
        raise InputError(told, "give magnitudes, or complex numbers", key="mask" if voxel is None else "voxel")
    return np.asarray(signal, dtype=np.complex128)


def _mask(path: Path, masked: Any) -> BoolArray:
    image, shape = _load(path, "mask"), masked.shape[:3]
    if image.shape != shape:
        told = f"{path} has {_size(image.shape)} voxels where the image has {_size(shape)}"
        raise InputError(told, "give a mask of the image's grid", key="mask")
    if not np.allclose(image.affine, masked.affine, rtol=0, atol=_SLACK * np.abs(masked.affine[:3, :3]).max()):
        raise InputError(
            f"{path} lies elsewhere than the image (affine)", "resample it to the image's grid", key="mask"
        )
    values = _values(image, path)
    inside: BoolArray = (values != 0) & ~np.isnan(values)
    if not inside.any():
        raise InputError(f"{path} has no voxel that is not 0", "give a mask with voxels in it", key="mask")
    return inside


def _load(path: Path, key: str) -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise InputError("reading a NIfTI file needs nibabel", "install dmrifw[io]", key=key) from error
    if not path.is_file():
        raise InputError(f"there is no file {path}", "give the path of a NIfTI image", key=key)
    try:
        return nibabel.load(path)
    except Exception as error:  # whatever a damaged file raises from nibabel, zlib or numpy
        raise InputError(f"{path} is no NIfTI image ({error})", "give a .nii or .nii.gz", key=key) from error


def _values(image: Any, path: str | Path, where: tuple[int, ...] = ()) -> np.ndarray:
    """The voxels' numbers, read now."""
    try:
        return np.asanyarray(image.dataobj[where] if where else image.dataobj)
    except Exception as error:  # see `_load`: headers are read first, data on use
        raise InputError(f"{path} is damaged ({error})", "give the whole file", key="image") from error


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
