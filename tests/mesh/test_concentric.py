"""Layers, spheres and cylinders: their compartments, their walls, and exact volumes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_checks import (
    assert_interfaces_are_closed,
    compartment_volumes,
    interface_areas,
    total_exterior_area,
)

from dmrifw.errors import InputError
from dmrifw.mesh.generators import cylinders, layers, spheres


class TestLayers:
    @settings(max_examples=20, deadline=None)
    @given(
        widths=st.lists(st.floats(0.3, 4), min_size=1, max_size=4),
        transverse=st.tuples(st.floats(0.5, 3), st.floats(0.5, 3)),
    )
    def test_are_a_box_cut_across(self, widths: list[float], transverse: tuple[float, float]) -> None:
        grid = layers(widths, transverse, h=0.3)
        area = transverse[0] * transverse[1]
        np.testing.assert_allclose(compartment_volumes(grid), np.multiply(widths, area), rtol=1e-9)
        assert grid.interface_count == len(widths) - 1
        np.testing.assert_array_equal(
            grid.interface_pairs, [(i, i + 1) for i in range(len(widths) - 1)] or np.empty((0, 2))
        )
        if len(widths) > 1:
            np.testing.assert_allclose(interface_areas(grid), area, rtol=1e-9)
        assert_interfaces_are_closed(grid)

    def test_walls_lie_between_the_layers(self) -> None:
        grid = layers([2, 3, 5], h=0.5)
        for number, x in enumerate((2, 5)):
            on = grid.faces[grid.interface_of_face == number]
            np.testing.assert_allclose(grid.points[on][..., 0], x, atol=1e-12)

    def test_periodic_ones_have_one_compartment_at_both_ends(self) -> None:
        """Tags by layer; the last wall lies between compartments 0 and 2."""
        grid = layers([1, 2, 3, 1], h=1.0, periodic=True)
        middle = grid.points[grid.cells, 0].mean(axis=1)
        np.testing.assert_array_equal(grid.cell_tags, np.array([0, 1, 2, 0])[np.searchsorted([1, 3, 6], middle)])
        np.testing.assert_array_equal(grid.interface_pairs, [[0, 1], [0, 2], [1, 2]])
        np.testing.assert_array_equal(layers([2], h=1.0, periodic=True).cell_tags, layers([2], h=1.0).cell_tags)

    def test_steps_are_at_most_those_asked_for(self) -> None:
        grid = layers([1.0, 0.25], transverse=[2, 3], h=0.3, transverse_h=1.0)
        for axis, steps in ((0, 0.25), (1, 1.0), (2, 1.0)):
            np.testing.assert_allclose(np.diff(np.unique(grid.points[:, axis].round(9))), steps)

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            ({"widths": []}, "widths: got []; give one or more lengths in um"),
            ({"widths": [5, -1]}, "widths = -1; give a positive number, in um"),
            ({"widths": [5], "transverse": [1]}, "transverse: got [1]; give 2 lengths in um"),
            ({"widths": [5], "h": 0}, "h = 0; give a positive number"),
            (
                {"widths": [5, 3], "periodic": True},
                "give one width, 8, or put the boundary inside a layer: [2.5, 3",
            ),
            ({"widths": [5e9]}, "tetrahedra; enlarge h, or check the units"),
        ],
    )
    def test_nonsense_is_refused(self, arguments: dict, line: str) -> None:
        with pytest.raises(InputError) as refusal:
            layers(**arguments)
        assert line in str(refusal.value)


class TestSpheres:
    @pytest.mark.parametrize("radii", [[5.0], [3.0, 5.0], [2.0, 3.0, 4.0]])
    def test_hold_the_volume_of_the_balls(self, radii: list[float]) -> None:
        grid = spheres(radii, h=1.0)
        balls = 4 / 3 * np.pi * np.array(radii) ** 3
        np.testing.assert_allclose(compartment_volumes(grid), np.diff(balls, prepend=0), rtol=1e-9)
        np.testing.assert_array_equal(grid.interface_pairs.reshape(-1), np.repeat(np.arange(len(radii)), 2)[1:-1])
        assert_interfaces_are_closed(grid)

    def test_walls_are_round_to_second_order(self) -> None:
        """Areas err by (h/r)^2 or so, and vertices lie outside the radius by no more than that."""
        errors = []
        for h in (1.2, 0.6):
            grid = spheres([3.0, 5.0], h=h)
            inner = grid.points[np.unique(grid.faces[grid.is_interface])]
            outside = np.linalg.norm(inner, axis=1) / 3 - 1
            assert 0 < outside.min() and outside.max() < 0.2 * (h / 3) ** 2
            errors.append(abs(total_exterior_area(grid) / (4 * np.pi * 25) - 1))
        assert errors[1] < errors[0] / 3

    def test_are_the_same_each_time(self) -> None:
        first, second = spheres([2.0], h=1.0), spheres([2.0], h=1.0)
        np.testing.assert_array_equal(first.points, second.points)
        np.testing.assert_array_equal(first.cells, second.cells)

    def test_radii_must_grow(self) -> None:
        with pytest.raises(InputError, match=r"radii: \[5.0, 3.0\] do not grow; give them inside out"):
            spheres([5, 3])


class TestCylinders:
    @pytest.mark.parametrize("radii", [[5.0], [3.0, 5.0]])
    def test_hold_the_volume_of_the_round_ones(self, radii: list[float]) -> None:
        grid = cylinders(radii, length=4, h=0.8)
        discs = np.pi * np.array(radii) ** 2
        np.testing.assert_allclose(compartment_volumes(grid), 4 * np.diff(discs, prepend=0), rtol=1e-9)
        assert grid.interface_count == len(radii) - 1
        assert_interfaces_are_closed(grid)

    def test_lie_along_z_around_the_origin(self) -> None:
        grid = cylinders([3.0], length=6, h=1, axial_h=6)
        np.testing.assert_allclose(np.unique(grid.points[:, 2]), [-3, 3])
        assert len(np.unique(grid.points[:, 2])) == 2


def test_a_model_of_the_caller_survives() -> None:
    """Gmsh has one state for the whole process: ours comes and goes without touching it."""
    gmsh = pytest.importorskip("gmsh")
    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.option.setNumber("Mesh.RandomSeed", 7)
        gmsh.model.add("mine")
        gmsh.model.occ.addBox(0, 0, 0, 1, 1, 1)
        gmsh.model.occ.synchronize()
        spheres([2.0], h=1.0)
        assert gmsh.model.getCurrent() == "mine"
        assert gmsh.model.getEntities(3) == [(3, 1)]
        assert gmsh.option.getNumber("Mesh.RandomSeed") == 7
    finally:
        gmsh.finalize()
