"""Any waveform as constant blocks of gradient, of whose memory integrals there are closed forms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dmrifw.sequences import Waveform
from dmrifw.typing import FloatArray

_BLOCKS = 2048
"""Blocks in the echo time where the gradient is not constant; the error falls with the square of their length."""

_FEWEST = 8
"""Blocks in a ramp, however short."""


def gradient_blocks(waveform: Waveform) -> tuple[FloatArray, FloatArray]:
    """A waveform, played along z, as constant blocks of the same areas: its wave vector is exact at their ends.

    Args:
        waveform: The waveform.

    Returns:
        (k+1,) ends of the blocks, ms, from 0 to the echo, and (k, 3) gradients for |q| = 1 rad/(um ms); a stretch of
        constant gradient is one block.

    Local.
    """
    along_z = np.array([[0.0, 0.0, 1.0]])
    edges: list[FloatArray] = [np.zeros(1)]
    for interval, (start, stop) in enumerate(pairwise(waveform.breakpoints)):
        samples = [waveform.gradient(along_z, start + (stop - start) * x, interval) for x in (0.02, 0.33, 0.71, 0.98)]
        constant = np.ptp(samples, axis=0).max() <= 1e-12
        count = 1 if constant else max(_FEWEST, int(np.ceil(_BLOCKS * (stop - start) / waveform.echo_time)))
        edges.append(np.linspace(start, stop, count + 1)[1:])
    times = np.concatenate(edges)
    moments = waveform.wavevector(along_z, times)[:, 0]
    return times, np.diff(moments, axis=0) / np.diff(times)[:, None]
