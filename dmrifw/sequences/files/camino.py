"""Camino schemes, in SI units: STEJSKALTANNER (PGSE, a timing in each row) and GRADIENT_WAVEFORM (blocks of gradient).

A row of the first is x y z |G| DELTA delta TE; TE is only checked, and written as the end of the second pulse. A row of
the second is K dt and K triples of the effective gradient, each held for dt.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences.files.text import line, numbers, read_rows, write_texts
from dmrifw.sequences.files.timing import milliseconds
from dmrifw.sequences.protocol import Protocol
from dmrifw.sequences.pulsed import PGSE
from dmrifw.sequences.sampled import Sampled, sampled
from dmrifw.sequences.table import checked_table
from dmrifw.sequences.waveforms import Waveform
from dmrifw.typing import FloatArray
from dmrifw.units import B_INSIDE_PER_BOUNDARY, Q_PER_GRADIENT

_PULSES = ("STEJSKALTANNER", "1")
_BLOCKS = "GRADIENT_WAVEFORM"


def read(file: Path) -> Protocol:
    """The protocol of a scheme; see `dmrifw.sequences.files.read`.

    Raises:
        InputError: The version is another one, or a row is unsound.

    Local.
    """
    rows = read_rows(file, "path")
    if not rows or rows[0][0] != "VERSION:" or len(rows[0]) != 2:
        raise InputError(f"{file} does not start with a VERSION: line", "give a Camino scheme", key="path")
    version = rows[0][1]
    if version in _PULSES:
        return _read_pulses(numbers(rows[1:], file, "path"), file)
    if version == _BLOCKS:
        return _read_blocks(rows[1:], file)
    raise InputError(f"{file} is a scheme of version {version}", f"give {_PULSES[0]} or {_BLOCKS}", key="path")


def write_stejskal_tanner(protocol: Protocol, file: Path) -> None:
    """Write a STEJSKALTANNER scheme.

    Raises:
        InputError: A measurement is no PGSE with rectangular pulses.

    Local.
    """
    for number in np.unique(protocol.sequence):
        waveform = protocol.waveforms[number]
        if type(waveform) is not PGSE or waveform.ramp:
            told = f"a {type(waveform).__name__}{' with ramps' if isinstance(waveform, PGSE) else ''}"
            raise InputError(
                f"a STEJSKALTANNER scheme holds rectangular PGSE, the protocol has {told}",
                'write format "camino-waveform", or a .json',
            )
    times = np.column_stack([protocol.Delta, protocol.delta, protocol.echo_times])
    rows = np.column_stack([protocol.bvecs, protocol.amplitudes * 1e-3, (times * 1e-3).round(12)])
    write_texts({file: f"VERSION: {_PULSES[0]}\n" + "".join(map(line, rows))})


def write_waveforms(protocol: Protocol, file: Path, step: float | None) -> None:
    """Write a GRADIENT_WAVEFORM scheme.

    Args:
        protocol: The protocol.
        file: The scheme.
        step: Cut every waveform into blocks of this many ms, rounded to whole blocks.

    Raises:
        InputError: There is no step, and a waveform is not made of equal blocks.

    Local.
    """
    texts = [""] * len(protocol)
    for number in np.unique(protocol.sequence):
        blocks, scale = _blocks(protocol.waveforms[number], step)
        width = np.diff(blocks.times)
        for row in np.flatnonzero(protocol.sequence == number):
            q = protocol.q[[row]] * scale
            starts = blocks.breakpoints[:-1]
            gradients = [blocks.gradient(q, time, index)[0] for index, time in enumerate(starts)]
            values = np.concatenate(gradients) / Q_PER_GRADIENT * 1e-3
            texts[row] = line([len(width), round(float(width.mean()) * 1e-3, 15), *values])
    write_texts({file: f"VERSION: {_BLOCKS}\n" + "".join(texts)})


def _blocks(waveform: Waveform, step: float | None) -> tuple[Sampled, float]:
    """A waveform as equal blocks, and their largest value where the waveform's is 1."""
    if step is not None:
        cut = sampled(waveform, step)
        return cut, cut.peak
    if (
        isinstance(waveform, Sampled)
        and waveform.interpolation == "constant"
        and np.ptp(np.diff(waveform.times)) < 1e-9 * waveform.echo_time
    ):
        return waveform, 1.0
    raise InputError(
        f"a {_BLOCKS} scheme holds gradients in equal blocks, not a {type(waveform).__name__}",
        "give a step in ms to cut it into blocks",
        key="step",
    )


