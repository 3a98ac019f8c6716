"""Tissue on a grid plus a protocol: signals and their vector-Jacobian product, in numpy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import get_args

import numpy as np
from mpi4py import MPI
from threadpoolctl import threadpool_limits

from dmrifw.errors import InputError
from dmrifw.mesh import Grid
from dmrifw.operators import Operators
from dmrifw.propagators import Automatic, FullOrder, MatrixFormalism, Propagator, Tape
from dmrifw.sequences import Protocol
from dmrifw.spaces import BrokenSpace
from dmrifw.typing import (
    ArrayLike,
    Axes,
    BoolArray,
    ComplexArray,
    Degree,
    Exterior,
    FloatArray,
    IntArray,
    Method,
)

PROPAGATORS: dict[Method, type[Propagator]] = {
    "automatic": Automatic,
    "matrix-formalism": MatrixFormalism,
    "full-order": FullOrder,
}
"""The propagator of each method."""


class SignalModel:
    """The forward model of one grid, tissue and protocol.

    Args:
        grid: Where magnetization lives.
        protocol: The measurements.
        diffusivity: um^2/ms: a scalar, a 3x3 tensor, one of either per compartment, or one of either per cell.
        T2: ms, a scalar, one per compartment or one per cell; infinite for no relaxation.
        density: Equilibrium density, relative: a scalar, one per compartment or one per cell.
        interfaces: (F,) True for the faces across which the magnetization may jump, the field being continuous across
            all others; by default it may jump across every interior face.
        exterior: "reflecting", or "permeable": exterior faces then lose magnetization at their permeability.
        surface_relaxivity: um/ms: a scalar for the exterior and all faces in `interfaces`, or (F,) one per face. At a
            face inside, both sides relax.
        periodic: Per axis, or for all three, whether a box-shaped grid goes on at its opposite side.
        degree: 1 for linear elements, 2 for quadratic ones: these pay where walls are flat.
        tolerance: Error in S/S0.
        method: "matrix-formalism", in a basis of modes; "full-order", the assembled equation itself; or "automatic",
            whichever costs less.

    Raises:
        InputError: A value is out of range or has the wrong shape.

    Collective.
    """

    def __init__(
        self,
        grid: Grid,
        protocol: Protocol,
        diffusivity: ArrayLike = 2.0,
        T2: ArrayLike = np.inf,
        density: ArrayLike = 1.0,
        *,
        interfaces: ArrayLike | None = None,
        exterior: Exterior = "reflecting",
        surface_relaxivity: ArrayLike = 0.0,
        periodic: bool | Sequence[bool] = False,
        degree: Degree = 1,
        tolerance: float = 1e-3,
        method: Method = "automatic",
    ) -> None:
        _check_choice(exterior, get_args(Exterior), "exterior")
        _check_choice(method, get_args(Method), "method")
        _check_choice(degree, get_args(Degree), "degree")
        if not 0 < tolerance < 1:
            raise InputError(f"tolerance = {tolerance:g}", "give an error in S/S0 between 0 and 1", key="tolerance")
        _share_cores(grid.comm)
        self.grid, self.protocol, self.exterior = grid, protocol, exterior
        walls = _checked_interfaces(grid, interfaces)
        space = BrokenSpace(grid, walls, degree, _checked_axes(periodic))
        self.operators = Operators(
            space,
            diffusivity=_checked_diffusivity(grid, diffusivity),
            relaxation_rate=np.reciprocal(_checked_positive(grid, T2, "T2", "ms", infinite=True)),
            density=_checked_positive(grid, density, "density", "relative"),
            permeable_exterior=exterior == "permeable",
            surface_relaxivity=_checked_relaxivity(grid, walls, surface_relaxivity),
        )
        self.propagator: Propagator = PROPAGATORS[method](self.operators, protocol, tolerance)

    def signal(
        self, permeability: ArrayLike, rows: ArrayLike | None = None, keep: bool = True
    ) -> tuple[ComplexArray, Tape]:
        """Signals of the protocol, or of some of its rows.

        Args:
            permeability: (F,) um/ms in the order of `grid.faces`, or a scalar for all faces; replicated.
            rows: Rows of the protocol, indices or a mask; all of them by default.
            keep: Whether `pull_back` will follow; without it less memory is used.

        Returns:
            (n,) complex signals, um^3, replicated, and the tape for `pull_back`.

        Raises:
            InputError: The permeability is negative, not finite or of the wrong length.
            ConvergenceError: The tolerance cannot be met.

        Collective.
        """
        return self.propagator.signal(self._checked_permeability(permeability), self._rows(rows), keep)

    def compartment_signal(self, permeability: ArrayLike, rows: ArrayLike | None = None) -> ComplexArray:
        """(n, C) signal of each compartment, um^3, replicated; arguments as of `signal`. Twice the work. Collective."""
        return self.propagator.compartment_signal(self._checked_permeability(permeability), self._rows(rows))

    def magnetization(self, permeability: ArrayLike, rows: ArrayLike | None = None) -> ComplexArray:
        """Transverse magnetization at the echo.

        Args:
            permeability: As of `signal`.
            rows: As of `signal`.

        Returns:
            (n, E, 4) at the vertices of each cell as in `grid.cells`, relative to density 1; it may jump between cells.
            Replicated: choose few rows.

        Collective.
        """
        return self.propagator.magnetization(self._checked_permeability(permeability), self._rows(rows))

    def pull_back(self, tape: Tape, cotangent: ComplexArray) -> FloatArray:
        """(F,) gradient with respect to the permeability: d loss = Re sum conj(cotangent) dS. Collective."""
        return self.propagator.pull_back(tape, np.asarray(cotangent, dtype=np.complex128))

    def _rows(self, rows: ArrayLike | None) -> IntArray:
        everything = np.arange(len(self.protocol))
        if rows is None:
            return everything
        try:
            chosen = everything[np.asarray(rows)]
        except IndexError as error:
            raise InputError(str(error), f"give rows of the {len(everything)} measurements", key="rows") from error
        if chosen.ndim != 1 or len(chosen) == 0:
            raise InputError("no measurement is chosen", "give at least one row of the protocol", key="rows")
        return chosen

    def _checked_permeability(self, permeability: ArrayLike) -> FloatArray:
        faces = len(self.grid.faces)
        values = np.asarray(permeability, dtype=np.float64)
        if values.ndim == 0:
            values = np.full(faces, float(values))
        if values.shape != (faces,):
            raise InputError(
                f"permeability has shape {values.shape}",
                f"give ({faces},): one value per row of grid.faces, um/ms",
                key="permeability",
            )
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            face = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"permeability of face {face} is {values[face]:g} um/ms, {int(bad.sum())} such in all",
                "give finite values >= 0",
                key="permeability",
            )
        return values


def _check_choice(value: object, choices: tuple[object, ...], key: str) -> None:
    if value not in choices:
        told = " or ".join(f'"{choice}"' if isinstance(choice, str) else f"{choice}" for choice in choices)
        raise InputError(f"{key} = {value!r}", f"choose {told}", key=key)


def _share_cores(comm: MPI.Comm) -> None:
    """Divide the cores of a machine among its ranks: BLAS threads of several ranks on one core wait for each other."""
    if comm.size > 1:
        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        threadpool_limits(max(1, len(os.sched_getaffinity(0)) // node.size), user_api="blas")
        node.Free()


def _per_cell(grid: Grid, values: FloatArray, key: str, tail: tuple[int, ...]) -> FloatArray:
    """Values for every cell from one value, one per compartment, or one per cell."""
    if values.shape == tail:
        return np.broadcast_to(values, (len(grid.cells), *tail)).copy()
    if values.shape == (grid.compartment_count, *tail):
        return values[grid.cell_tags]
    if values.shape == (len(grid.cells), *tail):
        return values
    raise InputError(
        f"{key} has shape {values.shape}",
        f"give one value, {grid.compartment_count} (one per compartment) or {len(grid.cells)} (one per cell)",
        key=key,
    )


def _checked_positive(grid: Grid, values: ArrayLike, key: str, unit: str, infinite: bool = False) -> FloatArray:
    cells = _per_cell(grid, np.asarray(values, dtype=np.float64), key, ())
    good = (cells > 0) & (np.isfinite(cells) | infinite)
    if not good.all():
        raise InputError(f"{key} = {cells[~good][0]:g}", f"give {key} > 0 ({unit})", key=key)
    return cells


def _checked_interfaces(grid: Grid, interfaces: ArrayLike | None) -> BoolArray | None:
    if interfaces is None:
        return None
    mask = np.asarray(interfaces)
    if mask.shape != (len(grid.faces),) or mask.dtype != bool:
        raise InputError(
            f"interfaces has shape {mask.shape} and type {mask.dtype}",
            f"give ({len(grid.faces)},) booleans, one per row of grid.faces",
            key="interfaces",
        )
    return mask


def _checked_axes(periodic: bool | Sequence[bool]) -> Axes:
    axes = (periodic,) * 3 if isinstance(periodic, bool) else tuple(periodic)
    if len(axes) != 3 or not all(isinstance(axis, bool | np.bool_) for axis in axes):
        raise InputError(f"periodic = {periodic!r}", "give true or false, for all axes or for each", key="periodic")
    return bool(axes[0]), bool(axes[1]), bool(axes[2])


def _checked_relaxivity(grid: Grid, walls: BoolArray | None, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:
        surface = grid.is_exterior if walls is None else grid.is_exterior | walls
        array = np.where(surface, array, 0.0)
    if array.shape != (len(grid.faces),):
        raise InputError(
            f"surface_relaxivity has shape {array.shape}",
            f"give one number, or ({len(grid.faces)},): one per row of grid.faces, um/ms",
            key="surface_relaxivity",
        )
    if not (np.isfinite(array) & (array >= 0)).all():
        raise InputError(
            "surface_relaxivity is negative or not finite", "give finite values >= 0, um/ms", key="surface_relaxivity"
        )
    return array


def _checked_diffusivity(grid: Grid, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape[-2:] != (3, 3):
        return _checked_positive(grid, array, "diffusivity", "um^2/ms")
    tensors = _per_cell(grid, array, "diffusivity", (3, 3))
    symmetric = np.allclose(tensors, np.swapaxes(tensors, 1, 2), rtol=1e-10, atol=1e-12)
    if not np.isfinite(tensors).all() or not symmetric or (np.linalg.eigvalsh(tensors) <= 0).any():
        raise InputError(
            "diffusivity is not a symmetric positive definite tensor",
            "give 3x3 tensors with positive eigenvalues, um^2/ms",
            key="diffusivity",
        )
    return tensors
