"""Axons: exact volumes by Pappus's theorem, the course asked for, and no inverted tetrahedron."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_checks import assert_interfaces_are_closed, compartment_volumes, interface_areas, total_exterior_area
from scipy.special import ellipe

from dmrifw.errors import InputError
from dmrifw.mesh import Grid, axon, cylinders, matching_faces
from dmrifw.mesh.doctor import radius_ratios


def wave_length(length: float, amplitude: float, wavelength: float) -> float:
    """Length of whole waves of a cosine: 2/pi E(-(A k)^2) of that along the axis, E the complete elliptic integral."""
    return length * 2 / np.pi * float(ellipe(-((2 * np.pi * amplitude / wavelength) ** 2)))


def assert_sound(grid: Grid, quality: float = 0.2) -> None:
    """Right-handed, no slivers, watertight, in one piece."""
    assert grid.cell_volumes.min() > 0
    assert radius_ratios(grid.points, grid.cells).min() > quality
    assert_interfaces_are_closed(grid)
    vertices, edges, faces = len(grid.points), len(grid.edges), len(grid.faces)
    assert vertices - edges + faces - len(grid.cells) == 1  # Euler characteristic of a ball


class TestVolumes:
    def test_of_a_straight_one_are_those_of_a_cylinder(self) -> None:
        grid, straight = axon([1, 1.5], 6, h=0.5), cylinders([1, 1.5], 6, h=0.5)
        np.testing.assert_allclose(grid.points, straight.points, atol=1e-9)
        np.testing.assert_array_equal(grid.cells, straight.cells)

    @pytest.mark.parametrize("bend", [30.0, -90.0, 180.0, 270.0])
    def test_of_a_bent_one_are_those_of_a_straight_one(self, bend: float) -> None:
        grid = axon([1.0], 20, bend=bend, h=0.6)
        np.testing.assert_allclose(compartment_volumes(grid), [np.pi * 20], rtol=1e-9)
        assert_sound(grid)

    def test_of_an_undulating_one_follow_the_length_of_the_line(self) -> None:
        grid = axon([0.7, 1.0], 20, amplitude=1.5, wavelength=10, h=0.5)
        discs = np.pi * np.array([0.7, 1.0]) ** 2
        exact = np.diff(discs, prepend=0) * wave_length(20, 1.5, 10)
        np.testing.assert_allclose(compartment_volumes(grid), exact, rtol=1e-7)
        np.testing.assert_array_equal(grid.interface_pairs, [[0, 1]])
        assert_sound(grid, 0.15)

    @pytest.mark.parametrize("bend", [0.0, 120.0])
    def test_of_beads_follow_the_mean_square_of_the_radius(self, bend: float) -> None:
        """The mean of (1 + b cos)^2 is 1 + b^2/2 over whole beads."""
        grid = axon([1.0], 20, beading=0.4, bead_spacing=5, bend=bend, h=0.6)
        np.testing.assert_allclose(compartment_volumes(grid), [np.pi * 20 * (1 + 0.4**2 / 2)], rtol=1e-9)
        assert_sound(grid, 0.15)

    def test_of_half_a_bead(self) -> None:
        """From -1/4 to 1/4 of a bead: the integral of (1 + b cos x)^2 over half a turn, pi + 4 b + pi b^2/2."""
        grid = axon([1.0], 5, beading=0.5, bead_spacing=10, h=0.5)
        exact = np.pi * 10 / (2 * np.pi) * (np.pi + 4 * 0.5 + np.pi * 0.5**2 / 2)
        assert grid.volume == pytest.approx(exact, rel=1e-9)

    @settings(max_examples=10, deadline=None)
    @given(
        amplitude=st.floats(0.1, 1.0),
        beading=st.floats(0.05, 0.4),
        bend=st.floats(-150, 150),
        length=st.floats(8, 20),
    )
    def test_and_elements_are_sound_whatever_the_course(
        self, amplitude: float, beading: float, bend: float, length: float
    ) -> None:
        grid = axon([0.8], length, amplitude, 12.0, beading, 6.0, bend, h=0.6)
        assert_sound(grid, 0.05)
        assert_interfaces_are_closed(grid)


class TestCourse:
    def test_waves_have_the_amplitude_and_the_length_asked_for(self) -> None:
        """Sections have their middles on x = A cos(2 pi z / wavelength), y = 0, as far as their vertices are even."""
        grid = axon([1.0], 20, amplitude=1.5, wavelength=10, h=0.5)
        x, y, z = grid.points.reshape(-1, _section_size(grid), 3).mean(axis=1).T
        np.testing.assert_allclose(x, 1.5 * np.cos(2 * np.pi * z / 10), atol=0.05)
        np.testing.assert_allclose(y, 0, atol=0.05)
        assert [z[0], z[-1]] == pytest.approx([-10, 10], abs=1e-6)

    def test_ends_turn_by_the_bend(self) -> None:
        """A quarter circle: the sections at its ends lie at 45 degrees to the axis, on either side."""
        grid = axon([1.0], 10, bend=90, h=0.5)
        first, last = grid.points[: len(grid.points) // 2], grid.points[::-1][: len(grid.points) // 2]
        for end, sign in ((first, -1), (last, 1)):
            section = end[: _section_size(grid)]
            centred = section - section.mean(axis=0)
            normal = np.linalg.svd(centred)[2][2]
            normal *= np.sign(normal[2])
            np.testing.assert_allclose(normal, [sign * np.sqrt(0.5), 0, np.sqrt(0.5)], atol=1e-6)

    def test_beads_are_widest_in_the_middle_and_narrowest_between(self) -> None:
        grid = axon([1.0], 10, beading=0.3, bead_spacing=10, h=0.4)
        distance = np.linalg.norm(grid.points[:, :2], axis=1)
        for z, radius in ((0.0, 1.3), (5.0, 0.7)):
            near = np.abs(grid.points[:, 2] - z) <= 0.2 + 1e-6  # half a step: the radius is the same to within 0.3 %
            assert distance[near].max() == pytest.approx(radius, rel=0.02)

    def test_ends_match_where_waves_and_beads_are_whole(self) -> None:
        grid = axon([0.7, 1.0], 12, 0.5, 12, 0.2, wave_length(12, 0.5, 12) / 2, h=0.5)
        pairs = matching_faces(grid, 2)
        np.testing.assert_array_equal(*(grid.cell_tags[grid.face_cells[side, 0]] for side in pairs.T))

    def test_walls_are_round_to_second_order(self) -> None:
        """The wall's area is 2 pi r times the length of the line, by Pappus's other theorem."""
        errors = []
        for h in (0.8, 0.4):
            grid = axon([1.0, 2.0], 12, bend=90, h=h)
            errors.append(abs(interface_areas(grid)[0] / (2 * np.pi * 12) - 1))
            assert total_exterior_area(grid) == pytest.approx(2 * np.pi * 2 * 12 + 2 * np.pi * 4, rel=0.02)
        assert errors[1] < errors[0] / 3


def _section_size(grid: Grid) -> int:
    """How many vertices a section has: those that lie in the plane of the first three."""
    a, b, c = grid.points[:3]
    normal = np.cross(b - a, c - a)
    return int((np.abs((grid.points - a) @ normal) < 1e-9).sum())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            {"radii": [1.0], "bend": 180, "length": 3.0},
            "radii: the line bends within 0.955 um, and the axon's radius is 1",
        ),
        ({"radii": [2.0], "amplitude": 2, "wavelength": 8}, "radii: the line bends within"),
        ({"radii": [1.0], "bend": 359, "length": 20}, "radii: the axon touches itself near"),
        ({"radii": [1.5], "amplitude": 20, "wavelength": 80 / 3, "length": 100}, "radii: "),
        ({"radii": [1.0], "amplitude": 1}, "wavelength: amplitude is 1, and wavelength is missing; give both, or"),
        ({"radii": [1.0], "wavelength": 5}, "wavelength: amplitude is 0, and wavelength is 5; give both, or neither"),
        ({"radii": [1.0], "beading": 0.2}, "bead_spacing: beading is 0.2, and bead_spacing is missing"),
        ({"radii": [1.0], "beading": 1, "bead_spacing": 5}, "beading = 1; give a number of at least 0 and less than 1"),
        ({"radii": [1.0], "amplitude": -1, "wavelength": 5}, "amplitude = -1; give a number of at least 0"),
        ({"radii": [1.0], "amplitude": 1, "wavelength": -5}, "wavelength = -5; give a positive number"),
        ({"radii": [1.0], "bend": np.inf}, "bend = inf; give an angle in degrees"),
        ({"radii": [1.0, 0.7]}, "[1.0, 0.7] do not grow"),
        ({"radii": [1.0], "length": 0}, "length = 0; give a positive number"),
        ({"radii": [1.0], "axial_h": -1}, "axial_h = -1; give a positive number"),
        ({"radii": [1.0], "length": 1e9}, "tetrahedra; enlarge h, or check the units"),
        ({"radii": [1.0], "beading": 0.1, "bead_spacing": 1e-9}, "tetrahedra; enlarge h, or check the units"),
    ],
)
def test_what_is_no_axon_is_refused(arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as refusal:
        axon(**arguments)
    assert line in str(refusal.value)
