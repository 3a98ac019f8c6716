"""The example substrates are what their README says, and what their script makes."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from dmrifw.cli.app import run
from dmrifw.mesh import read_grid
from dmrifw.mesh.swc import read_swc

FOLDER = Path(__file__).parents[1] / "meshes"
EXAMPLES = sorted(path for path in FOLDER.iterdir() if path.suffix in (".msh", ".vtu", ".ply", ".swc"))


def volumes(name: str) -> np.ndarray:
    grid = read_grid(FOLDER / name)
    return np.bincount(grid.cell_tags, grid.cell_volumes)


def test_an_axon_in_a_box() -> None:
    """A wave of amplitude 0.5 and length 8 um is 8.30 um long, the integral of sqrt(1 + (pi/8 sin(pi z/4))^2)."""
    z = (np.arange(1000) + 0.5) * 8 / 1000
    along = np.hypot(1, np.pi / 8 * np.sin(np.pi * z / 4)).sum() * 8 / 1000
    axon, around = volumes("axon.msh")
    assert axon == pytest.approx(np.pi * along, rel=1e-6)
    assert axon + around == pytest.approx((2 + 2 * 0.5 + 1) * (2 + 1) * (8 + 1), rel=0.02)


def test_an_ellipsoid() -> None:
    np.testing.assert_allclose(volumes("ellipsoid.vtu"), [4 / 3 * np.pi * 2 * 3 * 5], rtol=1e-6)


def test_nested_spheres() -> None:
    balls = 4 / 3 * np.pi * np.array([3, 5]) ** 3
    np.testing.assert_allclose(volumes("nested.ply"), np.diff(balls, prepend=0), rtol=1e-5)


def test_a_neuron() -> None:
    """More than its soma, and no more than its balls and cylinders together."""
    neuron = read_swc(FOLDER / "neuron.swc")
    assert len(neuron.points) == 10
    lengths = np.linalg.norm(neuron.points[1:] - neuron.points[neuron.parents[1:]], axis=1)
    wide = np.maximum(neuron.radii[1:], neuron.radii[neuron.parents[1:]])
    balls = 4 / 3 * np.pi * neuron.radii**3
    (volume,) = volumes("neuron.swc")
    assert balls[0] < volume < balls.sum() + np.pi * (wide**2 * lengths).sum()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_doctor_finds_no_fault(path: Path) -> None:
    assert run(["mesh", "check", str(path)]) == 0


def test_the_script_makes_these_files(tmp_path: Path) -> None:
    """The same names; other versions of gmsh may mesh otherwise."""
    runpy.run_path(str(FOLDER / "make.py"))["make"](tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in EXAMPLES]
