"""The signal of a sphere's wall, and how it changes with the permeability of every face."""

import torch

import dmrifw

grid = dmrifw.mesh.bcc_grid(cells=4, size=80 / 3)  # um
wall = dmrifw.mesh.shape_barrier(grid, dmrifw.mesh.shapes.Sphere(radius=10))  # um
directions = dmrifw.sequences.fibonacci_directions(30)
protocol = dmrifw.Protocol.shells([0, 1000], directions, delta=10, Delta=20)  # s/mm^2, ms
simulator = dmrifw.Simulator(grid, protocol, diffusivity=2.0)  # um^2/ms

permeability = torch.full((len(grid.faces),), 100.0, dtype=torch.float64)  # um/ms: open
permeability[wall] = 0.01
signal = simulator(permeability=permeability.requires_grad_())  # um^3, complex
attenuation = signal[30:].abs().mean() / signal[:30].abs().mean()
attenuation.backward()

print(f"S/S0 = {attenuation:.4f}; {len(grid.faces)} faces, {wall.sum()} of them walls")
assert abs(attenuation - 0.3708) < 1e-3  # the simulator's tolerance in S/S0
assert (permeability.grad[wall] < 0).all()  # a leakier wall lowers the signal
