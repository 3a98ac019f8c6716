"""`dmrifw simulate`: what it writes, what it says, and what it leaves alone."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import meshio
import numpy as np
import pytest

from dmrifw import Protocol, report
from dmrifw.cli.app import run
from dmrifw.mesh import bcc_grid
from dmrifw.simulator import SignalModel

HEADER = "index,bval,gx,gy,gz,delta,Delta,signal_re,signal_im,attenuation"


@pytest.fixture(scope="module")
def finished(text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished simulation, made once."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "source.toml").write_text(text)
    assert run(["simulate", str(folder / "source.toml"), "-o", str(folder / "out")]) == 0
    return folder / "out"


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> Path:
    """A copy of it for a test to play with."""
    return shutil.copytree(finished, tmp_path / "out")


def rows(file: Path) -> dict[str, np.ndarray]:
    """The columns of a CSV file."""
    with open(file, newline="") as stream:
        table = list(csv.DictReader(stream))
    return {name: np.array([float(row[name]) for row in table]) for name in table[0]}


def test_the_table_has_exactly_the_columns_that_other_tools_read(results: Path) -> None:
    lines = (results / "signal.csv").read_text().splitlines()
    assert lines[0] == HEADER
    assert len(lines) == 1 + 5


def test_measurements_come_in_the_order_of_the_shells(results: Path) -> None:
    """First every b of the first shell along both directions, then the second shell."""
    table = rows(results / "signal.csv")
    assert table["index"].tolist() == [0, 1, 2, 3, 4]
    assert table["bval"].tolist() == [0, 0, 1000, 1000, 500]
    assert table["Delta"].tolist() == [20, 20, 20, 20, 60]
    assert np.column_stack([table["gx"], table["gy"], table["gz"]])[4].tolist() == [1, 0, 0]


def test_the_signal_at_b_0_is_the_volume(results: Path) -> None:
    """With a reflecting exterior, no relaxation and density 1, S(b=0) is the volume: 48 cells of (20/2)^3/12 um^3."""
    table = rows(results / "signal.csv")
    assert table["signal_re"][0] == pytest.approx(48 * 1000 / 12, rel=1e-3)


def test_attenuation_is_relative_to_b_0_of_the_same_sequence(config: Path, tmp_path: Path, text: str) -> None:
    """A permeable exterior loses water, the more the longer: each sequence has its own S(b=0), measured or not."""
    config.write_text(
        text.replace("reflecting", "permeable") + "[[protocol.shell]]\nb=0\ndelta=10\nDelta=60\ndirections=1"
    )
    assert run(["simulate", str(config), "-o", str(tmp_path / "with")]) == 0
    config.write_text(text.replace("reflecting", "permeable"))
    assert run(["simulate", str(config), "-o", str(tmp_path / "without")]) == 0
    measured, unmeasured = rows(tmp_path / "with" / "signal.csv"), rows(tmp_path / "without" / "signal.csv")
    magnitude = np.hypot(measured["signal_re"], measured["signal_im"])
    assert magnitude[5] < 0.9 * magnitude[0]
    np.testing.assert_allclose(measured["attenuation"][4], magnitude[4] / magnitude[5], rtol=1e-12)
    np.testing.assert_allclose(unmeasured["attenuation"], measured["attenuation"][:5], rtol=1e-6)
    assert len(unmeasured["index"]) == 5


def test_signals_are_those_of_the_python_interface(results: Path) -> None:
    """A config is only another way to call the simulator."""
    from dmrifw.mesh import shape_barrier
    from dmrifw.mesh.shapes import Sphere
    from dmrifw.sequences import fibonacci_directions

    grid = bcc_grid(2, 20.0)
    protocol = Protocol.shells([0, 1000], fibonacci_directions(2), 10, 20) + Protocol.pgse([500], [[1, 0, 0]], 10, 60)
    permeability = np.where(shape_barrier(grid, Sphere(15.0)), 0.01, 100.0)
    signal, _ = SignalModel(grid, protocol, diffusivity=2.0).signal(permeability, keep=False)
    np.testing.assert_allclose(rows(results / "signal.csv")["signal_re"], signal.real, rtol=1e-6)


def test_netcdf_says_all_that_the_table_says_and_where_it_comes_from(results: Path, config: Path) -> None:
    table = rows(results / "signal.csv")
    dataset = report.read_signals(results / "signal.nc")
    for name, column in {"b": "bval", "delta": "delta", "Delta": "Delta", "attenuation": "attenuation"}.items():
        np.testing.assert_array_equal(dataset[name], table[column])
    np.testing.assert_array_equal(dataset["direction"].T, [table["gx"], table["gy"], table["gz"]])
    np.testing.assert_array_equal(dataset["signal"], table["signal_re"] + 1j * table["signal_im"])
    np.testing.assert_array_equal(dataset["compartment_signal"].sum("compartment"), dataset["signal"])
    assert dataset["sequence"].values.tolist() == [0, 0, 0, 0, 1]
    assert dataset["b"].units == "s/mm^2"
    assert dataset.attrs["config"] == config.read_text()
    assert dataset.attrs["mesh_sha256"] == report.mesh_hash(bcc_grid(2, 20.0))
    assert dataset.attrs["version_dmrifw"]
    assert dataset.attrs["tolerance"] == 1e-3
    assert dataset.attrs["method"] == "automatic"


def test_the_dataset_may_be_zarr(config: Path, results: Path, tmp_path: Path) -> None:
    """The same numbers, in a folder instead of a file, which --force replaces too."""
    for _ in range(2):
        assert run(["simulate", str(config), "-o", str(tmp_path / "other"), "--format", "zarr", "--force"]) == 0
    assert sorted(file.name for file in (tmp_path / "other").iterdir()) == ["config.toml", "signal.csv", "signal.zarr"]
    ours, theirs = (report.read_signals(file) for file in (tmp_path / "other" / "signal.zarr", results / "signal.nc"))
    np.testing.assert_allclose(ours["signal"], theirs["signal"], rtol=1e-9)
    assert run(["simulate", str(config), "-o", str(tmp_path / "other")]) == 2


LAYERS = """\
[geometry]
kind = "layers"
widths = [3, 5]
h = 0.5

