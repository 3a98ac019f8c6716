"""The simulator as a torch function: Taylor test, independent differences, and graphs side by side."""

import numpy as np
import pytest
import torch

from dmrifw import Protocol, Simulator
from dmrifw.errors import InputError
from dmrifw.mesh import bcc_grid
from dmrifw.verify import finite_difference, taylor_test

GRID = bcc_grid(cells=2, size=40 / 3)
PROTOCOL = Protocol.pgse([0, 1000, 3000, 3000], [[0, 0, 1], [1, 0, 0], [0, 1, 1], [1, 2, 3]], 5.0, 8.0)
STARTS = {
    "uniform": np.zeros(len(GRID.faces)),
    "random": np.random.default_rng(0).uniform(-4.0, 4.0, len(GRID.faces)),
}


def loss_of(exterior: str):
    """Mean squared misfit to attenuations that are a tenth too small, as a function of log kappa; complete basis."""
    simulator = Simulator(GRID, PROTOCOL, exterior=exterior, tolerance=1e-6)
    reference = 0.9 * simulator(3.0).abs().detach()

    def loss(log_permeability: torch.Tensor) -> torch.Tensor:
        return (((simulator(torch.exp(log_permeability)).abs() - reference) / GRID.volume) ** 2).sum()

    return loss


@pytest.mark.parametrize("exterior", ["reflecting", "permeable"])
@pytest.mark.parametrize("start", STARTS)
def test_gradient_in_log_permeability(exterior: str, start: str) -> None:
    """Taylor remainder of second order, and fourth-order central differences to 1e-5 on the ten largest entries."""
    loss, x = loss_of(exterior), STARTS[start]
    result = taylor_test(loss, x)
    assert result.rate >= 1.95
    assert (result.rates["R0"] > 0.9).all() and abs(result.slope) > 1e-6
    leaf = torch.tensor(x, requires_grad=True)
    loss(leaf).backward()
    largest = np.argsort(-np.abs(leaf.grad.numpy()))[:10]
    gradient, differences = finite_difference(loss, x, largest, step=1e-2)
    assert (differences != 0).all()
    np.testing.assert_allclose(gradient, differences, rtol=1e-5)


def test_closed_exterior_faces_have_no_gradient() -> None:
    """They have no effect, so their derivative is exactly zero, and interior ones have some."""
    leaf = torch.ones(len(GRID.faces), dtype=torch.float64, requires_grad=True)
    Simulator(GRID, PROTOCOL)(leaf).abs().sum().backward()
    assert not leaf.grad.numpy()[GRID.is_exterior].any()
    assert (leaf.grad.numpy()[~GRID.is_exterior] != 0).all()


def test_two_graphs_at_once() -> None:
    """Two calls of one simulator, differentiated in the other order, give what they give one after the other."""
    simulator, other = Simulator(GRID, PROTOCOL), Simulator(GRID, PROTOCOL)
    first = torch.full((len(GRID.faces),), 1.0, dtype=torch.float64, requires_grad=True)
    second = torch.full((len(GRID.faces),), 5.0, dtype=torch.float64, requires_grad=True)
    one, two = simulator(first).abs().sum(), simulator(second).abs().sum()
    two.backward()
    one.backward()
    for leaf in (first, second):
        alone = leaf.detach().clone().requires_grad_()
        other(alone).abs().sum().backward()
        torch.testing.assert_close(leaf.grad, alone.grad, rtol=0, atol=0)


def test_signal_type_and_order() -> None:
    """complex128, one per measurement, real for PGSE; b = 0 gives the volume."""
    signal = Simulator(GRID, PROTOCOL)(1.0)
    assert signal.dtype == torch.complex128 and signal.shape == (len(PROTOCOL),)
    assert signal[0].real.item() == pytest.approx(GRID.volume, rel=1e-12)
    assert not signal.requires_grad


def test_wrong_length_is_told() -> None:
    """The fault and the mend, not a numpy traceback."""
    with pytest.raises(InputError, match=r"one value per row of grid\.faces"):
        Simulator(GRID, PROTOCOL)(torch.ones(7))


def test_conjugate_convention() -> None:
    """torch: for real L(S), grad = dL/dRe S + i dL/dIm S; L = Re S and L = |S| must agree where S is real."""
    simulator = Simulator(GRID, PROTOCOL)
    gradients = []
    for functional in (torch.real, torch.abs):
        leaf = torch.ones(len(GRID.faces), dtype=torch.float64, requires_grad=True)
        functional(simulator(leaf)).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
