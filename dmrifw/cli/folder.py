"""The run folder: refused when it holds results, made only when there is something to write."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

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


def _same_file(one: Path, other: Path | None) -> bool:
    return other is not None and one.exists() and other.exists() and one.samefile(other)
