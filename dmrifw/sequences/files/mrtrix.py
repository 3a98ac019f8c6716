"""MRtrix gradient tables: a row x y z b (s/mm^2) for each measurement, vectors in world axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences.files.gradients import measured
from dmrifw.sequences.files.text import line, numbers, read_rows, write_texts
from dmrifw.sequences.files.timing import Timing, only_pgse, sidecar_text
from dmrifw.sequences.protocol import Protocol


def read(file: Path, timing: Timing, b0_threshold: float) -> Protocol:
    """The protocol of a table; see `dmrifw.sequences.files.read`.

    Raises:
        InputError: It has not four columns, or vectors of other lengths, which may mean another b.

    Local.
    """
    table = numbers(read_rows(file, "path"), file, "path")
    if table.shape[1] != 4:
        raise InputError(f"{file} has {table.shape[1]} columns", "give x y z b in each row", key="path")
    length = np.linalg.norm(table[:, :3], axis=1)
    odd = np.flatnonzero((length > 0) & (np.abs(length - 1) > 0.01))
    if len(odd):
        raise InputError(
            f"{file}: direction {odd[0]} has length {length[odd[0]]:g}, by which MRtrix may scale b",
            "write unit vectors and the b-values meant",
            key="path",
        )
    return measured(timing.resolve(file), table[:, 3], table[:, :3], b0_threshold)


def write(protocol: Protocol, file: Path) -> None:
    """Write a table and a sidecar; see `dmrifw.sequences.files.write`. Local."""
    waveform = only_pgse(protocol, "MRtrix")
    rows = np.column_stack([protocol.bvecs, protocol.bvals])
    sidecar = file.with_suffix(".json")
    write_texts({file: "".join(map(line, rows)), sidecar: sidecar_text(waveform, sidecar)})
