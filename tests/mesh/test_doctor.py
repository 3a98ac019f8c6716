"""The doctor on tetrahedra: what it finds, where, and what it mends."""

from __future__ import annotations

from pathlib import Path

import meshio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dmrifw.cli.app import run
from dmrifw.mesh import bcc_grid, doctor, from_arrays
from dmrifw.mesh.files import read_grid, write_grid
from dmrifw.mesh.generators import layers
from dmrifw.mesh.gmsh_session import Arrays


def grid() -> Arrays:
    """A sound mesh of two compartments."""
    made = layers([2, 3], h=1.0)
    return Arrays(made.points, made.cells, made.cell_tags)


def with_inverted() -> Arrays:
    cells = grid().cells.copy()
    cells[[4, 7]] = grid().cells[[4, 7]][:, [1, 0, 2, 3]]
    return grid()._replace(cells=cells)


def with_doubles() -> Arrays:
    return grid()._replace(
        cells=np.append(grid().cells, grid().cells[:2], 0), cell_tags=np.append(grid().cell_tags, [0, 0])
    )


def with_scattered_points() -> Arrays:
    return grid()._replace(
        points=grid().points[grid().cells].reshape(-1, 3), cells=np.arange(grid().cells.size).reshape(-1, 4)
    )


def with_unused_point() -> Arrays:
    return grid()._replace(points=np.append(grid().points, [[1.0, 9, 9]], axis=0))


MENDABLE = {
    "inverted tetrahedra": with_inverted,
    "tetrahedra are there twice": with_doubles,
    "duplicate nodes": with_scattered_points,
    "points belong to no element": with_unused_point,
}


def test_a_sound_mesh_has_no_findings() -> None:
    assert doctor.examine_cells(grid()) == []


@pytest.mark.parametrize("what", MENDABLE)
def test_faults_that_can_be_mended_safely_are(what: str) -> None:
    bad = MENDABLE[what]()
    finding = next(finding for finding in doctor.examine_cells(bad) if what in finding.what)
    assert finding.safe and finding.where
    mended = doctor.mended_cells(bad)
    assert doctor.examine_cells(mended) == []
    sound = from_arrays(mended.points, mended.cells, mended.cell_tags)
    assert sound.volume == pytest.approx(5.0)
    assert len(sound.faces) == len(layers([2, 3], h=1.0).faces)
    np.testing.assert_array_equal(mended.cell_tags, grid().cell_tags)


def test_flat_cells_and_slivers_are_told_apart() -> None:
    """Four points nearly in a plane: a sliver is a note, zero volume is a fault."""
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1e-3]])
    cell = np.array([[0, 1, 2, 3]])
    (sliver,) = doctor.examine_cells(Arrays(points, cell, np.zeros(1, int)))
    assert sliver.kind == "note" and "1 slivers" in sliver.what
    (flat,) = doctor.examine_cells(Arrays(points * [1, 1, 0], cell, np.zeros(1, int)))
    assert flat.kind == "fault" and "flat" in flat.what


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, (4, 3), elements=st.floats(-10, 10, width=32)), st.floats(0.1, 100))
def test_the_radius_ratio_is_between_0_and_1_and_has_no_scale(corners: np.ndarray, scale: float) -> None:
    cell = np.array([[0, 1, 2, 3]])
    ratio = doctor.radius_ratios(corners, cell)[0]
    assert 0 <= ratio <= 1 + 1e-6
    assert doctor.radius_ratios(corners * scale, cell)[0] == pytest.approx(ratio, rel=1e-4, abs=1e-6)


def test_the_radius_ratio_of_a_regular_and_a_corner_tetrahedron() -> None:
    """Corner of a cube of edge 1: inradius 1/(3 + sqrt 3), circumradius sqrt(3)/2."""
    regular = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
    corner = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    for points, ratio in ((regular, 1), (corner, 3 / (3 + 3**0.5) / (3**0.5 / 2))):
        assert doctor.radius_ratios(points, np.array([[0, 1, 2, 3]]))[0] == pytest.approx(ratio)


@pytest.mark.parametrize("suffix", [".npz", ".msh", ".vtu", ".xdmf"])
def test_what_is_written_is_read_again(suffix: str, tmp_path: Path) -> None:
    made = layers([2, 3], h=1.0)
    write_grid(tmp_path / f"layers{suffix}", made)
    found = read_grid(tmp_path / f"layers{suffix}")
    np.testing.assert_allclose(found.points, made.points, atol=1e-12)
    np.testing.assert_array_equal(found.cells, made.cells)
    np.testing.assert_array_equal(found.cell_tags, made.cell_tags)


class TestCommand:
    """`dmrifw mesh`."""

    @pytest.fixture
    def config(self, tmp_path: Path) -> Path:
        path = tmp_path / "config.toml"
        path.write_text('[geometry]\nkind = "grid"\ncells = 2\nsize = 20\n[protocol]\npreset = "spinverse"\n')
        return path

    def _write(self, path: Path, mesh: Arrays) -> Path:
        meshio.Mesh(mesh.points, [("tetra", mesh.cells)], cell_data={"cell_tags": [mesh.cell_tags]}).write(path)
        return path

    def test_check_passes_a_sound_mesh(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["mesh", "check", str(self._write(tmp_path / "good.vtu", grid()))]) == 0
        assert "no faults" in capsys.readouterr().out

    def test_check_refuses_a_faulty_one(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = self._write(tmp_path / "bad.vtu", with_inverted())
        assert run(["mesh", "check", str(path)]) == 2
        printed = capsys.readouterr()
        assert printed.err.startswith(f"dmrifw: {path}: 2 inverted tetrahedra") and printed.err.count("\n") == 1

    def test_fix_writes_what_is_mended(self, tmp_path: Path) -> None:
        path, out = self._write(tmp_path / "bad.vtu", with_inverted()), tmp_path / "good.msh"
        assert run(["mesh", "check", str(path), "--fix", str(out)]) == 0
        assert run(["mesh", "check", str(out)]) == 0

    def test_metres_are_noticed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = self._write(tmp_path / "m.vtu", grid()._replace(points=grid().points * 1e-6))
        assert run(["mesh", "check", str(path)]) == 2
        assert "are the coordinates in metres?" in capsys.readouterr().err

    def test_what_is_no_mesh_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "no.vtu").write_text("hello")
        for name in ("no.vtu", "missing.vtu"):
            assert run(["mesh", "check", str(tmp_path / name)]) == 2
            assert name in capsys.readouterr().err

    def test_make_writes_the_mesh_of_a_config(self, config: Path, tmp_path: Path) -> None:
        out = tmp_path / "grid.msh"
        assert run(["mesh", "make", str(config), "-o", str(out)]) == 0
        np.testing.assert_allclose(read_grid(out).points, bcc_grid(2, 20).points, atol=1e-12)

    def test_make_knows_its_formats(self, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["mesh", "make", str(config), "-o", str(tmp_path / "grid.txt")]) == 2
        assert "cannot write .txt; use one of" in capsys.readouterr().err
