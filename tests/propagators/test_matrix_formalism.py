"""Both methods against each other at the tolerance asked, on cases of every kind; the gradient of a complete basis."""

from functools import cache

import numpy as np
import pytest
import torch
from propagator_cases import CASES, attenuations, case, fix_steps

from dmrifw import Protocol, Simulator
from dmrifw.mesh import bcc_grid, layers, shape_barrier
from dmrifw.mesh.shapes import Sphere
from dmrifw.propagators import FullOrder, matrix_formalism
from dmrifw.propagators.full_order import FullSystem
from dmrifw.propagators.reduced import ReducedSystem
from dmrifw.sequences import PGSE, fibonacci_directions
from dmrifw.simulator import SignalModel
from dmrifw.verify import finite_difference, taylor_test

QUICK = ("layers", "sphere", "cylinders", "tensor")


@cache
def reference(name: str, tolerance: float) -> np.ndarray:
    return attenuations(name, "full-order", tolerance)


@pytest.mark.parametrize("method", ["full-order", "matrix-formalism"])
@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_tolerance_is_kept(name: str, tolerance: float, method: str) -> None:
    """Errors in S/S0 against full order at 1e-6, on a few cases."""
    assert np.abs(attenuations(name, method, tolerance) - reference(name, 1e-6)).max() < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full-order", "matrix-formalism"])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("name", CASES)
def test_tolerance_is_kept_everywhere(name: str, tolerance: float, method: str) -> None:
    """Errors in S/S0 against full order at 1e-8, on all cases."""
    assert np.abs(attenuations(name, method, tolerance) - reference(name, 1e-8)).max() < tolerance


@pytest.mark.slow
def test_a_basis_that_is_not_complete_keeps_the_tolerance() -> None:
    """The lowest modes alone are not enough for uniform permeability 1: those added after comparison are."""
    grid, protocol, permeability, options = case("uniform")
    model = SignalModel(grid, protocol, tolerance=1e-4, method="matrix-formalism", **options)
    system = model.propagator._system(model._experiment(permeability, None, {})[0])
    assert isinstance(system, ReducedSystem)
    assert len(system.unit) < model.operators.mass.rows.size_global
    found = attenuations("uniform", "matrix-formalism", 1e-4)
    assert np.abs(found - reference("uniform", 1e-6)).max() < 1e-4


def test_automatic_takes_full_order_for_few_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """A basis has to pay: not for 7 measurements, but for 31; in a small space for any number."""
    grid = layers([5.0], [1.0, 1.0], 0.5, 1.0)
    for count, small, kind in ((6, 0, FullSystem), (30, 0, ReducedSystem), (6, 1000, ReducedSystem)):
        monkeypatch.setattr(matrix_formalism, "_SMALL", small)
        directions = np.random.default_rng(0).standard_normal((count, 3))
        protocol = Protocol.product(PGSE(2.0, 3.0), [0, 500], directions / np.linalg.norm(directions, axis=1)[:, None])
        model = SignalModel(grid, protocol, interfaces=grid.is_interface)
        assert isinstance(model.propagator._system(model._experiment(0.0, None, {})[0]), kind)
    assert not isinstance(model.propagator, FullOrder)


def test_a_held_basis_follows_the_tissue(monkeypatch) -> None:
    """From uniform to a sphere, to one elsewhere, to random permeabilities: signals and gradients as at full order."""
    monkeypatch.setattr(matrix_formalism, "_SMALL", 0)
    grid = bcc_grid(cells=3, size=20.0)
    protocol = Protocol.product(PGSE(6.0, 12.0), [0, 1000, 3000], fibonacci_directions(12))
    model = SignalModel(grid, protocol, tolerance=1e-3, method="matrix-formalism")
    exact = SignalModel(grid, protocol, tolerance=1e-5, method="full-order")
    random = 10 ** np.random.default_rng(1).uniform(-2, 2, len(grid.faces))
    spheres = [np.where(shape_barrier(grid, Sphere(7.5, centre)), 0.01, 100.0) for centre in ((0, 0, 0), (3, 2, 0))]
    for permeability in (np.ones(len(grid.faces)), *spheres, random, np.ones(len(grid.faces))):
        signal, tape = model.signal(permeability)
        expected, reference = exact.signal(permeability)
        assert np.abs(signal - expected).max() < 1e-3 * abs(expected[0])
        gradients = [one.pull_back(2 * expected)["permeability"] * permeability for one in (tape, reference)]
        assert np.linalg.norm(gradients[0] - gradients[1]) < 0.05 * np.linalg.norm(gradients[1])
        assert len(tape._record.system.unit) < 0.6 * model.operators.mass.rows.size_global


