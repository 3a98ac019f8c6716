"""`[geometry]`: one model per kind, each of which builds the substrate that it describes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dmrifw.cli.barriers import Barriers, walls_of
from dmrifw.cli.fields import Distance, Length, Lengths, PeriodicAxes, Section
from dmrifw.errors import InputError
from dmrifw.mesh import Extracellular, Grid, bcc_grid, generators
from dmrifw.mesh.files import read_grid
from dmrifw.mesh.lattice import DEFAULT_SIZE
from dmrifw.typing import Axes, BoolArray, Degree


@dataclass(frozen=True)
class Substrate:
    """A grid and what the config says about the walls in it.

    Attributes:
        grid: The grid.
        barrier: (F,) True on the faces that are walls; None where nothing says which.
        ambient: Whether every face may be a wall, as on the grid of an inversion; otherwise those in `barrier` alone.
        mend: What can be done about a permeability where there is no wall.
        periodic: Per axis, whether the grid goes on at its opposite side.
        degree: The polynomial degree that suits the shape: quadratic elements pay where walls are flat.
    """

    grid: Grid
    barrier: BoolArray | None = None
    ambient: bool = False
    mend: str = "remove it"
    periodic: Axes = (False, False, False)
    degree: Degree = 1

    @property
    def interfaces(self) -> BoolArray | None:
        """(F,) True on the faces at which the magnetization may jump; None where it may at all of them."""
        if self.ambient:
            return None
        return np.zeros(len(self.grid.faces), dtype=bool) if self.barrier is None else self.barrier


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
        return Substrate(grid, walls_of(grid, self.barrier), ambient=True)


class FileGeometry(Section):
    """A mesh from a file, with compartments or without; `ambient`: every face may be a wall, as in an inversion."""

    kind: Literal["file"]
    path: str
    h: Length | None = None
    barrier: Barriers = Field(default=[])
    ambient: bool | None = None
    periodic: PeriodicAxes = (False, False, False)

    def build(self, folder: Path) -> Substrate:
        """The substrate of `path`, relative to `folder`. Collective.

        Raises:
            InputError: The file is missing or unreadable, its mesh is not a sound tetrahedral grid, or every face may
                be a wall but some are joined.
        """
        if self.ambient and any(self.periodic):
            raise InputError(
                "every face may be a wall (ambient), but not those at which a periodic grid goes on",
                "remove periodic, or set ambient = false",
                key="periodic",
            )
        file = folder / self.path
        if not file.is_file():
            raise InputError(f"there is no file {file}", "give the path of a mesh, relative to the config", key="path")
        grid = read_grid(file, self.h)
        walls = walls_of(grid, self.barrier)
        if walls is None or grid.compartment_count > 1:
            walls = grid.is_interface if walls is None else grid.is_interface | walls
        if self.ambient:
            return Substrate(grid, walls if walls.any() else None, ambient=True)
        mend = "give barrier, or ambient = true under [geometry] to let every face be a wall"
        return Substrate(grid, walls, mend=mend, periodic=self.periodic)


class ExtracellularSpace(Section):
    """`extracellular`: the space around a cell, the last compartment."""

    kind: Literal["box", "hull"] = "box"
    gap: Length = 1.0

    def build(self) -> Extracellular:
        """What the generators take. Local."""
        return Extracellular(self.kind, self.gap)


class CellGeometry(Section):
    """What the substrates of a single cell have in common."""

    extracellular: ExtracellularSpace | None = None

    def substrate(self, generate: Callable[..., Grid]) -> Substrate:
        """What a generator makes of these keys. Collective."""
        space = None if self.extracellular is None else self.extracellular.build()
        grid = generate(**self.model_dump(exclude={"kind", "extracellular"}), extracellular=space)
        return Substrate(grid, grid.is_interface, mend="remove it, or add extracellular under [geometry]")


class TemplateGeometry(Section):
    """A grid that a plugin ships, such as the cylinder whose vertices a shape inversion moves."""

    kind: Literal["template"]
    name: str

    def build(self, folder: Path) -> Substrate:
        """The substrate. Collective.

        Raises:
            InputError: No plugin ships a grid of that name.
        """
        from dmrifw import plugins

        grid = plugins.find(plugins.templates(), self.name, "name")()
        return Substrate(grid, grid.is_interface)


class LayersGeometry(Section):
    """Parallel layers along x; compartments from left to right."""

    kind: Literal["layers"]
    widths: Lengths
    transverse: Lengths = Field(default=list(generators.DEFAULT_TRANSVERSE))
    h: Length = generators.DEFAULT_LAYER_H
    transverse_h: Length = generators.DEFAULT_TRANSVERSE_H
    periodic: PeriodicAxes = (False, False, False)

    def build(self, folder: Path) -> Substrate:
        """The substrate. Local."""
        grid = generators.layers(self.widths, self.transverse, self.h, self.transverse_h, self.periodic[0])
        return Substrate(grid, grid.is_interface, periodic=self.periodic, degree=2)


class SpheresGeometry(CellGeometry):
    """Concentric spheres; compartments inside out."""

    kind: Literal["spheres"]
    radii: Lengths
    h: Length = generators.DEFAULT_H

    def build(self, folder: Path) -> Substrate:
        """The substrate. Collective."""
        return self.substrate(generators.spheres)


class CylindersGeometry(CellGeometry):
    """Concentric cylinders around z; compartments inside out."""

    kind: Literal["cylinders"]
    radii: Lengths
    length: Length = generators.DEFAULT_LENGTH
    h: Length = generators.DEFAULT_H
    axial_h: Length | None = None

    def build(self, folder: Path) -> Substrate:
        """The substrate. Collective."""
        return self.substrate(generators.cylinders)


class AxonGeometry(CellGeometry):
    """A tube along z with concentric walls, which undulates, swells into beads, and bends."""

    kind: Literal["axon"]
    radii: Lengths
    length: Length = generators.DEFAULT_LENGTH
    amplitude: Distance = 0.0
    wavelength: Length | None = None
    beading: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bead_spacing: Length | None = None
    bend: float = 0.0
    h: Length = generators.DEFAULT_AXON_H
    axial_h: Length | None = None

    def build(self, folder: Path) -> Substrate:
        """The substrate. Collective."""
        return self.substrate(generators.axon)


class EllipsoidGeometry(CellGeometry):
    """An ellipsoid along the axes."""

    kind: Literal["ellipsoid"]
    semi_axes: Lengths
    h: Length = generators.DEFAULT_H

    def build(self, folder: Path) -> Substrate:
        """The substrate. Collective."""
        return self.substrate(generators.ellipsoid)


class TorusGeometry(CellGeometry):
    """A torus around z."""

    kind: Literal["torus"]
    major: Length
    minor: Length
    h: Length = generators.DEFAULT_H

    def build(self, folder: Path) -> Substrate:
        """The substrate. Collective."""
        return self.substrate(generators.torus)


class BoxGeometry(Section):
    """A box without walls."""

    kind: Literal["box"]
    size: Lengths
    h: Length = generators.DEFAULT_TRANSVERSE_H
    periodic: PeriodicAxes = (False, False, False)

    def build(self, folder: Path) -> Substrate:
        """The substrate. Local."""
        grid = generators.box(self.size, self.h)
        return Substrate(grid, grid.is_interface, periodic=self.periodic, degree=2)


class PackedCylindersGeometry(Section):
    """Parallel cylinders of random size in a box; the space between them is the last compartment."""

    kind: Literal["packed-cylinders"]
    count: int = 20
    mean_radius: Length = 1.0
    spread: Annotated[float, Field(ge=0)] = 0.3
    fraction: float = 0.6
    length: Length = generators.DEFAULT_LENGTH
    h: Length = 0.4
    axial_h: Length | None = None
    gap: Length = 0.1
    periodic: bool = False
    seed: Annotated[int, Field(ge=0)] = 0

    def build(self, folder: Path) -> Substrate:
        """The substrate. Collective."""
        return _packed(generators.packed_cylinders(**self.model_dump(exclude={"kind"})), self.periodic)


class PackedSpheresGeometry(Section):
    """Spheres of random size in a box; the space between them is the last compartment."""

    kind: Literal["packed-spheres"]
    count: int = 10
    mean_radius: Length = 3.0
    spread: Annotated[float, Field(ge=0)] = 0.5
    fraction: float = 0.3
    h: Length = 1.0
    gap: Length = 0.3
    periodic: bool = False
    seed: Annotated[int, Field(ge=0)] = 0

    def build(self, folder: Path) -> Substrate:
        """The substrate. Collective."""
        return _packed(generators.packed_spheres(**self.model_dump(exclude={"kind"})), self.periodic)


Geometry = Annotated[
    GridGeometry
    | FileGeometry
    | TemplateGeometry
    | LayersGeometry
    | SpheresGeometry
    | CylindersGeometry
    | AxonGeometry
    | EllipsoidGeometry
    | TorusGeometry
    | BoxGeometry
    | PackedCylindersGeometry
    | PackedSpheresGeometry,
    Field(discriminator="kind"),
]


def _packed(grid: Grid, periodic: bool) -> Substrate:
    return Substrate(grid, grid.is_interface, periodic=(periodic, periodic, periodic))
