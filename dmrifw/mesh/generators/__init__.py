"""Substrates by family: layers, concentric spheres and cylinders, packings, axons, solids."""

from dmrifw.mesh.generators.axons import axon
from dmrifw.mesh.generators.cylinders import cylinders
from dmrifw.mesh.generators.extracellular import Extracellular
from dmrifw.mesh.generators.layers import layers
from dmrifw.mesh.generators.packed_cylinders import packed_cylinders
from dmrifw.mesh.generators.packed_spheres import packed_spheres
from dmrifw.mesh.generators.sizes import (
    DEFAULT_AXON_H,
    DEFAULT_H,
    DEFAULT_LAYER_H,
    DEFAULT_LENGTH,
    DEFAULT_TRANSVERSE,
    DEFAULT_TRANSVERSE_H,
)
from dmrifw.mesh.generators.solids import box, ellipsoid, torus
from dmrifw.mesh.generators.spheres import spheres

__all__ = [
    "DEFAULT_AXON_H",
    "DEFAULT_H",
    "DEFAULT_LAYER_H",
    "DEFAULT_LENGTH",
    "DEFAULT_TRANSVERSE",
    "DEFAULT_TRANSVERSE_H",
    "Extracellular",
    "axon",
    "box",
    "cylinders",
    "ellipsoid",
    "layers",
    "packed_cylinders",
    "packed_spheres",
    "spheres",
    "torus",
]
