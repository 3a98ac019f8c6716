"""Surfaces in files: sound ones become compartments, others are refused in one line that says what and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mesh_checks import assert_interfaces_are_closed, compartment_volumes, interface_areas

from dmrifw.errors import InputError
from dmrifw.mesh import doctor
from dmrifw.mesh.files import read_file, read_grid, write_surface
from dmrifw.mesh.grid import FACE_EDGES
from dmrifw.mesh.surfaces import TriangleSurface, nesting

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
CUBE_TRIANGLES = np.array(
    [
        [0, 1, 3],
        [0, 3, 2],
        [4, 6, 7],
        [4, 7, 5],
        [0, 4, 5],
        [0, 5, 1],
        [2, 3, 7],
        [2, 7, 6],
        [0, 2, 6],
        [0, 6, 4],
        [1, 5, 7],
        [1, 7, 3],
    ]
)


def cubes(*boxes: tuple[float, tuple[float, float, float]]) -> TriangleSurface:
    """Cubes of some edges, um, around some centres."""
    points = np.concatenate([(CUBE - 0.5) * edge + centre for edge, centre in boxes])
    return TriangleSurface(points, np.concatenate([CUBE_TRIANGLES + 8 * i for i in range(len(boxes))]))


NESTED = cubes((10, (0, 0, 0)), (6, (0, 0, 0)), (4, (20, 0, 0)), (2, (0.5, 0, 0)))


def test_compartments_are_inside_out_and_then_in_the_order_of_the_file() -> None:
    around, order = nesting(NESTED)
    assert around.tolist() == [-1, 0, -1, 1]
    assert order == [3, 1, 0, 2]


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".obj"])
def test_nested_and_neighbouring_surfaces_become_compartments(suffix: str, tmp_path: Path) -> None:
    """Cubes of edge 2 in 6 in 10 um, and one of 4 um beside them: volumes and walls of cubes."""
    path = tmp_path / f"cubes{suffix}"
    write_surface(path, NESTED)
    grid = read_grid(path)
    np.testing.assert_allclose(compartment_volumes(grid), [8, 216 - 8, 1000 - 216, 64], rtol=1e-6)
    np.testing.assert_array_equal(grid.interface_pairs, [[0, 1], [1, 2]])
    np.testing.assert_allclose(interface_areas(grid), [6 * 4, 6 * 36], rtol=1e-6)
    assert_interfaces_are_closed(grid)


def test_h_refines_the_inside(tmp_path: Path) -> None:
    path = tmp_path / "cube.ply"
    write_surface(path, cubes((10, (0, 0, 0))))
    assert len(read_grid(path).points) == 8
    refined = read_grid(path, h=2.0)
    lengths = np.linalg.norm(np.diff(refined.points[refined.edges], axis=1), axis=2)
    assert lengths.max() < 2 * 2.0
    assert refined.volume == pytest.approx(1000)


def _turned(surface: TriangleSurface, rows: slice) -> TriangleSurface:
    triangles = surface.triangles.copy()
    triangles[rows] = triangles[rows, ::-1]
    return TriangleSurface(surface.points, triangles)


ONE = cubes((10, (0, 0, 0)))
BAD = {
    "hole": (
        TriangleSurface(ONE.points, ONE.triangles[1:]),
        "holes: 3 edges have one triangle only",
        "close the surface",
    ),
    "inverted": (_turned(ONE, slice(None)), "inverted normals: they point inwards", "turn them over"),
    "one-turned": (_turned(ONE, slice(3, 4)), "neighbouring triangles face opposite ways at 3 edges", "turn them over"),
    "crossing": (cubes((4, (0, 0, 0)), (4, (1, 1.1, 1.3))), "self-intersection", "separate or unite"),
    "overlapping in a plane": (cubes((4, (0, 0, 0)), (4, (1, 0, 0))), "self-intersection", "separate or unite"),
    "corner on a diagonal": (cubes((4, (0, 0, 0)), (4, (1, 1, 1))), "self-intersection", "separate or unite"),
    "stacked": (cubes((4, (0, 0, 0)), (2, (0.5, 0, 3))), "self-intersection", "separate or unite"),
    "touching": (
        TriangleSurface(np.append(ONE.points, [[20.0, 20, 20]], axis=0), np.append(ONE.triangles, [[0, 1, 8]], axis=0)),
        "edges have more than two triangles",
        "separate the pieces",
    ),
    "metres": (TriangleSurface(ONE.points * 1e-6, ONE.triangles), "are the coordinates in metres?", "scale"),
    "millimetres": (TriangleSurface(ONE.points * 1e-3, ONE.triangles), "are the coordinates in millimetres?", "scale"),
    "nanometres": (TriangleSurface(ONE.points * 1e4, ONE.triangles), "are the coordinates in nanometres?", "scale"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_surface_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    surface, fault, mend = BAD[name]
    findings = doctor.examine_surface(surface)
    assert any(fault in finding.what and mend in finding.mend and "um" in finding.where for finding in findings)
    path = tmp_path / f"{name}.ply"
    write_surface(path, surface)
    with pytest.raises(InputError) as refusal:
        read_grid(path)
    line = str(refusal.value)
    assert line.startswith(f"{path}: ") and "\n" not in line
    if name != "touching":  # which has a hole, too
        assert fault in line and mend in line


def test_a_sound_surface_has_no_findings() -> None:
    assert doctor.examine_surface(NESTED) == []


def test_what_is_safe_is_mended() -> None:
    """Triangles turned at random, each with its own copies of its points: joined and turned outwards again."""
    turned = np.random.default_rng(3).random(len(NESTED.triangles)) < 0.5
    triangles = np.where(turned[:, None], NESTED.triangles[:, ::-1], NESTED.triangles)
    scattered = TriangleSurface(NESTED.points[triangles].reshape(-1, 3), np.arange(3 * len(triangles)).reshape(-1, 3))
    assert any("duplicate nodes" in finding.what for finding in doctor.examine_surface(scattered))
    mended = doctor.mended_surface(scattered)
    assert doctor.examine_surface(mended) == []
    np.testing.assert_allclose(mended.piece_volumes, [1000, 216, 64, 8])


def test_a_hole_is_not_mended() -> None:
    assert doctor.examine_surface(doctor.mended_surface(BAD["hole"][0]))


def test_a_file_of_squares_is_refused(tmp_path: Path) -> None:
    (tmp_path / "square.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n")
    with pytest.raises(InputError, match="not a surface of triangles, but of quad"):
        read_file(tmp_path / "square.obj")


def test_edges_are_those_of_the_triangles() -> None:
    """12 triangles of a closed cube have 18 edges, 2 triangles each."""
    edges, counts = ONE.edge_counts()
    assert len(edges) == 18 and (counts == 2).all()
    assert len(np.unique(np.sort(ONE.triangles[:, FACE_EDGES].reshape(-1, 2)), axis=0)) == 18
