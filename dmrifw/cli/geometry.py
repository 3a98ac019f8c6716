"""`[geometry]`: one model per kind, each of which builds the substrate that it describes."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from dmrifw.cli.fields import Length, Lengths, OneOrMore, Point, Section, Vector
from dmrifw.errors import InputError
from dmrifw.mesh import Grid, bcc_grid, from_arrays, generators, shape_barrier
from dmrifw.mesh.lattice import DEFAULT_SIZE
from dmrifw.mesh.shapes import Cylinder, Shape, Sphere, Torus
from dmrifw.typing import BoolArray

TAG_NAMES = ("gmsh:physical", "cell_tags")
"""Cell data that number the compartments of a mesh file, in order of preference."""


@dataclass(frozen=True)
class Substrate:
    """A grid and what the config says about the walls in it.

    Attributes:
        grid: The grid.
        barrier: (F,) True on the faces that are walls; None where nothing says which.
        ambient: Whether every face may be a wall, as on the grid of an inversion; otherwise those in `barrier` alone.
    """

    grid: Grid
    barrier: BoolArray | None = None
    ambient: bool = False

    @property
    def interfaces(self) -> BoolArray | None:
        """(F,) True on the faces at which the magnetization may jump; None where it may at all of them."""
        if self.ambient:
            return None
        return np.zeros(len(self.grid.faces), dtype=bool) if self.barrier is None else self.barrier


class SphereBarrier(Section):
    """The wall of a ball."""

    shape: Literal["sphere"]
    radius: Length
    centre: Point = (0.0, 0.0, 0.0)

    def build(self) -> Shape:
        """The solid. Local."""
        return Sphere(self.radius, self.centre)


class CylinderBarrier(Section):
    """The wall of a cylinder."""

    shape: Literal["cylinder"]
    radius: Length
    axis: Vector = (0.0, 0.0, 1.0)
    length: Length | None = None
    centre: Point = (0.0, 0.0, 0.0)

    def build(self) -> Shape:
        """The solid. Local."""
        return Cylinder(self.radius, self.axis, self.length, self.centre)


class TorusBarrier(Section):
    """The wall of a torus."""

    shape: Literal["torus"]
    major: Length
    minor: Length
    axis: Vector = (0.0, 0.0, 1.0)
    centre: Point = (0.0, 0.0, 0.0)

    def build(self) -> Shape:
        """The solid. Local."""
        return Torus(self.major, self.minor, self.axis, self.centre)


Barrier = Annotated[SphereBarrier | CylinderBarrier | TorusBarrier, Field(discriminator="shape")]
Barriers = Annotated[list[Barrier], OneOrMore]


class GridGeometry(Section):
    """An ambient grid, the truncated BCC lattice, with the walls of shapes in it."""

    kind: Literal["grid"]
    cells: int = 4
    size: Length = DEFAULT_SIZE
    barrier: Barriers = Field(default=[])

    def build(self, folder: Path) -> Substrate:
        """The substrate. Local.

        Raises:
            InputError: The grid is too coarse, or a shape holds none of its cells.
        """
        grid = bcc_grid(self.cells, self.size)
        return Substrate(grid, _walls(grid, self.barrier), ambient=True)


class FileGeometry(Section):
    """A tetrahedral mesh from a file, its compartments from the file's cell tags."""

    kind: Literal["file"]
    path: str
    barrier: Barriers = Field(default=[])

    def build(self, folder: Path) -> Substrate:
        """The substrate of `path`, relative to `folder`. Local.

        Raises:
            InputError: The file is missing or unreadable, or its mesh is not a sound tetrahedral grid.
        """
        file = folder / self.path
        if not file.is_file():
            raise InputError(f"there is no file {file}", "give the path of a mesh, relative to the config", key="path")
        points, cells, tags = _read_npz(file) if file.suffix == ".npz" else _read_mesh(file)
        compartments = None if tags is None else np.unique(tags, return_inverse=True)[1].reshape(-1)
        try:
            grid = from_arrays(points, cells, compartments)
        except InputError as error:
            raise error.located(file=file) from error
        shapes = _walls(grid, self.barrier)
        if grid.compartment_count == 1:
            return Substrate(grid, shapes, ambient=True)
        return Substrate(grid, grid.is_interface if shapes is None else grid.is_interface | shapes)


