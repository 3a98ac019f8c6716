"""One HDF5 file from which an inversion goes on exactly where it stood. Reading it never executes code."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import torch

from dmrifw.errors import InputError
from dmrifw.inversion.history import History
from dmrifw.mesh import Grid
from dmrifw.parametrizations import Parametrization
from dmrifw.sequences import Protocol as MeasurementProtocol

Arrays = dict[str, np.ndarray]

FORMAT = "dmrifw-checkpoint-1"


class Stateful(Protocol):
    """What a checkpoint asks of an optimizer; those of torch satisfy it, and `dmrifw.inversion.optimizer.Optimizer`."""

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: {name: tensor}}, "param_groups": anything that is made anew}. Local."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Restore what `state_dict` gave. Local."""


def fingerprint(grid: Grid, protocol: MeasurementProtocol, config: Mapping[str, Any]) -> dict[str, str]:
    """What a checkpoint belongs to: a digest of the grid, of the protocol and of the config.

    Args:
        grid: The grid that is inverted.
        protocol: The measurements.
        config: Everything else that shapes the path of the inversion; of a type that JSON holds.

    Returns:
        Hexadecimal digests under "grid", "protocol" and "config"; the same on every machine.

    Local.
    """
    timing = [np.append(waveform.breakpoints, waveform.btensor(np.eye(3))) for waveform in protocol.waveforms]
    return {
        "grid": _digest({"points": grid.points, "cells": grid.cells, "tags": grid.cell_tags}),
        "protocol": _digest(
            {"bvals": protocol.bvals, "bvecs": protocol.bvecs, "sequence": protocol.sequence}
            | {f"waveform {number}": array for number, array in enumerate(timing)}
        ),
        "config": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
    }


class Checkpoint:
    """Where an inversion is kept.

    Args:
        path: The file; replaced as a whole, so that a crash leaves the old one or the new one.
        fingerprint: What `fingerprint` returned; another inversion's checkpoint is refused.
        every_seconds: Time between two writes.
    """

    def __init__(self, path: str | Path, fingerprint: Mapping[str, str], every_seconds: float = 60.0) -> None:
        self.path = Path(path)
        self.fingerprint = dict(fingerprint)
        self.every_seconds = every_seconds
        self._written = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time for another write. Local: the clocks of ranks differ, so ask on one."""
        return time.monotonic() - self._written >= self.every_seconds

    def write(self, arrays: Arrays) -> None:
        """Put a state on disk, for good.

        Args:
            arrays: What `pack` returned.

        Raises:
            OSError: The disk is full or the folder cannot be written to; an older checkpoint is left as it was.

        Local; call it on one rank.
        """
        partial = self.path.with_name(self.path.name + ".partial")
        content = io.BytesIO()  # HDF5 itself, on a full disk, takes the process down
        with h5py.File(content, "w") as file:
            file.attrs.update({"format": FORMAT, "digest": _digest(arrays), **self.fingerprint})
            for name, array in arrays.items():
                file.create_dataset(name, data=array)
        try:
            partial.write_bytes(content.getvalue())
            _flush_to_disk(partial)
            os.replace(partial, self.path)
        finally:
            partial.unlink(missing_ok=True)
        _flush_to_disk(self.path.parent)
        self._written = time.monotonic()

    def read(self) -> Arrays:
        """The state on disk.

        Returns:
            What was given to `write`.

        Raises:
            InputError: There is no such file, it is damaged, or it belongs to another inversion. Names the file.

        Local; call it on one rank.
        """
        if not self.path.exists():
            raise InputError("there is no checkpoint to resume from", "start without resuming", file=self.path)
        try:
            with h5py.File(self.path, "r") as file:
                attributes = dict(file.attrs)
                arrays: Arrays = {}
                file.visititems(lambda name, node: _collect(arrays, name, node))
        except (OSError, RuntimeError, ValueError, KeyError) as error:  # h5py's ways to say that bytes make no sense
            raise self._damaged() from error
        if attributes.get("format") != FORMAT:
            raise InputError("this is not a checkpoint of this version", "start without resuming", file=self.path)
        if attributes.get("digest") != _digest(arrays):
            raise self._damaged()
        differing = [mark for mark, value in self.fingerprint.items() if attributes.get(mark) != value]
        if differing:
            raise InputError(
                f"this checkpoint was made with another {' and another '.join(differing)}",
                "resume with what made it, or start anew in another folder",
                file=self.path,
            )
        return arrays

    def restore(self, arrays: Arrays, parametrization: Parametrization, optimizer: Stateful) -> History:
        """Put a state that was read into the objects that `pack` took it from, made anew.

        Returns:
            The history.

        Raises:
            InputError: The state does not fit the parametrization. Names the file.

        Local; call it on every rank.
        """
        try:
            return unpack(arrays, parametrization, optimizer)
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(
                f"this checkpoint does not fit the parametrization ({error})", "start without resuming", file=self.path
            ) from error

    def _damaged(self) -> InputError:
        return InputError("the checkpoint is damaged", "remove it and start without resuming", file=self.path)


def pack(parametrization: Parametrization, optimizer: Stateful, history: History) -> Arrays:
    """Everything that an inversion needs to go on, as arrays by path, which later steps leave alone. Local."""
    arrays = {f"parameters/{name}": _to_numpy(value) for name, value in parametrization.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer/{index}/{name}": _to_numpy(value) for name, value in moments.items()}
    return arrays | {f"history/{name}": history.column(name) for name in history.columns}


def unpack(arrays: Arrays, parametrization: Parametrization, optimizer: Stateful) -> History:
    """The inverse of `pack`: restores the parametrization and the optimizer in place, returns the history. Local."""
    parameters, columns = {}, {}
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for path, array in arrays.items():
        branch, _, name = path.partition("/")
        if branch == "parameters":
            parameters[name] = torch.from_numpy(array)
        elif branch == "optimizer":
            index, _, name = name.partition("/")
            moments.setdefault(int(index), {})[name] = torch.from_numpy(array)
        elif branch == "history":
            columns[name] = array
    parametrization.load_state_dict(parameters)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return History.from_columns(columns)


def _to_numpy(value: torch.Tensor) -> np.ndarray:
    return value.detach().numpy().copy()


def _collect(arrays: Arrays, name: str, node: h5py.HLObject) -> None:
    if isinstance(node, h5py.Dataset):
        arrays[name] = np.asarray(node[()])


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and little-endian bytes."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), order="C")
        total.update(f"{name} {array.dtype.str} {array.shape};".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _flush_to_disk(path: Path) -> None:
    """Make sure that a file, or the names in a folder, outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
