"""The simulator as a torch function: what is computed and what not, graphs side by side, both modes, layers."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from dmrifw import Protocol, SignalLayer, Simulator
from dmrifw.assembly import Assembly
from dmrifw.errors import InputError
from dmrifw.mesh import bcc_grid
from dmrifw.operators import Operators
from dmrifw.sequences import sampled
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


TISSUE = {
    "permeability": np.random.default_rng(1).uniform(0.05, 0.5, len(GRID.faces)),
    "diffusivity": np.full(len(GRID.cells), 1.5),
    "T2": np.array(40.0),
    "points": GRID.points,
    "q": PROTOCOL.q,
}


def tensors(*wanted: str) -> dict[str, torch.Tensor]:
    """All of `TISSUE`, of which some require a gradient."""
    return {name: torch.tensor(value, requires_grad=name in wanted) for name, value in TISSUE.items()}


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """How often the parts of a gradient were computed: forms by the input, products of cells and of facets."""
    found: Counter = Counter()

    def watch(owner: type, method: str, label) -> None:
        original = getattr(owner, method)

        def counted(self, *arguments):
            found[label(*arguments)] += 1
            return original(self, *arguments)

        monkeypatch.setattr(owner, method, counted)

    watch(Assembly, "gradient", lambda term, name, densities: f"form {name}")
    watch(Operators, "cell_products", lambda left, right: "cells")
    watch(Operators, "facet_products", lambda left, right: "facets")
    return found


WORK = {
    (): set(),
    ("permeability",): {"facets"},
    ("T2",): {"cells", "form relaxation_rate"},
    ("diffusivity",): {"cells", "form diffusivity"},
    ("q",): set(),
    ("points", "q"): {"cells", "facets", "form points"},
    ("permeability", "T2"): {"cells", "facets", "form relaxation_rate"},
}


@pytest.mark.parametrize("wanted", WORK, ids="+".join)
def test_only_what_requires_a_gradient_is_computed(wanted: tuple[str, ...], counts: Counter) -> None:
    """No other form is assembled, no other product taken, and without any nothing is kept."""
    simulator, given = Simulator(GRID, PROTOCOL, method="full-order", tolerance=1e-2), tensors(*wanted)
    signal = simulator(**given)
    assert signal.requires_grad == bool(wanted)
    if wanted:
        signal.abs().sum().backward()
    assert set(counts) == WORK[wanted]
    assert {name for name, value in given.items() if value.grad is not None} == set(wanted)


def test_gradients_do_not_depend_on_what_else_is_asked_for() -> None:
    """One by one or together: the same numbers to rounding."""
    simulator, together = Simulator(GRID, PROTOCOL, tolerance=1e-2), tensors(*TISSUE)
    simulator(**together).abs().sum().backward()
    for name in TISSUE:
        alone = tensors(name)
        simulator(**alone).abs().sum().backward()
        scale = together[name].grad.abs().max().item()
        assert scale > 0
        torch.testing.assert_close(alone[name].grad, together[name].grad, rtol=0, atol=1e-12 * scale)


def test_a_simulator_used_twice_in_one_loss() -> None:
    """d/dx (S(x) + S(2x)) is S'(x) + 2 S'(2x); a retained graph gives the same again, a freed one torch's error."""
    simulator = Simulator(GRID, PROTOCOL, tolerance=1e-2, method="full-order")
    leaf = torch.full((), 0.2, dtype=torch.float64, requires_grad=True)
    loss = simulator(leaf).real.sum() + simulator(2 * leaf).real.sum()
    (first,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    (second,) = torch.autograd.grad(loss, leaf)
    assert torch.equal(first, second)
    apart = [torch.full((), value, dtype=torch.float64, requires_grad=True) for value in (0.2, 0.4)]
    slopes = [torch.autograd.grad(simulator(one).real.sum(), one)[0] for one in apart]
    torch.testing.assert_close(first, slopes[0] + 2 * slopes[1], rtol=1e-12, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, leaf)


@pytest.mark.parametrize("name", TISSUE)
def test_a_change_in_place_is_told(name: str) -> None:
    """Torch's own error: the values at which the signal was computed are gone."""
    given = tensors("permeability", name)
    loss = Simulator(GRID, PROTOCOL, tolerance=1e-2)(**given).abs().sum()
    with torch.no_grad():
        given[name].mul_(1.01)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("name", ["permeability", "diffusivity", "T2", "density", "surface_relaxivity", "points", "q"])
def test_a_wrong_shape_is_told_in_one_line(name: str) -> None:
    """The fault, the mend and the name of the input."""
    with pytest.raises(InputError) as caught:
        Simulator(GRID, PROTOCOL)(**{name: torch.ones(7, 2)})
    assert caught.value.key == name
    assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)
    assert "(7, 2)" in str(caught.value)


def test_an_unknown_input_is_told() -> None:
    """By the function and by the layer, before any work."""
    simulator = Simulator(GRID, PROTOCOL)
    for make in (simulator, lambda **inputs: SignalLayer(simulator, **inputs)):
        with pytest.raises(InputError, match="there is no input 'T1'; give some of permeability"):
            make(T1=1000.0)


