"""Which faces meet at which edge, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse
import torch

from dmrifw.parametrizations import Setting


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """The faces that carry permeability, and how they meet.

    Under a permeable exterior these are all faces. Under a reflecting one the exterior faces are left out, and the
    edges that lie on them too: there a wall may end without being open.

    Attributes:
        faces: (A,) rows of `Grid.faces` that carry permeability; the arrays below number faces along it.
        face_edges: (A, 3) edges of these faces, as rows of `Grid.edges`.
        corner_face: (C,) the face of each meeting of a face with an edge at which walls must close.
        corner_edge: (C,) the edge of each such meeting, from 0 to N - 1.
        faces_at_edge: (N,) number of faces at each edge, at least 2.
    """

    faces: torch.Tensor
    face_edges: torch.Tensor
    corner_face: torch.Tensor
    corner_edge: torch.Tensor
    faces_at_edge: torch.Tensor

    @classmethod
    def of(cls, setting: Setting) -> Neighbourhood:
        """The neighbourhood in a grid under its exterior. Local."""
        grid = setting.grid
        leaks = setting.exterior == "permeable"
        faces = np.flatnonzero(~grid.is_exterior | leaks)
        corner_face = np.repeat(np.arange(len(faces)), 3)
        corner_edge = grid.face_edges[faces].reshape(-1)
        count = np.bincount(corner_edge, minlength=len(grid.edges))
        closes = count >= 2
        if not leaks:
            closes[grid.face_edges[grid.is_exterior]] = False
        kept = closes[corner_edge]
        number = np.cumsum(closes) - 1
        return cls(
            torch.from_numpy(faces),
            torch.from_numpy(grid.face_edges[faces]),
            torch.from_numpy(corner_face[kept]),
            torch.from_numpy(number[corner_edge[kept]]),
            torch.from_numpy(count[closes]),
        )

    @cached_property
    def pairs(self) -> torch.Tensor:
        """(P, 2) every pair of these faces that shares an edge."""
        face, edge = np.repeat(np.arange(len(self.faces)), 3), self.face_edges.numpy().reshape(-1)
        shape = len(self.faces), int(edge.max(initial=0)) + 1
        incidence = scipy.sparse.coo_array((np.ones(len(face)), (face, edge)), shape=shape).tocsr()
        pairs = scipy.sparse.triu(incidence @ incidence.T, k=1).tocoo()  # two faces share at most one edge
        return torch.from_numpy(np.stack([pairs.row, pairs.col], axis=1).astype(np.int64))

    def sum_at_edges(self, values: torch.Tensor) -> torch.Tensor:
        """(N,) sums over the faces at each edge of values per face, (A,). Local."""
        zeros = values.new_zeros(len(self.faces_at_edge))
        return zeros.index_add(0, self.corner_edge, values.index_select(0, self.corner_face))
