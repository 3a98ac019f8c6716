"""The stepped equation against dense matrix exponentials, and its adjoint against Taylor and finite differences."""

import numpy as np
import pytest
import torch
from propagator_cases import ASYMMETRIC, case, dense_signal, fix_steps

from dmrifw import Protocol, Simulator
from dmrifw.mesh import bcc_grid, layers
from dmrifw.propagators import propagator
from dmrifw.propagators.held_steps import attenuation
from dmrifw.propagators.steps import Drive, Steps
from dmrifw.sequences import OGSE, PGSE, BTensor
from dmrifw.simulator import SignalModel
from dmrifw.verify import finite_difference, taylor_test

WEIGHTS = torch.tensor([1.0, -0.5, 2.0, 0.3], dtype=torch.float64)


def full_order(name: str, tolerance: float) -> tuple[SignalModel, np.ndarray]:
    grid, protocol, permeability, options = case(name)
    return SignalModel(grid, protocol, tolerance=tolerance, method="full-order", **options), permeability


@pytest.mark.parametrize("name", ["layers", "sphere", "cylinders", "tensor"])
def test_signals_are_matrix_exponentials(name: str) -> None:
    """PGSE has constant gradients: S = 1.M exp(..) exp(..) exp(..) 1, to the tolerance of 1e-6."""
    model, permeability = full_order(name, 1e-6)
    found = model.signal(permeability, keep=False)[0]
    expected = dense_signal(model, permeability, 0.0)
    assert np.abs(found - expected).max() < 1e-6 * abs(expected[0])


@pytest.mark.slow
def test_signals_in_a_periodic_cell_are_matrix_exponentials() -> None:
    """There the coefficients vary with time: exponentials of the Magnus scheme, 20 steps a ms."""
    model, permeability = full_order("periodic", 1e-6)
    found = model.signal(permeability, keep=False)[0]
    expected = dense_signal(model, permeability, 20.0)
    assert np.abs(found - expected).max() < 1e-6 * abs(expected[0])


def test_fourth_order_in_the_step() -> None:
    """Errors against matrix exponentials fall as h^4, up to some stiffness: a rate of at least 3.5."""
    model, permeability = full_order("layers", 1e-3)
    system = model.propagator._system(model._experiment(permeability, None, {})[0])
    rows = [0, 3, 4, 6]
    drive = Drive(model.protocol.waveforms[0], model.protocol.q[rows], model.operators.encoding)
    expected = dense_signal(model, permeability, 0.0)
    errors = [
        np.abs(attenuation(system, drive, Steps(n, n)) - expected[rows] / expected[0])[1:].max()
        for n in (4.0, 8.0, 16.0)
    ]
    assert (np.log2(np.array(errors[:-1]) / errors[1:]) > 3.5).all()


def test_asymmetric_waveforms_use_the_whole_evolution() -> None:
    """The signal of a waveform without symmetry is complex where the substrate has none; exponentials say the same."""
    grid = layers([2.0, 5.0], [1.0, 1.0], 0.5, 1.0)
    protocol = Protocol.product(ASYMMETRIC, [0, 2000], [[1.0, 0.0, 0.0]])
    model = SignalModel(grid, protocol, [0.5, 2.0], interfaces=grid.is_interface, tolerance=1e-6, method="full-order")
    found = model.signal(0.05, keep=False)[0]
    expected = dense_signal(model, np.full(len(grid.faces), 0.05), 20.0)
    assert abs(expected[1].imag) > 5e-4 * abs(expected[0])
    assert np.abs(found - expected).max() < 2e-6 * abs(expected[0])


GRADIENTS = {
    "antisymmetric": (PGSE(2.0, 3.0), {"exterior": "permeable"}),
    "ogse": (OGSE(2.0, 3.0, 1, "sin"), {}),
    "asymmetric": (ASYMMETRIC, {"exterior": "permeable"}),
    "tensor-encoding": (BTensor(3.0, 0.0), {}),
    "relaxing": (PGSE(2.0, 3.0), {"surface_relaxivity": 0.05, "T2": 20.0, "exterior": "permeable"}),
    "quadratic": (PGSE(2.0, 3.0), {"degree": 2}),
    "quadratic asymmetric": (ASYMMETRIC, {"degree": 2, "exterior": "permeable"}),
    "periodic": (PGSE(2.0, 3.0), {"periodic": True}),
    "periodic asymmetric": (ASYMMETRIC, {"periodic": (True, False, True), "exterior": "permeable"}),
    "periodic quadratic": (ASYMMETRIC, {"periodic": (False, True, False), "degree": 2}),
}


def loss_of(waveform, options, method: str, **more):
    """A weighted sum of real and imaginary parts of four signals, in a lattice with random tissue in every cell."""
    grid = lattice() if "periodic" in options else bcc_grid(cells=2, size=6.0)
    random = np.random.default_rng(3)
    protocol = Protocol.product(waveform, [0, 2000], [[1.0, 2.0, -1.0], [0.0, 1.0, 2.0]])
    simulator = Simulator(
        grid,
        protocol,
        random.uniform(0.5, 2.0, len(grid.cells)),
        density=random.uniform(0.5, 1.0, len(grid.cells)),
        tolerance=1e-2,
        method=method,
        **options,
        **more,
    )
    start = torch.tensor(random.uniform(0.05, 0.5, len(grid.faces)))

    def loss(permeability: torch.Tensor) -> torch.Tensor:
        signal = simulator(permeability)
        return (WEIGHTS * signal.real).sum() + (WEIGHTS.flip(0) * signal.imag).sum()

    return simulator, loss, start


def lattice():
    """A cube of eight small ones, 48 tetrahedra, whose opposite sides match."""
    return layers([4.0], [4.0, 4.0], 2.0, 2.0)


LENGTHY = ("tensor-encoding", "quadratic asymmetric", "periodic asymmetric", "periodic quadratic")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LENGTHY else ()) for n in GRADIENTS])
def test_gradient_is_exact_for_the_discrete_scheme(name: str, monkeypatch) -> None:
    """Taylor remainders fall as h^2; and faces one by one against central differences of signals alone, to 1e-5.

    The steps are coarse, the same for every permeability: what is exact is so whatever they are.
    """
    fix_steps(monkeypatch, 2.0, 1.0)
    simulator, loss, start = loss_of(*GRADIENTS[name], "full-order")
    direction = torch.from_numpy(np.random.default_rng(4).standard_normal(len(start))) * start
    assert taylor_test(loss, start, direction, step=0.1, halvings=3).rate > 1.95
    leaf = start.clone().requires_grad_()
    loss(leaf).backward()
    largest = torch.argsort(leaf.grad.abs(), descending=True)[[0, 3, 10]]
    claimed, differences = finite_difference(loss, start, largest, step=2e-3)
    assert np.abs(claimed).min() > 1e-3 * simulator.operators.total.sum()
    np.testing.assert_allclose(claimed, differences, rtol=1e-5)


def test_gradient_of_a_recomputed_tape(monkeypatch) -> None:
    """Where trajectories do not fit into memory they are computed again on the way back: the same numbers."""
    _, loss, start = loss_of(*GRADIENTS["asymmetric"], "full-order")
    gradients = []
    for budget in (propagator._TAPE_BYTES, 0):
        monkeypatch.setattr(propagator, "_TAPE_BYTES", budget)
        leaf = start.clone().requires_grad_()
        loss(leaf).backward()
        gradients.append(leaf.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-12, atol=1e-12 * float(gradients[0].abs().max()))
