"""Signals as files: what is read back is what was written, and what is not a matching signal is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import xarray

from dmrifw import Protocol, report
from dmrifw.errors import InputError
from dmrifw.mesh import bcc_grid, from_arrays
from dmrifw.sequences import waveform_from


def two_sequences(second_b: float = 2500, first_direction=(1, 0, 0), long: float = 60) -> Protocol:
    """Five measurements of two sequences, b = 0 in the middle of the first."""
    first = Protocol.pgse([1000, 0, second_b], [first_direction, [0, 0, 0], [1, 1, 1]], 10, 20)
    return first + Protocol.pgse([0, 700], [[0, 0, 0], [0, 1, 0]], 5, long)


@pytest.fixture
def protocol() -> Protocol:
    """The measurements of `SIGNAL`."""
    return two_sequences()


SIGNAL = np.array([0.3 - 0.1j, 1 / 3, 1e-17 + 2e-300j, 7.1, np.pi * 1j])


def write(path: Path, dataset: xarray.Dataset) -> None:
    """In the format that the suffix tells."""
    (report.write_csv if path.suffix == ".csv" else report.write_dataset)(path, dataset)


@pytest.mark.parametrize("name", ["signal.nc", "signal.zarr", "signal.csv"])
def test_a_signal_survives_the_round_trip_to_the_last_bit(name, tmp_path: Path, protocol: Protocol) -> None:
    write(tmp_path / name, report.signal_dataset(protocol, SIGNAL, [1.0, 2.0]))
    np.testing.assert_array_equal(report.read_signal(tmp_path / name, protocol), SIGNAL)


def with_compartments(protocol: Protocol) -> xarray.Dataset:
    """Two compartments of 1/4 and 3/4 of a grid, which share the signal so."""
    grid = bcc_grid(2)
    tags = (np.arange(len(grid.cells)) >= len(grid.cells) // 4).astype(np.int64)
    return report.signal_dataset(
        protocol,
        SIGNAL,
        [1.0, 2.0],
        compartment_signal=np.outer(SIGNAL, [0.25, 0.75]),
        grid=from_arrays(grid.points, grid.cells, tags),
        method="matrix-formalism",
        tolerance=1e-4,
        config="# a config",
    )


def test_a_dataset_tells_what_was_measured_where_and_by_what(protocol: Protocol) -> None:
    """Issue: dimensions measurement and compartment; b, delta, Delta, direction, units, versions and mesh hash."""
    dataset = with_compartments(protocol)
    assert dataset["signal"].dims == dataset["attenuation"].dims == ("measurement",)
    assert dataset["compartment_signal"].dims == ("measurement", "compartment")
    np.testing.assert_allclose(dataset["compartment_signal"].sum("compartment"), SIGNAL, rtol=1e-15)
    np.testing.assert_array_equal(dataset["direction"].sel(axis="y"), protocol.bvecs[:, 1])
    for name, values in {"b": protocol.bvals, "delta": protocol.delta, "Delta": protocol.Delta}.items():
        np.testing.assert_array_equal(dataset[name], values)
    assert dataset["echo_time"].values.tolist() == [30, 30, 30, 65, 65]
    assert set(dataset["waveform"].values) == {"pgse"}
    np.testing.assert_allclose(dataset["volume"], np.array([0.25, 0.75]) * bcc_grid(2).volume)
    units = {"b": "s/mm^2", "Delta": "ms", "direction": "1", "volume": "um^3", "compartment_signal": "um^3"}
    assert {name: dataset[name].units for name in units} == units
    assert {name for name in dataset.variables if "units" not in dataset[name].attrs} == {
        "measurement",
        "compartment",
        "axis",
        "waveform",
    }


def test_a_dataset_tells_where_it_comes_from(protocol: Protocol) -> None:
    attributes = with_compartments(protocol).attrs
    assert attributes["method"] == "matrix-formalism"
    assert attributes["tolerance"] == 1e-4
    assert attributes["config"] == "# a config"
    assert len(attributes["mesh_sha256"]) == 64
    assert datetime.now(UTC) - datetime.fromisoformat(attributes["date"]) < timedelta(minutes=1)
    for name in ("dmrifw", "fenics_dolfinx", "petsc", "petsc4py", "python"):
        assert attributes[f"version_{name}"]
    tables = json.loads(attributes["waveforms"])
    assert tuple(waveform_from(table.pop("waveform"), table) for table in tables) == protocol.waveforms


@pytest.mark.parametrize("name", ["signal.nc", "signal.zarr"])
def test_a_dataset_comes_back_whole(name: str, tmp_path: Path, protocol: Protocol) -> None:
    """Complex again, with every coordinate, unit and attribute; a file or folder of that name is replaced."""
    dataset = with_compartments(protocol)
    for written in (dataset.drop_vars("attenuation"), dataset):
        report.write_dataset(tmp_path / name, written)
        xarray.testing.assert_identical(report.read_signals(tmp_path / name), written)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_dataset_that_cannot_be_written_leaves_the_older_one(tmp_path: Path, protocol: Protocol, no_room) -> None:
    dataset = with_compartments(protocol)
    for name in ("signal.nc", "signal.zarr"):
        report.write_dataset(tmp_path / name, dataset)
        with pytest.raises((TypeError, ValueError)):
            report.write_dataset(tmp_path / name, dataset.assign_attrs(bad=object()))
        with no_room(), pytest.raises(OSError, match="File too large"):
            report.write_dataset(tmp_path / name, dataset)
        xarray.testing.assert_identical(report.read_signals(tmp_path / name), dataset)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["signal.nc", "signal.zarr"]


def test_a_waveform_of_ones_own_is_named_by_its_class(protocol: Protocol) -> None:
    class Wiggle(type(protocol.waveforms[0])):  # type: ignore[misc]
        """A waveform that no file format knows."""

    own = Protocol.single(Wiggle(10, 20), [1000.0], [[1, 0, 0]])
    assert report.signal_dataset(own, [1.0], [1.0])["waveform"].values.tolist() == ["Wiggle"]


@pytest.mark.parametrize("call", [report.read_signals, lambda path: report.write_dataset(path, xarray.Dataset())])
def test_a_suffix_that_tells_no_format_is_refused(call, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'\.h5' tells no format; end the name in \.nc or \.zarr"):
        call(tmp_path / "signal.h5")


def test_a_target_whose_suffix_tells_no_format_is_refused(tmp_path: Path, protocol: Protocol) -> None:
    (tmp_path / "signal.txt").write_text("1.0\n")
    with pytest.raises(InputError, match=r"'\.txt' tells no format; give a \.nc, \.zarr or \.csv"):
        report.read_signal(tmp_path / "signal.txt", protocol)


def test_a_zarr_of_version_2_is_refused(tmp_path: Path) -> None:
    """Its arrays may name pickle as a filter, and reading must never run code."""
    xarray.Dataset({"signal": ("measurement", [1.0])}).to_zarr(tmp_path / "signal.zarr", zarr_format=2)
    with pytest.raises(InputError, match="not a zarr 3 file"):
        report.read_signals(tmp_path / "signal.zarr")


def test_attenuation_divides_by_the_unweighted_signal_of_its_sequence(protocol: Protocol) -> None:
    dataset = report.signal_dataset(protocol, SIGNAL, [0.5, 2.0])
    np.testing.assert_allclose(dataset["attenuation"], np.abs(SIGNAL) / [0.5, 0.5, 0.5, 2.0, 2.0], rtol=1e-15)


@pytest.mark.parametrize("suffix", ["nc", "zarr", "csv"])
@pytest.mark.parametrize(
    ("other", "key"),
    [
        (Protocol.pgse([1000, 0], [[1, 0, 0]] * 2, 10, 20), "bval"),
        (Protocol.pgse([1000, 0, 2500, 0, 700], [[1, 0, 0]] * 5, 10, 20), "delta"),
        (two_sequences(second_b=2400), "bval"),
        (two_sequences(first_direction=(0, 1, 0)), "gx"),
        (two_sequences(long=50), "Delta"),
    ],
)
def test_signals_of_other_measurements_are_refused(
    suffix: str, other: Protocol, key: str, tmp_path: Path, protocol: Protocol
) -> None:
    write(tmp_path / f"signal.{suffix}", report.signal_dataset(protocol, SIGNAL, [1.0, 1.0]))
    with pytest.raises(InputError) as caught:
        report.read_signal(tmp_path / f"signal.{suffix}", other)
    assert caught.value.key == key
    assert caught.value.file == tmp_path / f"signal.{suffix}"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "column"),
        ("index,bval,gx,gy,gz,delta,Delta,signal_re\n", "column"),
        ("index,bval,gx,gy,gz,delta,Delta,signal_re,signal_im,attenuation\n0,0,1,0,0,10,20,x,0,1\n", "numbers"),
        ("index,bval,gx,gy,gz,delta,Delta,signal_re,signal_im,attenuation\n0,0,1,0,0,10,20,nan,0,1\n", "finite"),
        ("index,bval,gx,gy,gz,delta,Delta,signal_re,signal_im,attenuation\n0,0,1\n", "numbers"),
    ],
)
def test_a_damaged_table_is_refused(content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "signal.csv").write_text(content)
    with pytest.raises(InputError, match=told):
        report.read_signal(tmp_path / "signal.csv", Protocol.pgse([0], [[1, 0, 0]], 10, 20))


def test_a_damaged_netcdf_is_refused(tmp_path: Path, protocol: Protocol) -> None:
    (tmp_path / "signal.nc").write_bytes(b"\x89HDF\r\n\x1a\n and then nothing")
    with pytest.raises(InputError, match="netCDF"):
        report.read_signal(tmp_path / "signal.nc", protocol)


@pytest.mark.parametrize("name", ["signal.nc", "signal.zarr"])
def test_a_dataset_without_signals_is_refused(name: str, tmp_path: Path, protocol: Protocol) -> None:
    report.write_dataset(tmp_path / name, with_compartments(protocol).drop_vars("signal"))
    with pytest.raises(InputError, match="no such variable over `measurement`") as caught:
        report.read_signals(tmp_path / name)
    assert caught.value.key == "signal"


def test_the_hash_tells_grids_apart() -> None:
    grid = bcc_grid(2)
    moved = grid.points.copy()
    moved[0, 0] = np.nextafter(moved[0, 0], 1)
    tagged = from_arrays(grid.points, grid.cells, np.arange(len(grid.cells)) % 2)
    hashes = {report.mesh_hash(one) for one in (grid, from_arrays(moved, grid.cells), tagged)}
    assert len(hashes) == 3
    assert report.mesh_hash(bcc_grid(2)) == report.mesh_hash(grid)