class LayersGeometry(Section):
    """Parallel layers along x; compartments from left to right."""

    kind: Literal["layers"]
    widths: Lengths
    transverse: Lengths = Field(default=list(generators.DEFAULT_TRANSVERSE))
    h: Length = generators.DEFAULT_LAYER_H
    transverse_h: Length = generators.DEFAULT_TRANSVERSE_H

    def build(self, folder: Path) -> Substrate:
        """The substrate. Local."""
        return _compartments(generators.layers(self.widths, self.transverse, self.h, self.transverse_h))


class SpheresGeometry(Section):
    """Concentric spheres; compartments inside out."""

    kind: Literal["spheres"]
    radii: Lengths
    h: Length = generators.DEFAULT_H

    def build(self, folder: Path) -> Substrate:
        """The substrate. Collective."""
        return _compartments(generators.spheres(self.radii, self.h))


class CylindersGeometry(Section):
    """Concentric cylinders around z; compartments inside out."""

    kind: Literal["cylinders"]
    radii: Lengths
    length: Length = generators.DEFAULT_LENGTH
    h: Length = generators.DEFAULT_H
    axial_h: Length | None = None

    def build(self, folder: Path) -> Substrate:
        """The substrate. Collective."""
        return _compartments(generators.cylinders(self.radii, self.length, self.h, self.axial_h))


Geometry = Annotated[
    GridGeometry | FileGeometry | LayersGeometry | SpheresGeometry | CylindersGeometry, Field(discriminator="kind")
]


def _compartments(grid: Grid) -> Substrate:
    return Substrate(grid, grid.is_interface)


def _walls(grid: Grid, barriers: list[Any]) -> BoolArray | None:
    """(F,) walls of all shapes, each with its own wall, so that two that touch have one between them."""
    if not barriers:
        return None
    return np.logical_or.reduce([shape_barrier(grid, barrier.build()) for barrier in barriers])


def _read_npz(file: Path) -> tuple[Any, Any, Any]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files if name in ("points", "cells", "cell_tags")}
    except Exception as error:  # a damaged zip raises from many libraries
        raise InputError(f"not an .npz of plain arrays ({error})", "write it with numpy.savez", file=file) from error
    for name in ("points", "cells"):
        if name not in content:
            raise InputError("the array is missing", "save points (V, 3) in um and cells (E, 4)", key=name, file=file)
    return content["points"], content["cells"], content.get("cell_tags")


def _read_mesh(file: Path) -> tuple[Any, Any, Any]:
    import meshio

    said = StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):  # meshio prints its complaints
            mesh = meshio.read(file)
    except (Exception, SystemExit) as error:  # its readers raise whatever their parsers do, and some exit
        told = said.getvalue().strip() or f"{type(error).__name__}: {error}"
        raise InputError(f"cannot be read as a mesh ({told})", "give .npz, .msh, .vtu or .xdmf", file=file) from error
    blocks = [index for index, block in enumerate(mesh.cells) if block.type == "tetra"]
    if not blocks:
        kinds = ", ".join(sorted({block.type for block in mesh.cells})) or "no cells"
        raise InputError(
            f"no linear tetrahedra, only {kinds}", "mesh the volume with first-order tetrahedra", file=file
        )
    cells = np.concatenate([mesh.cells[index].data for index in blocks])
    for name in TAG_NAMES:
        if name in mesh.cell_data:
            return mesh.points, cells, np.concatenate([np.ravel(mesh.cell_data[name][index]) for index in blocks])
    return mesh.points, cells, None
