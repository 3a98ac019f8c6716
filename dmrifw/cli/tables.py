"""`[protocol]`: measurements from a preset, a gradient table in files, or shells."""

from __future__ import annotations

from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from dmrifw.cli.config import ProtocolSection, Shell
from dmrifw.errors import InputError
from dmrifw.sequences import Protocol, fibonacci_directions
from dmrifw.typing import FloatArray


def build_protocol(section: ProtocolSection, folder: Path) -> Protocol:
    """The measurements that a config asks for.

    Args:
        section: The `[protocol]` table.
        folder: Folder that file names are relative to.

    Returns:
        The protocol.

    Raises:
        InputError: A value does not make a measurement, or a gradient table is missing or has a wrong shape.

    Local.
    """
    if section.preset is not None:
        return Protocol.preset(section.preset)
    if section.shell is not None:
        return reduce(add, [_of_shell(shell, index) for index, shell in enumerate(section.shell)])
    bvals = _read_bvals(folder / str(section.bvals))
    bvecs = _read_bvecs(folder / str(section.bvecs), len(bvals))
    assert section.delta is not None and section.Delta is not None
    return Protocol.pgse(bvals, bvecs, section.delta, section.Delta)


def _of_shell(shell: Shell, index: int) -> Protocol:
    try:
        if isinstance(shell.directions, int):
            directions = fibonacci_directions(shell.directions)
        else:
            directions = np.array(shell.directions)
        return Protocol.shells(np.atleast_1d(np.asarray(shell.b, dtype=float)), directions, shell.delta, shell.Delta)
    except InputError as error:
        name = {"bvals": "b", "bvecs": "directions"}.get(error.key or "", error.key)
        raise InputError(error.fault, error.mend, key=f"shell[{index}].{name}") from error


def _read_bvals(file: Path) -> FloatArray:
    table = _read_numbers(file, "bvals")
    if 1 not in table.shape:
        mend = "is this the bvecs file?" if 3 in table.shape else "give one row, or one column, of b-values in s/mm^2"
        raise InputError(f"{file} holds a table of {table.shape[0]} rows x {table.shape[1]} columns", mend, key="bvals")
    return table.reshape(-1)


def _read_bvecs(file: Path, count: int) -> FloatArray:
    """(count, 3) directions. FSL writes three rows, others three columns: both will do where they can be told apart."""
    table = _read_numbers(file, "bvecs")
    if table.shape == (3, 3) == (3, count):
        raise InputError(
            f"{file} holds 3 rows x 3 columns, so rows and columns cannot be told apart",
            "give the three directions in a [[protocol.shell]] table",
            key="bvecs",
        )
    if table.shape == (3, count):
        return table.T
    if table.shape == (count, 3):
        return table
    raise InputError(
        f"{file} holds a table of {table.shape[0]} rows x {table.shape[1]} columns, but there are {count} b-values",
        f"give 3 rows x {count} columns (FSL) or {count} rows x 3 columns",
        key="bvecs",
    )


def _read_numbers(file: Path, key: str) -> FloatArray:
    try:
        lines = [line.split("#")[0].replace(",", " ").split() for line in file.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read {file}", "give the path of a text file, relative to the config", key=key
        ) from error
    rows = [row for row in lines if row]
    if not rows or len({len(row) for row in rows}) != 1:
        told = f"rows of {sorted({len(row) for row in rows})} numbers" if rows else "no numbers"
        raise InputError(f"{file} holds {told}", "give a table whose rows are equally long", key=key)
    try:
        return np.array(rows, dtype=float)
    except ValueError as error:
        raise InputError(f"{file} is not a table of numbers ({error})", "give numbers only", key=key) from error
