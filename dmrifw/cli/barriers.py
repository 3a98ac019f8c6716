"""`barrier` of `[geometry]`: shapes whose walls are walls of the grid."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from dmrifw.cli.fields import Length, OneOrMore, Point, Section, Vector
from dmrifw.mesh import Cylinder, Grid, Shape, Sphere, Torus, shape_barrier
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


Barrier = Annotated[SphereBarrier | CylinderBarrier | TorusBarrier, Field(discriminator="shape")]
Barriers = Annotated[list[Barrier], OneOrMore]


def walls_of(grid: Grid, barriers: list[Barrier]) -> BoolArray | None:
    """(F,) True on the walls of all shapes, each with its own, so that two that touch have one between them.

    Returns:
        The walls; None where there are no shapes.

    Raises:
        InputError: A shape holds no cell of the grid.

    Local.
    """
    if not barriers:
        return None
    return np.logical_or.reduce([shape_barrier(grid, barrier.build()) for barrier in barriers])
