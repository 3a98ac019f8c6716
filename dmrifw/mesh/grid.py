"""Tetrahedral grids in the caller's numbering, with the DOLFINx mesh that they become on first use."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dmrifw.errors import InputError
from dmrifw.typing import ArrayLike, BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    import dolfinx.mesh
    from mpi4py import MPI

CELL_FACES = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
"""Local vertices of the face opposite each vertex of a tetrahedron."""

FACE_EDGES = np.array([[1, 2], [0, 2], [0, 1]])
"""Local vertices of the edge opposite each vertex of a triangle."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A tetrahedral grid. Every array is replicated on all ranks, in the caller's numbering.

    Attributes:
        points: (V, 3) vertex coordinates, um.
        cells: (E, 4) vertices of each tetrahedron, positively oriented.
        faces: (F, 3) vertices of each face, ascending in a row; rows in lexicographic order.
        face_cells: (F, 2) the cells on both sides of each face; -1 in the second column where there is none.
        cell_tags: (E,) compartment of each cell, 0 to n-1.
        comm: MPI communicator over which the fields on this grid are distributed.
    """

    points: FloatArray
    cells: IntArray
    faces: IntArray
    face_cells: IntArray
    cell_tags: IntArray
    comm: MPI.Comm = field(repr=False)

    @cached_property
    def is_exterior(self) -> BoolArray:
        """(F,) True where a face has a cell on one side only."""
        return self.face_cells[:, 1] < 0

    @cached_property
    def edges(self) -> IntArray:
        """(N, 2) vertices of each edge, ascending in a row; rows in lexicographic order."""
        return np.unique(self.faces[:, FACE_EDGES].reshape(-1, 2), axis=0)

    @cached_property
    def face_edges(self) -> IntArray:
        """(F, 3) the edges of each face, as rows of `edges`."""
        _, inverse = np.unique(self.faces[:, FACE_EDGES].reshape(-1, 2), axis=0, return_inverse=True)
        return inverse.reshape(-1, 3)

    @cached_property
    def bounds(self) -> FloatArray:
        """(2, 3) lowest and highest coordinates of the vertices that cells use, um."""
        used = self.points[self.cells.reshape(-1)]
        return np.stack([used.min(axis=0), used.max(axis=0)])

    @cached_property
    def cell_volumes(self) -> FloatArray:
        """(E,) volume of each tetrahedron, um^3."""
        return signed_volumes(self.points, self.cells)

    @cached_property
    def face_areas(self) -> FloatArray:
        """(F,) area of each face, um^2."""
        return triangle_areas(self.points, self.faces)

    @cached_property
    def volume(self) -> float:
        """Volume of the domain, um^3."""
        return float(self.cell_volumes.sum())

    @cached_property
    def compartment_count(self) -> int:
        """Number of compartments: one more than the largest cell tag."""
        return int(self.cell_tags.max()) + 1

    @cached_property
    def is_interface(self) -> BoolArray:
        """(F,) True where the cells on both sides of a face are of different compartments."""
        return ~self.is_exterior & (self.cell_tags[self.face_cells[:, 0]] != self.cell_tags[self.face_cells[:, 1]])

    @cached_property
    def interface_pairs(self) -> IntArray:
        """(I, 2) compartments on both sides of each interface, ascending in a row; rows in lexicographic order."""
        return np.unique(self._compartments_beside(self.is_interface), axis=0)

    @cached_property
    def interface_of_face(self) -> IntArray:
        """(F,) interface that a face belongs to, a row of `interface_pairs`; -1 where it is none."""
        number = np.full(len(self.faces), -1, dtype=np.int64)
        pairs = self._compartments_beside(self.is_interface)
        number[self.is_interface] = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
        return number

    @property
    def interface_count(self) -> int:
        """Number of interfaces: pairs of compartments that share a face."""
        return len(self.interface_pairs)

    def _compartments_beside(self, chosen: BoolArray) -> IntArray:
        return np.sort(self.cell_tags[self.face_cells[chosen]], axis=1)

    @cached_property
    def mesh(self) -> dolfinx.mesh.Mesh:
        """The distributed DOLFINx mesh of this grid. Collective on first use."""
        from dmrifw import compat

        return compat.create_tetrahedral_mesh(self.comm, self.cells, self.points)

    def boundary_faces(self, inside: ArrayLike) -> BoolArray:
        """Faces that bound a set of cells, or several: one side in a set and the other side not, or outside the grid.

        Args:
            inside: (E,) True for the cells of the set; or the number of each cell's set, 0 for none.

        Returns:
            (F,) True on the boundary of the set or sets, faces between two of them included.

        Local.
        """
        member = np.append(np.asarray(inside, dtype=np.int64), 0)  # index -1, "no cell", reads the appended 0
        return member[self.face_cells[:, 0]] != member[self.face_cells[:, 1]]


def from_arrays(
    points: ArrayLike, cells: ArrayLike, cell_tags: ArrayLike | None = None, comm: MPI.Comm | None = None
) -> Grid:
    """A grid from vertex coordinates and tetrahedra, checked.

    Args:
        points: (V, 3) um, replicated on all ranks. Points that no cell uses are kept, and ignored.
        cells: (E, 4) vertex indices, replicated; each tetrahedron positively oriented.
        cell_tags: (E,) compartment of each cell from 0; one compartment if not given.
        comm: MPI communicator; the world by default.

    Returns:
        The grid.

    Raises:
        InputError: A shape is wrong, a coordinate is not finite, an index is out of range, or a tetrahedron is
            inverted, flat, duplicated, or shares a face with more than one neighbour.

    Local; the mesh itself is made on first use of `Grid.mesh`.
    """
    points = checked_points(points)
    cells = _checked_cells(cells, points)
    tags = np.zeros(len(cells), dtype=np.int64) if cell_tags is None else np.asarray(cell_tags, dtype=np.int64)
    if tags.shape != (len(cells),) or tags.min() < 0:
        raise InputError(
            f"cell_tags has shape {tags.shape}", f"give {len(cells)} compartment numbers from 0", key="cell_tags"
        )
    faces, face_cells = _faces_of(cells)
    return Grid(points, cells, faces, face_cells, tags, comm if comm is not None else _world())


def signed_volumes(points: FloatArray, cells: IntArray) -> FloatArray:
    """(E,) volumes of tetrahedra, um^3, negative where the vertex order is left-handed. Local."""
    a, b, c, d = np.moveaxis(points[cells], 1, 0)
    return np.einsum("ij,ij->i", np.cross(b - a, c - a), d - a) / 6.0


def triangle_areas(points: FloatArray, faces: IntArray) -> FloatArray:
    """(F,) areas of triangles, um^2. Local."""
    a, b, c = np.moveaxis(points[faces], 1, 0)
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)


def _world() -> Any:
    from mpi4py import MPI

    return MPI.COMM_WORLD


def checked_points(points: ArrayLike) -> FloatArray:
    """(V, 3) finite coordinates.

    Raises:
        InputError: They are not.

    Local.
    """
    try:
        array = np.ascontiguousarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("points is not an array of numbers", "give shape (V, 3), in um", key="points") from error
    if array.ndim != 2 or array.shape[1] != 3:
        raise InputError(f"points has shape {array.shape}", "give an array of shape (V, 3), in um", key="points")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise InputError(f"point {row} is not finite: {array[row]}", "give finite coordinates in um", key="points")
    return array


def checked_indices(cells: ArrayLike, points: FloatArray) -> IntArray:
    """(E, 4) indices of points.

    Raises:
        InputError: They are not.

    Local.
    """
    try:
        array = np.ascontiguousarray(cells)
    except ValueError as error:
        raise InputError("cells is not a rectangular array", "give integers of shape (E, 4)", key="cells") from error
    if array.ndim != 2 or array.shape[1] != 4 or len(array) == 0 or not np.issubdtype(array.dtype, np.integer):
        raise InputError(
            f"cells has shape {array.shape} and type {array.dtype}", "give integers of shape (E, 4)", key="cells"
        )
    array = array.astype(np.int64)
    if array.min() < 0 or array.max() >= len(points):
        row = int(np.flatnonzero((array < 0).any(axis=1) | (array >= len(points)).any(axis=1))[0])
        raise InputError(
            f"cell {row} names vertices {array[row].tolist()} but there are {len(points)} points",
            f"use indices 0 to {len(points) - 1}",
            key="cells",
        )
    return array


def _checked_cells(cells: ArrayLike, points: FloatArray) -> IntArray:
    array = checked_indices(cells, points)
    _refuse_duplicates(array)
    volumes = signed_volumes(points, array)
    scale = np.ptp(points[array], axis=1).max(axis=1) ** 3
    flat = np.abs(volumes) <= 1e-12 * scale
    for bad, word, mend in (
        (flat, "flat (zero volume)", "remove it or move its vertices apart"),
        (volumes < 0, "inverted (negative volume)", "swap two of its vertices"),
    ):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"tetrahedron {row} with vertices {array[row].tolist()} is {word}, {int(bad.sum())} in all",
                mend,
                key="cells",
            )
    return array


def _refuse_duplicates(cells: IntArray) -> None:
    ordered = np.sort(cells, axis=1)
    _, first, counts = np.unique(ordered, axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        vertices = ordered[first[counts > 1][0]]
        rows = np.flatnonzero((ordered == vertices).all(axis=1))
        raise InputError(
            f"tetrahedron {rows[1]} duplicates tetrahedron {rows[0]} (vertices {vertices.tolist()})",
            "remove one of them",
            key="cells",
        )


def _faces_of(cells: IntArray) -> tuple[IntArray, IntArray]:
    corners = np.sort(cells[:, CELL_FACES].reshape(-1, 3), axis=1)
    faces, inverse, counts = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
    if counts.max() > 2:
        face = faces[int(counts.argmax())]
        raise InputError(
            f"face {face.tolist()} belongs to {counts.max()} tetrahedra",
            "remove overlapping cells: a face has one or two",
            key="cells",
        )
    owner = np.repeat(np.arange(len(cells)), 4)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    start = np.concatenate([[0], np.cumsum(counts)[:-1]])
    face_cells = np.full((len(faces), 2), -1, dtype=np.int64)
    face_cells[:, 0] = owner[order[start]]
    face_cells[counts == 2, 1] = owner[order[start[counts == 2] + 1]]
    return faces.astype(np.int64), face_cells
