"""The config file: one pydantic model per table, read from TOML, with every fault told in one line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import PrivateAttr, ValidationError, model_validator

from dmrifw.cli.experiment import ProtocolSection, Solver, Tissue
from dmrifw.cli.faults import first_fault
from dmrifw.cli.fields import Section
from dmrifw.cli.geometry import FileGeometry, Geometry
from dmrifw.cli.inversion import Inversion
from dmrifw.errors import InputError

T = TypeVar("T", bound=Section)


class Config(Section):
    """A whole config file."""

    geometry: Geometry
    tissue: Tissue = Tissue()
    protocol: ProtocolSection
    solver: Solver = Solver()
    inversion: Inversion | None = None

    _path: Path = PrivateAttr()
    _text: str = PrivateAttr()

    @model_validator(mode="after")
    def _any_face_may_be_found(self) -> Config:
        """An inversion asks which faces of a mesh are walls, unless the config says that it is told."""
        if self.inversion is None or not isinstance(self.geometry, FileGeometry) or self.geometry.ambient is not None:
            return self
        return self.model_copy(update={"geometry": self.geometry.model_copy(update={"ambient": True})})

    @property
    def path(self) -> Path:
        """The file that this config was read from; paths in it are relative to its folder."""
        return self._path

    @property
    def text(self) -> str:
        """The file's text."""
        return self._text


def load(path: Path) -> Config:
    """The config in a TOML file.

    Args:
        path: The file.

    Returns:
        The config, its values checked one by one; whether they fit together shows when things are built from it.

    Raises:
        InputError: The file cannot be read, is not TOML, or a key is unknown, missing, or has a bad value.

    Local.
    """
    return parse_text(read_text(path), path)


def read_text(path: Path) -> str:
    """The text of a config file.

    Raises:
        InputError: The file cannot be read.

    Local.
    """
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise InputError("there is no such file", "give the path of a TOML config", file=path) from error
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", "save it as UTF-8", file=path) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", "give a readable TOML config", file=path) from error


def parse_text(text: str, path: Path) -> Config:
    """The config in a text; `path` is where faults are said to be, and what paths in it are relative to. Local."""
    return validated(parse_table(text, path), text, path)


def parse_table(text: str, path: Path) -> dict[str, Any]:
    """The table in a text; InputError where it is not TOML. Local."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not TOML: {error}", "mend the syntax there", file=path) from error


def validated(table: dict[str, Any], text: str, path: Path) -> Config:
    """The config in a table that was parsed from a text. Local."""
    config = checked(Config, table, path)
    config._path, config._text = path, text
    return config


def checked(kind: type[T], table: dict[str, Any], path: Path) -> T:
    """A table as what it should be; InputError that names its first fault where it is not. Local."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise first_fault(error, table, path) from error
