"""Free (Gaussian) diffusion: what every simulation gives where there are no walls."""

from __future__ import annotations

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences import Protocol
from dmrifw.typing import ArrayLike, FloatArray


def free_attenuation(protocol: Protocol, diffusivity: ArrayLike) -> FloatArray:
    """S/S0 of free diffusion, exp(-B:D), for any waveform.

    Args:
        protocol: The measurements.
        diffusivity: um^2/ms, at least 0, or a symmetric (3, 3) tensor with eigenvalues of at least 0.

    Returns:
        (n,) attenuations.

    Raises:
        InputError: The diffusivity is no such number or tensor.

    Source: Basser, Mattiello and Le Bihan, J. Magn. Reson. B 103:247 (1994).

    Local.
    """
    tensor = as_tensor(diffusivity)
    return np.exp(-np.einsum("nij,ij->n", protocol.btensors, tensor))


def as_tensor(diffusivity: ArrayLike) -> FloatArray:
    """A diffusivity as a (3, 3) tensor, um^2/ms.

    Raises:
        InputError: It is neither a number of at least 0 nor a symmetric tensor with such eigenvalues.

    Local.
    """
    values = np.asarray(diffusivity, dtype=np.float64)
    tensor = values * np.eye(3) if values.ndim == 0 else values
    if (
        tensor.shape != (3, 3)
        or not np.isfinite(tensor).all()
        or not np.allclose(tensor, tensor.T, rtol=1e-10, atol=1e-12)
        or np.linalg.eigvalsh(tensor)[0] < -1e-12
    ):
        raise InputError(
            f"diffusivity = {values.tolist()}",
            "give a number of at least 0, or a symmetric 3x3 tensor with such eigenvalues, um^2/ms",
            key="diffusivity",
        )
    return tensor
