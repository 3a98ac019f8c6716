"""A config made real: grid, walls, measurements and permeability, all checked before anything expensive starts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dmrifw.cli.config import Config, Tissue
from dmrifw.cli.fields import is_matrix
from dmrifw.cli.geometry import Substrate
from dmrifw.cli.measurements import build_protocol
from dmrifw.errors import InputError
from dmrifw.mesh import Grid
from dmrifw.sequences import Protocol
from dmrifw.typing import BoolArray, FloatArray

if TYPE_CHECKING:
    from dmrifw.bridge import Simulator
    from dmrifw.simulator import SignalModel

    Model = TypeVar("Model", bound=SignalModel)


AMBIENT_TOLERANCE = 1e-3
"""Default error in S/S0 where every face may be a wall: modes pile up, and an inversion repeats the signal often."""

COMPARTMENT_TOLERANCE = 1e-5
"""Default error in S/S0 where only the faces between compartments are walls: below that of a usual mesh."""


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
        with blame("tissue", self.config.path, other={"method": "solver", "tolerance": "solver"}):
            return kind(
                self.grid,
                protocol,
                diffusivity=_array(tissue.diffusivity),
                T2=_array(tissue.T2),
                density=_array(tissue.density),
                interfaces=self.interfaces,
                exterior=tissue.exterior,
                tolerance=self.tolerance,
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
    with blame("tissue", config.path):
        _check_per_compartment(config.tissue, substrate.grid.compartment_count)
        permeability = face_permeability(config.tissue, substrate)
    return Case(config, substrate, protocol, permeability)


def face_permeability(tissue: Tissue, substrate: Substrate) -> FloatArray | None:
    """The permeability of every face.

    `tissue.permeability` belongs to all faces of an ambient grid (one number, or one for each face), and otherwise to
    the walls (one number, or one for each interface between compartments). Without it, or where it leaves them out,
    walls have `barrier_permeability` and other faces `open_permeability`.

    Args:
        tissue: The `[tissue]` table.
        substrate: Grid and walls.

    Returns:
        (F,) um/ms; None where nothing says which faces are walls.

    Raises:
        InputError: A list has the wrong length, or there is no wall.

    Local.
    """
    count = len(substrate.grid.faces)
    walls = substrate.barrier
    if not substrate.ambient and (walls is None or not walls.any()):
        _refuse_without_walls(tissue, substrate.mend)
    values = None if tissue.permeability is None else np.asarray(tissue.permeability, dtype=np.float64)
    if substrate.ambient and values is not None:
        _check_length(values, count, "faces of the grid")
        return np.broadcast_to(values, (count,)).copy()
    if walls is None:
        return None
    permeability = np.where(walls, tissue.barrier_permeability, tissue.open_permeability)
    if values is not None and values.ndim:
        _check_length(values, substrate.grid.interface_count, "interfaces between compartments")
        interface = substrate.grid.interface_of_face
        permeability[interface >= 0] = values[interface[interface >= 0]]
    elif values is not None:
        permeability[walls] = values
    return permeability


def _refuse_without_walls(tissue: Tissue, mend: str) -> None:
    """A permeability that would have no effect is a mistake; an empty list of them is none."""
    for key in ("permeability", "barrier_permeability"):
        if key in tissue.model_fields_set and getattr(tissue, key) not in (None, []):
            raise InputError("the mesh has one compartment and no wall in it", mend, key=key)


def mean_diffusivity(tissue: Tissue) -> float:
    """The largest mean diffusivity of a compartment, um^2/ms: it sets the free diffusion length. Local."""
    entries = tissue.diffusivity if isinstance(tissue.diffusivity, list) else [tissue.diffusivity]
    if is_matrix(entries):
        entries = [entries]
    return max(float(np.trace(entry)) / 3 if isinstance(entry, list) else float(entry) for entry in entries)


def smallest_wall_spacing(grid: Grid) -> float:
    """The smallest distance in um from a face of a cell to the vertex opposite: no two walls lie closer. Local."""
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


def _check_per_compartment(tissue: Tissue, count: int) -> None:
    for key in ("diffusivity", "T2", "density"):
        value: Any = getattr(tissue, key)
        if isinstance(value, list) and not (key == "diffusivity" and is_matrix(value)) and len(value) != count:
            told = f"{len(value)} values for {count} compartment{'s' if count > 1 else ''}"
            raise InputError(told, "give one number, or one for each compartment", key=key)


def _check_length(values: FloatArray, count: int, of_what: str) -> None:
    if values.ndim and len(values) != count:
        told = f"{len(values)} values for {count} {of_what}"
        raise InputError(told, f"give one number, or {count}" if count else "give one number", key="permeability")


def _array(value: Any) -> Any:
    """A plain number as it is; a list as an array, of matrices only where one entry is a matrix."""
    if not isinstance(value, list):
        return value
    if not is_matrix(value) and any(isinstance(entry, list) for entry in value):
        value = [entry if isinstance(entry, list) else (entry * np.eye(3)).tolist() for entry in value]
    return np.asarray(value, dtype=np.float64)
