"""A config made real: grid, walls, measurements and permeability, all checked before anything expensive starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from dmrifw.cli.config import Config
from dmrifw.cli.geometry import Substrate
from dmrifw.cli.measurements import build_protocol
from dmrifw.cli.tissue import check_tissue, face_permeability, face_relaxivity, tissue_array
from dmrifw.errors import InputError
from dmrifw.mesh import Grid
from dmrifw.mesh.periodic import periodic_sides
from dmrifw.sequences import Protocol
from dmrifw.typing import BoolArray, Degree, FloatArray

if TYPE_CHECKING:
    from dmrifw.bridge import Simulator
    from dmrifw.simulator import SignalModel

    Model = TypeVar("Model", bound=SignalModel)


AMBIENT_TOLERANCE = 1e-3
"""Default error in S/S0 where every face may be a wall: modes pile up, and an inversion repeats the signal often."""

COMPARTMENT_TOLERANCE = 1e-5
"""Default error in S/S0 where only the faces between compartments are walls: below that of a usual mesh."""

_ELSEWHERE = {
    "method": "solver",
    "tolerance": "solver",
    "gradient_tolerance": "solver",
    "degree": "solver",
    "periodic": "geometry",
}
"""Arguments of `SignalModel` that do not come from `[tissue]`, and the tables that they do come from."""


@dataclass(frozen=True)
class Case:
    """What a config describes.

    Attributes:
        config: The config.
        substrate: Grid and walls.
        protocol: The measurements.
        permeability: (F,) um/ms of every face; None where nothing says which faces are walls.
    """

    config: Config
    substrate: Substrate
    protocol: Protocol
    permeability: FloatArray | None

    @property
    def grid(self) -> Grid:
        """The grid."""
        return self.substrate.grid

    @property
    def true_barrier(self) -> BoolArray | None:
        """(F,) True on the walls, where the config tells them."""
        return self.substrate.barrier

    @property
    def interfaces(self) -> BoolArray | None:
        """(F,) True on the faces at which the magnetization may jump; None where it may at all of them."""
        return self.substrate.interfaces

    @property
    def judged_faces(self) -> BoolArray:
        """(F,) True on the faces whose permeability has an effect: exterior ones only if the exterior is permeable."""
        return ~self.grid.is_exterior | (self.config.tissue.exterior == "permeable")

    @property
    def tolerance(self) -> float:
        """Error in S/S0 that is asked for, by the config or by default."""
        default = AMBIENT_TOLERANCE if self.substrate.ambient else COMPARTMENT_TOLERANCE
        return self.config.solver.tolerance or default

    @property
    def degree(self) -> Degree:
        """Polynomial degree of the elements, by the config or as suits the geometry."""
        return self.config.solver.degree or self.substrate.degree

    def signal_model(self, protocol: Protocol) -> SignalModel:
        """The forward model of this tissue for some measurements, in numpy. Collective.

        Raises:
            InputError: The solver or a tissue property does not suit the grid.
        """
        from dmrifw.simulator import SignalModel

        return self._forward(SignalModel, protocol)

    def simulator(self) -> Simulator:
        """The forward model of this case as a torch function. Collective.

        Raises:
            InputError: The solver or a tissue property does not suit the grid.
        """
        from dmrifw.bridge import Simulator

        return self._forward(Simulator, self.protocol)

    def _forward(self, kind: type[Model], protocol: Protocol) -> Model:
        tissue, solver = self.config.tissue, self.config.solver
        with blame("tissue", self.config.path, other=_ELSEWHERE):
            return kind(
                self.grid,
                protocol,
                diffusivity=tissue_array(tissue.diffusivity),
                T2=tissue_array(tissue.T2),
                density=tissue_array(tissue.density),
                interfaces=self.interfaces,
                exterior=tissue.exterior,
                surface_relaxivity=face_relaxivity(tissue, self.substrate),
                periodic=self.substrate.periodic,
                degree=self.degree,
                tolerance=self.tolerance,
                gradient_tolerance=solver.gradient_tolerance,
                method=solver.method,
            )

    def required_permeability(self) -> FloatArray:
        """(F,) um/ms, for a signal that is to be simulated. Local.

        Raises:
            InputError: Nothing says which faces are walls.
        """
        if self.permeability is None:
            raise InputError(
                "nothing says which faces are walls",
                "add a barrier to [geometry], or give tissue.permeability",
                key="geometry.barrier",
                file=self.config.path,
            )
        return self.permeability


def build_case(config: Config) -> Case:
    """Grid, protocol and permeability of a config.

    Raises:
        InputError: Values do not fit together, or a file that the config names is missing or unsound.

    Collective: the first rank makes the meshes of generators.
    """
    folder = config.path.parent
    with blame("protocol", config.path):
        protocol = build_protocol(config.protocol, folder)
    with blame("geometry", config.path):
        substrate = config.geometry.build(folder)
        periodic_sides(substrate.grid, substrate.periodic)
    with blame("tissue", config.path):
        check_tissue(config.tissue, substrate)
        permeability = face_permeability(config.tissue, substrate)
    return Case(config, substrate, protocol, permeability)


def smallest_cell_height(grid: Grid) -> float:
    """The smallest distance from a face of a cell to the vertex opposite, um. Local."""
    opposite = grid.points[grid.cells]
    largest = np.zeros(len(grid.cells))
    for left_out in range(4):
        a, b, c = np.moveaxis(np.delete(opposite, left_out, axis=1), 1, 0)
        np.maximum(largest, 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1), out=largest)
    return float((3 * grid.cell_volumes / largest).min())


@contextmanager
def blame(section: str, file: Path, other: dict[str, str] | None = None) -> Iterator[None]:
    """Tell an InputError of the library as a fault of the config: its key in `section` (or in `other` by key).

    Local.
    """
    try:
        yield
    except InputError as error:
        if error.file is not None:
            raise
        key = (error.key or "").removeprefix(f"{section}.")
        table = (other or {}).get(key, section)
        raise InputError(error.fault, error.mend, key=".".join(filter(None, (table, key))), file=file) from error
