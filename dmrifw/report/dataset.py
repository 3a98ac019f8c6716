"""Signals as an xarray dataset, with what is needed to know where they came from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh import Grid
from dmrifw.sequences import Protocol, Waveform, table_of
from dmrifw.typing import ArrayLike

if TYPE_CHECKING:
    import xarray

_VERSIONED = ("dmrifw", "fenics-dolfinx", "petsc4py", "slepc4py", "torch", "numpy")

_UNITS = {
    "b": "s/mm^2",
    "direction": "1",
    "delta": "ms",
    "Delta": "ms",
    "echo_time": "ms",
    "sequence": "1",
    "volume": "um^3",
    "signal": "um^3",
    "compartment_signal": "um^3",
    "attenuation": "1",
}


def signal_dataset(
    protocol: Protocol,
    signal: ArrayLike,
    unweighted: ArrayLike,
    *,
    compartment_signal: ArrayLike | None = None,
    grid: Grid | None = None,
    method: str = "",
    tolerance: float | None = None,
    config: str = "",
) -> xarray.Dataset:
    """Signals with their measurements as coordinates.

    Args:
        protocol: The measurements.
        signal: (n,) complex, um^3.
        unweighted: (n_sequences,) |S| at b = 0 of each waveform of the protocol, um^3.
        compartment_signal: (n, C) complex, um^3, what each compartment adds to the signal.
        grid: The grid that the signals were computed on: its compartments' volumes and its hash are kept.
        method: How they were computed.
        tolerance: Error in S/S0 that was asked for.
        config: Text of the config that they come from.

    Returns:
        Variables `signal` and `attenuation` = |S| / S(b=0) over `measurement`, and `compartment_signal` over
        `measurement` and `compartment` where it is given. Coordinates over `measurement`: b, delta, Delta, echo_time,
        waveform (its name), sequence (which of the protocol's waveforms), direction (also over `axis`: x, y, z); over
        `compartment`: volume. Each has its `units`. Attributes: date, method, tolerance, the waveforms with all their
        parameters as JSON, versions of the software, SHA-256 of the mesh, and the config.

    Local.
    """
    import xarray

    values = np.asarray(signal, dtype=np.complex128)
    variables: dict[str, Any] = {
        "signal": ("measurement", values),
        "attenuation": ("measurement", np.abs(values) / np.asarray(unweighted, dtype=np.float64)[protocol.sequence]),
    }
    if compartment_signal is not None:
        parts = np.asarray(compartment_signal, dtype=np.complex128)
        variables["compartment_signal"] = (("measurement", "compartment"), parts)
    coordinates = _measurements(protocol)
    if grid is not None:
        volumes = np.bincount(grid.cell_tags, grid.cell_volumes, minlength=grid.compartment_count)
        coordinates |= {"compartment": np.arange(grid.compartment_count), "volume": ("compartment", volumes)}
    dataset = xarray.Dataset(variables, coordinates, _provenance(protocol, grid, method, tolerance, config))
    for name, unit in _UNITS.items():
        if name in dataset.variables:
            dataset[name].attrs["units"] = unit
    dataset["direction"].attrs["frame"] = "axes of the grid"
    return dataset


def _measurements(protocol: Protocol) -> dict[str, Any]:
    names = np.array([_waveform_table(waveform)["waveform"] for waveform in protocol.waveforms])
    columns = {
        "b": protocol.bvals,
        "delta": protocol.delta,
        "Delta": protocol.Delta,
        "echo_time": protocol.echo_times,
        "waveform": names[protocol.sequence],
        "sequence": protocol.sequence,
    }
    return {
        "measurement": np.arange(len(protocol)),
        "axis": list("xyz"),
        "direction": (("measurement", "axis"), protocol.bvecs),
        **{name: ("measurement", column) for name, column in columns.items()},
    }


def _waveform_table(waveform: Waveform) -> dict[str, Any]:
    """Name and parameters of a waveform; of one that files do not know, its class alone."""
    try:
        return table_of(waveform)
    except InputError:
        return {"waveform": type(waveform).__name__}


def _provenance(
    protocol: Protocol, grid: Grid | None, method: str, tolerance: float | None, config: str
) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "waveforms": json.dumps([_waveform_table(waveform) for waveform in protocol.waveforms]),
        "config": config,
        **{f"version_{name.replace('-', '_')}": version for name, version in software_versions().items()},
    }
    if method:
        attributes["method"] = method
    if tolerance is not None:
        attributes["tolerance"] = tolerance
    if grid is not None:
        attributes["mesh_sha256"] = mesh_hash(grid)
    return attributes


def mesh_hash(grid: Grid) -> str:
    """SHA-256 of points, cells and compartments: tells whether two results come from the same grid. Local."""
    digest = hashlib.sha256()
    for array in (grid.points, grid.cells, grid.cell_tags):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def software_versions() -> dict[str, str]:
    """Versions of what the numbers depend on, by package. Local."""
    from petsc4py import PETSc

    versions = {"python": platform.python_version(), "petsc": ".".join(map(str, PETSc.Sys.getVersion()))}
    for name in _VERSIONED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # some distributions ship compiled packages without metadata
    return versions
