"""Symmetries that signals show, and partitions that have them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from dmrifw_cell_labels.attempts import attempts, shown_by
from dmrifw_cell_labels.descent import Descent
from dmrifw_cell_labels.misfit import FINEST, Misfit
from dmrifw_cell_labels.mixture import Walls
from dmrifw_cell_labels.moves import Neighbourhood
from dmrifw_cell_labels.rounding import rounded
from dmrifw_cell_labels.search import LocalSearch
from dmrifw_cell_labels.state import State, read_off
from dmrifw_cell_labels.symmetry import PointGroup, Symmetry, patterns, shown
from dmrifw_cell_labels.thorough import polished
from dmrifw_cell_labels.tools import Tools

from dmrifw import mesh
from dmrifw.bridge import Simulator
from dmrifw.inversion import InversionProblem, Workers
from dmrifw.mesh import Grid
from dmrifw.sequences import Protocol
from dmrifw.typing import BoolArray, ComplexArray, FloatArray, IntArray

ROD = np.diag([1.0, 1.0, 0.2])
BRICK = np.diag([1.0, 0.6, 0.2])
OBLIQUE = np.array([[1.0, 0.3, 0.1], [0.3, 0.7, -0.2], [0.1, -0.2, 0.4]])


@pytest.fixture(scope="module")
def grid() -> Grid:
    return mesh.bcc_grid(4, 26.6667)


@pytest.fixture(scope="module")
def group(grid: Grid) -> PointGroup:
    return PointGroup.of(grid)


def plain(problem: InversionProblem) -> ComplexArray:
    """Signals without walls of a tissue that loses all."""
    return np.zeros_like(problem.reference)


def unswapped(group: PointGroup) -> BoolArray:
    return np.zeros(len(group), dtype=bool)


def test_a_bcc_grid_has_the_symmetries_of_a_cube(grid: Grid, group: PointGroup) -> None:
    assert len(group) == 48
    assert group.closed
    assert group.inverts
    middles = grid.points[grid.cells].mean(axis=1)
    centre = (grid.points.max(axis=0) + grid.points.min(axis=0)) / 2
    for matrix, image in zip(group.matrices, group.images, strict=True):
        np.testing.assert_allclose(middles[image] - centre, (middles - centre) @ matrix.T, atol=1e-9)


def test_a_point_that_no_cell_uses_hides_no_symmetry(grid: Grid, group: PointGroup) -> None:
    stray = mesh.from_arrays(np.concatenate([grid.points, [[100.0, 0.0, 0.0]]]), grid.cells)
    assert len(PointGroup.of(stray)) == 48
    assert len(patterns(stray)) == len(patterns(grid))
    assert all(np.allclose(*pair) for pair in zip(patterns(stray), patterns(grid), strict=True))


def test_a_brick_has_eight_of_them() -> None:
    cube = mesh.bcc_grid(2, 13.4)
    brick = PointGroup.of(replace(cube, points=cube.points * [1.0, 1.2, 1.5]))
    assert len(brick) == 8
    assert brick.closed


@pytest.mark.parametrize(("tensor", "expected"), [(np.eye(3), 48), (ROD, 16), (BRICK, 8), (OBLIQUE, 2)])
@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.002, 0.02, 0.03])
@pytest.mark.parametrize("seed", [0, 1])
def test_signals_show_the_symmetry_of_their_tensor(
    group: PointGroup, tensor: FloatArray, expected: int, noise: float, seed: int
) -> None:
    """exp(-q' D q) is as symmetric as D is, and always under the point reflection."""
    protocol = Protocol.preset("spinverse")
    kept = shown(group, protocol, np.abs(noisy(gaussian(protocol, tensor), noise, seed)))
    assert kept.sum() == expected
    assert np.abs(np.einsum("gij,jk,glk->gil", group.matrices, tensor, group.matrices) - tensor)[kept].max() < 1e-12


def gaussian(protocol: Protocol, tensor: FloatArray) -> FloatArray:
    unit = protocol.q / np.linalg.norm(protocol.q, axis=1).max()
    return np.asarray(np.exp(-2.0 * np.einsum("ni,ij,nj->n", unit, tensor, unit)))


def noisy(signal: FloatArray, noise: float, seed: int) -> ComplexArray:
    real, imaginary = np.random.default_rng(seed).standard_normal((2, len(signal)))
    return np.asarray(signal + noise * (real + 1j * imaginary))


def test_phases_tell_a_shape_from_its_point_reflection(group: PointGroup) -> None:
    """Two unequal masses on the z axis: turns about it, and reflections through it, are left."""
    protocol = Protocol.preset("spinverse")
    place = protocol.q[:, 2]
    signal = 0.7 * np.exp(4j * place) + 0.3 * np.exp(-9j * place)
    assert shown(group, protocol, signal).sum() == 8
    assert shown(group, protocol, np.abs(signal)).sum() == 16


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("difference", [0.25, 0.2])
def test_noise_of_both_parts_hides_no_more_than_that_of_one(group: PointGroup, seed: int, difference: float) -> None:
    """Rates that differ along x and y by 25 or 20 %; 0.02 in each part."""
    protocol = Protocol.preset("spinverse")
    signal = noisy(gaussian(protocol, np.diag([1.0, 1.0 - difference, 0.2])), 0.02, seed)
    assert shown(group, protocol, signal).sum() == 8
    assert shown(group, protocol, np.abs(signal)).sum() == 8


@pytest.mark.parametrize(("directions", "expected"), [(60, 16), (20, 16), (12, 16), (6, 1)])
@pytest.mark.parametrize("noise", [0.0, 0.005, 0.02])
def test_six_directions_show_no_symmetry(group: PointGroup, directions: int, expected: int, noise: float) -> None:
    """Random ones, six b-values."""
    spread = np.random.default_rng(1).standard_normal((directions, 3))
    spread /= np.linalg.norm(spread, axis=1)[:, None]
    protocol = Protocol.shells([0.0, 500.0, 1000.0, 2000.0, 3000.0, 5000.0], spread, 10.0, 20.0)
    assert shown(group, protocol, np.abs(noisy(gaussian(protocol, ROD), noise, 0))).sum() == expected


@pytest.mark.parametrize(
    ("shape", "count"), [(mesh.Sphere(10.0), 48), (mesh.Cylinder(10.0), 16), (mesh.Cylinder(8.0, (0, 1, -1), 22.0), 8)]
)
def test_orbits_are_what_a_group_takes_into_each_other(
    grid: Grid, group: PointGroup, shape: mesh.Shape, count: int
) -> None:
    labels = shape.label(grid)
    own = group.part(np.all(labels[group.images] == labels, axis=1))
    assert len(own) == count
    symmetry = Symmetry.of(own, unswapped(own), 2)
    assert symmetry.numbers.max() + 1 < 3 * len(grid.cells) / count
    generator = np.random.default_rng(0)
    shares = symmetry.averaged(generator.random((1, len(grid.cells))))
    np.testing.assert_allclose(shares[:, own.images], np.broadcast_to(shares[:, None], (1, *own.images.shape)))
    np.testing.assert_allclose(symmetry.averaged(shares), shares)
    np.testing.assert_array_equal(symmetry.averaged(labels[None].astype(float))[0], labels)


def keeping(group: PointGroup, pattern: FloatArray) -> tuple[PointGroup, IntArray]:
    """The operations that keep a pattern or change its sign, and which."""
    signs = group.signs(pattern)
    part = group.part(signs != 0)
    assert 0 < len(part) < len(group)
    np.testing.assert_array_equal(pattern[part.images], signs[signs != 0][:, None] * pattern)
    return part, signs[signs != 0]


def test_a_group_takes_one_plane_into_another_and_not_into_a_diagonal_one(grid: Grid, group: PointGroup) -> None:
    z, y, x, *diagonal = patterns(grid)[:9]
    assert all(group.takes(x, one) for one in (y, z, -x))
    assert not any(group.takes(x, one) for one in diagonal)
    assert all(group.takes(diagonal[0], one) for one in diagonal)


def test_labels_swap_where_a_pattern_changes_its_sign(grid: Grid, group: PointGroup) -> None:
    """Two halves of a ball, 1 where x > 0 and 2 where x < 0, are one unknown for each orbit of the ball."""
    pattern = patterns(grid)[0]
    kept, signs = keeping(group, pattern)
    assert len(kept) == 16
    assert (signs < 0).sum() == 8
    symmetry = Symmetry.of(kept, signs < 0, 3)
    ball = mesh.Sphere(10.0).label(grid)
    halves = np.stack([ball * (pattern > 1e-9), ball * (pattern < -1e-9)]).astype(float)
    np.testing.assert_array_equal(symmetry.averaged(halves), halves)
    assert symmetry.numbers.max() + 1 < 2.5 * 2 * len(grid.cells) / len(kept)


def test_symmetric_compartments_move_apart_and_in_no_other_way(grid: Grid, group: PointGroup, rod: IntArray) -> None:
    """Two halves that a plane through the middle parts: x -> -x swaps them, turns about x keep them."""
    kept, signs = keeping(group, patterns(grid)[2])
    symmetry = Symmetry.of(kept, signs < 0, 3)
    drawn = np.array([[1.0, 2.0, -3.0], [0.4, 5.0, 7.0]])
    moved = symmetry.displacements(drawn)
    np.testing.assert_allclose(moved, [[0.3, 0.0, 0.0], [-0.3, 0.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(symmetry.displacements(moved), moved, atol=1e-12)
    own = group.part(np.all(rod[group.images] == rod, axis=1))
    np.testing.assert_allclose(Symmetry.of(own, unswapped(own), 2).displacements(drawn[:1]), 0.0, atol=1e-12)
    np.testing.assert_array_equal(Symmetry.none(len(grid.cells), 3).displacements(drawn), drawn)


def mirrored(labels: IntArray, symmetry: Symmetry) -> bool:
    """Whether a partition has a symmetry."""
    swapped = np.where(labels > 0, 3 - labels, 0)
    images = zip(symmetry.group.images, symmetry.swaps, strict=True)
    return all(np.array_equal(labels[image], swapped if swap else labels) for image, swap in images)


def test_moves_keep_a_symmetry(grid: Grid, group: PointGroup) -> None:
    pattern = patterns(grid)[0]
    part, signs = keeping(group, pattern)
    symmetry = Symmetry.of(part, signs < 0, 3)
    ball = mesh.Sphere(10.0).label(grid)
    labels = ball * (1 * (pattern > 1e-9) + 2 * (pattern < -1e-9))
    assert mirrored(labels, symmetry)
    alone = Neighbourhood(grid).moves(labels, 3)
    together = alone.under(symmetry)
    assert 0 < len(together) < len(alone) / 4
    for number in range(len(together)):
        after = together.applied(number, labels)
        assert (after != labels).any()
        assert mirrored(after, symmetry)


@pytest.fixture(scope="module")
def rod(grid: Grid) -> IntArray:
    return mesh.Cylinder(10.0).label(grid)


@pytest.fixture(scope="module")
def problem(grid: Grid, rod: IntArray) -> InversionProblem:
    protocol = Protocol.preset("spinverse")
    simulator = Simulator(grid, protocol, exterior="permeable", tolerance=1e-5)
    permeability = torch.from_numpy(np.where(grid.boundary_faces(rod), 0.01, 100.0))
    return InversionProblem(simulator, simulator(permeability=permeability).detach().numpy())


def test_symmetric_shares_lead_to_a_symmetric_truth(
    grid: Grid, group: PointGroup, rod: IntArray, problem: InversionProblem
) -> None:
    """48 unknowns instead of 576, from a cloud."""
    own = group.part(np.all(rod[group.images] == rod, axis=1))
    assert len(own) == 16
    symmetry = Symmetry.of(own, unswapped(own), 2)
    misfit = Misfit(problem, Walls(0.01, 100.0, True))
    generator = np.random.default_rng(0)
    cloud = np.clip(0.2 + 0.1 * generator.standard_normal((1, len(grid.cells))), 0.02, 0.98)
    descent, gray = Descent(symmetry.averaged(cloud), symmetry), misfit.gray(FINEST, np.zeros_like(rod))
    for step in range(20):
        before, after = descent.step(gray, 0.0 if step < 14 else 0.2)
        assert after <= before
        np.testing.assert_allclose(symmetry.averaged(descent.shares), descent.shares, atol=1e-12)
    tools = Tools(misfit, Neighbourhood(grid))
    search = LocalSearch(tools, 2, symmetry)
    start = search.valued(read_off(descent.shares, 0.5))
    found = polished(Workers(grid.comm, tools), search, rounded(tools, start, 2, generator, symmetry), 10)
    np.testing.assert_array_equal(found.labels, rod)


def test_attempts_begin_with_what_signals_show(problem: InversionProblem) -> None:
    tried = attempts(problem, plain(problem), 0.0, 3)
    assert [len(one.symmetry.group) for one in tried[:2]] == [16, 16]
    assert {one.count for one in tried} == {2, 3}
    heats = [one.heat for one in tried]
    assert heats == sorted(heats)
    sizes = [{len(one.symmetry.group) for one in tried if one.heat == heat} for heat in sorted(set(heats))]
    assert (sizes[1], sizes[2], sizes[-1]) == ({16}, {8}, {1})
    assert tried[-1].free
    assert all(one.count == 2 for one in attempts(problem, plain(problem), 0.0, 2))
    q = problem.simulator.protocol.q
    generic = InversionProblem(problem.simulator, np.exp(-60.0 * np.einsum("ni,ij,nj->n", q, OBLIQUE, q)))
    tried = attempts(generic, plain(generic), 0.0, 3)
    free = [number for number, one in enumerate(tried) if one.free]
    assert all(len(one.symmetry.group) == 2 and one.count == 2 for one in tried[: free[0]])
    assert all(one.count == 3 for one in tried[free[-1] + 1 :])


def test_three_compartments_are_held_to_a_symmetry(group: PointGroup, problem: InversionProblem) -> None:
    """Also where signals show a mirror or a turn alone, of which some fields keep nothing but the identity."""
    tensor = np.array([[1.0, 0.3, 0.0], [0.3, 0.7, 0.0], [0.0, 0.0, 0.4]])
    q = problem.simulator.protocol.q
    phases = np.einsum("ni,i->n", q, [9.0, 5.0, 0.0]) ** 3
    target = np.exp(-60.0 * np.einsum("ni,ij,nj->n", q, tensor, q) + 1j * phases)
    mirrored = InversionProblem(problem.simulator, target, magnitude=False)
    assert shown_by(mirrored, group, plain(mirrored)).sum() == 2
    tried = [one for one in attempts(mirrored, plain(mirrored), 0.0, 3) if one.count == 3]
    assert tried
    assert not any(one.free for one in tried)


def test_a_tissue_shows_no_symmetry_that_only_the_box_around_it_has(grid: Grid, group: PointGroup) -> None:
    """Nothing leaves: most of the signal is that of the box, which has all symmetries of a cube."""
    axon = mesh.BentAxon(radius=6.0, length=25.0, seed=5).label(grid)
    simulator = Simulator(grid, Protocol.preset("spinverse"), exterior="reflecting", tolerance=1e-3)
    permeability = torch.from_numpy(np.where(grid.boundary_faces(axon), 0.01, 100.0))
    problem = InversionProblem(simulator, simulator(permeability=permeability).detach().numpy())
    without_walls = Misfit(problem, Walls(0.01, 100.0, False)).without_walls()
    walled = torch.full((len(grid.faces),), 100.0, dtype=torch.float64)
    np.testing.assert_allclose(
        without_walls, simulator(permeability=walled).detach().numpy() / problem.scale, atol=1e-3
    )
    assert shown_by(problem, group, without_walls).sum() == 2


def test_three_compartments_may_have_half_of_what_signals_show(grid: Grid, problem: InversionProblem) -> None:
    """A cylinder cut in two by a plane along it looks the same after a quarter turn, but for the wall inside."""
    y, x = patterns(grid)[1:3]
    tried = [one for one in attempts(problem, plain(problem), 0.0, 3) if one.count == 3 and not one.free]
    cuts = [one for one in tried if np.array_equal(one.pattern, x) or np.array_equal(one.pattern, y)]
    assert {len(one.symmetry.group) for one in cuts} == {8}
    assert len({one.pattern.tobytes() for one in cuts if one.pattern is not None}) == 1
    sizes = [len(one.symmetry.group) for one in tried]
    assert sizes[: len(sizes) // 2] == sorted(sizes[: len(sizes) // 2], reverse=True)


def test_shares_wait_best_first_and_the_hopeless_are_dropped() -> None:
    state = State.new(5)
    for attempt, gray in enumerate((300.0, 5000.0, 100.0, 350.0, 390.0)):
        shares = np.full((2, 5), float(attempt))
        state = replace(state, attempt=attempt, shares=shares).with_waiting(gray, 4.0, 3)
    np.testing.assert_array_equal(state.grays, [100.0, 300.0, 350.0])
    np.testing.assert_array_equal(state.owners, [2, 0, 3])
    following = replace(state, shares=np.zeros((1, 5)), count=2).with_first_waiting(3)
    assert (following.attempt, following.count, len(following.grays)) == (2, 3, 2)
    np.testing.assert_array_equal(following.shares, np.full((2, 5), 2.0))


def test_an_attempt_knows_where_others_were_given_up() -> None:
    """Its best partition counts, not what it has seen on the way."""
    state = replace(State.new(5), values=np.array([12.0, 20.0]))
    assert not state.came_back
    assert not replace(state, ends=np.array([20.0, 30.0])).came_back
    assert replace(state, ends=np.array([30.0, 12.00001])).came_back
    assert not replace(State.new(5), ends=np.array([12.0])).came_back


def test_noise_may_hide_that_a_tissue_is_not_symmetric(problem: InversionProblem) -> None:
    """One turn and one mirror are certain without noise; with it, partitions without them come before cuts in three."""
    tensor, q = np.array([[0.4, 0.2, 0.0], [0.2, 0.7, 0.0], [0.0, 0.0, 1.0]]), problem.simulator.protocol.q
    signal = np.exp(-300.0 * np.einsum("ni,ij,nj->n", q, tensor, q))
    for noise, magnitude, first in ((0.0, True, 3), (0.0, False, 3), (0.02, True, 2), (0.02, False, 2)):
        tilted = InversionProblem(problem.simulator, signal, magnitude)
        tried = attempts(tilted, plain(tilted), noise, 3)
        assert len(tried[0].symmetry.group.images) == 4
        assert next(one for one in tried if one.free or one.count == 3).count == first
