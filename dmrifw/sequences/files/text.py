"""Tables of numbers in text files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dmrifw.errors import InputError
from dmrifw.typing import FloatArray


def read_text(file: Path, key: str) -> str:
    """The text of a file.

    Raises:
        InputError: It cannot be read.

    Local.
    """
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read {file}", "give the path of a text file, in a config relative to the config", key=key
        ) from error


def read_rows(file: Path, key: str) -> list[list[str]]:
    """The words of every line that is neither empty nor a # comment; commas count as blanks. Local."""
    lines = [line.split("#")[0].replace(",", " ").split() for line in read_text(file, key).splitlines()]
    return [line for line in lines if line]


def numbers(rows: list[list[str]], file: Path, key: str) -> FloatArray:
    """Rows of words as a table of numbers.

    Raises:
        InputError: There are none, they differ in length, or a word is no number.

    Local.
    """
    if not rows or len({len(row) for row in rows}) != 1:
        told = f"rows of {sorted({len(row) for row in rows})} numbers" if rows else "no numbers"
        raise InputError(f"{file} holds {told}", "give a table whose rows are equally long", key=key)
    try:
        return np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{file} is not a table of numbers ({error})", "give numbers only", key=key) from error


def line(values: Iterable[float]) -> str:
    """Numbers with all their digits, on a line. Local."""
    return " ".join(format(float(value), ".17g") if value % 1 else str(int(value)) for value in values) + "\n"


def write_texts(texts: dict[Path, str]) -> None:
    """Write files, each replaced in one step. Local.

    Raises:
        InputError: A file cannot be written.
    """
    for file, text in texts.items():
        part = file.with_name(f".{file.name}.part")
        try:
            part.write_text(text)
            os.replace(part, file)
        except OSError as error:
            raise InputError(f"cannot write {file} ({error.strerror})", "give a path that can be written") from error
