"""Neurons: round cones of known volume, and files that are no trees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmrifw.errors import InputError
from dmrifw.mesh import doctor
from dmrifw.mesh.files import read_grid
from dmrifw.mesh.gmsh_session import Arrays
from dmrifw.mesh.implicit import fill_implicit, piece_count
from dmrifw.mesh.swc import Neuron, fill_neuron


def write(folder: Path, *rows: str) -> Path:
    path = folder / "neuron.swc"
    path.write_text("# id type x y z r parent\n" + "\n".join(rows) + "\n")
    return path


def volume(mesh: Arrays) -> float:
    corners = mesh.points[mesh.cells]
    return float(np.linalg.det(corners[:, 1:] - corners[:, :1]).sum() / 6)


def test_a_ball_is_filled_to_second_order() -> None:
    errors = []
    for h in (1.0, 0.5):
        mesh = fill_implicit(lambda x: np.linalg.norm(x, axis=1) - 3, np.full(3, -3.0), np.full(3, 3.0), h)
        assert doctor.examine_cells(mesh) == []
        assert doctor.radius_ratios(mesh.points, mesh.cells).min() > 0.05
        errors.append(abs(volume(mesh) / (36 * np.pi) - 1))
    assert errors[1] < errors[0] / 3 and errors[1] < 0.02


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_filled_is_always_sound(seed: int) -> None:
    """Random unions of balls: no face with more than two cells, none flat, and closed outside."""
    rng = np.random.default_rng(seed)
    centres, radii = rng.uniform(-2, 2, (4, 3)), rng.uniform(0.7, 1.5, 4)
    mesh = fill_implicit(
        lambda x: (np.linalg.norm(x[:, None] - centres, axis=2) - radii).min(axis=1),
        np.full(3, -4.0),
        np.full(3, 4.0),
        0.6,
    )
    assert [finding for finding in doctor.examine_cells(mesh) if finding.kind == "fault"] == []


def test_a_straight_neurite_has_the_volume_of_a_capsule(tmp_path: Path) -> None:
    """A cylinder of radius 1 and length 6 um with half balls at its ends: 6 pi + 4/3 pi."""
    path = write(tmp_path, "1 1 0 0 0 1 -1", "2 3 3 0 0 1 1", "5 3 6 0 0 1 2")
    assert read_grid(path, h=0.25).volume == pytest.approx(np.pi * (6 + 4 / 3), rel=0.02)


def test_a_tapered_neurite_has_the_volume_of_a_round_cone() -> None:
    """Two balls, radii 2 and 1, 4 um apart, and the frustum that touches both, from the tangent circles."""
    mesh = fill_neuron(Neuron(np.array([[0.0, 0, 0], [4, 0, 0]]), np.array([2.0, 1.0]), np.array([-1, 0])), 0.25)
    s = 1 / 4
    x, y = np.array([2 * s, 4 + s]), np.array([2.0, 1.0]) * np.sqrt(1 - s**2)
    frustum = np.pi / 3 * (x[1] - x[0]) * (y[0] ** 2 + y[0] * y[1] + y[1] ** 2)
    caps = [np.pi * h**2 * (3 * r - h) / 3 for r, h in ((2.0, 2 + 2 * s), (1.0, 1 - s))]
    assert volume(mesh) == pytest.approx(frustum + sum(caps), rel=0.02)


def test_branches_are_one_piece() -> None:
    points = np.array([[0.0, 0, 0], [4, 0, 0], [7, 3, 0], [7, -3, 1]])
    mesh = fill_neuron(Neuron(points, np.array([2, 0.7, 0.6, 0.6]), np.array([-1, 0, 1, 1])))
    assert piece_count(mesh.cells) == 1


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (
            ["1 1 0 0 0 1 3", "2 3 3 0 0 1 1", "3 3 6 0 0 1 2"],
            "line 2: point 1 is its own ancestor: the parents form a loop",
        ),
        (["1 1 0 0 0 1 -1", "2 3 3 0 0 1 2"], "line 3: point 2 is its own ancestor"),
        (["1 1 0 0 0 1 -1", "2 3 3 0 0 1 9"], "line 3: there is no point 9, the parent of 2"),
        (["1 1 0 0 0 1 -1", "1 3 3 0 0 1 1"], "line 3: id 1 is there twice"),
        (["1 1 0 0 0 0 -1"], "line 2: radius 0; give a positive radius"),
        (["1 1 0 0 zero 1 -1"], "line 2: '1 1 0 0 zero 1 -1' is no point"),
        (["1 1 0 0 0 1"], "line 2: '1 1 0 0 0 1' is no point"),
        ([], "there are no points"),
        (["1 1 0 0 0 1e-6 -1", "2 3 1e-5 0 0 1e-6 1"], "are the coordinates in metres?"),
    ],
)
def test_what_is_no_neuron_is_refused(rows: list[str], line: str, tmp_path: Path) -> None:
    path = write(tmp_path, *rows)
    with pytest.raises(InputError) as refusal:
        read_grid(path)
    assert str(refusal.value).startswith(f"{path}: ") and line in str(refusal.value)


def test_a_lattice_too_coarse_for_a_branch_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "1 1 0 0 0 3 -1", "2 3 6 0.3 0.2 0.2 1", "3 3 16.1 4.3 2.7 0.2 2", "4 1 20 5 3 3 3")
    with pytest.raises(InputError, match=r"breaks thin branches: .*; lower h"):
        read_grid(path, h=1.5)
