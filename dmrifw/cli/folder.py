"""The run folder: refused when it holds results, made only when there is something to write."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmrifw.errors import InputError
from dmrifw.surface import remove, replacing

SIGNALS = {"netcdf": "signal.nc", "zarr": "signal.zarr"}
SIGNAL_TABLE = "signal.csv"
MAGNETIZATION = "magnetization.vtu"
SIGNAL_FILES = (*SIGNALS.values(), SIGNAL_TABLE, MAGNETIZATION)
CHECKPOINT = "checkpoint.h5"
HISTORY = "history.csv"
METRICS = "metrics.json"
INTERFACE = "interface.ply"
FIELDS = "fields.vtu"
SHAPE = "shape.vtu"
FRAMES = "shapes"
SEQUENCE = "shapes.pvd"
ANIMATION = "shapes.gif"
RECOVERY = "result.nc"
PICTURE = "recovery.png"
REPORT = "report.html"
CONFIG_COPY = "config.toml"
TRAINING_FILES = (METRICS, HISTORY, CHECKPOINT)
SHAPE_FILES = (SHAPE, SEQUENCE, FRAMES, ANIMATION)
INVERSION_FILES = (METRICS, HISTORY, INTERFACE, FIELDS, *SHAPE_FILES, RECOVERY, PICTURE, REPORT, CHECKPOINT)
_LASTING = (HISTORY, CHECKPOINT, SEQUENCE, FRAMES)
"""Files that grow while an inversion runs; the others tell how it ended."""


@dataclass(frozen=True)
class RunFolder:
    """Where a command leaves its results.

    Attributes:
        path: The folder.
        config: The file that the command reads its config from, which may lie in the folder without being a result;
            None where the config is not from a file.
        own: Names of the files that the command writes.
    """

    path: Path
    config: Path | None
    own: tuple[str, ...]

    def refuse_results(self, mend: str = "choose another folder, or give --force to overwrite") -> None:
        """Raise InputError where a command, this one or another, has left results. Local."""
        held = self._present((*SIGNAL_FILES, *INVERSION_FILES, CONFIG_COPY))
        if held:
            raise InputError(f"the folder already holds results ({held[0].name})", mend, key="-o", file=self.path)

    def refuse_unwritable(self) -> None:
        """Raise InputError where nothing could be written. Touches nothing. Local."""
        parent = self.path
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir():
            raise InputError(f"{parent} is a file", "choose a folder", key="-o", file=self.path)
        if not os.access(parent, os.W_OK | os.X_OK):
            raise InputError(f"{parent} is not writable", "choose another folder", key="-o", file=self.path)

    def refuse_to_remove_sources(self, table: Mapping[str, Any], config: Path) -> None:
        """Raise InputError where a config names a file that is removed before results are written.

        Args:
            table: What the config says.
            config: Its file: what it names is relative to that one's folder.

        Local.
        """
        own = [(self.path / name).resolve() for name in self.own]
        for key, word in _words(table):
            file = (config.parent / word).resolve()
            if any(file.is_relative_to(one) for one in own) and file.exists():
                fault = f"{word} is read, but lies where this run would remove old results"
                raise InputError(fault, "choose another folder with -o", key=key, file=config)

    def start(self, text: str) -> None:
        """Make the folder, remove what an earlier run of this command left, and keep the config's text.

        Raises:
            InputError: It cannot be made.

        Local; call it on one rank.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the folder cannot be made ({error.strerror})", "choose another", key="-o", file=self.path
            ) from error
        for file in self._present(self.own):
            remove(file)
        copy = self.path / CONFIG_COPY
        if not _same_file(copy, self.config):
            with replacing(copy) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def reopen(self) -> None:
        """Remove what tells how a run ended, since it goes on. Local; call it on one rank."""
        for name in self.own:
            if name not in _LASTING:
                remove(self.path / name)

    def _present(self, names: tuple[str, ...]) -> list[Path]:
        present = [self.path / name for name in names if (self.path / name).exists()]
        return [file for file in present if not _same_file(file, self.config)]


def _words(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a table, and by which key."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _words(one, f"{key}.{name}" if key else name)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _words(one, key)
    elif isinstance(value, str) and value and "\0" not in value:
        yield key, value


def _same_file(one: Path, other: Path | None) -> bool:
    return other is not None and one.exists() and other.exists() and one.samefile(other)
