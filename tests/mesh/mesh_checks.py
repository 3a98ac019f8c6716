"""What every substrate must satisfy."""

from __future__ import annotations

import numpy as np

from dmrifw.mesh import Grid
from dmrifw.mesh.grid import FACE_EDGES


def assert_interfaces_are_closed(grid: Grid) -> None:
    """The boundary of every compartment is watertight: each edge has an even number of its faces.

    An interface may end on the exterior or where three compartments meet, and nowhere else.
    """
    for compartment in range(grid.compartment_count):
        faces = grid.faces[grid.boundary_faces(grid.cell_tags == compartment)]
        _, counts = np.unique(faces[:, FACE_EDGES].reshape(-1, 2), axis=0, return_counts=True)
        assert (counts % 2 == 0).all(), f"compartment {compartment} leaks"


def compartment_volumes(grid: Grid) -> np.ndarray:
    """(n,) volume of each compartment, um^3."""
    return np.bincount(grid.cell_tags, grid.cell_volumes)


def interface_areas(grid: Grid) -> np.ndarray:
    """(I,) area of each interface, um^2."""
    return np.bincount(grid.interface_of_face[grid.is_interface], grid.face_areas[grid.is_interface])


def total_exterior_area(grid: Grid) -> float:
    """Area of the exterior, um^2."""
    return float(grid.face_areas[grid.is_exterior].sum())
