"""Signals as xarray datasets, netCDF and CSV, with what is needed to know where they came from."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh import Grid
from dmrifw.sequences import Protocol
from dmrifw.surface import replacing
from dmrifw.typing import ArrayLike, ComplexArray, FloatArray

if TYPE_CHECKING:
    import xarray

CSV_HEADER = ("index", "bval", "gx", "gy", "gz", "delta", "Delta", "signal_re", "signal_im", "attenuation")
"""Columns of signal.csv, one row a measurement."""

_VERSIONED = ("dmrifw", "fenics-dolfinx", "petsc4py", "slepc4py", "torch", "numpy")

_UNITS = {
    "bval": "s/mm^2",
    "gx": "1",
    "gy": "1",
    "gz": "1",
    "delta": "ms",
    "Delta": "ms",
    "sequence": "1",
    "signal_re": "um^3",
    "signal_im": "um^3",
    "attenuation": "1",
}

_MATCH = 1e-4
"""Relative difference up to which a b-value or a time, and absolute up to which a unit vector, counts as the same."""


def signal_dataset(
    protocol: Protocol, signal: ArrayLike, unweighted: ArrayLike, *, grid: Grid | None = None, config: str = ""
) -> xarray.Dataset:
    """Signals with their measurements as coordinates.

    Args:
        protocol: The measurements.
        signal: (n,) complex, um^3.
        unweighted: (n_sequences,) |S| at b = 0 of each waveform of the protocol, um^3.
        grid: The grid that the signals were computed on, of which a hash is kept.
        config: Text of the config that they come from.

    Returns:
        Dimension `measurement`; coordinates bval, gx, gy, gz, delta, Delta, sequence; variables signal_re, signal_im
        and attenuation = |S| / S(b=0), each with its unit; attributes with software versions, mesh hash and config.

    Local.
    """
    import xarray

    values = np.asarray(signal, dtype=np.complex128)
    attenuation = np.abs(values) / np.asarray(unweighted, dtype=np.float64)[protocol.sequence]
    coordinates = {
        "bval": protocol.bvals,
        **{f"g{axis}": protocol.bvecs[:, column] for column, axis in enumerate("xyz")},
        "delta": protocol.delta,
        "Delta": protocol.Delta,
        "sequence": protocol.sequence,
    }
    variables = {"signal_re": values.real, "signal_im": values.imag, "attenuation": attenuation}

    def column(name: str, data: ArrayLike) -> tuple[str, ArrayLike, dict[str, str]]:
        return "measurement", data, {"units": _UNITS[name]}

    attributes = {f"version_{name.replace('-', '_')}": version for name, version in software_versions().items()}
    if grid is not None:
        attributes["mesh_sha256"] = mesh_hash(grid)
    return xarray.Dataset(
        {name: column(name, data) for name, data in variables.items()},
        {"measurement": np.arange(len(values)), **{name: column(name, data) for name, data in coordinates.items()}},
        {**attributes, "config": config},
    )


def write_netcdf(path: str | Path, dataset: xarray.Dataset) -> None:
    """Write a dataset as netCDF-4; an older file is replaced in one step. Local; call it on one rank."""
    with replacing(path) as temporary:
        dataset.to_netcdf(temporary, engine="h5netcdf")


def write_csv(path: str | Path, dataset: xarray.Dataset) -> None:
    """Write what `signal_dataset` gave as a table with the columns `CSV_HEADER`; replaces in one step.

    Numbers have the digits that give the same doubles when read back. Local; call it on one rank.
    """
    columns = [dataset["measurement"].values, *(dataset[name].values for name in CSV_HEADER[1:])]
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="ascii") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(CSV_HEADER)
        writer.writerows(zip(*(column.tolist() for column in columns), strict=True))


def read_signal(path: str | Path, protocol: Protocol) -> ComplexArray:
    """Signals from a signal.nc or signal.csv, checked against the measurements that they should be of.

    Args:
        path: The file; the suffix .csv means a table, anything else netCDF.
        protocol: The measurements that are expected, in order.

    Returns:
        (n,) complex signals, um^3.

    Raises:
        InputError: The file cannot be read, lacks a column, holds NaN, or has other measurements.

    Local.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("there is no such file", "give a signal.nc or signal.csv", file=path)
    columns = _read_csv(path) if path.suffix == ".csv" else _read_netcdf(path)
    _check_same_measurements(columns, protocol, path)
    signal = columns["signal_re"] + 1j * columns["signal_im"]
    if not np.isfinite(signal).all():
        row = int(np.flatnonzero(~np.isfinite(signal))[0])
        raise InputError(f"the signal of measurement {row} is not finite", "mend that row", key="signal_re", file=path)
    return signal