def test_gradient_tolerance_makes_the_basis_larger(monkeypatch) -> None:
    """Asked for better gradients, the measured estimate and the true error both fall, and signals stay good."""
    monkeypatch.setattr(matrix_formalism, "_SMALL", 0)
    grid = bcc_grid(cells=3, size=20.0)
    protocol = Protocol.product(PGSE(6.0, 12.0), [0, 3000], fibonacci_directions(12))
    ones = np.ones(len(grid.faces))
    expected, reference = SignalModel(grid, protocol, tolerance=1e-5, method="full-order").signal(ones)
    exact = reference.pull_back(2 * expected)["permeability"]
    found = []
    for tolerance in (0.2, 0.002):
        model = SignalModel(grid, protocol, tolerance=1e-3, gradient_tolerance=tolerance, method="matrix-formalism")
        _, tape = model.signal(ones)
        error = np.linalg.norm(tape.pull_back(2 * expected)["permeability"] - exact) / np.linalg.norm(exact)
        assert model.truncation.gradient <= tolerance and 0 < model.truncation.signal <= 1e-3
        found.append((len(tape._record.system.unit), model.truncation.gradient, error))
    small, large = found
    assert small[0] < large[0] and small[1] > large[1] and small[2] > large[2]
    assert large[2] < 0.01


COMPLETE = {
    "density": {"exterior": "permeable"},
    "relaxing": {"surface_relaxivity": 0.05, "T2": 20.0},
    "quadratic": {"degree": 2},
    "periodic": {"periodic": True},
    "periodic in part": {"periodic": (True, False, True), "exterior": "permeable"},
}


@pytest.mark.parametrize("name", COMPLETE)
def test_gradient_of_a_complete_basis(name: str, monkeypatch) -> None:
    """Nothing is held fixed then but the space: Taylor remainders fall as h^2, and differences agree to 1e-5.

    The steps are coarse: what is exact is so whatever they are.
    """
    fix_steps(monkeypatch, 3.0, 0.0)
    options = COMPLETE[name]
    grid = layers([4.0], [4.0, 4.0], 2.0, 2.0) if "periodic" in options else bcc_grid(cells=2, size=6.0)
    random = np.random.default_rng(5)
    simulator = Simulator(
        grid,
        Protocol.product(PGSE(2.0, 3.0), [0, 2000], [[1.0, 2.0, -1.0], [0.0, 1.0, 2.0]]),
        random.uniform(0.5, 2.0, len(grid.cells)),
        density=random.uniform(0.5, 1.0, len(grid.cells)),
        tolerance=1e-6,
        method="matrix-formalism",
        **options,
    )
    start = torch.tensor(random.uniform(0.05, 0.5, len(grid.faces)))
    weights = torch.tensor([1.0, -0.5, 2.0, 0.3], dtype=torch.float64)

    def loss(permeability: torch.Tensor) -> torch.Tensor:
        return (weights * simulator(permeability).real).sum()

    direction = torch.from_numpy(random.standard_normal(len(start))) * start
    assert taylor_test(loss, start, direction, step=0.1, halvings=2).rate > 1.95
    leaf = start.clone().requires_grad_()
    loss(leaf).backward()
    claimed, differences = finite_difference(loss, start, torch.argsort(leaf.grad.abs())[[-1, -8]], step=2e-3)
    assert np.abs(claimed).min() > 0.01
    np.testing.assert_allclose(claimed, differences, rtol=1e-5)
