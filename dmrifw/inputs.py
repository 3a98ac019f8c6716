"""The physical inputs of a simulation: what shapes they take, what is wrong with them, and the way back.

A user gives one value, one per compartment, or one per cell; the operators take one per cell. Both ways are linear:
values are copied out, gradients are summed up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh import Grid
from dmrifw.mesh.grid import signed_volumes
from dmrifw.sequences import Protocol
from dmrifw.sequences.sampled import Sampled
from dmrifw.typing import ArrayLike, BoolArray, FloatArray, IntArray

INPUTS = ("permeability", "diffusivity", "T2", "density", "surface_relaxivity", "points", "q", "samples")
"""What a signal can be computed for and differentiated by."""

TENSOR = (3, 3)


@dataclass(frozen=True, eq=False)
class Layout:
    """How the values of an input are copied to cells or faces.

    Attributes:
        rows: (n,) the value that each cell or face takes; -1 where it takes none, and is zero.
        shape: Shape of the input.
        tail: Shape of one value: () or (3, 3).
        isotropic: Whether a scalar becomes a multiple of the unit tensor.
    """

    rows: IntArray
    shape: tuple[int, ...]
    tail: tuple[int, ...] = ()
    isotropic: bool = False

    def expand(self, values: FloatArray) -> FloatArray:
        """One value per cell or face. Local."""
        flat = values.reshape(-1, *self.tail)
        spread = np.concatenate([flat, np.zeros((1, *self.tail))])[self.rows]
        return spread[:, None, None] * np.eye(3) if self.isotropic else _symmetric(spread)

    def collect(self, gradient: FloatArray) -> FloatArray:
        """The transpose of `expand`. Local."""
        each = np.einsum("eii->e", gradient) if self.isotropic else _symmetric(gradient)
        count = int(np.prod(self.shape[: len(self.shape) - len(self.tail)]))
        total = np.zeros((count + 1, *self.tail))
        np.add.at(total, self.rows, each)
        return total[:-1].reshape(self.shape)


def _symmetric(values: FloatArray) -> FloatArray:
    return 0.5 * (values + np.swapaxes(values, 1, 2)) if values.ndim == 3 else values


def cell_layout(grid: Grid, shape: tuple[int, ...], key: str, tail: tuple[int, ...] = ()) -> Layout:
    """The layout of one value, one per compartment, or one per cell.

    Raises:
        InputError: The shape is none of these.

    Local.
    """
    if shape == tail:
        return Layout(np.zeros(len(grid.cells), dtype=np.int64), shape, tail)
    if shape == (grid.compartment_count, *tail):
        return Layout(grid.cell_tags, shape, tail)
    if shape == (len(grid.cells), *tail):
        return Layout(np.arange(len(grid.cells)), shape, tail)
    raise InputError(
        f"{key} has shape {shape}",
        f"give one value, {grid.compartment_count} (one per compartment) or {len(grid.cells)} (one per cell)",
        key=key,
    )


def diffusivity_layout(grid: Grid, shape: tuple[int, ...], tensor: bool) -> Layout:
    """The layout of a diffusivity; `tensor` if it is to become tensors. Local.

    Raises:
        InputError: The shape fits nothing.
    """
    tail = TENSOR if shape[-2:] == TENSOR else ()
    layout = cell_layout(grid, shape, "diffusivity", tail)
    return Layout(layout.rows, shape, tail, tensor and not tail)


def permeability_layout(grid: Grid, shape: tuple[int, ...]) -> Layout:
    """The layout of one permeability, one per face, or one per interface between compartments. Local.

    Raises:
        InputError: The shape is none of these.
    """
    faces, interfaces = len(grid.faces), grid.interface_count
    if shape == ():
        return Layout(np.zeros(faces, dtype=np.int64), shape)
    if shape == (faces,):
        return Layout(np.arange(faces), shape)
    if shape == (interfaces,):
        return Layout(grid.interface_of_face, shape)
    raise InputError(
        f"permeability has shape {shape}",
        f"give ({faces},): one value per row of grid.faces, um/ms"
        + (f"; or ({interfaces},): one per row of grid.interface_pairs" if interfaces else ""),
        key="permeability",
    )


def relaxivity_layout(grid: Grid, walls: BoolArray | None, shape: tuple[int, ...]) -> Layout:
    """The layout of one surface relaxivity for the exterior and all walls, or of one per face. Local.

    Raises:
        InputError: The shape is none of these.
    """
    faces = len(grid.faces)
    if shape == (faces,):
        return Layout(np.arange(faces), shape)
    if shape == ():
        surface = grid.is_exterior if walls is None else grid.is_exterior | walls
        return Layout(np.where(surface, 0, -1), shape)
    raise InputError(
        f"surface_relaxivity has shape {shape}",
        f"give one number, or ({faces},): one per row of grid.faces, um/ms",
        key="surface_relaxivity",
    )


def check_name(name: str) -> None:
    """Refuse what is no input.

    Raises:
        InputError: There is no such input.

    Local.
    """
    if name not in INPUTS:
        raise InputError(f"there is no input {name!r}", f"give some of {', '.join(INPUTS)}", key=name)


def check_positive(values: FloatArray, key: str, unit: str, infinite: bool = False) -> None:
    """Refuse what is not above zero.

    Raises:
        InputError: A value is not positive, or not finite.

    Local.
    """
    good = (values > 0) & (np.isfinite(values) | infinite)
    if not good.all():
        raise InputError(f"{key} = {values[~good].flat[0]:g}", f"give {key} > 0 ({unit})", key=key)


def check_nonnegative(values: FloatArray, key: str, unit: str) -> None:
    """Refuse what is negative.

    Raises:
        InputError: A value is negative, or not finite.

    Local.
    """
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"entry {first} is {values.flat[first]:g} {unit}, {int(bad.sum())} such in all",
            "give finite values >= 0",
            key=key,
        )


def check_diffusivity(values: FloatArray, symmetric: bool) -> None:
    """Refuse diffusivities that are not positive; `symmetric` if tensors must be so.

    Raises:
        InputError: A diffusivity is not positive, or a tensor not positive definite.

    Local.
    """
    if values.shape[-2:] != TENSOR:
        check_positive(values, "diffusivity", "um^2/ms")
        return
    turned = np.swapaxes(values, -1, -2)
    sound = np.isfinite(values).all() and (not symmetric or np.allclose(values, turned, rtol=1e-10, atol=1e-12))
    if not sound or (np.linalg.eigvalsh(0.5 * (values + turned)) <= 0).any():
        raise InputError(
            "diffusivity is not a symmetric positive definite tensor",
            "give 3x3 tensors with positive eigenvalues, um^2/ms",
            key="diffusivity",
        )


def checked_points(grid: Grid, values: ArrayLike) -> FloatArray:
    """(V, 3) moved vertices of a grid.

    Raises:
        InputError: The shape is wrong, or a tetrahedron is inverted.

    Local.
    """
    points = np.asarray(values, dtype=np.float64)
    if points.shape != grid.points.shape or not np.isfinite(points).all():
        raise InputError(
            f"points has shape {points.shape}",
            f"give {grid.points.shape}, finite, one row per row of grid.points, um",
            key="points",
        )
    volumes = signed_volumes(points, grid.cells)
    if (volumes <= 0).any():
        cell = int(np.argmin(volumes))
        raise InputError(
            f"the moved points invert tetrahedron {cell} (volume {volumes[cell]:.3g} um^3), "
            f"{int((volumes <= 0).sum())} in all",
            "move them less far",
            key="points",
        )
    return points


@dataclass(frozen=True, eq=False)
class Given:
    """An input as it was given, and inside.

    Attributes:
        name: Its name inside, "relaxation_rate" for T2 and "samples 0" for the samples of sequence 0.
        values: Its values inside.
        along: From a direction as it was given to one inside.
        back: The transpose: from a gradient inside to one as the input was given.
    """

    name: str
    values: FloatArray
    along: Callable[[FloatArray], FloatArray]
    back: Callable[[FloatArray], FloatArray]


class InputReader:
    """Reads the inputs of a model.

    Args:
        grid: The grid.
        walls: (F,) faces across which magnetization may jump; None for all.
        protocol: The measurements.
    """

    def __init__(self, grid: Grid, walls: BoolArray | None, protocol: Protocol) -> None:
        self.grid, self.walls, self.protocol = grid, walls, protocol
        self._tensor = False

    def tissue(
        self, diffusivity: ArrayLike, T2: ArrayLike, density: ArrayLike, surface_relaxivity: ArrayLike
    ) -> list[Given]:
        """The tissue of a model; its diffusivity tells whether there are tensors.

        Raises:
            InputError: A value is out of range or has the wrong shape.

        Local.
        """
        first = np.asarray(diffusivity, dtype=np.float64)
        check_diffusivity(first, symmetric=True)
        self._tensor = first.shape[-2:] == TENSOR
        others = {"T2": T2, "density": density, "surface_relaxivity": surface_relaxivity}
        everything = np.arange(len(self.protocol))
        return list(self.read({"diffusivity": diffusivity, **others}, everything).values())

    def read(self, values: Mapping[str, Any], rows: IntArray) -> dict[str, Given]:
        """The inputs of a call.

        Args:
            values: By name; None where an input is not given.
            rows: Rows of the protocol that are simulated.

        Returns:
            By the name by which derivatives are asked for.

        Raises:
            InputError: A name is unknown, a value is out of range or has the wrong shape.

        Local.
        """
        given: dict[str, Given] = {}
        for name, value in values.items():
            check_name(name)
            if value is None:
                continue
            if name == "samples":
                given |= self._samples(value)
            elif name == "q":
                given[name] = self._q(_numbers(value, name), rows)
            else:
                given[name] = getattr(self, f"_{name}")(_numbers(value, name))
        return given

    def _permeability(self, array: FloatArray) -> Given:
        check_nonnegative(array, "permeability", "um/ms")
        return _linear("permeability", permeability_layout(self.grid, array.shape), array)

    def _diffusivity(self, array: FloatArray) -> Given:
        check_diffusivity(array, symmetric=False)
        tensor = self._tensor or array.shape[-2:] == TENSOR
        return _linear("diffusivity", diffusivity_layout(self.grid, array.shape, tensor), array)

    def _T2(self, array: FloatArray) -> Given:
        check_positive(array, "T2", "ms", infinite=True)
        layout = cell_layout(self.grid, array.shape, "T2")
        slope = -np.asarray(np.reciprocal(array) ** 2)

        def along(change: FloatArray) -> FloatArray:
            return layout.expand(slope * _of_shape(layout.shape, change, "T2"))

        def back(bar: FloatArray) -> FloatArray:
            return np.asarray(slope * layout.collect(bar))

        return Given("relaxation_rate", layout.expand(np.reciprocal(array)), along, back)

    def _density(self, array: FloatArray) -> Given:
        check_positive(array, "density", "relative")
        return _linear("density", cell_layout(self.grid, array.shape, "density"), array)

    def _surface_relaxivity(self, array: FloatArray) -> Given:
        check_nonnegative(array, "surface_relaxivity", "um/ms")
        layout = relaxivity_layout(self.grid, self.walls, array.shape)
        return _linear("surface_relaxivity", layout, array)

    def _points(self, array: FloatArray) -> Given:
        points = checked_points(self.grid, array)
        return Given("points", points, lambda change: _of_shape(points.shape, change, "points"), lambda bar: bar)

    def _q(self, array: FloatArray, rows: IntArray) -> Given:
        shape = (len(self.protocol), 3)
        if array.shape != shape or not np.isfinite(array).all():
            raise InputError(
                f"q has shape {array.shape}",
                f"give {shape}, finite, one row per measurement of the protocol, rad/(um ms)",
                key="q",
            )

        def back(bar: FloatArray) -> FloatArray:
            total = np.zeros(shape)
            np.add.at(total, rows, bar)
            return total

        return Given("q", array[rows], lambda change: _of_shape(shape, change, "q")[rows], back)

    def _samples(self, value: Any) -> dict[str, Given]:
        sampled = [number for number, one in enumerate(self.protocol.waveforms) if isinstance(one, Sampled)]
        if isinstance(value, Mapping):
            return {f"samples {number}": self._samples_of(number, one) for number, one in value.items()}
        if len(sampled) != 1:
            raise InputError(
                f"the protocol has {len(sampled)} sampled waveforms",
                "give samples by sequence, {0: samples}; dmrifw.sequences.sampled makes samples of any waveform",
                key="samples",
            )
        return {"samples": self._samples_of(sampled[0], value)}

    def _samples_of(self, number: int, value: Any) -> Given:
        waveforms, array = self.protocol.waveforms, _numbers(value, "samples")
        waveform = waveforms[number] if 0 <= number < len(waveforms) else None
        if not isinstance(waveform, Sampled):
            raise InputError(f"sequence {number} has no samples", "name a sampled one", key="samples")
        shape = (len(waveform.samples), 3)
        if array.shape != shape or not np.isfinite(array).all() or not array.any():
            raise InputError(
                f"the samples of sequence {number} have shape {array.shape}", f"give {shape}, in mT/m", key="samples"
            )
        return Given(f"samples {number}", array, lambda change: _of_shape(shape, change, "samples"), lambda bar: bar)


def _linear(name: str, layout: Layout, array: FloatArray) -> Given:
    return Given(
        name,
        layout.expand(array),
        lambda change: layout.expand(_of_shape(layout.shape, change, name)),
        layout.collect,
    )


def _numbers(value: Any, key: str) -> FloatArray:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{key} is no array of numbers", "give numbers", key=key) from error


def _of_shape(shape: tuple[int, ...], change: FloatArray, key: str) -> FloatArray:
    if change.shape != shape:
        raise InputError(f"the direction of {key} has shape {change.shape}", f"give {shape}", key=key)
    return change
