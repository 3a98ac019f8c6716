"""`[tissue]` on a grid: what its values mean for compartments and faces, and which of them cannot be meant."""

from __future__ import annotations

from typing import Any

import numpy as np

from dmrifw.cli.experiment import Tissue
from dmrifw.cli.fields import is_matrix
from dmrifw.cli.geometry import Substrate
from dmrifw.errors import InputError
from dmrifw.typing import FloatArray


def check_tissue(tissue: Tissue, substrate: Substrate) -> None:
    """Refuse values that do not suit the compartments, walls and exterior of a substrate; a permeability comes later.

    Raises:
        InputError: A list has the wrong length, or a value would have no effect.

    Local.
    """
    _check_per_compartment(tissue, substrate.grid.compartment_count)
    _refuse_without_exterior(tissue, substrate)
    face_relaxivity(tissue, substrate)


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
    if not substrate.ambient and not _any_wall(substrate):
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


def face_relaxivity(tissue: Tissue, substrate: Substrate) -> float | FloatArray:
    """The surface relaxivity, as `SignalModel` takes it.

    Args:
        tissue: The `[tissue]` table.
        substrate: Grid and walls.

    Returns:
        One number, um/ms, for the exterior and the faces in `substrate.interfaces`; or, from a list, (F,) um/ms.

    Raises:
        InputError: A list has the wrong length, or the walls that it is for are not known.

    Local.
    """
    if not isinstance(tissue.surface_relaxivity, list):
        return tissue.surface_relaxivity
    grid, key = substrate.grid, "surface_relaxivity"
    if substrate.ambient:
        raise InputError("every face may be a wall, so there are no interfaces", "give one number", key=key)
    *walls, outside = tissue.surface_relaxivity
    if len(walls) != grid.interface_count:
        told = f"{len(walls) + 1} values for {grid.interface_count} interfaces between compartments and the exterior"
        raise InputError(told, f"give one number, or {grid.interface_count + 1}, the exterior's last", key=key)
    return np.where(grid.is_exterior, outside, np.array([*walls, 0.0])[grid.interface_of_face])


def mean_diffusivity(tissue: Tissue) -> float:
    """The largest mean diffusivity of a compartment, um^2/ms: it sets the free diffusion length. Local."""
    entries = tissue.diffusivity if isinstance(tissue.diffusivity, list) else [tissue.diffusivity]
    if is_matrix(entries):
        entries = [entries]
    return max(float(np.trace(entry)) / 3 if isinstance(entry, list) else float(entry) for entry in entries)


def tissue_array(value: Any) -> Any:
    """A plain number as it is; a list as an array, of matrices only where one entry is a matrix. Local."""
    if not isinstance(value, list):
        return value
    if not is_matrix(value) and any(isinstance(entry, list) for entry in value):
        value = [entry if isinstance(entry, list) else (entry * np.eye(3)).tolist() for entry in value]
    return np.asarray(value, dtype=np.float64)


def _refuse_without_exterior(tissue: Tissue, substrate: Substrate) -> None:
    """What acts at the outside of a grid that has none is a mistake."""
    if not all(substrate.periodic):
        return
    relaxivity = tissue.surface_relaxivity
    idle = relaxivity[-1] > 0 if isinstance(relaxivity, list) else relaxivity > 0 and not _any_wall(substrate)
    for key, given in (("exterior", tissue.exterior == "permeable"), ("surface_relaxivity", idle)):
        if given:
            raise InputError("a grid that is periodic along all axes has no exterior", "remove it", key=key)


def _any_wall(substrate: Substrate) -> bool:
    return substrate.barrier is not None and bool(substrate.barrier.any())


def _refuse_without_walls(tissue: Tissue, mend: str) -> None:
    """A permeability that would have no effect is a mistake; an empty list of them is none."""
    for key in ("permeability", "barrier_permeability"):
        if key in tissue.model_fields_set and getattr(tissue, key) not in (None, []):
            raise InputError("the mesh has one compartment and no wall in it", mend, key=key)


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
