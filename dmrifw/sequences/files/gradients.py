"""What FSL's and MRtrix's tables have in common: a b-value and a vector for each measurement, of one waveform."""

from __future__ import annotations

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences.protocol import Protocol
from dmrifw.sequences.waveforms import Waveform
from dmrifw.typing import FloatArray

_LOW = 100.0
"""b-value, s/mm^2, up to which 0 may have been meant."""


def measured(waveform: Waveform, bvals: FloatArray, vectors: FloatArray, b0_threshold: float) -> Protocol:
    """The protocol of (n,) b-values, s/mm^2, and (n, 3) vectors.

    Args:
        waveform: Of all measurements.
        bvals: The b-values.
        vectors: The directions; any where b is 0.
        b0_threshold: b-value up to which a measurement counts as one at b = 0, s/mm^2: scanners do not play 0.

    Raises:
        InputError: The threshold is negative, or a measurement above it has no direction.

    Local.
    """
    if not b0_threshold >= 0:
        raise InputError(f"b0_threshold = {b0_threshold:g}", "give 0 or more, in s/mm^2", key="b0_threshold")
    weighted = bvals > b0_threshold
    lost = np.flatnonzero(weighted & ~vectors.any(axis=1))
    if len(lost):
        b = bvals[lost[0]]
        meant = f", or b0_threshold = {b:g} or more, up to which b counts as 0" if b <= _LOW else ""
        raise InputError(
            f"measurement {lost[0]} has b = {b:g} and no direction",
            f"give a finite, non-zero vector{meant}",
            key="bvecs",
        )
    return Protocol.single(waveform, np.where((bvals >= 0) & ~weighted, 0.0, bvals), vectors)
