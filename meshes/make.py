"""Makes the example substrates of this folder: `python meshes/make.py`, or `python meshes/make.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dmrifw import mesh
from dmrifw.mesh.files import write_surface
from dmrifw.mesh.gmsh_session import Arrays
from dmrifw.mesh.surfaces import TriangleSurface, exterior_surface, together

NEURON = """\
# A soma of radius 4 um, a branching dendrite and an axon: id type x y z radius parent, um.
1 1 0 0 0 4.0 -1
2 3 6 0 0 1.5 1
3 3 12 1 0 1.2 2
4 3 18 5 1 1.0 3
5 3 23 9 3 1.0 4
6 3 18 -3 -1 1.0 3
7 3 24 -6 -2 1.0 6
8 2 -7 0 1 1.2 1
9 2 -16 1 2 1.0 8
10 2 -26 -1 3 1.0 9
"""


def make(folder: Path) -> None:
    """Write every example to a folder."""
    around = mesh.Extracellular("box", gap=0.5)
    mesh.write_grid(folder / "axon.msh", mesh.axon(1.0, 8, amplitude=0.5, wavelength=8, h=0.7, extracellular=around))
    mesh.write_grid(folder / "ellipsoid.vtu", mesh.ellipsoid([2, 3, 5], h=1.2))
    write_surface(folder / "nested.ply", together(ball(5.0, 1.5), ball(3.0, 1.2)))
    (folder / "neuron.swc").write_text(NEURON)


def ball(radius: float, h: float) -> TriangleSurface:
    """The wall of a ball; radius and edge length in um."""
    grid = mesh.spheres([radius], h)
    wall, _ = exterior_surface(Arrays(grid.points, grid.cells, grid.cell_tags))
    return TriangleSurface(np.round(wall.points, 6), wall.triangles)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
