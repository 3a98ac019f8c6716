"""How far the signals of a mixture are from those measured, in units of what both may be wrong by."""

from __future__ import annotations

import numpy as np

from dmrifw.errors import InputError
from dmrifw.inversion import InversionProblem, estimate_sigma
from dmrifw.sequences import Protocol
from dmrifw.simulator import SignalModel
from dmrifw.typing import ComplexArray, FloatArray, IntArray
from dmrifw_cell_labels.elements import spacing
from dmrifw_cell_labels.mixture import Mixture, Walls
from dmrifw_cell_labels.partition import Partition

_WALL = 0.3
"""Penalty of a wall of the grid's mean face area: of two partitions that explain as much, the one with less wall."""

_MODEL_ERROR = 2e-4
"""Error of a mixture, in S/S0, over the square of the phase that a cell resolves: that of linear elements."""

_LEAST_ERROR = 2e-3
"""Error of a mixture, in S/S0, at least: floors, and compartments that touch at an edge."""

_FEW, _MANY = 24, 90
"""Measurements of each sequence that are used: noiseless ones repeat each other, noisy ones are averaged."""

_NEARLY, _NEARLY_NOISE = 5.0, 1.1
"""Error of the signals of shares, over what a mixture is off by and over the noise, below which partitions near them
may explain the data: shares of another symmetry are mostly off by more."""

_EXACT = 5e-4
"""Error of a partition's signals, in S/S0: more than what the modes left out make, half the simulator's own."""

_NOISY = 2e-3
"""Standard deviation of the noise, in S/S0, from which many are used."""


