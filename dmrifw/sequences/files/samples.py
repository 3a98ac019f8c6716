"""A waveform in a text file: a row t gx gy gz for each tick, ms and mT/m."""

from __future__ import annotations

from pathlib import Path

from dmrifw.errors import InputError
from dmrifw.sequences.files.text import numbers, read_rows


def read_samples(file: Path, interpolation: str) -> tuple[list[float], list[list[float]]]:
    """Times and samples of a `Sampled` waveform.

    Args:
        file: Rows t g (along z) or t gx gy gz, the effective gradient; # starts a comment.
        interpolation: As in `Sampled`. With "constant" a row's gradient lasts until the next row; the last is zero.

    Returns:
        (n_t,) ms and the samples, mT/m.

    Raises:
        InputError: The file cannot be read or is no such table.

    Local.
    """
    table = numbers(read_rows(file, "file"), file, "file")
    if table.shape[1] not in (2, 4) or len(table) < 2:
        told = f"{file} holds {table.shape[0]} rows x {table.shape[1]} columns"
        raise InputError(told, "give at least two rows t gx gy gz, in ms and mT/m", key="file")
    samples = table[:, 1:] if table.shape[1] == 4 else table[:, [1]] * [0.0, 0.0, 1.0]
    if interpolation == "constant":
        if samples[-1].any():
            raise InputError(
                f"{file}: the last row's gradient would last no time", "end with a row of zeros", key="file"
            )
        samples = samples[:-1]
    return [float(time) for time in table[:, 0]], [[float(value) for value in row] for row in samples]
