"""Gradients by several inputs at once, three checks of them, and a fit that uses them: wall, diffusivity and T2."""

import torch

import dmrifw
from dmrifw.verify import dot_product_test, finite_difference, taylor_test

grid = dmrifw.mesh.layers([3.0, 5.0], [1.0, 1.0], 0.5, 1.0)  # um: two slabs, a wall between them
shells = ([0, 1000, 3000], [[1, 0, 0], [0, 1, 0]])  # s/mm^2
protocol = dmrifw.Protocol.shells(*shells, delta=4, Delta=6)  # ms
protocol += dmrifw.Protocol.shells(*shells, delta=4, Delta=30)  # two echo times tell relaxation from diffusion
simulator = dmrifw.Simulator(grid, protocol, interfaces=grid.is_interface)


def signal(wall: torch.Tensor, diffusivity: torch.Tensor, T2: torch.Tensor) -> torch.Tensor:
    """Signals over the volume, for one permeability, um/ms, and D, um^2/ms, and T2, ms, of both slabs."""
    return simulator(permeability=wall, diffusivity=diffusivity, T2=T2) / grid.volume


truth = ([0.05], [1.0, 2.0], [40.0, 70.0])  # one interface, two compartments
target = signal(*(torch.tensor(values, dtype=torch.float64) for values in truth))


def loss(wall: torch.Tensor, diffusivity: torch.Tensor, T2: torch.Tensor) -> torch.Tensor:
    """Squared misfit over noise of 1e-3."""
    return ((signal(wall, diffusivity, T2) - target) / 1e-3).abs().square().sum()


start = ([0.2], [1.4, 1.6], [50.0, 50.0])
unknowns = [torch.tensor(values, dtype=torch.float64, requires_grad=True) for values in start]
first = loss(*unknowns)
first.backward()
print("gradients:", *(unknown.grad.tolist() for unknown in unknowns))

fixed = [unknown.detach() for unknown in unknowns]
taylor = taylor_test(lambda D: loss(fixed[0], D, fixed[2]), start[1], step=0.02)
claimed, differences = finite_difference(lambda T2: loss(*fixed[:2], T2), start[2], entries=[0, 1], step=0.1)
products = dot_product_test(signal, *start)
print(f"Taylor rate {taylor.rate:.2f}; differences {differences / claimed - 1}; products {products.relative:.0e}")
assert taylor.rate > 1.95
assert (abs(differences / claimed - 1) < 1e-5).all()
assert products.forward_mode and products.relative < 1e-10

# unknowns on scales of their own: their logarithms
logarithms = [unknown.detach().log().requires_grad_() for unknown in unknowns]
optimizer = torch.optim.LBFGS(logarithms, max_iter=60, line_search_fn="strong_wolfe")


def closure() -> torch.Tensor:
    """What L-BFGS asks for."""
    optimizer.zero_grad()
    value = loss(*(one.exp() for one in logarithms))
    value.backward()
    return value


optimizer.step(closure)
found = [one.exp().tolist() for one in logarithms]
print("found:", *([round(value, 3) for value in values] for values in found))
for values, true in zip(found, truth, strict=True):
    assert all(abs(value / one - 1) < 0.01 for value, one in zip(values, true, strict=True))