def _read_pulses(table: FloatArray, file: Path) -> Protocol:
    if table.shape[1] != 7:
        raise InputError(
            f"{file} has {table.shape[1]} columns", "give x y z |G| DELTA delta TE in each row", key="path"
        )
    waveforms: list[PGSE] = []
    sequence = np.full(len(table), -1)
    for row, (strength, Delta, delta, echo) in enumerate(table[:, 3:]):
        if strength == 0 and delta == 0:
            continue  # nothing is played, so nothing is said of the timing
        try:
            waveform = PGSE(milliseconds(delta), milliseconds(Delta))
        except InputError as error:
            raise InputError(f"{file}: measurement {row}: {error.fault}", error.mend, key="path") from error
        if milliseconds(echo) < waveform.echo_time - 1e-6:
            told = f"TE = {echo:g} s is before the end of the pulses, {waveform.echo_time * 1e-3:g} s"
            raise InputError(f"{file}: measurement {row}: {told}", "mend the times, in seconds", key="path")
        sequence[row] = _number(waveforms, waveform)
    return _assembled(waveforms, sequence, table[:, 3] * 1e3, table[:, :3], file)


def _read_blocks(rows: list[list[str]], file: Path) -> Protocol:
    waveforms: list[Sampled] = []
    sequence = np.full(len(rows), -1)
    amplitudes, vectors = np.zeros(len(rows)), np.zeros((len(rows), 3))
    for row, words in enumerate(rows):
        values = numbers([words], file, "path")[0]
        count = int(values[0])
        if count != values[0] or len(values) != 2 + 3 * count or len(values) < 5 or not values[1] > 0:
            raise InputError(
                f"{file}: measurement {row} has {len(values)} numbers and says K = {values[0]:g}, dt = {values[1]:g} s"
                if len(values) > 1
                else f"{file}: measurement {row} has one number",
                "give K dt and 3 K gradients in T/m",
                key="path",
            )
        gradients = values[2:].reshape(count, 3) * 1e3
        if not gradients.any():
            continue
        shape, vectors[row] = _along(gradients)
        amplitudes[row] = np.linalg.norm(gradients, axis=1).max()
        times = tuple(milliseconds(values[1] * tick) for tick in range(count + 1))
        try:
            waveform = Sampled(times, tuple(map(tuple, shape / amplitudes[row])), "constant")
        except InputError as error:
            raise InputError(f"{file}: measurement {row}: {error.fault}", error.mend, key="path") from error
        sequence[row] = _number(waveforms, waveform)
    return _assembled(waveforms, sequence, amplitudes, vectors, file)


def _along(gradients: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gradients in a local frame, and its direction: along z where they lie on one line, else as they are."""
    first = gradients[np.flatnonzero(np.linalg.norm(gradients, axis=1) > 0)[0]]
    largest = gradients[np.argmax(np.linalg.norm(gradients, axis=1))]
    direction = largest / np.linalg.norm(largest) * (1.0 if largest @ first > 0 else -1.0)
    along = gradients @ direction
    if np.linalg.norm(gradients - along[:, None] * direction) > 1e-9 * np.linalg.norm(gradients):
        return gradients, np.array([0.0, 0.0, 1.0])
    return along[:, None] * np.array([0.0, 0.0, 1.0]), direction


def _number(waveforms: list, waveform: Waveform) -> int:
    """The place of a waveform in a list, to which it is added if it is new; equal to rounding is equal."""
    for number, known in enumerate(waveforms):
        if known == waveform or _agree(known, waveform):
            return number
    waveforms.append(waveform)
    return len(waveforms) - 1


def _agree(one: Waveform, other: Waveform) -> bool:
    return (
        isinstance(one, Sampled)
        and isinstance(other, Sampled)
        and one.times == other.times
        and np.allclose(one.samples, other.samples, rtol=0, atol=1e-9)
    )


def _assembled(
    waveforms: list, sequence: np.ndarray, amplitudes: FloatArray, vectors: FloatArray, file: Path
) -> Protocol:
    if not waveforms:
        raise InputError(f"{file} plays no gradient", "give a scheme with a measurement above b = 0", key="path")
    sequence = np.where(sequence < 0, 0, sequence)  # what plays nothing goes with the first waveform
    per_squared_q = np.array([waveform.b_per_squared_q() for waveform in waveforms])[sequence]
    bvals = (amplitudes * Q_PER_GRADIENT) ** 2 * per_squared_q / B_INSIDE_PER_BOUNDARY
    return Protocol(tuple(waveforms), sequence.astype(np.int64), *checked_table(bvals, vectors))
