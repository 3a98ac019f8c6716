"""The straight cylinder that every shape is a deformation of, and the spectral basis on its vertices."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
import torch

from dmrifw.eigen import symmetric_modes
from dmrifw.errors import InputError
from dmrifw.mesh import Grid, cylinders, from_arrays
from dmrifw.typing import FloatArray, IntArray
from dmrifw_spectral_latent.quality import volumes

if TYPE_CHECKING:
    from mpi4py import MPI

RADIUS = 5.0
"""Radius of the shipped template, um."""

HEIGHT = 20.0
"""Height of the shipped template, um."""

H = 2.8
"""Edge length across the axis of the shipped template, um: 21 vertices in each of its layers."""

AXIAL_H = 1.43
"""Spacing of its layers, um: 15 layers, which resolve four beads along the height."""


@dataclass(frozen=True, eq=False)
class Template:
    """A tetrahedral mesh of fixed connectivity, whose vertices move.

    Attributes:
        points: (V, 3) vertices at rest, um; the axis is z, the middle is the origin.
        cells: (E, 4) positively oriented tetrahedra.
    """

    points: FloatArray
    cells: IntArray

    @classmethod
    def of(cls, grid: Grid) -> Template:
        """The mesh of a grid as it lies. Local."""
        return cls(grid.points, grid.cells)

    @classmethod
    def shipped(cls) -> Template:
        """The template that the shipped weights belong to: 315 vertices, the same on every machine. Local."""
        return _shipped()

    @classmethod
    def cylinder(cls, h: float = H, axial_h: float = AXIAL_H, comm: MPI.Comm | None = None) -> Template:
        """The same cylinder meshed anew, for a finer or a coarser template.

        Args:
            h: Edge length across the axis, um.
            axial_h: Largest spacing along it, um.
            comm: MPI communicator; the world by default.

        Collective.
        """
        return cls.of(cylinders([RADIUS], HEIGHT, h, axial_h, comm=comm))

    def grid(self, comm: MPI.Comm | None = None) -> Grid:
        """The grid of the template at rest. Local."""
        return from_arrays(self.points, self.cells, comm=comm)

    @cached_property
    def volume(self) -> float:
        """Volume, um^3."""
        return float(volumes(self.rest, self.cells).sum())

    @cached_property
    def height(self) -> float:
        """Extent along the axis, um."""
        return float(np.ptp(self.points[:, 2]))

    @cached_property
    def width(self) -> float:
        """Diameter of the disc whose cylinder has the template's volume and height, um."""
        return float(2.0 * np.sqrt(self.volume / (np.pi * self.height)))

    @cached_property
    def digest(self) -> str:
        """What tells one template from another: SHA-256 over the connectivity and the vertices to a nanometre."""
        total = hashlib.sha256(self.cells.astype("<i8").tobytes())
        total.update((np.round(self.points, 3) + 0.0).astype("<f8").tobytes())  # adding 0 turns -0 into 0
        return total.hexdigest()

    @cached_property
    def exterior(self) -> IntArray:
        """(S,) vertices on the surface."""
        grid = from_arrays(self.points, self.cells)
        return np.unique(grid.faces[grid.is_exterior])

    @cached_property
    def basis(self) -> torch.Tensor:
        """(V, V) orthonormal eigenvectors of the Laplacian of the mesh's graph, the smoothest first, float64.

        The Laplacian is that of connectivity alone, degree minus adjacency over all vertices of the volume mesh: it
        stays when vertices move. Each vector's sign makes the sum of its cubes positive, so that it does not depend
        on the eigensolver.
        """
        edges = np.unique(np.sort(self.cells[:, _EDGES].reshape(-1, 2), axis=1), axis=0)
        laplacian = np.zeros((len(self.points), len(self.points)))
        laplacian[edges[:, 0], edges[:, 1]] = laplacian[edges[:, 1], edges[:, 0]] = -1.0
        laplacian[np.diag_indices_from(laplacian)] = -laplacian.sum(axis=1)
        vectors = symmetric_modes(laplacian)[1]
        return torch.from_numpy(vectors * np.where((vectors**3).sum(axis=0) < 0, -1.0, 1.0))

    @cached_property
    def rest(self) -> torch.Tensor:
        """(V, 3) the vertices at rest as a tensor, um."""
        return torch.from_numpy(np.ascontiguousarray(self.points, dtype=np.float64))

    def encode(self, points: torch.Tensor, frequencies: int | None = None) -> torch.Tensor:
        """Spectral coefficients of the displacements from rest.

        Args:
            points: (..., V, 3) um.
            frequencies: How many, the lowest first; all by default.

        Returns:
            (..., K, 3) um.

        Local.
        """
        modes = self.modes(frequencies).to(points.dtype)
        return modes.T @ (points - self.rest.to(points.dtype))

    def decode(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Vertices, (..., V, 3) um, of coefficients of the lowest frequencies, (..., K, 3) um. Local."""
        modes = self.modes(coefficients.shape[-2]).to(coefficients.dtype)
        return self.rest.to(coefficients.dtype) + modes @ coefficients

    def modes(self, frequencies: int | None = None) -> torch.Tensor:
        """(V, K) the basis' lowest frequencies; all by default.

        Raises:
            InputError: There are not so many.

        Local.
        """
        count = len(self.points)
        if frequencies is not None and not 1 <= frequencies <= count:
            raise InputError(f"{frequencies} frequencies on {count} vertices", f"give 1 to {count}", key="frequencies")
        return self.basis[:, :frequencies]


_EDGES = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])
"""Local vertices of the edges of a tetrahedron."""


@cache
def _shipped() -> Template:
    with files(__package__).joinpath("data/template.npz").open("rb") as file, np.load(file, allow_pickle=False) as kept:
        return Template(kept["points"], kept["cells"])
