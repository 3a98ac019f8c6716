"""dmrifw's own form: JSON that holds every waveform and every digit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences.files.text import read_text, write_texts
from dmrifw.sequences.protocol import Protocol
from dmrifw.sequences.registry import table_of, waveform_from
from dmrifw.sequences.table import checked_table

_FORMAT = "dmrifw protocol"
_UNITS = {"time": "ms", "b": "s/mm^2", "gradient": "mT/m"}


def read(file: Path) -> Protocol:
    """The protocol of a file; see `dmrifw.sequences.files.read`.

    Raises:
        InputError: The file is not of this form, or holds something that makes no measurement.

    Local.
    """
    try:
        table = json.loads(read_text(file, "path"))
    except json.JSONDecodeError as error:
        raise InputError(f"{file} is not JSON ({error})", "give a file that Protocol.write made", key="path") from error
    if not isinstance(table, dict) or table.get("format") != _FORMAT:
        raise InputError(
            f'{file} does not say "format": "{_FORMAT}"', "give a file that Protocol.write made", key="path"
        )
    try:
        waveforms = tuple(
            waveform_from(entry["waveform"], {key: value for key, value in entry.items() if key != "waveform"})
            for entry in table["waveforms"]
        )
        sequence = np.asarray(table["sequence"], dtype=np.int64)
        values, vectors = checked_table(table["b"], table["directions"])
    except InputError as error:
        raise InputError(f"{file}: {error.key}: {error.fault}", error.mend, key="path") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        told = f"{file} is incomplete ({type(error).__name__}: {error})"
        raise InputError(told, "give waveforms, sequence, b and directions", key="path") from error
    if sequence.shape != values.shape or not ((sequence >= 0) & (sequence < len(waveforms))).all():
        told = f"{file}: sequence does not name one of {len(waveforms)} waveforms for each of {len(values)} b-values"
        raise InputError(told, "mend it", key="path")
    return Protocol(waveforms, sequence, values, vectors)


def write(protocol: Protocol, file: Path) -> None:
    """Write a file; see `dmrifw.sequences.files.write`. Local."""
    table = {
        "format": _FORMAT,
        "units": _UNITS,
        "frame": "axes of the grid",
        "waveforms": [table_of(waveform) for waveform in protocol.waveforms],
        "sequence": protocol.sequence.tolist(),
        "b": protocol.bvals.tolist(),
        "directions": protocol.bvecs.tolist(),
    }
    write_texts({file: json.dumps(table, indent=1) + "\n"})
