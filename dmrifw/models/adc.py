"""Apparent diffusion coefficients, kurtoses and tensors from signals, with standard errors.

Logarithms of signals are fitted by least squares. Noise of one size on all signals makes the variance of ln |S|
proportional to 1/|S|^2, hence weights |S|^2, taken from an unweighted first fit. Noise-free signals have no such
variance: their standard errors tell how far the signal is from the model.

Source: Salvador et al., Hum. Brain Mapp. 24:144 (2005); kurtosis: Jensen et al., Magn. Reson. Med. 53:1432 (2005).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences import Protocol
from dmrifw.typing import ArrayLike, FloatArray, IntArray
from dmrifw.units import B_INSIDE_PER_BOUNDARY

_SAME = 1e-6
"""Difference up to which two unit vectors are one direction."""

_UPPER = np.triu_indices(3)


@dataclass(frozen=True, eq=False)
class DirectionFit:
    """ln |S| = ln S0 - b ADC + (b ADC)^2 K/6, for each direction of each sequence.

    Attributes:
        sequence: (d,) row of the protocol's waveforms.
        direction: (d, 3) unit vectors.
        s0: (d,) signal at b = 0, um^3 if the signals were.
        adc: (d,) um^2/ms.
        adc_error: (d,) standard errors, um^2/ms; NaN where there are no more b-values than parameters.
        kurtosis: (d,) excess kurtosis along the direction; zero where it was not fitted.
        kurtosis_error: (d,) standard errors, likewise.
    """

    sequence: IntArray
    direction: FloatArray
    s0: FloatArray
    adc: FloatArray
    adc_error: FloatArray
    kurtosis: FloatArray
    kurtosis_error: FloatArray


@dataclass(frozen=True, eq=False)
class TensorFit:
    """ln |S| = ln S0 - B:D.

    Attributes:
        s0: Signal at b = 0.
        tensor: (3, 3) D in the frame of the protocol's vectors, um^2/ms.
        covariance: (6, 6) of D_xx, D_xy, D_xz, D_yy, D_yz, D_zz; NaN where there are no more signals than parameters.
    """

    s0: float
    tensor: FloatArray
    covariance: FloatArray

    @property
    def mean_diffusivity(self) -> tuple[float, float]:
        """A third of the trace and its standard error, um^2/ms."""
        trace = np.array([1.0, 0.0, 0.0, 1.0, 0.0, 1.0]) / 3
        return float(np.trace(self.tensor)) / 3, float(np.sqrt(trace @ self.covariance @ trace))

    def adc(self, directions: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """(d,) n.D n and its standard error, um^2/ms, for (d, 3) unit vectors n. Local."""
        vectors = np.atleast_2d(np.asarray(directions, dtype=np.float64))
        weights = _contraction(np.einsum("di,dj->dij", vectors, vectors))
        return weights @ self.tensor[_UPPER], np.sqrt(np.einsum("di,ij,dj->d", weights, self.covariance, weights))


def fit_directions(protocol: Protocol, signal: ArrayLike, kurtosis: bool = False) -> DirectionFit:
    """The ADC, and the kurtosis if asked, of every direction of every sequence.

    Opposite directions are one. Measurements at b = 0 count for all directions of their sequence. Restricted diffusion
    is not Gaussian: keep b ADC well below 1, or fit the kurtosis.

    Args:
        protocol: The measurements.
        signal: (n,) signals or attenuations, complex or real; their magnitudes are fitted.
        kurtosis: Whether to fit the kurtosis too.

    Returns:
        The fits, sequence by sequence, in the order in which directions appear.

    Raises:
        InputError: A signal is zero or not finite, or a direction has too few b-values.

    Local.
    """
    magnitude = _magnitudes(protocol, signal)
    b = protocol.bvals * B_INSIDE_PER_BOUNDARY
    rows = []
    for sequence in np.unique(protocol.sequence):
        mine = protocol.sequence == sequence
        for direction in _distinct(protocol.bvecs[mine & (b > 0)]):
            along = np.abs(np.abs(protocol.bvecs @ direction) - 1) < _SAME
            used = mine & (along | (b == 0))
            need = 3 if kurtosis else 2
            if len(np.unique(b[used])) < need:
                raise InputError(
                    f"{len(np.unique(b[used]))} b-values along {np.round(direction, 4).tolist()}",
                    f"give at least {need} for each direction, b = 0 included",
                    key="bvals",
                )
            design = np.vander(b[used], need, increasing=True) * np.array([1.0, -1.0, 1.0])[:need]
            (log_s0, adc, *rest), covariance = _weighted(design, magnitude[used])
            k, k_error = _kurtosis(adc, rest[0], covariance[1:, 1:]) if kurtosis else (0.0, 0.0)
            rows.append((sequence, *direction, np.exp(log_s0), adc, np.sqrt(covariance[1, 1]), k, k_error))
    if not rows:
        raise InputError("every measurement is at b = 0", "give measurements above b = 0", key="bvals")
    table = np.array(rows, dtype=np.float64)
    return DirectionFit(table[:, 0].astype(np.int64), table[:, 1:4], *table[:, 4:].T)


def fit_tensor(protocol: Protocol, signal: ArrayLike) -> TensorFit:
    """The diffusion tensor of one sequence, from its b-tensors: linear, planar and spherical encoding alike.

    Args:
        protocol: Measurements of one sequence (`protocol.select` picks one), at least seven.
        signal: (n,) signals or attenuations, complex or real; their magnitudes are fitted.

    Returns:
        The fit.

    Raises:
        InputError: A signal is zero or not finite, several sequences are played (restricted diffusion has a tensor for
            each), or the measurements do not determine a tensor.

    Local.
    """
    magnitude = _magnitudes(protocol, signal)
    played = np.unique(protocol.sequence)
    if len(played) > 1:
        raise InputError(
            f"the protocol plays {len(played)} sequences",
            f"fit one at a time: protocol.select(protocol.sequence == {played[0]})",
            key="protocol",
        )
    design = np.column_stack([np.ones(len(protocol)), -_contraction(protocol.btensors)])
    if np.linalg.matrix_rank(design) < 7:
        raise InputError(
            "the measurements do not determine a tensor",
            "give two b-values and six directions that lie on no common cone or plane",
            key="bvecs",
        )
    parameters, covariance = _weighted(design, magnitude)
    tensor = np.zeros((3, 3))
    tensor[_UPPER] = parameters[1:]
    tensor.T[_UPPER] = parameters[1:]
    return TensorFit(float(np.exp(parameters[0])), tensor, covariance[1:, 1:])


def _contraction(tensors: FloatArray) -> FloatArray:
    """(n, 6) rows whose product with the upper half of a symmetric D is T:D, for (n, 3, 3) symmetric T."""
    return (2.0 * tensors - tensors * np.eye(3))[:, _UPPER[0], _UPPER[1]]


def _magnitudes(protocol: Protocol, signal: ArrayLike) -> FloatArray:
    magnitude = np.abs(np.asarray(signal))
    if magnitude.shape != (len(protocol),):
        told = f"signal has shape {magnitude.shape} for {len(protocol)} measurements"
        raise InputError(told, "give one signal per measurement", key="signal")
    bad = ~(np.isfinite(magnitude) & (magnitude > 0))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"|S| = {magnitude[row]:g} at measurement {row}", "leave out signals without a logarithm", key="signal"
        )
    return magnitude


def _distinct(vectors: FloatArray) -> list[FloatArray]:
    """The vectors, opposite ones being one, in order of appearance."""
    found: list[FloatArray] = []
    for vector in vectors:
        if not any(abs(abs(vector @ known) - 1) < _SAME for known in found):
            found.append(vector)
    return found


def _weighted(design: FloatArray, magnitude: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Parameters of a fit of ln |S| with weights |S|^2, and their covariance."""
    logs = np.log(magnitude)
    predicted = design @ np.linalg.lstsq(design, logs, rcond=None)[0]
    weights = np.exp(predicted - predicted.max())
    rows = design * weights[:, None]
    scale = np.linalg.norm(rows, axis=0)
    scaled = rows / scale
    parameters = np.linalg.lstsq(scaled, weights * logs, rcond=None)[0]
    free = len(logs) - design.shape[1]
    variance = np.sum((weights * logs - scaled @ parameters) ** 2) / free if free > 0 else np.nan
    covariance = variance * np.linalg.inv(scaled.T @ scaled)
    return parameters / scale, covariance / np.outer(scale, scale)


def _kurtosis(adc: float, quadratic: float, covariance: FloatArray) -> tuple[float, float]:
    """K = 6 c/ADC^2 from the coefficient c of b^2, and its standard error to first order."""
    k = 6.0 * quadratic / adc**2
    slope = np.array([-2.0 * k / adc, 6.0 / adc**2])
    return k, float(np.sqrt(slope @ covariance @ slope))
