"""`[protocol]`: measurements from a preset, a file, or shells."""

from __future__ import annotations

from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from dmrifw.cli.experiment import ProtocolSection, Shell
from dmrifw.errors import InputError
from dmrifw.sequences import Protocol, Waveform, fibonacci_directions, waveform_from
from dmrifw.sequences.files import read_samples


def build_protocol(section: ProtocolSection, folder: Path) -> Protocol:
    """The measurements that a config asks for.

    Args:
        section: The `[protocol]` table.
        folder: Folder that file names are relative to.

    Returns:
        The protocol.

    Raises:
        InputError: A value does not make a measurement, or a file is missing or unsound.

    Local.
    """
    if section.preset is not None:
        return Protocol.preset(section.preset)
    if section.shell is not None:
        return reduce(add, [_of_shell(shell, index, folder) for index, shell in enumerate(section.shell)])
    options = {
        "delta": section.delta,
        "Delta": section.Delta,
        "sidecar": None if section.sidecar is None else folder / section.sidecar,
        "image": None if section.image is None else folder / section.image,
        "b0_threshold": section.b0_threshold or 0.0,
    }
    if section.path is None:
        return Protocol.read(folder / str(section.bvals), format="fsl", bvecs=folder / str(section.bvecs), **options)
    try:
        return Protocol.read(folder / section.path, **options)
    except InputError as error:
        key = error.key if error.key in options else {"affine": "image"}.get(error.key or "", "path")
        raise InputError(error.fault, error.mend, key=key) from error


def _of_shell(shell: Shell, index: int, folder: Path) -> Protocol:
    try:
        waveform = _waveform(shell, folder)
        if isinstance(shell.directions, int):
            directions = fibonacci_directions(shell.directions)
        else:
            directions = np.array(shell.directions)
        return Protocol.product(waveform, np.atleast_1d(np.asarray(shell.b, dtype=float)), directions)
    except InputError as error:
        name = {"bvals": "b", "bvecs": "directions"}.get(error.key or "", error.key)
        raise InputError(error.fault, error.mend, key=f"shell[{index}].{name}") from error


def _waveform(shell: Shell, folder: Path) -> Waveform:
    table = dict(shell.parameters)
    file = table.pop("file", None)
    if file is None:
        return waveform_from(shell.waveform, table)
    if not isinstance(file, str) or "times" in table or "samples" in table:
        raise InputError(f"got {file!r}", "give the name of a file, or times and samples", key="file")
    times, samples = read_samples(folder / file, table.get("interpolation", "linear"))
    return waveform_from(shell.waveform, {"times": times, "samples": samples, **table})
