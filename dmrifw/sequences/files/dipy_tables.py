"""DIPY gradient tables: b in s/mm^2, delta and Delta in seconds, b-tensors where gradients leave a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences.files.timing import milliseconds
from dmrifw.sequences.protocol import Protocol
from dmrifw.sequences.pulsed import PGSE
from dmrifw.sequences.table import checked_table
from dmrifw.typing import FloatArray
from dmrifw.units import B_INSIDE_PER_BOUNDARY

if TYPE_CHECKING:
    from dipy.core.gradients import GradientTable

    from dmrifw.sequences.waveforms import Waveform


def to_dipy(protocol: Protocol, b0_threshold: float = 0.0) -> GradientTable:
    """A DIPY gradient table of the same b-values and vectors.

    `big_delta` and `small_delta` are numbers where all measurements share them, arrays where they do not, and None
    where a waveform has no two pulses; `btens` is given where a waveform is not linear. What else a waveform is (ramps,
    oscillations), a table cannot say.

    Args:
        protocol: The protocol.
        b0_threshold: Measurements up to this b, s/mm^2, count as unweighted in DIPY.

    Returns:
        The table.

    Raises:
        InputError: DIPY is not installed.

    Local.
    """
    try:
        from dipy.core.gradients import gradient_table
    except ImportError as error:
        raise InputError("a gradient table needs DIPY", "install dmrifw[io]") from error
    used = [protocol.waveforms[number] for number in np.unique(protocol.sequence)]
    linear = all(getattr(waveform, "is_linear", False) for waveform in used)
    pulsed = all(isinstance(waveform, PGSE) for waveform in used)
    return gradient_table(
        protocol.bvals,
        bvecs=protocol.bvecs,
        big_delta=_seconds(protocol.Delta) if pulsed else None,
        small_delta=_seconds(protocol.delta) if pulsed else None,
        b0_threshold=b0_threshold,
        btens=None if linear else protocol.btensors / B_INSIDE_PER_BOUNDARY,
    )


def from_dipy(
    table: GradientTable, *, delta: float | None = None, Delta: float | None = None, waveform: Waveform | None = None
) -> Protocol:
    """The protocol of a DIPY gradient table.

    Args:
        table: The table.
        delta: Pulse duration, ms; by default the table's `small_delta`.
        Delta: Time between the starts of the pulses, ms; by default the table's `big_delta`.
        waveform: The waveform of all measurements, in place of PGSE.

    Returns:
        The protocol.

    Raises:
        InputError: The timing is not known, or the table has b-tensors that the waveform does not have.

    Local.
    """
    values, vectors = checked_table(table.bvals, table.bvecs)
    if waveform is not None:
        protocol = Protocol((waveform,), np.zeros(len(values), dtype=np.int64), values, vectors)
    else:
        small = _times("delta", delta, table.small_delta, len(values))
        large = _times("Delta", Delta, table.big_delta, len(values))
        pairs, first, sequence = np.unique(
            np.column_stack([small, large]), axis=0, return_index=True, return_inverse=True
        )
        order = np.argsort(first)  # sequences in the order in which the table plays them
        waveforms = tuple(PGSE(float(pairs[kind, 0]), float(pairs[kind, 1])) for kind in order)
        protocol = Protocol(waveforms, np.argsort(order)[sequence.reshape(-1)], values, vectors)
    _check_tensors(protocol, table.btens)
    return protocol


def _check_tensors(protocol: Protocol, tensors: Any) -> None:
    if tensors is None:
        return
    mine = protocol.btensors / B_INSIDE_PER_BOUNDARY
    off = np.abs(mine - np.asarray(tensors)).max(axis=(1, 2)) > 1e-3 * np.maximum(protocol.bvals, 1.0)
    if off.any():
        row = int(np.flatnonzero(off)[0])
        raise InputError(
            f"measurement {row} of the table has a b-tensor that {type(protocol.waveforms[0]).__name__} does not give",
            "give the waveform that was played: a table does not hold it",
            key="waveform",
        )


def _seconds(times: FloatArray) -> Any:
    seconds = (times * 1e-3).round(12)
    return float(seconds[0]) if (seconds == seconds[0]).all() else seconds


def _times(key: str, given: float | None, held: Any, count: int) -> FloatArray:
    if given is not None:
        return np.full(count, float(given))
    if held is None:
        raise InputError(f"the table does not say {key}", "give delta and Delta in ms, or a waveform", key=key)
    return np.broadcast_to([milliseconds(float(time)) for time in np.atleast_1d(held)], (count,))
