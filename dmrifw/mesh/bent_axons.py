"""Bent axons: tubes around random walks through a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from dmrifw.errors import InputError
from dmrifw.mesh.grid import Grid
from dmrifw.mesh.shapes import Solid
from dmrifw.mesh.topology import is_ball
from dmrifw.typing import BoolArray, FloatArray, IntArray

_ATTEMPTS = 500
"""Walks that are tried before a tube is given up."""

_STIFFNESS = 1.0
"""Weight of a step that turns by an angle t, relative to a random one: exp(stiffness cos t)."""


@dataclass(frozen=True)
class Tube(Solid):
    """All points within `radius` um of a polyline of `nodes`, (n, 3) um."""

    radius: float
    nodes: FloatArray

    def contains(self, points: FloatArray) -> BoolArray:
        """See `Solid.contains`. Local."""
        starts, steps = self.nodes[:-1], np.diff(self.nodes, axis=0)
        offsets = points[:, None, :] - starts
        along = np.clip(np.einsum("psk,sk->ps", offsets, steps) / np.sum(steps**2, axis=1), 0.0, 1.0)
        distance: FloatArray = np.linalg.norm(offsets - along[:, :, None] * steps, axis=2).min(axis=1)
        return np.less_equal(distance, self.radius * (1 + 1e-9))


@dataclass(frozen=True)
class BentAxon:
    """A tube around a seeded random walk along the edges of the grid.

    The walk starts at a random vertex, prefers small turns, never turns back by more than a right angle, and keeps
    away from where it has been. The cells whose four vertices lie within `radius` of it are the axon, if they reach all
    of the walk and are a topological tube: connected through faces, closed at both ends, without handles, pinched
    places or contact with themselves (a ball to `dmrifw.mesh.topology.is_ball`). Otherwise another
    walk is drawn from the same seed.

    Attributes:
        radius: Of the tube, um. At least 0.82 times the spacing of corners in a BCC grid, so that the cells around
            each of its edges lie inside.
        length: Least length of the walk, um.
        seed: Of all draws; the same axon on the same grid wherever it runs.

    Raises:
        InputError: `seed` is negative.

    Source: Spinverse, arXiv 2603.04638 (bent axons by a random walk, all-vertices-inside rule); the checks are ours.
    """

    radius: float
    length: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"{self.seed} is negative", "give a whole number of at least 0", key="seed")

    @property
    def parts(self) -> int:
        """One."""
        return 1

    def label(self, grid: Grid) -> IntArray:
        """(E,) 1 for the cells of the axon, 0 for the others.

        Raises:
            InputError: No walk was found whose tube is one.

        Local.
        """
        generator, neighbours = np.random.default_rng(self.seed), _neighbours(grid)
        for _ in range(_ATTEMPTS):
            nodes = self._walk(grid, neighbours, generator)
            if nodes is None:
                continue
            label = Tube(self.radius, grid.points[nodes]).label(grid)
            if np.isin(nodes, grid.cells[label > 0]).all() and is_ball(grid, label):
                return label
        raise InputError(
            f"no tube of radius {self.radius:g} um around a walk of {self.length:g} um fits into the grid",
            "give a smaller length, another radius or seed, or a finer grid",
            key="length",
        )

    def _walk(self, grid: Grid, neighbours: sp.csr_array, generator: np.random.Generator) -> list[int] | None:
        """Vertices of a walk that is long enough; None where it got stuck."""
        nodes = [int(generator.choice(np.unique(grid.cells)))]
        walked, heading = 0.0, np.zeros(3)
        while walked < self.length:
            around = neighbours.indices[neighbours.indptr[nodes[-1]] : neighbours.indptr[nodes[-1] + 1]]
            steps = grid.points[around] - grid.points[nodes[-1]]
            lengths = np.linalg.norm(steps, axis=1)
            cosines = (steps @ heading) / lengths
            weights = (
                np.exp(_STIFFNESS * cosines)
                * (cosines >= -1e-9)
                * self._is_clear(grid.points[around], grid.points[nodes])
            )
            if not weights.any():
                return None
            choice = int(generator.choice(len(around), p=weights / weights.sum()))
            heading = steps[choice] / lengths[choice]
            walked += float(lengths[choice])
            nodes.append(int(around[choice]))
        return nodes

    def _is_clear(self, points: FloatArray, nodes: FloatArray) -> BoolArray:
        """(n,) True for the points farther than the tube is wide from where the walk was before that."""
        behind = nodes[::-1]
        gone = np.cumsum(np.linalg.norm(np.diff(behind, axis=0, prepend=behind[:1]), axis=1))
        past = behind[gone > 2 * self.radius]
        distances: FloatArray = np.linalg.norm(points[:, None, :] - past, axis=2)
        return np.all(distances > 2 * self.radius, axis=1)


def _neighbours(grid: Grid) -> sp.csr_array:
    """Vertices joined by an edge: column numbers ascending in each row."""
    ends = np.concatenate([grid.edges, grid.edges[:, ::-1]])
    shape = (len(grid.points), len(grid.points))
    graph = sp.csr_array((np.ones(len(ends), dtype=np.int8), tuple(ends.T)), shape=shape)
    graph.sort_indices()
    return graph
