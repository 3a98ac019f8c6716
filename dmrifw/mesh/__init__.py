"""Where magnetization lives: ambient grids, shapes on them, and the numbering that a caller sees."""

from dmrifw.mesh import generators
from dmrifw.mesh.grid import Grid, from_arrays
from dmrifw.mesh.lattice import bcc_grid
from dmrifw.mesh.shapes import cells_inside, shape_barrier

__all__ = ["Grid", "bcc_grid", "cells_inside", "from_arrays", "generators", "shape_barrier"]
