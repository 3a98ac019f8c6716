"""Linear elements on the vertices of a grid, as maps from one number per cell to the entries of a matrix."""

from __future__ import annotations

from math import factorial

import numpy as np
import scipy.sparse as sp

from dmrifw.mesh import Grid
from dmrifw.tissue import Tissue
from dmrifw.typing import FloatArray, IntArray

_FINEST = 57.0
"""Rate of the fastest mode that is worth keeping, in units of D over the square of the spacing: few are faster."""


class Elements:
    """Matrices of continuous linear elements that depend linearly on a weight per cell, or per face.

    Only vertices that cells use are numbered. A symmetric matrix is held as its entries at `pairs`, the pairs (i, j),
    i <= j, of vertices that share a cell.

    Args:
        grid: The grid.
        tissue: Diffusivity and relaxation rate.
        open_permeability: Of the faces that are no walls, um/ms. Together they slow diffusion a little, as layers in
            series: D^-1 becomes D^-1 + R with R the mean over the volume of n n' / permeability.

    Attributes:
        diffusivity: Mean, um^2/ms.
        fastest: Rate of the fastest mode that is worth keeping, 1/ms.
        points: (N, 3) vertices, um, about their middle.
        cells: (E, 4) vertices of each cell.
        faces: (F, 3) vertices of each face.
        of_cells: (5, E, 4, 4) matrices of each cell: mass, diffusion and relaxation, and moments along x, y and z.
        slowed: (E, 4, 4) diffusion and relaxation with what open faces slow.
        of_faces: (F, 3, 3) mass matrix of each face, um^2.
        pairs: (P, 2).
        mass: (P, E) entries of the mass matrix for a weight of 1 in each cell, um^3.
        stiffness: (P, E) the same for `slowed`, um^3/ms.
        moments: (3) of (P, E), the same for the mass matrix weighted by a coordinate, um^4.
        traces: (P, F) the same for the mass matrix of a face, um^2.

    Local.
    """

    def __init__(self, grid: Grid, tissue: Tissue, open_permeability: float) -> None:
        used, cells = np.unique(grid.cells, return_inverse=True)
        self.cells: IntArray = cells.reshape(-1, 4)
        self.points: FloatArray = grid.points[used] - grid.points[used].mean(axis=0)
        self._number_pairs()
        volumes, corners = grid.cell_volumes, self.points[self.cells]
        third = volumes[:, None, None, None] * _products(3)
        second = volumes[:, None, None] * _products(2)
        diffusion = tissue.diffusivity
        self.diffusivity = float(diffusion.mean() if diffusion.ndim == 1 else np.trace(diffusion.mean(axis=0)) / 3)
        self.fastest = _FINEST * self.diffusivity / spacing(grid) ** 2
        tensors = diffusion[:, None, None] * np.eye(3) if diffusion.ndim == 1 else diffusion
        slopes, relaxation = _slopes(corners), tissue.relaxation_rate[:, None, None] * second
        slowed = np.linalg.inv(np.linalg.inv(tensors) + _resistance(grid) / open_permeability)
        flow, self.slowed = (
            volumes[:, None, None] * np.einsum("eia,eab,ejb->eij", slopes, one, slopes) + relaxation
            for one in (tensors, slowed)
        )
        moments = [np.einsum("eijk,ek->eij", third, corners[:, :, d]) for d in range(3)]
        self.of_cells: FloatArray = np.stack([second, flow, *moments])
        self.of_faces: FloatArray = grid.face_areas[:, None, None] * (1 + np.eye(3)) / 12
        self.mass, self.stiffness, *self.moments = (
            self._map(one, self.cells) for one in (second, self.slowed, *moments)
        )
        self.faces: IntArray = np.searchsorted(used, grid.faces)
        self.traces = self._map(self.of_faces, self.faces)

    @property
    def size(self) -> int:
        """Number of vertices N."""
        return len(self.points)

    @property
    def reach(self) -> float:
        """Distance of the farthest vertex from their middle, um."""
        return float(np.linalg.norm(self.points, axis=1).max())

    def matrix(self, entries: FloatArray) -> FloatArray:
        """(N, N) the symmetric matrix of (P,) entries. Local."""
        full = np.zeros((self.size, self.size))
        i, j = self.pairs.T
        full[i, j] = entries
        full[j, i] = entries
        return full

    def sparse(self, entries: FloatArray) -> sp.csc_array:
        """(N, N) the same, sparse. Local."""
        (i, j), apart = self.pairs.T, self.pairs[:, 0] != self.pairs[:, 1]
        places = (np.concatenate([i, j[apart]]), np.concatenate([j, i[apart]]))
        return sp.csc_array((np.concatenate([entries, entries[apart]]), places), (self.size, self.size))

    def _number_pairs(self) -> None:
        ends = self.cells[:, [(a, b) for a in range(4) for b in range(a, 4)]].reshape(-1, 2)
        self.pairs: IntArray = np.unique(np.sort(ends, axis=1), axis=0)
        self._codes = self.pairs[:, 0] * len(self.points) + self.pairs[:, 1]

    def _map(self, local: FloatArray, vertices: IntArray) -> sp.csr_array:
        """Sparse (P, n) of n local matrices."""
        count = vertices.shape[1]
        i, j = np.triu_indices(count)
        ends = np.sort(np.stack([vertices[:, i], vertices[:, j]], axis=-1), axis=-1)
        rows = np.searchsorted(self._codes, (ends[..., 0] * self.size + ends[..., 1]).ravel())
        columns = np.repeat(np.arange(len(vertices)), len(i))
        return sp.csr_array((local[:, i, j].ravel(), (rows, columns)), (len(self.pairs), len(vertices)))


def spacing(grid: Grid) -> float:
    """Length of a cube of twelve tetrahedra of mean volume, um: the spacing of a BCC grid. Local."""
    return float(np.cbrt(12 * grid.cell_volumes.mean()))


def _resistance(grid: Grid) -> FloatArray:
    """(3, 3) area of the interior faces per volume, by the directions of their normals, 1/um."""
    corners = grid.points[grid.faces[~grid.is_exterior]]
    normals = 0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(normals, axis=1)
    return np.asarray(np.einsum("fa,fb->ab", normals / areas[:, None], normals) / grid.volume)


def _slopes(corners: FloatArray) -> FloatArray:
    """(E, 4, 3) gradients of the barycentric coordinates of cells with (E, 4, 3) corners, 1/um."""
    inverse = np.linalg.inv(corners[:, 1:] - corners[:, :1])
    others = np.swapaxes(inverse, 1, 2)
    return np.concatenate([-others.sum(axis=1, keepdims=True), others], axis=1)


def _products(order: int) -> FloatArray:
    """Mean over a tetrahedron of products of `order` barycentric coordinates: 3! prod(a_i!) / (order + 3)!."""
    values = np.zeros((4,) * order)
    for index in np.ndindex(values.shape):
        powers = np.bincount(index, minlength=4)
        values[index] = 6 * np.prod([factorial(power) for power in powers]) / factorial(order + 3)
    return values
