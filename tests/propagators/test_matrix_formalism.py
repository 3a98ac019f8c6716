"""Both methods against each other at the tolerance asked, on cases of every kind; the gradient of a complete basis."""

from functools import cache

import numpy as np
import pytest
import torch
from propagator_cases import CASES, attenuations, case, fix_steps

from dmrifw import Protocol, Simulator
from dmrifw.mesh import bcc_grid, layers
from dmrifw.propagators import FullOrder, matrix_formalism
from dmrifw.propagators.full_order import FullSystem
from dmrifw.propagators.reduced import ReducedSystem
from dmrifw.sequences import PGSE
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
