"""`barrier` of `[geometry]`: shapes whose walls are walls of the grid."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dmrifw.cli.fields import Length, Lengths, OneOrMore, Point, Section, Vector
from dmrifw.errors import InputError
from dmrifw.mesh import (
    BentAxon,
    Cylinder,
    Grid,
    NestedSpheres,
    ParallelCylinders,
    Shape,
    Sphere,
    Torus,
    shape_barrier,
)
from dmrifw.typing import BoolArray


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


class NestedSpheresBarrier(Section):
    """The walls of concentric balls."""

    shape: Literal["nested-spheres"]
    radii: Lengths
    centre: Point = (0.0, 0.0, 0.0)

    def build(self) -> Shape:
        """The solids. Local."""
        return NestedSpheres(tuple(self.radii), self.centre)


class ParallelCylindersBarrier(Section):
    """The walls of two or four parallel cylinders, and those between them where they touch."""

    shape: Literal["parallel-cylinders"]
    radius: Length
    count: Literal[2, 4] = 2
    distance: Length | None = None
    axis: Vector = (0.0, 0.0, 1.0)
    across: Vector | None = None
    length: Length | None = None
    centre: Point = (0.0, 0.0, 0.0)

    def build(self) -> Shape:
        """The solids. Local."""
        return ParallelCylinders(**self.model_dump(exclude={"shape"}))


class BentAxonBarrier(Section):
    """The wall of a tube around a random walk."""

    shape: Literal["bent-axon"]
    radius: Length
    length: Length
    seed: Annotated[int, Field(ge=0)] = 0

    def build(self) -> Shape:
        """The solid. Local."""
        return BentAxon(self.radius, self.length, self.seed)


Barrier = Annotated[
    SphereBarrier | CylinderBarrier | TorusBarrier | NestedSpheresBarrier | ParallelCylindersBarrier | BentAxonBarrier,
    Field(discriminator="shape"),
]
Barriers = Annotated[list[Barrier], OneOrMore]


def walls_of(grid: Grid, barriers: list[Barrier]) -> BoolArray | None:
    """(F,) True on the walls of all shapes, each with its own, so that two that touch have one between them.

    Returns:
        The walls; None where there are no shapes.

    Raises:
        InputError: A shape holds no cell of the grid, or its keys do not fit together.

    Local.
    """
    if not barriers:
        return None
    walls = np.zeros(len(grid.faces), dtype=bool)
    for index, barrier in enumerate(barriers):
        try:
            walls |= shape_barrier(grid, barrier.build())
        except InputError as error:
            place = f"barrier[{index}]" if len(barriers) > 1 else "barrier"
            raise InputError(error.fault, error.mend, key=".".join(filter(None, (place, error.key)))) from error
    return walls
