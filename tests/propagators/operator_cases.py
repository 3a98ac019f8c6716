"""Assembled operators of a plain tissue, shared by tests."""

import numpy as np

from dmrifw.assembly import Assembly
from dmrifw.operators import Operators
from dmrifw.spaces import BrokenSpace
from dmrifw.tissue import Tissue


def operators_of(
    space: BrokenSpace, diffusivity=2.0, relaxation_rate: float = 0.0, permeable: bool = False
) -> Operators:
    """Density 1, no surface relaxivity; the diffusivity is a scalar or a tensor."""
    grid = space.grid
    cells = len(grid.cells)
    array = np.asarray(diffusivity, dtype=float)
    tissue = Tissue(
        diffusivity=np.broadcast_to(array, (cells, *array.shape)),
        relaxation_rate=np.full(cells, relaxation_rate),
        density=np.ones(cells),
        surface_relaxivity=np.zeros(len(grid.faces)),
        points=grid.points,
    )
    return Operators(Assembly(space, array.ndim == 2), tissue, permeable)
