"""FSL gradient tables: one file of b-values (s/mm^2), one of directions along the image's axes.

Directions stand in three rows, a column for each measurement. Three columns are refused: with three measurements nobody
could tell one from the other.
"""

from __future__ import annotations

from pathlib import Path

from dmrifw.errors import InputError
from dmrifw.sequences.files.gradients import measured
from dmrifw.sequences.files.text import line, numbers, read_rows, write_texts
from dmrifw.sequences.files.timing import Timing, only_pgse, sidecar_text
from dmrifw.sequences.protocol import Protocol
from dmrifw.typing import FloatArray


def read(bvals: Path, bvecs: Path | None, timing: Timing, turn: FloatArray | None, b0_threshold: float) -> Protocol:
    """The protocol of two files; see `dmrifw.sequences.files.read`.

    Args:
        bvals: The b-values.
        bvecs: The directions.
        timing: Says the waveform.
        turn: (3, 3) from FSL's axes to the grid's; None leaves vectors as they are.
        b0_threshold: See `gradients.measured`.

    Local.
    """
    values = _read_bvals(bvals)
    vectors = _read_bvecs(bvecs or _beside(bvals), len(values))
    return measured(timing.resolve(bvals), values, vectors if turn is None else vectors @ turn.T, b0_threshold)


def write(protocol: Protocol, bvals: Path, bvecs: Path | None, turn: FloatArray | None) -> None:
    """Write two files and a sidecar; see `dmrifw.sequences.files.write`. Local."""
    waveform = only_pgse(protocol, "FSL")
    vectors = protocol.bvecs if turn is None else protocol.bvecs @ turn
    write_texts(
        {
            bvals: line(protocol.bvals),
            bvecs or _beside(bvals): "".join(line(axis) for axis in vectors.T),
            bvals.with_suffix(".json"): sidecar_text(waveform, bvals.with_suffix(".json")),
        }
    )


def _beside(bvals: Path) -> Path:
    name = bvals.name.replace("bval", "bvec")
    if name == bvals.name:
        raise InputError(
            f"the name of {bvals} does not tell that of the directions", "give the bvecs file", key="bvecs"
        )
    return bvals.with_name(name)


def _read_bvals(file: Path) -> FloatArray:
    table = numbers(read_rows(file, "bvals"), file, "bvals")
    if 1 not in table.shape:
        mend = "is this the bvecs file?" if 3 in table.shape else "give one row, or one column, of b-values in s/mm^2"
        raise InputError(f"{file} holds a table of {table.shape[0]} rows x {table.shape[1]} columns", mend, key="bvals")
    return table.reshape(-1)


def _read_bvecs(file: Path, count: int) -> FloatArray:
    """(count, 3) directions."""
    table = numbers(read_rows(file, "bvecs"), file, "bvecs")
    if table.shape == (3, count):
        return table.T
    held = f"{table.shape[0]} rows x {table.shape[1]} columns"
    if table.shape == (count, 3):
        told = f"{file} is transposed: {held} for {count} b-values"
        raise InputError(told, "write x, y and z in a row each, as FSL does", key="bvecs")
    mend = f"give 3 rows x {count} columns"
    if 3 not in table.shape:
        mend = f"is this the bvals file? {mend}"
    raise InputError(f"{file} holds a table of {held}, but there are {count} b-values", mend, key="bvecs")