def directions() -> dict[str, torch.Tensor]:
    random = np.random.default_rng(7)
    return {
        name: torch.from_numpy(np.asarray(0.01 * np.abs(value).max() * random.standard_normal(value.shape)))
        for name, value in TISSUE.items()
    }


def test_forward_mode_is_the_transpose_of_backward() -> None:
    """Dual numbers through the simulator and torch's own functions around it: <c, J d> = <J^H c, d>."""
    simulator, d = Simulator(GRID, PROTOCOL, tolerance=1e-2), directions()

    def f(given: dict[str, torch.Tensor]) -> torch.Tensor:
        signal = simulator(**{**given, "permeability": torch.exp(given["permeability"])})
        return signal / signal[0]

    with forward_ad.dual_level():
        dual = f({name: forward_ad.make_dual(value, d[name]) for name, value in tensors().items()})
        tangent = forward_ad.unpack_dual(dual).tangent
    leaves = tensors(*TISSUE)
    c = torch.complex(*torch.from_numpy(np.random.default_rng(8).standard_normal((2, len(PROTOCOL)))))
    gradients = torch.autograd.grad(f(leaves), list(leaves.values()), c)
    backward = sum((g * d[name]).sum() for name, g in zip(leaves, gradients, strict=True))
    assert tangent.abs().max() > 1e-3
    torch.testing.assert_close((c.conj() * tangent).real.sum(), backward, rtol=1e-10, atol=0)


def test_gauss_newton_products_are_symmetric_and_positive() -> None:
    """u.(J^T W J v) = v.(J^T W J u), v.(J^T W J v) = sum W |J v|^2 > 0, and the product is vjp of W times jvp."""
    simulator = Simulator(GRID, PROTOCOL, tolerance=1e-2)
    _, tape = simulator.signal(**TISSUE)
    random = np.random.default_rng(9)
    weights = random.uniform(0.5, 2.0, len(PROTOCOL))
    u, v = ({name: random.standard_normal(value.shape) for name, value in TISSUE.items()} for _ in range(2))
    u_product, v_product = tape.gauss_newton(u, weights), tape.gauss_newton(v, weights)

    def inner(one, other) -> float:
        return sum(float((one[name] * other[name]).sum()) for name in TISSUE)

    assert inner(u, v_product) == pytest.approx(inner(v, u_product), rel=1e-10)
    moved = tape.push_forward(v)
    assert inner(v, v_product) == pytest.approx(float((weights * np.abs(moved) ** 2).sum()), rel=1e-10)
    assert inner(v, v_product) > 0
    leaves = tensors(*TISSUE)
    gradients = torch.autograd.grad(simulator(**leaves), list(leaves.values()), torch.from_numpy(weights * moved))
    for name, gradient in zip(leaves, gradients, strict=True):
        expected = gradient.numpy()
        np.testing.assert_allclose(v_product[name], expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def layer(start: float = 0.05) -> SignalLayer:
    learned = torch.nn.Parameter(torch.full((), float(np.log(start)), dtype=torch.float64).exp())
    simulator = Simulator(GRID, PROTOCOL, tolerance=1e-2)
    return SignalLayer(simulator, permeability=learned, diffusivity=1.5, T2=torch.tensor(40.0))


def test_a_layer_has_parameters_and_buffers() -> None:
    """`state_dict` holds what is learned and what is fixed, and another layer takes both over."""
    one, other = layer(0.05), layer(0.3)
    assert [name for name, _ in one.named_parameters()] == ["permeability"]
    assert {name for name, _ in one.named_buffers()} == {"diffusivity", "T2"}
    assert not torch.equal(one(), other())
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.permeability, other.permeability)
    other.simulator.forget()
    one.simulator.forget()
    assert torch.equal(one(), other())


def test_a_layer_is_trained() -> None:
    """Steps of an optimizer find the permeability from which a target was made; inputs of a call come first."""
    made = layer(0.05)
    with torch.no_grad():
        target = made(permeability=torch.tensor(0.1, dtype=torch.float64))
    optimizer = torch.optim.Adam(made.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = ((made() - target).abs() / GRID.volume).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert made.permeability.item() == pytest.approx(0.1, abs=0.02)
    assert min(losses[-5:]) < 0.05 * losses[0]
    assert made(rows=[2]).shape == (1,)


def test_samples_of_a_sequence_are_told_by_its_number() -> None:
    """{0: samples} and samples alone mean the same where one sequence is sampled, gradients included."""
    protocol = Protocol.product(sampled(PROTOCOL.waveforms[0], 0.5), [1000], [[0, 0, 1]])
    simulator = Simulator(GRID, protocol, tolerance=1e-2)
    gradients = []
    for wrapped in (False, True):
        leaf = torch.tensor(protocol.waveforms[0].samples, dtype=torch.float64, requires_grad=True)
        simulator(0.1, samples={0: leaf} if wrapped else leaf).real.sum().backward()
        gradients.append(leaf.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-13 * gradients[0].abs().max().item())
