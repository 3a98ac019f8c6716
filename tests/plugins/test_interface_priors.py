"""The geometric priors agree with their formulas, written out face by face, and prefer what they are meant to."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from dmrifw_interface_priors import (
    Binarization,
    Continuity,
    EdgeCoherence,
    FacePrior,
    FillIn,
    HardManifold,
    LogBarrier,
    Neighbourhood,
    SoftManifold,
)

from dmrifw.errors import InputError
from dmrifw.mesh import bcc_grid, from_arrays, shape_barrier
from dmrifw.mesh.shapes import Sphere
from dmrifw.parametrizations import Setting
from dmrifw.plugins import build, gradient_rules, priors
from dmrifw.testing import check_gradient_rule, check_prior, example_fields, example_setting
from dmrifw.verify import finite_difference, taylor_test

EXTERIORS = ["reflecting", "permeable"]
PRIORS = [Binarization, Continuity, EdgeCoherence, HardManifold, LogBarrier, SoftManifold]
FULL = {"ramp": (0, 0)}


def faces_by_edge(setting: Setting) -> dict[tuple[int, int], list[int]]:
    """The faces that carry permeability at each edge, by plain loops."""
    table: dict[tuple[int, int], list[int]] = {}
    for number, (a, b, c) in enumerate(setting.grid.faces):
        if setting.exterior == "permeable" or not setting.grid.is_exterior[number]:
            for edge in ((a, b), (a, c), (b, c)):
                table.setdefault(edge, []).append(number)
    return table


def closing_edges(setting: Setting) -> list[list[int]]:
    """The faces at each edge where a wall must close: not where it may end on a reflecting exterior."""
    outside = {
        edge
        for a, b, c in setting.grid.faces[setting.grid.is_exterior]
        for edge in ((a, b), (a, c), (b, c))
        if setting.exterior == "reflecting"
    }
    return [faces for edge, faces in faces_by_edge(setting).items() if len(faces) >= 2 and edge not in outside]


def decades(kappa: torch.Tensor) -> tuple[list[float], list[float]]:
    """The x and p of each face: 1 um/ms is 1e-3 um/us."""
    x = [math.log10(value / 1000.0) for value in kappa.tolist()]
    return x, [1.0 / (1.0 + math.exp((3.0 + value) / 0.5)) for value in x]


@pytest.mark.parametrize("exterior", EXTERIORS)
@pytest.mark.parametrize("prior", PRIORS)
def test_they_conform(prior: Callable[..., FacePrior], exterior: str) -> None:
    setting = example_setting(exterior)
    # Continuity and edge coherence hold their weights constant, so that walls do not vanish to please the weights.
    check_prior(prior(setting), exact_gradient=prior not in (Continuity, EdgeCoherence))


@pytest.mark.parametrize("exterior", EXTERIORS)
def test_pairs_are_all_pairs_of_faces_that_share_an_edge(exterior: str) -> None:
    setting = example_setting(exterior)
    expected = {pair for faces in faces_by_edge(setting).values() for pair in itertools.combinations(sorted(faces), 2)}
    there = Neighbourhood.of(setting)
    pairs = {tuple(sorted(pair)) for pair in there.faces[there.pairs].tolist()}
    assert pairs == expected
    assert len(there.pairs) == len(expected)


@pytest.mark.parametrize("exterior", EXTERIORS)
def test_continuity_is_the_mean_over_pairs(exterior: str) -> None:
    """All differences stay below 5 decades, where the Huber function is d^2 / 2."""
    setting = example_setting(exterior)
    fields = example_fields(setting)
    x, p = decades(fields["permeability"])
    pairs = [pair for faces in faces_by_edge(setting).values() for pair in itertools.combinations(faces, 2)]
    expected = np.mean([(1 - abs(p[i] - p[j])) * (x[i] - x[j]) ** 2 / 2 for i, j in pairs])
    assert Continuity(setting, weight=3.0)(fields, 0).item() == pytest.approx(3.0 * expected, rel=1e-12)


def test_the_weight_of_a_pair_is_held_constant() -> None:
    """With w constant, the slope of w (x_i - x_j)^2 / 2 in x_i is w (x_i - x_j)."""
    setting = example_setting("permeable")
    fields = example_fields(setting)
    x, p = decades(fields["permeability"])
    pairs = [pair for faces in faces_by_edge(setting).values() for pair in itertools.combinations(faces, 2)]
    expected = np.zeros(len(x))
    for i, j in pairs:
        slope = (1 - abs(p[i] - p[j])) * (x[i] - x[j]) / len(pairs)
        expected[i] += slope
        expected[j] -= slope
    logarithm = fields["permeability"].log10().requires_grad_()
    Continuity(setting, weight=1.0)({"permeability": 10.0**logarithm}, 0).backward()
    assert logarithm.grad is not None
    np.testing.assert_allclose(logarithm.grad.numpy(), expected, rtol=1e-9, atol=1e-15)


def test_a_step_from_wall_to_open_costs_less_than_one_of_equal_height_among_open_faces() -> None:
    setting = example_setting("permeable")
    half = torch.arange(len(setting.grid.faces)) % 2 == 0

    def cost(low: float, high: float) -> float:
        kappa = torch.where(half, low, high).to(torch.float64)
        return Continuity(setting)({"permeability": kappa}, 0).item()

    assert cost(0.01, 100.0) < cost(10.0, 100_000.0)
    assert cost(5.0, 5.0) == 0.0


@pytest.mark.parametrize("exterior", EXTERIORS)
def test_manifold_priors_are_the_mean_over_edges(exterior: str) -> None:
    setting = example_setting(exterior)
    fields = example_fields(setting)
    _, p = decades(fields["permeability"])
    soft, hard, t = [], [], 0.1
    for faces in closing_edges(setting):
        k = sum(p[face] for face in faces)
        soft.append(-t * math.log(math.exp(-(k**2) / t) + math.exp(-((k - 2) ** 2) / t)) / len(faces))
        hard.append((k * (2 - k)) ** 2)
    assert SoftManifold(setting, weight=1.0, **FULL)(fields, 0).item() == pytest.approx(np.mean(soft), rel=1e-12)
    assert HardManifold(setting, weight=1.0, **FULL)(fields, 0).item() == pytest.approx(np.mean(hard), rel=1e-12)


def test_edge_coherence_and_binarization_follow_their_formulas() -> None:
    setting = example_setting("permeable")
    fields = example_fields(setting)
    _, p = decades(fields["permeability"])
    pairs = [pair for faces in faces_by_edge(setting).values() for pair in itertools.combinations(faces, 2)]
    coherence = [((1 - abs(p[i] - p[j])) * (p[i] - p[j])) ** 2 for i, j in pairs]
    committed = [0.2 + 0.8 * max(abs(2 * p[i] - 1), abs(2 * p[j] - 1)) for i, j in pairs]
    decided = np.mean([one * (1 - one) for one in p])
    assert EdgeCoherence(setting, weight=1.0)(fields, 0).item() == pytest.approx(np.mean(coherence), rel=1e-12)
    assert EdgeCoherence(setting, weight=1.0, commitment=True)(fields, 0).item() == pytest.approx(
        np.mean(np.multiply(coherence, committed)), rel=1e-12
    )
    assert Binarization(setting, weight=1.0, **FULL)(fields, 0).item() == pytest.approx(decided, rel=1e-12)


def test_the_log_barrier_follows_its_formula_and_has_no_end() -> None:
    """Mean of -log(4 p (1 - p)); far out, where p rounds to 0 or 1, its slope by x is still 2."""
    setting = example_setting("permeable")
    fields, barrier = example_fields(setting), LogBarrier(setting, initial_weight=1.0)
    _, p = decades(fields["permeability"])
    assert barrier(fields, 0).item() == pytest.approx(np.mean([-math.log(4 * q * (1 - q)) for q in p]), rel=1e-12)
    assert barrier(fields, setting.iterations).item() == pytest.approx(0.01 * barrier(fields, 0).item())
    alike = [{"permeability": torch.full_like(fields["permeability"], 10.0**x)} for x in (0.0, 40.0, 41.0, -41.0)]
    undecided, far, farther, below = (barrier(one, 0).item() for one in alike)
    assert undecided == pytest.approx(0.0, abs=1e-12)
    assert farther - far == pytest.approx(2.0)
    assert below == pytest.approx(farther)


@pytest.mark.parametrize("prior", [Binarization, HardManifold, LogBarrier, SoftManifold])
def test_gradients_leave_a_remainder_of_second_order(prior: Callable[..., FacePrior]) -> None:
    """Taylor: f(x + h d) - f(x) - h df(x) d falls by 4 when h is halved; and central differences agree."""
    setting = example_setting("permeable")
    penalty = prior(setting, **FULL)
    x = example_fields(setting)["permeability"].log10()

    def of_logarithm(logarithm: torch.Tensor) -> torch.Tensor:
        return penalty({"permeability": 10.0**logarithm}, 0)

    # A small step, since the soft manifold bends over t / 2: 0.05 walls.
    assert taylor_test(of_logarithm, x, step=1e-3).rates["R1"].min() > 1.9
    gradient, differences = finite_difference(of_logarithm, x, range(5))
    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("prior", [Continuity, EdgeCoherence])
def test_gated_gradients_are_those_of_the_frozen_gate(prior: Callable[..., FacePrior]) -> None:
    """The gate is held constant, so the gradient is that of the formula with the gate of the point at hand.

    It differs from the derivative of the value, which knows that the gate closes.
    """
    setting = example_setting("permeable")
    x = example_fields(setting)["permeability"].log10()
    penalty = prior(setting, weight=1.0)
    i, j = penalty.neighbourhood.pairs.T

    def probability(logarithm: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(-logarithm / 0.5)

    gate = 1.0 - (probability(x)[i] - probability(x)[j]).abs()

    def frozen(logarithm: torch.Tensor) -> torch.Tensor:
        if prior is Continuity:
            return (gate * (logarithm[i] - logarithm[j]).square() / 2).mean()
        p = probability(logarithm)
        return (gate * (p[i] - p[j])).square().mean()

    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalty({"permeability": 10.0**leaf}, 0), leaf)
    assert taylor_test(frozen, x, step=1e-2).rates["R1"].min() > 1.9
    _, differences = finite_difference(frozen, x, range(len(x)))
    np.testing.assert_allclose(gradient.numpy(), differences, rtol=1e-6, atol=1e-10)
    _, moving = finite_difference(lambda one: penalty({"permeability": 10.0**one}, 0), x, range(len(x)))
    assert np.abs(moving - differences).max() > 0.1 * np.abs(differences).max()


def test_huber_is_a_straight_line_beyond_5_decades() -> None:
    """Huber_5(d) = 5 (|d| - 5/2) at d = 8 decades: 27.5; both faces are open (p < 2e-8), so the gate is 1."""
    setting = example_setting("permeable")
    kappa = torch.full((len(setting.grid.faces),), 1e9, dtype=torch.float64)
    kappa[0] = 1e17
    with_first = (Neighbourhood.of(setting).pairs == 0).any(dim=1).double().mean().item()
    found = Continuity(setting, weight=1.0)({"permeability": kappa}, 0).item()
    assert found == pytest.approx(27.5 * with_first, rel=1e-7)


def test_a_committed_neighbour_weighs_more_than_two_undecided_ones() -> None:
    """With commitment 0 the factor is 0.2; with one face committed it is nearly 1."""
    setting = example_setting("permeable")
    kappa = torch.ones(len(setting.grid.faces), dtype=torch.float64)
    kappa[::2] = 1.0 + 1e-6

    def ratio(kappa: torch.Tensor) -> float:
        fields = {"permeability": kappa}
        return (EdgeCoherence(setting, commitment=True)(fields, 0) / EdgeCoherence(setting)(fields, 0)).item()

    assert ratio(kappa) == pytest.approx(0.2, rel=1e-5)
    assert ratio(torch.where(torch.arange(len(kappa)) % 2 == 0, 0.01, 1.0).double()) > 0.9


def test_fill_in_scales_the_gradients_of_undecided_faces() -> None:
    """1 + boost (1 - |2p - 1|): 1 + boost at 1 um/ms (p = 1/2), 1 where p is 0 or 1, and p = 1/(1 + e^-1) between."""
    setting = example_setting()
    rule = FillIn(setting, boost=3.0, warm_up=10)
    kappa = torch.full((len(setting.grid.faces),), 1.0, dtype=torch.float64)
    kappa[0], kappa[1], kappa[2] = 1e-9, 1e9, 10.0**-0.5
    gradients = [torch.full_like(kappa, 2.0), torch.tensor(7.0, dtype=torch.float64)]
    for iteration in (0, 9):
        assert all(map(torch.equal, rule(gradients, {"permeability": kappa}, iteration), gradients))
    by_face, other = rule(gradients, {"permeability": kappa}, 10)
    between = 2 / (1 + math.exp(-1)) - 1
    assert by_face[:4].tolist() == pytest.approx([2.0, 2.0, 2.0 * (1 + 3 * (1 - between)), 8.0])
    assert other.item() == 7.0


def test_fill_in_conforms_and_is_built_from_a_table() -> None:
    table = {"boost": 2, "warm_up": 5}
    check_gradient_rule(build(gradient_rules()["fill-in"], example_setting(), table, "inversion.fill-in"))
    names = {"continuity", "edge-coherence", "binarization", "hard-manifold", "log-barrier", "soft-manifold"}
    assert names <= set(priors())


def test_fill_in_needs_numbers_of_faces() -> None:
    """A ball of unknown radius has no face of its own to speed up."""
    radius = [torch.ones((), dtype=torch.float64)]
    with pytest.raises(InputError, match=r"inversion\.gradient_rules: .*one number per face"):
        FillIn(example_setting())(radius, example_fields(), 0)


@pytest.mark.parametrize("prior", [SoftManifold, HardManifold])
def test_a_closed_sphere_costs_less_than_one_with_a_hole(prior: Callable[..., FacePrior]) -> None:
    """A hole leaves edges with one wall: neither none nor two."""
    grid = bcc_grid()
    setting = Setting(grid, example_setting().protocol)
    wall = torch.from_numpy(shape_barrier(grid, Sphere(10.0)))
    penalty = prior(setting, **FULL)

    def cost(is_wall: torch.Tensor) -> float:
        return penalty({"permeability": torch.where(is_wall, 0.01, 100.0).to(torch.float64)}, 0).item()

    holed = wall.clone()
    holed[wall.nonzero()[0]] = False
    assert cost(wall) < cost(holed)


def test_a_wall_may_end_on_a_reflecting_exterior() -> None:
    """The faces of the middle plane cut the box in two; with p near 0 or 1 no edge inside is open."""
    grid = bcc_grid(cells=2)
    setting = Setting(grid, example_setting().protocol)
    left = np.zeros(len(grid.cells), dtype=bool)
    left[grid.points[grid.cells].mean(axis=1)[:, 2] < 0] = True
    wall = torch.from_numpy(grid.boundary_faces(left) & ~grid.is_exterior)
    kappa = torch.where(wall, 1e-9, 1e9).to(torch.float64)
    assert SoftManifold(setting, **FULL)({"permeability": kappa}, 0).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("prior", PRIORS)
def test_exterior_faces_take_part_only_if_the_exterior_is_permeable(prior: Callable[..., FacePrior]) -> None:
    for exterior in EXTERIORS:
        setting = example_setting(exterior)
        kappa = example_fields(setting)["permeability"].requires_grad_()
        prior(setting)({"permeability": kappa}, 1000).backward()
        assert kappa.grad is not None
        outside = kappa.grad[torch.from_numpy(setting.grid.is_exterior)]
        assert bool((outside != 0).any()) == (exterior == "permeable")


def test_weights_ramp_linearly() -> None:
    setting = example_setting(iterations=100)
    assert [SoftManifold(setting).weight_at(at) for at in (0, 50, 100, 500)] == [0.0, 1.0, 2.0, 2.0]
    assert [Continuity(setting).weight_at(at) for at in (0, 99)] == [2.0, 2.0]
    late = Continuity(setting, weight=4.0, ramp=(10, 30))
    assert [late.weight_at(at) for at in (0, 10, 20, 30)] == [0.0, 0.0, 2.0, 4.0]
    rising = Binarization(setting)
    assert [rising.weight_at(at) for at in (0, 50, 100)] == pytest.approx([0.05, 0.775, 1.5])


def test_weights_can_rise_in_blocks() -> None:
    """Four blocks of 25 iterations: 0, 1/3, 2/3 and all of the weight."""
    prior = SoftManifold(example_setting(iterations=100), weight=3.0, blocks=4)
    at = (0, 24, 25, 49, 50, 74, 75, 100)
    assert [prior.weight_at(one) for one in at] == pytest.approx([0, 0, 1, 1, 2, 2, 3, 3])
    with pytest.raises(InputError, match="blocks"):
        SoftManifold(example_setting(), blocks=1)


def test_a_ramp_that_begins_before_the_first_iteration_is_refused() -> None:
    with pytest.raises(InputError, match="iteration -10: the first is 0"):
        Continuity(example_setting(), ramp=(-10, 2))


def test_a_ramp_that_runs_backwards_is_refused() -> None:
    with pytest.raises(InputError, match="ramp"):
        Continuity(example_setting(), ramp=(20, 10))


@pytest.mark.parametrize("prior", [Continuity, EdgeCoherence])
def test_one_cell_that_reflects_has_no_faces_to_judge(prior: Callable[..., FacePrior]) -> None:
    """And so costs nothing."""
    corners = np.vstack([np.zeros(3), np.eye(3)])
    setting = Setting(from_arrays(corners, [[0, 1, 2, 3]]), example_setting().protocol)
    fields = {"permeability": torch.ones(4, dtype=torch.float64)}
    assert float(prior(setting)(fields, 0)) == 0.0
