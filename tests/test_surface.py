"""The recovered surface and the fields as files, read back by independent readers."""

import meshio
import numpy as np
import pytest
import pyvista

from dmrifw.errors import InputError
from dmrifw.surface import barrier_faces, barrier_probability, replacing, write_fields, write_interface


@pytest.fixture(scope="module")
def kappa(grid):
    return 10 ** np.random.default_rng(0).uniform(-2, 2, len(grid.faces))


def test_barriers_lie_below_the_threshold():
    """Strictly below 1 um/ms, or below what is asked for."""
    assert barrier_faces([0.0, 0.99, 1.0, 100.0]).tolist() == [True, True, False, False]
    assert barrier_faces([0.0, 0.99, 1.0, 100.0], threshold=0.5).tolist() == [True, False, False, False]


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_a_threshold_must_be_positive(threshold):
    """No permeability lies below zero."""
    with pytest.raises(InputError, match="give a positive permeability"):
        barrier_faces([1.0], threshold)


def test_barrier_probability_is_the_published_sigmoid(kappa):
    """Spinverse: p = sigmoid((-3 - x)/0.5), x = log10 kappa in um/us, and 1 um/us = 1000 um/ms."""
    x = np.log10(kappa / 1000)
    np.testing.assert_allclose(barrier_probability(kappa), 1 / (1 + np.exp((3 + x) / 0.5)), rtol=1e-12)
    assert barrier_probability([0.0, 1.0]).tolist() == [1.0, 0.5]


def test_interface_round_trip(tmp_path, grid, sphere, kappa):
    """A reader (meshio) finds the same triangles, with their permeability and their row in the grid."""
    write_interface(tmp_path / "interface.ply", grid, sphere, kappa)
    mesh = meshio.read(tmp_path / "interface.ply")
    (triangles,) = mesh.cells
    rows = mesh.cell_data["face_index"][0]
    np.testing.assert_array_equal(rows, np.flatnonzero(sphere))
    np.testing.assert_array_equal(mesh.points[triangles.data], grid.points[grid.faces[rows]])
    np.testing.assert_array_equal(mesh.cell_data["log10_permeability"][0], np.log10(kappa[rows]))


def test_interface_is_a_sphere_to_vtk(tmp_path, grid, sphere, kappa):
    """The boundary of a solid ball without loose vertices: V - E + F = 2 with E = 3F/2 on 48 faces, and no rim."""
    write_interface(tmp_path / "interface.ply", grid, sphere, kappa)
    surface = pyvista.read(tmp_path / "interface.ply")
    assert surface.n_cells == 48
    assert surface.n_points == 2 + 48 // 2
    assert surface.n_open_edges == 0


def test_an_empty_interface_is_a_valid_file(tmp_path, grid, sphere, kappa):
    """An inversion that found nothing still leaves its files."""
    write_interface(tmp_path / "interface.ply", grid, np.zeros_like(sphere), kappa)
    assert pyvista.read(tmp_path / "interface.ply").n_cells == 0


def test_fields_round_trip(tmp_path, grid, sphere, kappa):
    """Faces and cells come back in the order of the grid, each array on the cells that it belongs to."""
    write_fields(tmp_path / "fields.vtu", grid, kappa, truth=sphere)
    mesh = meshio.read(tmp_path / "fields.vtu")
    triangles, tetrahedra = mesh.cells
    np.testing.assert_array_equal(mesh.points, grid.points)
    np.testing.assert_array_equal(triangles.data, grid.faces)
    np.testing.assert_array_equal(tetrahedra.data, grid.cells)
    expected = {
        "permeability": kappa,
        "log10_permeability": np.log10(kappa),
        "barrier_probability": barrier_probability(kappa),
        "truth": sphere,
        "area": grid.face_areas,
    }
    for name, values in expected.items():
        on_faces, on_cells = mesh.cell_data[name]
        np.testing.assert_array_equal(on_faces, values)
        assert np.isnan(on_cells).all()
    np.testing.assert_array_equal(mesh.cell_data["cell_tag"][1], grid.cell_tags)
    np.testing.assert_array_equal(mesh.cell_data["is_exterior"][0], grid.is_exterior)


def test_paraview_threshold_shows_the_walls(tmp_path, grid, sphere):
    """VTK's threshold on permeability keeps the barrier triangles and nothing else, as the docstring promises."""
    write_fields(tmp_path / "fields.vtu", grid, np.where(sphere, 0.01, 100.0))
    walls = pyvista.read(tmp_path / "fields.vtu").threshold((0.0, 1.0), scalars="permeability")
    assert walls.n_cells == 48
    assert walls.area == pytest.approx(grid.face_areas[sphere].sum())


def test_fields_without_a_truth(tmp_path, grid, kappa):
    """Real tissue has none: the array is left out rather than made up."""
    write_fields(tmp_path / "fields.vtu", grid, kappa)
    assert "truth" not in meshio.read(tmp_path / "fields.vtu").cell_data


def test_an_impermeable_face_is_written(tmp_path, grid, sphere):
    """A permeability of 0 is legal; its logarithm is -inf in the file and raises no warning."""
    write_interface(tmp_path / "interface.ply", grid, sphere, np.zeros(len(sphere)))
    values = meshio.read(tmp_path / "interface.ply").cell_data["log10_permeability"][0]
    assert (values == -np.inf).all()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    """Whatever happens while writing, the reader sees the old file or the new one, and no litter."""
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_lengths_are_refused_before_anything_is_written(tmp_path, grid, sphere, kappa):
    """One entry per face; the folder stays as it was."""
    for write in (
        lambda: write_interface(tmp_path / "a.ply", grid, sphere[:-1], kappa),
        lambda: write_interface(tmp_path / "a.ply", grid, sphere, kappa[:-1]),
        lambda: write_fields(tmp_path / "a.vtu", grid, kappa[:-1]),
        lambda: write_fields(tmp_path / "a.vtu", grid, kappa, truth=sphere[:-1]),
    ):
        with pytest.raises(InputError, match="each of the 1296 faces"):
            write()
    assert not list(tmp_path.iterdir())
