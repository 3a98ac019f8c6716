"""A bent, twisted cell found from its signals, by damped Gauss-Newton steps from a straight cylinder."""

import numpy as np
import torch
from dmrifw_spectral_latent import FAMILIES, FamilyShape, Template

from dmrifw import Protocol, Simulator
from dmrifw.inversion import GaussNewtonSettings, InversionProblem, invert
from dmrifw.parametrizations import Setting
from dmrifw.schedules import Stage
from dmrifw.sequences import PGSE, fibonacci_directions
from dmrifw.shape_metrics import vertex_rmsd

template = Template.shipped()  # r = 5 um, h = 20 um
grid = template.grid()
protocol = Protocol.product(PGSE(5, 25), [0, 2000, 5000], fibonacci_directions(12))  # ms, s/mm^2
closed = np.zeros(len(grid.faces), dtype=bool)  # no walls inside the cell
simulator = Simulator(grid, protocol, diffusivity=2.0, interfaces=closed)

truth = FAMILIES["bending"].shape(template, torch.tensor([0.1, 0.2], dtype=torch.float64))  # bend, twist
with torch.no_grad():
    target = simulator(points=truth)

shape = FamilyShape(Setting(grid, protocol), family="bending", start=[0.05, 0.05], rotation=False)
result = invert(
    InversionProblem(simulator, target.numpy()),
    shape,
    priors={},
    schedule=lambda iteration: Stage((1.0,)),
    optimizer=GaussNewtonSettings(),
    iterations=8,
)
for row in result.history.rows:
    print(f"step {row['iteration']}: loss {row['loss']:.2e}, damping {row['damping']:.0e}, {row['seconds']:.1f} s")
bend, twist = shape.values.tolist()
distance = vertex_rmsd(result.fields["points"] - result.fields["points"].mean(dim=0), truth - truth.mean(dim=0))
print(f"bend {bend:.4f} (0.1), twist {twist:.4f} (0.2), vertices off by {distance:.4f} um")
assert result.loss_final < 1e-3 * result.loss_initial
assert distance < 0.05
