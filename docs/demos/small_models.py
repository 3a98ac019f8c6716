"""A slab's signal beside small models: free diffusion, the homogenized ADC, a fitted ADC, the short-time limit."""

import numpy as np

from dmrifw import models
from dmrifw.mesh.generators import layers
from dmrifw.propagators import homogenized_adc
from dmrifw.sequences import PGSE, Protocol
from dmrifw.simulator import SignalModel

width, diffusivity = 10.0, 2.0  # um, um^2/ms
grid = layers([width], h=0.1)
closed = np.zeros(len(grid.faces))  # um/ms
print("delta/Delta, ms   homogenized   fitted at b <= 50   short-time     free: um^2/ms")
for delta, Delta in ((0.2, 0.5), (1, 3), (10, 30)):
    protocol = Protocol.product(PGSE(delta, Delta), [0, 25, 50], [[1, 0, 0]])  # s/mm^2
    simulator = SignalModel(grid, protocol, diffusivity, interfaces=grid.is_interface, tolerance=1e-5)
    signal, _ = simulator.signal(closed, keep=False)
    fitted = models.fit_directions(protocol, signal).adc[0]
    homogenized = homogenized_adc(simulator.operators, protocol, closed)[0]
    short = models.short_time_adc(PGSE(delta, Delta), diffusivity, surface_to_volume=2 / width, dimension=1)
    print(f"{delta:>7g}/{Delta:<8g} {homogenized:12.3f} {fitted:19.3f} {short:12.3f} {diffusivity:8.3f}")
    assert abs(fitted - homogenized) < 1e-2 * homogenized  # the initial slope
    assert Delta > 1 or abs(short - homogenized) < 1e-3 * diffusivity  # walls that do not feel each other
