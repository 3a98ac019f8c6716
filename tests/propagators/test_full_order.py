"""The stepped equation against dense matrix exponentials, and its adjoint against Taylor and finite differences."""

import numpy as np
import pytest
import torch
from propagator_cases import ASYMMETRIC, case, dense_signal, fix_steps

from dmrifw import Protocol, Simulator
from dmrifw.mesh import bcc_grid, layers
from dmrifw.propagators import imex, propagator
from dmrifw.propagators.held_steps import attenuation
from dmrifw.propagators.steps import Drive, Steps, intervals
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
    """What does not fit into memory is computed again on the way back, all of it or from states held by Revolve.

    The same numbers, backwards and forwards, with stages kept, with those of a block at a time, and with few states.
    """
    simulator, _, start = loss_of(*GRADIENTS["asymmetric"], "full-order")
    direction = np.random.default_rng(0).standard_normal(len(start))
    found = []
    for tape, block in ((1e9, 5e8), (0.0, 5e8), (0.0, 1e5)):
        monkeypatch.setattr(propagator, "_TAPE_BYTES", tape)
        monkeypatch.setattr(propagator, "_BLOCK_BYTES", block)
        signal, record = simulator.signal(start.numpy())
        found.append((record.pull_back(signal)["permeability"], record.push_forward({"permeability": direction})))
    assert len(record._record.batches) == 1 and not record._record.trajectories[0].stages
    for gradient, change in found[1:]:
        np.testing.assert_allclose(gradient, found[0][0], rtol=1e-12, atol=1e-12 * np.abs(gradient).max())
        np.testing.assert_allclose(change, found[0][1], rtol=1e-12, atol=1e-12 * np.abs(change).max())


def test_the_schedule_of_states_goes_backwards(monkeypatch) -> None:
    """With three states held, the way back through 30 steps takes each in order, with the stages of the way there."""
    asked = []
    monkeypatch.setattr(imex, "Revolve", lambda *size, made=imex.Revolve: asked.append(size) or made(*size))
    model, permeability = full_order("layers", 1e-2)
    system = model.propagator._system(model._experiment(permeability, None, {})[0])
    drive = Drive(model.protocol.waveforms[0], model.protocol.q[:2], model.operators.encoding)
    cuts = intervals(drive.waveform, drive.encoding, Steps(5.0, 5.0), whole=True)
    steps = list(imex._steps(drive, cuts))
    kept, bare = system.evolve(drive, cuts, True), system.evolve(drive, cuts, False)
    assert len(steps) >= 30 and kept.stages and not bare.stages
    both = zip(imex._backwards(system, steps, kept, 3), imex._backwards(system, steps, bare, 3), strict=True)
    for position, (one, other) in enumerate(both):
        assert one[0] == other[0] == len(steps) - 1 - position
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[2], other[2])
    assert asked == [(len(steps), 3)]