def mesh_hash(grid: Grid) -> str:
    """SHA-256 of points, cells and compartments: tells whether two results come from the same grid. Local."""
    digest = hashlib.sha256()
    for array in (grid.points, grid.cells, grid.cell_tags):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def software_versions() -> dict[str, str]:
    """Versions of what the numbers depend on, by package. Local."""
    versions = {"python": platform.python_version()}
    for name in _VERSIONED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # some distributions ship compiled packages without metadata
    return versions


def _read_csv(path: Path) -> dict[str, FloatArray]:
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, restval="")
            names, rows = reader.fieldnames or (), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"not a CSV table ({error})", "give the signal.csv of a simulation", file=path) from error
    columns = {}
    for name in CSV_HEADER[1:-1]:
        if name not in names:
            raise InputError("the column is missing", f"the header is {','.join(CSV_HEADER)}", key=name, file=path)
        try:
            columns[name] = np.array([row[name] for row in rows], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"not all numbers ({error})", "mend that entry", key=name, file=path) from error
    return columns


def _read_netcdf(path: Path) -> dict[str, FloatArray]:
    import xarray

    try:
        with xarray.open_dataset(path, engine="h5netcdf") as dataset:
            dataset.load()
    except Exception as error:  # a damaged file raises from h5py, h5netcdf or xarray
        told = str(error) or type(error).__name__
        raise InputError(f"not a netCDF-4 file ({told})", "give the signal.nc of a simulation", file=path) from error
    for name in CSV_HEADER[1:-1]:
        if name not in dataset or dataset[name].dims != ("measurement",):
            mend = "give the signal.nc of a simulation"
            raise InputError("there is no such variable over `measurement`", mend, key=name, file=path)
    return {name: dataset[name].values.astype(np.float64) for name in CSV_HEADER[1:-1]}


def _check_same_measurements(columns: dict[str, FloatArray], protocol: Protocol, path: Path) -> None:
    mend = "give a target and a protocol with the same measurements in the same order"
    if len(columns["bval"]) != len(protocol):
        told = f"{len(columns['bval'])} measurements where the protocol has {len(protocol)}"
        raise InputError(told, mend, key="bval", file=path)
    expected = {"bval": protocol.bvals, "delta": protocol.delta, "Delta": protocol.Delta}
    for name, values in expected.items():
        differ = ~np.isclose(columns[name], values, rtol=_MATCH, equal_nan=True)  # NaN: a waveform without pulses
        _refuse_difference(differ, columns[name], values, name, path, mend)
    for column, name in enumerate(("gx", "gy", "gz")):
        values = protocol.bvecs[:, column]
        other = (np.abs(columns[name] - values) > _MATCH) & (protocol.bvals > 0)
        _refuse_difference(other, columns[name], values, name, path, mend)


def _refuse_difference(
    other: ArrayLike, found: FloatArray, expected: FloatArray, name: str, path: Path, mend: str
) -> None:
    if np.any(other):
        row = int(np.flatnonzero(other)[0])
        told = f"measurement {row} has {found[row]:g} where the protocol has {expected[row]:g}"
        raise InputError(told, mend, key=name, file=path)
