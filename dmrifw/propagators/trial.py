"""Fields to start a basis from: polynomials of the position, relaxed by the operator, without an eigensolver.

What a gradient makes of the uniform field is smooth but for the walls: precession multiplies by the position, diffusion
relaxes. So polynomials, taken through two steps of inverse iteration, which bend them at walls and let them jump there,
are as good to start from as that many lowest modes. They cost two block solves where Lanczos takes hundreds of single
ones, and they do not depend on the partition.

Along a periodic axis waves of the cell take the place of polynomials, and where walls close compartments off each has
fields of its own.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import scipy.sparse as sp
from numpy.polynomial.legendre import legvander
from scipy.sparse.csgraph import connected_components

from dmrifw.propagators.full_order import FullSystem
from dmrifw.propagators.modes import Modes
from dmrifw.spaces import NODES, BrokenSpace
from dmrifw.typing import FloatArray, IntArray

RELAXATION = 20.0
"""Time over which fields are relaxed in a step of inverse iteration, ms: the slowest modes come out of it first."""

_MOST_PARTS = 32
"""Parts of a substrate up to which each has fields of its own."""


def relaxed(full: FullSystem, fields: FloatArray) -> FloatArray:
    """(owned unknowns, n) fields after two steps of inverse iteration. Collective."""
    for _ in range(2):
        fields = full.solve(RELAXATION, full.mass(fields))
        lengths = np.sqrt(full.operators.comm.allreduce(np.einsum("nm,nm->m", fields, full.mass(fields))))
        fields = fields / lengths
    return fields


def trial_modes(full: FullSystem, count: float) -> Modes:
    """The Ritz modes of about `count` such fields and of w = 1, with which every measurement starts. Collective."""
    operators = full.operators
    space = operators.space
    parts = _parts(space)
    number = int(parts.max()) + 1 if parts.max() < _MOST_PARTS else 1
    values = _waves(space, _order(count / number))
    if number > 1:
        belongs = parts[space.node_of_dof() // NODES[space.degree]]
        values = np.hstack([values * (belongs == part)[:, None] for part in range(number)])
    merge = operators.assembly.merge
    if merge is not None:
        values = merge.transposed(values) / merge.transposed(np.ones((len(values), 1)))
    fields = np.hstack([relaxed(full, values), full.unit[:, None]])
    return Modes.spanned(operators, full.matrix, fields)


def _order(count: float) -> int:
    """The largest order whose polynomials in three variables are not more than `count`."""
    order = 0
    while (order + 2) * (order + 3) * (order + 4) / 6 <= count:
        order += 1
    return order


def _waves(space: BrokenSpace, order: int) -> FloatArray:
    """(owned DG dofs, n) products of functions of x, y and z of total order up to `order`."""
    points = space.dofs.tabulate_dof_coordinates()[: space.dofs.dofmap.index_map.size_local]
    low, high = space.grid.bounds
    share = (points - low) / (high - low)
    along, orders = [], []
    for axis, periodic in enumerate(space.periodic):
        if periodic:
            angle = 2 * np.pi * share[:, axis, None] * np.arange(1, order + 1)
            along.append(np.hstack([np.ones((len(points), 1)), np.cos(angle), np.sin(angle)]))
            orders.append(np.concatenate([np.arange(order + 1), np.arange(1, order + 1)]))
        else:
            along.append(legvander(2 * share[:, axis] - 1, order))
            orders.append(np.arange(order + 1))
    chosen = [
        (a, b, c)
        for a, b, c in product(*map(lambda of_axis: range(len(of_axis)), orders))
        if orders[0][a] + orders[1][b] + orders[2][c] <= order
    ]
    return np.column_stack([along[0][:, a] * along[1][:, b] * along[2][:, c] for a, b, c in chosen])


def _parts(space: BrokenSpace) -> IntArray:
    """(E,) part of the substrate that each cell is in: walls close parts off; one part where every face is a wall."""
    grid = space.grid
    through = ~grid.is_exterior & ~space.walls
    if not through.any():
        return np.zeros(len(grid.cells), dtype=np.int64)
    ends = grid.face_cells[through]
    graph = sp.coo_matrix((np.ones(len(ends)), tuple(ends.T)), shape=(len(grid.cells),) * 2)
    return connected_components(graph, directed=False)[1].astype(np.int64)
