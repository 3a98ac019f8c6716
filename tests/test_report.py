"""Signals as files: what is read back is what was written, and what is not a matching signal is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dmrifw import Protocol, report
from dmrifw.errors import InputError
from dmrifw.mesh import bcc_grid, from_arrays


def two_sequences(second_b: float = 2500, first_direction=(1, 0, 0), long: float = 60) -> Protocol:
    """Five measurements of two sequences, b = 0 in the middle of the first."""
    first = Protocol.pgse([1000, 0, second_b], [first_direction, [0, 0, 0], [1, 1, 1]], 10, 20)
    return first + Protocol.pgse([0, 700], [[0, 0, 0], [0, 1, 0]], 5, long)


@pytest.fixture
def protocol() -> Protocol:
    """The measurements of `SIGNAL`."""
    return two_sequences()


SIGNAL = np.array([0.3 - 0.1j, 1 / 3, 1e-17 + 2e-300j, 7.1, np.pi * 1j])


@pytest.mark.parametrize(("name", "write"), [("signal.nc", report.write_netcdf), ("signal.csv", report.write_csv)])
def test_a_signal_survives_the_round_trip_to_the_last_bit(name, write, tmp_path: Path, protocol: Protocol) -> None:
    write(tmp_path / name, report.signal_dataset(protocol, SIGNAL, [1.0, 2.0]))
    np.testing.assert_array_equal(report.read_signal(tmp_path / name, protocol), SIGNAL)


def test_attenuation_divides_by_the_unweighted_signal_of_its_sequence(protocol: Protocol) -> None:
    dataset = report.signal_dataset(protocol, SIGNAL, [0.5, 2.0])
    np.testing.assert_allclose(dataset["attenuation"], np.abs(SIGNAL) / [0.5, 0.5, 0.5, 2.0, 2.0], rtol=1e-15)


@pytest.mark.parametrize("suffix", ["nc", "csv"])
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
    write = {"nc": report.write_netcdf, "csv": report.write_csv}[suffix]
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


def test_the_hash_tells_grids_apart() -> None:
    grid = bcc_grid(2)
    moved = grid.points.copy()
    moved[0, 0] = np.nextafter(moved[0, 0], 1)
    tagged = from_arrays(grid.points, grid.cells, np.arange(len(grid.cells)) % 2)
    hashes = {report.mesh_hash(one) for one in (grid, from_arrays(moved, grid.cells), tagged)}
    assert len(hashes) == 3
    assert report.mesh_hash(bcc_grid(2)) == report.mesh_hash(grid)
