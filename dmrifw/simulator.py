"""Tissue on a grid plus a protocol: signals and their derivatives both ways, in numpy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from mpi4py import MPI
from threadpoolctl import threadpool_limits

from dmrifw.assembly import Assembly
from dmrifw.errors import InputError
from dmrifw.inputs import Given, InputReader
from dmrifw.mesh import Grid
from dmrifw.operators import Operators
from dmrifw.propagators import Automatic, Experiment, FullOrder, MatrixFormalism, Propagator, Truncation
from dmrifw.sequences import Protocol
from dmrifw.spaces import BrokenSpace
from dmrifw.tape import Tape
from dmrifw.tissue import TISSUE_INPUTS, Tissue
from dmrifw.typing import (
    ArrayLike,
    Axes,
    BoolArray,
    ComplexArray,
    Degree,
    Exterior,
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
        gradient_tolerance: Relative error of gradients by what a basis of modes leaves out; by default 0.02 at a
            tolerance of 1e-3, and as its square root. Both are kept by measured estimates: see `truncation`.
        method: "matrix-formalism", in a basis of modes; "full-order", the assembled equation itself; or "automatic",
            whichever costs less.

    Every physical input can be given again in a call, which then replaces that of the model, and differentiated.

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
        gradient_tolerance: float | None = None,
        method: Method = "automatic",
    ) -> None:
        _check_choice(exterior, get_args(Exterior), "exterior")
        _check_choice(method, get_args(Method), "method")
        _check_choice(degree, get_args(Degree), "degree")
        if not 0 < tolerance < 1:
            raise InputError(f"tolerance = {tolerance:g}", "give an error in S/S0 between 0 and 1", key="tolerance")
        if gradient_tolerance is not None and not 0 < gradient_tolerance < 1:
            raise InputError(
                f"gradient_tolerance = {gradient_tolerance:g}",
                "give a number between 0 and 1",
                key="gradient_tolerance",
            )
        _share_cores(grid.comm)
        self.grid, self.protocol, self.exterior = grid, protocol, exterior
        walls = _checked_interfaces(grid, interfaces)
        self._space = BrokenSpace(grid, walls, degree, _checked_axes(periodic))
        self._assemblies: dict[bool, Assembly] = {}
        self._reader = InputReader(grid, walls, protocol)
        given = self._reader.tissue(diffusivity, T2, density, surface_relaxivity)
        tissue = Tissue(points=grid.points, **{one.name: one.values for one in given})
        self.operators = Operators(self._assembly(tissue.diffusivity.ndim == 3), tissue, exterior == "permeable")
        self.propagator: Propagator = PROPAGATORS[method](tolerance, gradient_tolerance)

    def signal(
        self, permeability: ArrayLike = 0.0, rows: ArrayLike | None = None, keep: bool = True, **others: ArrayLike
    ) -> tuple[ComplexArray, Tape]:
        """Signals of the protocol, or of some of its rows.

        Args:
            permeability: um/ms: (F,) in the order of `grid.faces`, (I,) one per interface between compartments in the
                order of `grid.interface_pairs`, or a scalar for all faces; replicated.
            rows: Rows of the protocol, indices or a mask; all of them by default.
            keep: Whether derivatives will be asked for; without them less memory is used.
            **others: Inputs that replace those of the model, replicated: `diffusivity` (of a tensor the symmetric
                part), `T2`, `density`, `surface_relaxivity` in the shapes that the model takes; `points` (V, 3), the
                vertices, um; `q` (N, 3), amplitude and direction gamma G of every measurement of the protocol,
                rad/(um ms), as in `Protocol.q`; `samples`, those of the only sampled waveform, mT/m, at the amplitude
                of the protocol, or by sequence {0: samples}.

        Returns:
            (n,) complex signals, um^3, replicated, and the tape with their derivatives by all inputs of this call.

        Raises:
            InputError: An input is unknown, out of range or of the wrong shape.
            ConvergenceError: The tolerance cannot be met.

        Collective.
        """
        experiment, given = self._experiment(permeability, rows, others)
        signal, record = self.propagator.signal(experiment, keep)
        return signal, Tape(signal, self.propagator, record, given)

    def compartment_signal(
        self, permeability: ArrayLike = 0.0, rows: ArrayLike | None = None, **others: ArrayLike
    ) -> ComplexArray:
        """(n, C) signal of each compartment, um^3, replicated; arguments as of `signal`. Twice the work. Collective."""
        return self.propagator.compartment_signal(self._experiment(permeability, rows, others)[0])

    def magnetization(
        self, permeability: ArrayLike = 0.0, rows: ArrayLike | None = None, **others: ArrayLike
    ) -> ComplexArray:
        """Transverse magnetization at the echo.

        Args:
            permeability: As of `signal`.
            rows: As of `signal`.
            **others: As of `signal`.

        Returns:
            (n, E, 4) at the vertices of each cell as in `grid.cells`, relative to density 1; it may jump between cells.
            Replicated: choose few rows.

        Collective.
        """
        return self.propagator.magnetization(self._experiment(permeability, rows, others)[0])

    @property
    def truncation(self) -> Truncation:
        """What the basis in use leaves out of signals and gradients, as last measured against full order."""
        return self.propagator.truncation

    def forget(self) -> None:
        """Drop bases and time steps held from earlier calls: the next call is as if it were the first. Local."""
        self.propagator.forget()

    def _experiment(
        self, permeability: ArrayLike, rows: ArrayLike | None, others: Mapping[str, Any]
    ) -> tuple[Experiment, dict[str, Given]]:
        """What the propagator is asked for, and the inputs of the call by name."""
        chosen, operators = self._rows(rows), self.operators
        given = self._reader.read({"permeability": permeability, **others}, chosen)
        values = {one.name: one.values for one in given.values()}
        tissue = {name: value for name, value in values.items() if name in TISSUE_INPUTS}
        if tissue:
            moved = replace(operators.tissue, **tissue)
            assembly = self._assembly(moved.diffusivity.ndim == 3)
            operators = Operators(assembly, moved, self.exterior == "permeable", varied=True)
        waveforms = list(self.protocol.waveforms)
        for number, waveform in enumerate(waveforms):
            if f"samples {number}" in values:
                waveforms[number] = waveform.playing(values[f"samples {number}"])  # type: ignore[attr-defined]
        q = values.get("q", self.protocol.q[chosen])
        experiment = Experiment(
            operators, values["permeability"], tuple(waveforms), self.protocol.sequence[chosen], q, apart="q" in values
        )
        return experiment, given

    def _assembly(self, tensor: bool) -> Assembly:
        """The compiled forms for scalar or tensor diffusivities. Collective on first use."""
        if tensor not in self._assemblies:
            self._assemblies[tensor] = Assembly(self._space, tensor)
        return self._assemblies[tensor]

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