class Misfit:
    """Half the sum of squares of the differences between signals, and of the walls.

    Args:
        problem: Target and simulator.
        walls: Permeabilities.

    Attributes:
        grid: The grid.
        sides: (I, 2) cells on both sides of each interior face.
        rows: Measurements that are used.
        noise: Standard deviation of the noise in each part, in S/S0.
        volume: Signal at b = 0 of the longest diffusion time, um^3 or in the target's unit.

    Raises:
        InputError: The forward model is not a `SignalModel`, or it has a density, relaxing surfaces, a periodic axis,
            quadratic elements, or faces across which the magnetization may not jump.

    Local.
    """

    def __init__(self, problem: InversionProblem, walls: Walls) -> None:
        simulator = problem.simulator
        if not isinstance(simulator, SignalModel):
            raise InputError("this forward model tells no tissue", "give a Simulator, or use Adam", key="optimizer")
        _check_covered(simulator)
        self.grid, self._magnitude, protocol = simulator.grid, problem.magnitude, simulator.protocol
        noise = problem.sigma if problem.sigma is not None else _noise(problem)
        self.rows, sigma = _choose(protocol, spacing(self.grid), _MANY if noise > _NOISY else _FEW)
        self.noise, self._sigma, self._exact = (
            noise,
            np.hypot(sigma, noise),
            np.full(len(sigma), np.hypot(_EXACT, noise)),
        )
        self._scale = problem.scale[self.rows]
        self._reference = problem.reference[self.rows]
        self._own_unit = problem.arbitrary_unit
        self._group = np.unique(protocol.sequence[self.rows], return_inverse=True)[1]
        self.volume = float(problem.scale[np.argmax(protocol.echo_times)])
        self._mixture = Mixture(self.grid, simulator.operators.tissue, protocol, self.rows, walls)
        self._partition = Partition(self.grid, self._mixture.elements, protocol, self.rows, walls)
        inside = ~self.grid.is_exterior
        self.sides: IntArray = self.grid.face_cells[inside]
        self.wall_penalty: FloatArray = _WALL * self.grid.face_areas[inside] / self.grid.face_areas[inside].mean()

    def of_partition(self, labels: IntArray) -> FloatArray:
        """(m,) differences over their standard deviations, for (E,) labels. Local."""
        return self._differences(self._relative(self._partition.signal(labels)), self._exact)

    def linearize_partition(self, labels: IntArray, count: int) -> tuple[FloatArray, FloatArray]:
        """The same with (m, K, E) derivatives by the shares of `count` compartments. Local."""
        return self._linearized(self._partition.signal(labels), one_hot(labels, count), self._exact)

    def linearize(self, shares: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(m,) differences and (m, K, E) derivatives for (K, E) shares; see `Mixture.jacobian`. Local."""
        return self._linearized(self._mixture.signal(shares), shares, self._sigma)

    def _linearized(self, signal: ComplexArray, shares: FloatArray, sigma: FloatArray) -> tuple[FloatArray, FloatArray]:
        relative = self._relative(signal)
        jacobian = self._mixture.jacobian(shares, self._magnitude).astype(float)
        parts = self._parts
        values = np.abs(relative) if self._magnitude else np.concatenate([relative.real, relative.imag])
        scale = np.tile(np.abs(signal / np.where(relative == 0, 1, relative)), parts)
        if self._own_unit:
            first = self._first[np.tile(self._group, parts)]
            jacobian -= values[:, None, None] * jacobian[first]
        slope = np.ones_like(values)
        if self._magnitude and self.noise:
            slope = values / np.hypot(values, self.noise)
        factor = slope / (scale * np.tile(sigma, parts))
        return self._differences(relative, sigma), factor[:, None, None] * jacobian

    def relative_error(self, labels: IntArray) -> float:
        """Root mean square of the differences of a partition's signals, in S/S0. Local."""
        return float(np.sqrt(np.mean((self.of_partition(labels) * np.tile(self._exact, self._parts)) ** 2)))

    @property
    def _parts(self) -> int:
        return 1 if self._magnitude else 2

    def of_labels(self, labels: IntArray) -> float:
        """The misfit of a partition, walls included. Local."""
        residuals = self.of_partition(labels)
        left, right = labels[self.sides].T
        return float(0.5 * residuals @ residuals + self.wall_penalty[left != right].sum())

    def of_shares(self, shares: FloatArray, edge: float = 0.1) -> float:
        """The same for shares, whose differences d count as sqrt(d^2 + edge^2) - edge. Local."""
        residuals = self._of_mixture(shares)
        left, right = self.sides.T
        steps = np.sqrt(np.sum((shares[:, left] - shares[:, right]) ** 2, axis=0) / 2 + edge**2) - edge
        return float(0.5 * residuals @ residuals + self.wall_penalty @ steps)

    def explained(self, shares: FloatArray) -> bool:
        """Whether the signals of (K, E) shares are nearly within the error of a mixture, and the noise. Local."""
        residuals, noise = self._of_mixture(shares), (self.noise / self._sigma) ** 2
        return bool(np.mean(residuals**2) < np.mean(_NEARLY**2 * (1 - noise) + _NEARLY_NOISE**2 * noise))

    def _of_mixture(self, shares: FloatArray) -> FloatArray:
        return self._differences(self._relative(self._mixture.signal(shares)), self._sigma)

    @property
    def _first(self) -> IntArray:
        """The measurement at b = 0 of each sequence: the first of its rows."""
        return np.unique(self._group, return_index=True)[1]

    def _relative(self, signal: ComplexArray) -> ComplexArray:
        scale = np.abs(signal[self._first])[self._group] if self._own_unit else self._scale
        return np.asarray(signal / scale)

    def _differences(self, relative: ComplexArray, sigma: FloatArray) -> FloatArray:
        reference = self._reference
        if self._magnitude:  # noise lifts magnitudes: the mean of their squares by twice its variance
            return (np.hypot(np.abs(relative), self.noise) - np.abs(reference)) / sigma
        difference = (relative - reference) / sigma
        return np.concatenate([difference.real, difference.imag])


def one_hot(labels: IntArray, count: int) -> FloatArray:
    """(count, E) shares, 1 where a label stands and 0 elsewhere. Local."""
    return (np.arange(count)[:, None] == labels).astype(float)


def _check_covered(simulator: SignalModel) -> None:
    """Refuse what partitions and mixtures leave out."""
    tissue, space = simulator.operators.tissue, simulator.operators.space
    for present, name in (
        (np.any(tissue.density != 1), "density"),
        (np.any(tissue.surface_relaxivity), "surface_relaxivity"),
        (any(space.periodic), "periodic"),
        (space.degree != 1, "degree"),
        (not space.walls[~simulator.grid.is_exterior].all(), "interfaces"),
    ):
        if present:
            raise InputError(
                f"a label search does not know {name}", 'leave it out, or choose optimizer = "adam"', key="optimizer"
            )


def _noise(problem: InversionProblem) -> float:
    """The noise that the scatter at b = 0 shows; 0 where there is nothing to see it by."""
    try:
        return estimate_sigma(problem.target, problem.simulator.protocol, problem.magnitude)
    except InputError:
        return 0.0


def _choose(protocol: Protocol, resolution: float, most: int) -> tuple[IntArray, FloatArray]:
    """Rows of every sequence, b = 0 first and then spread over amplitudes and directions, and errors of the model."""
    rows, sigma = [], []
    for number, waveform in enumerate(protocol.waveforms):
        members = np.flatnonzero(protocol.sequence == number)
        q = protocol.q[members]
        strength = np.linalg.norm(q, axis=1)
        mixed = np.modf(0.6180339887498949 * np.arange(len(q)))[0]
        order = np.lexsort((mixed, np.round(strength, 9)))
        weighted = order[strength[order] > 0]
        picked = weighted[np.unique(np.linspace(0, len(weighted) - 1, min(most, len(weighted))).astype(int))]
        chosen = np.append(order[:1], picked)
        times = np.union1d(waveform.breakpoints, np.linspace(0, waveform.echo_time, 33))
        phase = np.linalg.norm(waveform.wavevector(q, times), axis=-1).max()
        rows.append(members[chosen])
        sigma.append(np.full(len(chosen), max(_LEAST_ERROR, _MODEL_ERROR * (phase * resolution) ** 2)))
    return np.concatenate(rows), np.concatenate(sigma)