[tissue]
permeability = 0.0

[[protocol.shell]]
b = [0, 1000]
delta = 5
Delta = 10
directions = [[1, 0, 0]]
"""


def test_compartments_add_up_to_the_signal(tmp_path: Path) -> None:
    """Two closed slabs of 1 um^2: 3 and 5 um^3 at b = 0, each with the attenuation that it has alone."""
    (tmp_path / "config.toml").write_text(LAYERS)
    assert run(["simulate", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]) == 0
    dataset = report.read_signals(tmp_path / "out" / "signal.nc")
    np.testing.assert_allclose(dataset["volume"], [3, 5], rtol=1e-9)
    np.testing.assert_allclose(dataset["compartment_signal"].sel(measurement=0), [3, 5], rtol=1e-4)
    np.testing.assert_allclose(dataset["compartment_signal"].sum("compartment"), dataset["signal"], rtol=1e-12)
    for compartment, width in enumerate((3, 5)):
        alone = LAYERS.replace("[3, 5]", f"[{width}]").replace("permeability = 0.0", "")
        (tmp_path / "alone.toml").write_text(alone)
        assert run(["simulate", str(tmp_path / "alone.toml"), "-o", str(tmp_path / f"out-{width}")]) == 0
        part = report.read_signals(tmp_path / f"out-{width}" / "signal.nc")["signal"].values
        np.testing.assert_allclose(dataset["compartment_signal"].values[:, compartment], part, rtol=1e-4)


def test_the_magnetization_is_a_field_that_jumps_at_walls(tmp_path: Path) -> None:
    """In closed slabs of density 1: 1 everywhere at b = 0, and linear elements add up to the signal of each slab."""
    (tmp_path / "config.toml").write_text(LAYERS + "[solver]\ndegree = 1\n")
    words = ["simulate", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out"), "--magnetization", "1, 0"]
    assert run(words) == 0
    mesh = meshio.read(tmp_path / "out" / "magnetization.vtu")
    cells, compartment = mesh.cells_dict["tetra"], mesh.cell_data["compartment"][0]
    assert len(mesh.points) == cells.size
    np.testing.assert_allclose(mesh.point_data["magnitude_0"], 1, atol=1e-5)
    np.testing.assert_allclose(mesh.point_data["phase_0"], 0, atol=1e-5)
    field = mesh.point_data["real_1"] + 1j * mesh.point_data["imaginary_1"]
    np.testing.assert_allclose(mesh.point_data["magnitude_1"] * np.exp(1j * mesh.point_data["phase_1"]), field)
    a, b, c, d = np.moveaxis(mesh.points[cells], 1, 0)
    content = np.einsum("ij,ij->i", np.cross(b - a, c - a), d - a) / 6 * field[cells].mean(axis=1)
    parts = report.read_signals(tmp_path / "out" / "signal.nc")["compartment_signal"].values[1]
    for number in range(2):
        assert content[compartment == number].sum() == pytest.approx(parts[number], abs=1e-9)


@pytest.mark.parametrize(("rows", "told"), [("2", "no row 2"), ("0,-1", "'-1' is no row"), ("", "'' is no row")])
def test_bad_rows_of_the_magnetization_are_refused(
    rows: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text(LAYERS)
    words = ["simulate", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out"), "--magnetization", rows]
    assert run(words) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and told in line
    assert "--magnetization: " in line and "give rows from 0 to 1" in line
    assert not (tmp_path / "out").exists()


def test_the_echo_shows_units_and_scales(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The free diffusion length is sqrt(6 D t_d), t_d = Delta - delta/3.

    Here sqrt(6 * 2 * (20 - 10/3)) = 14.1 um and sqrt(6 * 2 * (60 - 10/3)) = 26.1 um.
    A cell's height is 3 V / A; here V = 1000/12 um^3, and its largest face, spanned by an edge of a cube (10 um) and a
    body centre half a cube's diagonal away, has A = 10 * sqrt(50) / 2 um^2: 7.07 um.
    """
    assert run(["simulate", str(config), "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    for told in (
        "0 to 1000",
        "14.1",
        "26.1",
        "smallest wall spacing",
        "smallest cell height 7.07 um",
        "48 tetrahedra",
        str(tmp_path / "out"),
    ):
        assert told in printed


def test_results_are_not_overwritten(results: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in results.iterdir()}
    capsys.readouterr()
    assert run(["simulate", str(config), "-o", str(results)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert f"{results}: -o: " in line
    assert "--force" in line
    assert before == {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in results.iterdir()}


def test_results_are_overwritten_by_force(results: Path, config: Path, text: str) -> None:
    config.write_text(text.replace("b = 500", "b = 600"))
    assert run(["simulate", str(config), "-o", str(results), "--force"]) == 0
    assert rows(results / "signal.csv")["bval"][4] == 600
    assert (results / "config.toml").read_text() == config.read_text()
    assert sorted(file.name for file in results.iterdir()) == ["config.toml", "signal.csv", "signal.nc"]


def test_a_target_in_the_folder_is_made_again_since_nothing_reads_it(results: Path, config: Path, text: str) -> None:
    config.write_text(text + f'\n[inversion.target]\npath = "{results / "signal.nc"}"\n')
    assert run(["simulate", str(config), "-o", str(results), "--force"]) == 0


def test_measurements_are_not_read_from_signals_that_are_removed(
    results: Path, config: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = text.split("[[protocol.shell]]")[0]
    config.write_text(grid + f'[protocol]\npath = "{results / "signal.nc"}"\n')
    assert run(["simulate", str(config), "-o", str(results), "--force"]) == 2
    assert "protocol.path: " in capsys.readouterr().err
    assert (results / "signal.nc").exists()


def test_a_config_may_lie_in_the_run_folder(config: Path, text: str) -> None:
    """It is no result: not refused for, not touched."""
    assert run(["simulate", str(config), "-o", str(config.parent)]) == 0
    assert config.read_text() == text


def test_strangers_files_in_the_folder_stay(config: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert run(["simulate", str(config), "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_an_output_that_is_a_file_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", str(config), "-o", str(config / "deeper")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_gradient_table_may_be_the_protocol(tmp_path: Path, text: str) -> None:
    """FSL's two files: one row of b-values, three rows of directions."""
    vectors = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0]])
    (tmp_path / "bvals").write_text("0 1000 1000 2000\n")
    np.savetxt(tmp_path / "bvecs", vectors.T)
    source = '[protocol]\nbvals = "bvals"\nbvecs = "bvecs"\ndelta = 5\nDelta = "0.01 s"\n\n[solver]'
    head, tail = text.split("[[protocol.shell]]")[0], text.split("[solver]")[1]
    (tmp_path / "config.toml").write_text(head + source + tail)
    assert run(["simulate", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]) == 0
    table = rows(tmp_path / "out" / "signal.csv")
    np.testing.assert_array_equal(table["gy"], [0, 1, 0, 0.8])
    assert table["Delta"].tolist() == [10, 10, 10, 10]


def test_units_in_a_config_change_nothing(tmp_path: Path, text: str) -> None:
    """2 um^2/ms = 2e-9 m^2/s, 20 um = 0.02 mm, 10 ms = 0.01 s, 1000 s/mm^2 = 1 ms/um^2."""
    units = {
        "diffusivity = 2.0": 'diffusivity = "2e-9 m^2/s"',
        "size = 20": 'size = "0.02 mm"',
        "delta = 10": 'delta = "0.01 s"',
        "[0, 1000]": '[0, "1 ms/um^2"]',
    }
    signals = []
    for name, replacements in (("plain", {}), ("units", units)):
        words = text
        for plain, with_unit in replacements.items():
            assert plain in words
            words = words.replace(plain, with_unit)
        (tmp_path / "config.toml").write_text(words)
        assert run(["simulate", str(tmp_path / "config.toml"), "-o", str(tmp_path / name)]) == 0
        signals.append(rows(tmp_path / name / "signal.csv")["signal_re"])
    np.testing.assert_allclose(signals[0], signals[1], rtol=1e-9)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert run(["simulate", str(config), "-o", str(tmp_path / "locked" / "out")]) == 2
    assert "not writable" in capsys.readouterr().err
