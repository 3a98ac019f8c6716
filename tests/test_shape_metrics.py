"""Distances between shapes, and what of them a signal cannot see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dmrifw_spectral_latent import FAMILIES, Template
from scipy.spatial.transform import Rotation

from dmrifw import Protocol, Simulator
from dmrifw.errors import InputError
from dmrifw.shape_metrics import Equivalents, align, chamfer, surface_area, vertex_rmsd, volume
from dmrifw.typing import FloatArray

TEMPLATE = Template.shipped()
GRID = TEMPLATE.grid()


def shape_of(family: str, *values: float) -> FloatArray:
    return FAMILIES[family].shape(TEMPLATE, torch.tensor(values, dtype=torch.float64)).numpy()


def test_alignment_undoes_rigid_motions_and_the_point_reflection() -> None:
    truth = shape_of("joint", 0.2, 3.0, 0.5, 0.25, 0.1, 0.1, 0.2)
    turn = Rotation.from_rotvec([0.5, -2.0, 1.0])
    moved = turn.apply(truth) + np.array([3.0, -1.0, 20.0])
    found = align(moved, truth)
    assert found.rmsd < 1e-9 and not found.reflected
    np.testing.assert_allclose(found.points, truth, atol=1e-9)
    found = align(-moved, truth)
    assert found.rmsd < 1e-9 and found.reflected
    assert align(-moved, truth, reflection=False).rmsd > 0.5
    assert vertex_rmsd(moved, truth) > 10.0


def test_distances_volumes_and_areas_of_known_shapes() -> None:
    """A shift by (0, 3, 4) um: RMSD 5 um. Chamfer of points far apart: their nearest distances. Twice the size: 8 V."""
    assert vertex_rmsd(TEMPLATE.points + np.array([0.0, 3.0, 4.0]), TEMPLATE.points) == pytest.approx(5.0)
    line = np.array([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0]])
    assert chamfer(line + np.array([0.0, 1.0, 0.0]), line) == pytest.approx(1.0)
    assert chamfer(line[:1], line) == pytest.approx(2.5)
    assert volume(2.0 * TEMPLATE.points, TEMPLATE.cells) == pytest.approx(8.0 * TEMPLATE.volume)
    area = surface_area(TEMPLATE.points, GRID)
    assert area == pytest.approx(2 * np.pi * 5 * 20 + 2 * np.pi * 25, rel=0.03)  # the cylinder has 14 flat sides
    assert surface_area(2.0 * TEMPLATE.points, GRID) == pytest.approx(4.0 * area)
    with pytest.raises(InputError, match="vertices"):
        vertex_rmsd(line, TEMPLATE.points)


def test_the_truth_is_its_own_nearest_equivalent_wherever_it_lies() -> None:
    truth = shape_of("fanning", 0.6, 0.25, 0.2)
    equivalents = Equivalents(GRID, truth)
    nearest, distance = equivalents.nearest(truth + np.array([1.0, 2.0, 3.0]))
    assert distance < 1e-9
    np.testing.assert_allclose(nearest, truth - truth.mean(axis=0), atol=1e-12)


def test_the_point_reflection_of_a_bent_cell_is_the_cell_bent_the_other_way() -> None:
    """Without a twist: z^2 is even. Vertices differ by 5 um then, but by no more than the mesh lets them."""
    truth, other = shape_of("bending", 0.1, 0.0), shape_of("bending", -0.1, 0.0)
    assert vertex_rmsd(other, truth) > 4.0
    assert Equivalents(GRID, truth).nearest(other)[1] < 0.05
    turned = Rotation.from_euler("z", 90, degrees=True).apply(truth)
    assert Equivalents(GRID, truth).nearest(turned)[1] > 2.0  # the orientation is seen


def test_vertices_may_slide_around_a_round_template() -> None:
    """A straight cylinder turned about its axis is the same cell; of a bent one only the labels may turn."""
    straight = shape_of("bending", 0.0, 0.0)
    turned = Rotation.from_euler("z", 35, degrees=True).apply(straight)
    assert vertex_rmsd(turned, straight) > 1.5
    assert Equivalents(GRID, straight).nearest(turned)[1] < 0.05


@pytest.mark.parametrize("index", [50, 200])
def test_equivalent_shapes_give_the_same_magnitudes(index: int) -> None:
    """Up to what a coarse mesh makes of a cylinder that is turned by less than one of its sides."""
    truth = shape_of("fanning", 0.5, 0.25, 0.0)
    protocol = Protocol.shells([0, 3000, 8000], [[1, 0, 0], [0, 0.6, 0.8], [0.48, 0.6, 0.64]], 5, 25)
    simulator = Simulator(GRID, protocol, interfaces=np.zeros(len(GRID.faces), dtype=bool), tolerance=1e-4)
    equivalents = Equivalents(GRID, truth).points
    with torch.no_grad():
        signal, other, straight = (
            simulator(points=torch.from_numpy(points)).abs().numpy()
            for points in (truth, equivalents[index], TEMPLATE.points)
        )
    assert np.abs(other - signal).max() < 0.1 * np.abs(straight - signal).max()
