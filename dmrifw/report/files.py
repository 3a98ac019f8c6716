"""Datasets of signals in netCDF and zarr, tables of them in CSV; signals read back for a protocol, and walls."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh import Grid, from_arrays
from dmrifw.sequences import Protocol
from dmrifw.surface import replacing
from dmrifw.typing import ArrayLike, ComplexArray, FloatArray

if TYPE_CHECKING:
    import xarray

CSV_HEADER = ("index", "bval", "gx", "gy", "gz", "delta", "Delta", "signal_re", "signal_im", "attenuation")
"""Columns of signal.csv, one row a measurement."""

_COMPLEX = ("signal", "compartment_signal", "target")
"""Variables that are complex in memory; files hold NAME_re and NAME_im, as netCDF knows no complex numbers."""

_MATCH = 1e-4
"""Relative difference up to which a b-value or a time, and absolute up to which a unit vector, counts as the same."""


def write_dataset(path: str | Path, dataset: xarray.Dataset) -> None:
    """Write a dataset as netCDF-4 (.nc) or zarr (.zarr, a folder), which takes its place when it is complete.

    Complex variables become two, NAME_re and NAME_im; `read_signals` joins them.

    Raises:
        InputError: The suffix is another one.

    Local; call it on one rank.
    """
    path = Path(path)
    _check_suffix(path)
    plain = dataset
    for name in _COMPLEX:
        if name in dataset:
            whole = dataset[name]
            plain = plain.assign({f"{name}_re": whole.real, f"{name}_im": whole.imag}).drop_vars(name)
            for part in ("re", "im"):
                plain[f"{name}_{part}"].attrs = whole.attrs
    with replacing(path) as temporary:
        if path.suffix == ".nc":
            content = io.BytesIO()  # HDF5 itself, on a full disk, takes the process down
            plain.to_netcdf(content, engine="h5netcdf")
            temporary.write_bytes(content.getvalue())
        else:
            texts = {
                name: column.astype(object) for name, column in plain.variables.items() if column.dtype.kind == "U"
            }
            plain.assign_coords(texts).to_zarr(temporary, mode="w", zarr_format=3, consolidated=False)


def read_signals(path: str | Path) -> xarray.Dataset:
    """The dataset in a file that `write_dataset` wrote, with its complex variables complex again.

    Args:
        path: A .nc file or a .zarr folder.

    Returns:
        What `signal_dataset` made, in memory.

    Raises:
        InputError: There is no such file, or it is no such dataset.

    Local.
    """
    import xarray

    path = Path(path)
    _check_suffix(path)
    if not path.exists():
        raise InputError("there is no such file", "give a signal.nc or signal.zarr", file=path)
    netcdf = path.suffix == ".nc"
    # zarr's version 2 would let a file name pickle as its filter
    options: dict[str, Any] = {} if netcdf else {"zarr_format": 3, "consolidated": False}
    mend = f"give the signal{path.suffix} of a simulation"
    try:
        with xarray.open_dataset(path, engine="h5netcdf" if netcdf else "zarr", **options) as opened:
            dataset = opened.load()
    except Exception as error:  # a damaged file raises from h5py, h5netcdf, zarr or xarray
        told = str(error) or type(error).__name__
        raise InputError(f"not a {'netCDF-4' if netcdf else 'zarr 3'} file ({told})", mend, file=path) from error
    for name in _COMPLEX:
        parts = [f"{name}_{part}" for part in ("re", "im")]
        if all(part in dataset for part in parts):
            real, imaginary = (dataset[part] for part in parts)
            dataset = dataset.assign({name: (real.dims, real.values + 1j * imaginary.values, real.attrs)})
            dataset = dataset.drop_vars(parts)
    for name in ("signal", "b", "delta", "Delta", "direction"):
        if name not in dataset.variables or dataset[name].dims[:1] != ("measurement",):
            raise InputError("there is no such variable over `measurement`", mend, key=name, file=path)
    return dataset


def read_walls(path: str | Path) -> tuple[Grid, FloatArray]:
    """Permeabilities that an inversion recovered, from its result.nc.

    Args:
        path: The file.

    Returns:
        The grid that was inverted, and the permeability of its faces, (F,) um/ms.

    Raises:
        InputError: There is no such file, or it is no result of an inversion of walls.

    Local.
    """
    mend = "give the result.nc of an inversion that recovered walls"
    try:
        dataset = read_signals(path)
        for name in ("points", "cells", "permeability"):
            if name not in dataset:
                raise InputError("there is no such variable", mend, key=name)
        grid = from_arrays(dataset["points"].values, dataset["cells"].values)
    except InputError as error:
        raise InputError(error.fault, mend, key=error.key, file=path) from error
    permeability = dataset["permeability"].values
    if permeability.shape != (len(grid.faces),) or not (permeability > 0).all():
        raise InputError(f"not {len(grid.faces)} positive numbers, one per face", mend, key="permeability", file=path)
    return grid, permeability


def _check_suffix(path: Path) -> None:
    if path.suffix not in (".nc", ".zarr"):
        raise InputError(f"the suffix {path.suffix!r} tells no format", "end the name in .nc or .zarr", file=path)


def write_csv(path: str | Path, dataset: xarray.Dataset) -> None:
    """Write what `signal_dataset` gave as a table with the columns `CSV_HEADER`; replaces in one step.

    Numbers have the digits that give the same doubles when read back. Local; call it on one rank.
    """
    table = _columns_of(dataset) | {
        "index": dataset["measurement"].values,
        "attenuation": dataset["attenuation"].values,
    }
    columns = [table[name] for name in CSV_HEADER]
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="ascii") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(CSV_HEADER)
        writer.writerows(zip(*(column.tolist() for column in columns), strict=True))


def read_signal(path: str | Path, protocol: Protocol) -> ComplexArray:
    """Signals from a signal.nc, signal.zarr or signal.csv, checked against the measurements that they should be of.

    Args:
        path: The file; its suffix tells what it is.
        protocol: The measurements that are expected, in order.

    Returns:
        (n,) complex signals, um^3.

    Raises:
        InputError: The file cannot be read, lacks a column, holds NaN, or has other measurements.

    Local.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("there is no such file", "give a signal.nc, signal.zarr or signal.csv", file=path)
    if path.suffix not in (".nc", ".zarr", ".csv"):
        raise InputError(f"the suffix {path.suffix!r} tells no format", "give a .nc, .zarr or .csv", file=path)
    columns = _read_csv(path) if path.suffix == ".csv" else _columns_of(read_signals(path))
    _check_same_measurements(columns, protocol, path)
    signal = columns["signal_re"] + 1j * columns["signal_im"]
    if not np.isfinite(signal).all():
        row = int(np.flatnonzero(~np.isfinite(signal))[0])
        raise InputError(f"the signal of measurement {row} is not finite", "mend that row", key="signal_re", file=path)
    return signal


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


def _columns_of(dataset: xarray.Dataset) -> dict[str, FloatArray]:
    """The columns of `CSV_HEADER` that tell signals and measurements."""
    signal, direction = dataset["signal"].values, dataset["direction"].values
    columns = {"bval": dataset["b"].values, "delta": dataset["delta"].values, "Delta": dataset["Delta"].values}
    columns |= {f"g{axis}": direction[:, number] for number, axis in enumerate("xyz")}
    return columns | {"signal_re": signal.real, "signal_im": signal.imag}


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
