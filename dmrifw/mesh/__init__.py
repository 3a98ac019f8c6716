"""Where magnetization lives: substrates, ambient grids and shapes on them, files, and the numbering a caller sees."""

from dmrifw.mesh import generators
from dmrifw.mesh.bent_axons import BentAxon
from dmrifw.mesh.compounds import NestedSpheres, ParallelCylinders
from dmrifw.mesh.files import read_grid, write_grid
from dmrifw.mesh.generators import (
    Extracellular,
    axon,
    box,
    cylinders,
    ellipsoid,
    layers,
    packed_cylinders,
    packed_spheres,
    spheres,
    torus,
)
from dmrifw.mesh.grid import Grid, from_arrays
from dmrifw.mesh.lattice import bcc_grid
from dmrifw.mesh.periodic import matching_faces
from dmrifw.mesh.shapes import Cylinder, Shape, Solid, Sphere, Torus, cell_labels, cells_inside, shape_barrier
from dmrifw.mesh.transfer import carry_faces

__all__ = [
    "BentAxon",
    "Cylinder",
    "Extracellular",
    "Grid",
    "NestedSpheres",
    "ParallelCylinders",
    "Shape",
    "Solid",
    "Sphere",
    "Torus",
    "axon",
    "bcc_grid",
    "box",
    "carry_faces",
    "cell_labels",
    "cells_inside",
    "cylinders",
    "ellipsoid",
    "from_arrays",
    "generators",
    "layers",
    "matching_faces",
    "packed_cylinders",
    "packed_spheres",
    "read_grid",
    "shape_barrier",
    "spheres",
    "torus",
    "write_grid",
]
