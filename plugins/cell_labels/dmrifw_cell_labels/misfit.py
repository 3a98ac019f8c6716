"""How far the signals of a mixture are from those measured, in units of what both may be wrong by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmrifw.errors import InputError
from dmrifw.inversion import InversionProblem, Remainder, estimate_sigma, remainder
from dmrifw.sequences import Protocol
from dmrifw.typing import ComplexArray, FloatArray, IntArray
from dmrifw_cell_labels.checks import covered
from dmrifw_cell_labels.elements import spacing
from dmrifw_cell_labels.mixture import Mixture, Walls
from dmrifw_cell_labels.partition import Partition, as_bytes, of_bytes, remembering

_WALL = 0.3
"""Penalty of a wall of the grid's mean face area: of two partitions that explain as much, the one with less wall."""

_MODEL_ERROR = 2e-4
"""Error of a mixture, in S/S0, over the square of the phase that a cell resolves: that of linear elements."""

_FEW, _FEWEST, _MANY = 60, 24, 180
"""Measurements of each sequence that are used, those of a fine grid at least, and those where there is noise: noiseless
ones repeat each other, noisy ones are averaged."""

_CELLS = 576
"""Cells for which what a search does many times is meant."""

_NEARLY_NOISE = 1.1
"""Error of the signals of shares over the noise, below which it may be all that is left."""

_EXACT = 5e-4
"""Error of a partition's signals, in S/S0: more than what the modes left out make, half the simulator's own."""

_TOLD_BY_FEW, _AT_MOST = 0.025, 1.25
"""Standard deviation of an error over the noise that b = 0 shows, about, and what noise may be over what that shows."""

_TOLD_BY_DIRECTIONS, _ROUNDING = 5e-3, 1e-6
"""Standard deviation, in S/S0, above which what polynomials of directions leave over is noise, and below which what
signals at b = 0 differ by is none."""

_REMEMBERED = 8
"""Linearizations that are kept: a search comes back to some partitions."""

_NOISY = 2e-3
"""Standard deviation of the noise, in S/S0, from which many are used."""


@dataclass(frozen=True)
class Level:
    """How fine a mixture is, and what its signals count.

    Attributes:
        modes: Of each compartment.
        error: Of its signals for want of others, in S/S0, over the square of the phase across the length that so many
            resolve, the edge of a cube of the volume for each.
        least: The same at least: for elements, floors, and compartments that touch at an edge.
        loose: Beside both.
    """

    modes: int
    error: float
    least: float = 1e-3
    loose: float = 0.0


LEVELS = (Level(20, 3e-3), Level(45, 8e-4), Level(90, 1e-4))
"""From coarse to fine. Where few modes resolve little, large wave numbers count little, and local minima are few."""

FINEST = LEVELS[-1]

_QUIET, _TENSE = 0.5, 4.0
"""Of a tissue that nothing leaves, in which walls change signals little: errors of mixtures, and what walls in them
cost, over those of a leaky one. Shares would explain its signals by a haze."""

SHARP = Level(45, 1e-4)
"""As telling as the finest with half its modes, where a partition tells what they are off by."""

EVEN = Level(45, 0.0, 1e-2)
"""All wave numbers count the same."""


def slower(cells: int) -> float:
    """By what a search on so many cells does fewer of what it does many times: of four times as many half. Local."""
    return max(1.0, float(np.sqrt(cells / _CELLS)))


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
        leaky: Whether water is lost through the exterior.
        volume: Signal at b = 0 of the longest diffusion time, um^3 or in the target's unit.

    Raises:
        InputError: As of `checks.covered`.

    Local.
    """

    def __init__(self, problem: InversionProblem, walls: Walls) -> None:
        simulator = covered(problem.simulator)
        self.grid, self._magnitude, protocol = simulator.grid, problem.magnitude, simulator.protocol
        self._problem, self._walls, self.leaky = problem, walls, walls.leaky
        noise = problem.sigma if problem.sigma is not None else _noise(problem)
        self.rows, self._wavenumber = _choose(protocol, _MANY if noise > _NOISY else _few(len(self.grid.cells)))
        self.noise, self._exact = noise, np.full(len(self.rows), np.hypot(_EXACT, noise))
        self._scale = problem.scale[self.rows]
        self._reference = problem.reference[self.rows]
        self._own_unit = problem.arbitrary_unit
        self._group = np.unique(protocol.sequence[self.rows], return_inverse=True)[1]
        self.volume = float(problem.scale[np.argmax(protocol.echo_times)])
        self._mixture = Mixture(self.grid, simulator.operators.tissue, protocol, self.rows, walls)
        own = np.arange(len(self.rows))
        self._entries: IntArray = own if self._magnitude else np.concatenate([own, self._mixture.imaginary])
        self._partition = Partition(self.grid, self._mixture.elements, protocol, self.rows, walls)
        self._remembered = remembering(self._linearize, _REMEMBERED)
        self._biases: dict[tuple[Level, bytes], ComplexArray] = {}
        inside = ~self.grid.is_exterior
        self.sides: IntArray = self.grid.face_cells[inside]
        self.wall_penalty: FloatArray = _WALL * self.grid.face_areas[inside] / self.grid.face_areas[inside].mean()
        self._gray_error, tension = (1.0, 1.0) if walls.leaky else (_QUIET, _TENSE)
        self._gray_penalty = tension * self.wall_penalty

    def without_walls(self) -> ComplexArray:
        """(n,) signals of all measurements, those that are not used as well, of no walls, in S/S0. Local."""
        protocol = self._problem.simulator.protocol
        rows = np.arange(len(protocol.sequence))
        plain = Partition(self.grid, self._mixture.elements, protocol, rows, self._walls)
        signal = plain.signal(np.zeros(len(self.grid.cells), dtype=np.int64))
        if not self._own_unit:
            return np.asarray(signal / self._problem.scale)
        first = np.unique(protocol.sequence[self.rows], return_index=True)[1]
        return np.asarray(signal / np.abs(signal[self.rows[first]])[protocol.sequence])

    def of_partition(self, labels: IntArray) -> FloatArray:
        """(m,) differences over their standard deviations, for (E,) labels. Local."""
        return self.differences(self.relative(self._partition.signal(labels)), self._exact)

    def linearize_partition(self, labels: IntArray, count: int) -> tuple[FloatArray, FloatArray]:
        """The same with (m, K, E) derivatives by the shares of `count` compartments; do not write to them. Local."""
        return self._remembered(as_bytes(labels), count)

    def _linearize(self, labels: bytes, count: int) -> tuple[FloatArray, FloatArray]:
        signal = self._partition.signal(of_bytes(labels))
        return self.linearized(signal, self.relative(signal), one_hot(of_bytes(labels), count), FINEST, self._exact)

    def gray(self, level: Level, like: IntArray) -> Gray:
        """How far mixtures are from the data, which are off by about what that of a partition, (E,), is. Local."""
        key = level, like.tobytes()
        if key not in self._biases:
            mixture = self._mixture.signal(one_hot(like, int(like.max()) + 2), level.modes)
            self._biases[key] = self.relative(self._partition.signal(like)) - self.relative(mixture)
        return Gray(self, self._mixture, level, self._biases[key], self._gray_penalty)

    def resolution(self, level: Level) -> float:
        """Length that the modes of a mixture resolve, um: the edge of a cube of the volume for each. Local."""
        return float(np.cbrt(self.grid.volume / level.modes))

    def sigma(self, level: Level) -> FloatArray:
        """(n,) standard deviations of the differences of a mixture's signals. Local."""
        squares = _MODEL_ERROR * spacing(self.grid) ** 2 + level.error * self.resolution(level) ** 2
        own = self._gray_error * np.maximum(level.least, squares * self._wavenumber**2)
        return np.hypot(own, np.hypot(self.noise, level.loose))

    def linearized(
        self, signal: ComplexArray, relative: ComplexArray, shares: FloatArray, level: Level, sigma: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """`differences`, and their derivatives by (K, E) shares as a mixture has them. Local."""
        jacobian = self._mixture.jacobian(shares, level.modes, self._magnitude).astype(float)
        values = np.abs(relative) if self._magnitude else self._in_parts(relative)
        if self._own_unit:
            first = self._first[self._group[self._entries]]
            jacobian -= values[:, None, None] * jacobian[first]
        slope = np.ones_like(values)
        if self._magnitude and self.noise:
            slope = values / np.hypot(values, self.noise)
        factor = slope / (self._unit(signal) * sigma)[self._entries]
        return self.differences(relative, sigma), factor[:, None, None] * jacobian

    def relative_error(self, labels: IntArray) -> float:
        """Root mean square of the differences of a partition's signals, in S/S0. Local."""
        return float(np.sqrt(np.mean((self.of_partition(labels) * self._exact[self._entries]) ** 2)))

    def left_over(self, relative: ComplexArray) -> tuple[float, Remainder]:
        """Root mean square of the differences of all (n,) signals, in S/S0, from the data, and what they are made of.

        Where too few directions tell, the noise is what it may be at most by what b = 0 shows. Local.
        """
        difference = self._difference(relative, self._problem.reference)
        error = float(np.sqrt(np.mean(np.abs(difference) ** 2) / (1 if self._magnitude else 2)))
        if not self.noise:
            return error, Remainder(0.0, np.inf)
        told = remainder(difference, self._problem.simulator.protocol, self._problem.known_sigma)
        return error, told or Remainder(_AT_MOST * self.noise, (error / self.noise - 1) / _TOLD_BY_FEW)

    @property
    def of_noise(self) -> float:
        """What the noise alone makes of the misfit, on average, if there is no more of it than b = 0 shows."""
        return 0.5 * float(np.sum((self.noise / self._exact[self._entries]) ** 2))

    def of_labels(self, labels: IntArray) -> float:
        """The misfit of a partition, walls included. Local."""
        return self.of_residuals(self.of_partition(labels), labels)

    def of_residuals(self, residuals: FloatArray, labels: IntArray) -> float:
        """The same, of differences that are known. Local."""
        left, right = labels[self.sides].T
        return float(0.5 * residuals @ residuals + self.wall_penalty[left != right].sum())

    @property
    def _first(self) -> IntArray:
        """The measurement at b = 0 of each sequence: the first of its rows."""
        return np.unique(self._group, return_index=True)[1]

    def relative(self, signal: ComplexArray) -> ComplexArray:
        """(n,) signals in S/S0. Local."""
        return np.asarray(signal / self._unit(signal))

    def _unit(self, signal: ComplexArray) -> FloatArray:
        """(n,) what is 1 in S/S0."""
        return np.abs(signal[self._first])[self._group] if self._own_unit else self._scale

    def differences(self, relative: ComplexArray, sigma: FloatArray) -> FloatArray:
        """(m,) those from the data of (n,) signals in S/S0, over standard deviations. Local."""
        difference = self._difference(relative, self._reference) / sigma
        return np.asarray(difference) if self._magnitude else self._in_parts(difference)

    def _in_parts(self, relative: ComplexArray) -> FloatArray:
        """(m,) real parts, and then imaginary ones of those that may have some."""
        return np.concatenate([relative.real, relative.imag[self._mixture.imaginary]])

    def _difference(self, relative: ComplexArray, reference: ComplexArray) -> FloatArray | ComplexArray:
        if self._magnitude:  # noise lifts magnitudes: the mean of their squares by twice its variance
            return np.asarray(np.hypot(np.abs(relative), self.noise) - np.abs(reference))
        return np.asarray(relative - reference)


@dataclass(frozen=True, eq=False)
class Gray:
    """Half the sum of squares of the differences between signals of a mixture and those measured, and of its walls.

    Attributes:
        misfit: That of partitions.
        mixture: The model.
        level: How fine it is.
        bias: (n,) by how much its signals are too low, in S/S0.
        wall_penalty: (I,) of a wall at each interior face.
    """

    misfit: Misfit
    mixture: Mixture
    level: Level
    bias: ComplexArray
    wall_penalty: FloatArray

    def linearize(self, shares: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(m,) differences and (m, K, E) derivatives for (K, E) shares; see `Mixture.jacobian`. Local."""
        signal = self.mixture.signal(shares, self.level.modes)
        relative = self.misfit.relative(signal) + self.bias
        return self.misfit.linearized(signal, relative, shares, self.level, self.misfit.sigma(self.level))

    def of_shares(self, shares: FloatArray, edge: float = 0.1) -> float:
        """The misfit of (K, E) shares, whose differences d count as sqrt(d^2 + edge^2) - edge in walls. Local."""
        residuals = self._residuals(shares)
        left, right = self.misfit.sides.T
        steps = np.sqrt(np.sum((shares[:, left] - shares[:, right]) ** 2, axis=0) / 2 + edge**2) - edge
        return float(0.5 * residuals @ residuals + self.wall_penalty @ steps)

    def explained(self, shares: FloatArray, most: float) -> bool:
        """Whether the signals of (K, E) shares are off by what a mixture is, or so many times that, and the noise.

        Local.
        """
        noise = (self.misfit.noise / self.misfit.sigma(self.level)) ** 2
        allowed = most**2 * (1 - noise) + _NEARLY_NOISE**2 * noise
        return bool(np.mean(self._residuals(shares) ** 2) < np.mean(allowed))

    def _residuals(self, shares: FloatArray) -> FloatArray:
        signal = self.mixture.signal(shares, self.level.modes)
        return self.misfit.differences(self.misfit.relative(signal) + self.bias, self.misfit.sigma(self.level))


def one_hot(labels: IntArray, count: int) -> FloatArray:
    """(count, E) shares, 1 where a label stands and 0 elsewhere. Local."""
    return (np.arange(count)[:, None] == labels).astype(float)


def _noise(problem: InversionProblem) -> float:
    """The noise that the scatter at b = 0 shows, or where each sequence has one such signal that in other directions.

    0 where there is nothing to see it by, or nothing but rounding.
    """
    protocol = problem.simulator.protocol
    at_zero = protocol.sequence[protocol.bvals == 0]
    if len(at_zero) == len(np.unique(at_zero)):
        signals = np.abs(problem.reference) if problem.magnitude else problem.reference
        told = remainder(signals, protocol)
        return told.noise if told is not None and told.noise > _TOLD_BY_DIRECTIONS else 0.0
    try:
        noise = estimate_sigma(problem.target, protocol, problem.magnitude)
    except InputError:
        return 0.0
    return noise if noise > _ROUNDING else 0.0


def _few(cells: int) -> int:
    """Noiseless measurements of each sequence that are used."""
    return max(_FEWEST, int(_FEW / slower(cells)))


def _choose(protocol: Protocol, most: int) -> tuple[IntArray, FloatArray]:
    """Rows of every sequence, b = 0 first and then spread over amplitudes and directions, and wave numbers, rad/um."""
    rows, wavenumbers = [], []
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
        wavenumbers.append(np.linalg.norm(waveform.wavevector(q[chosen], times), axis=-1).max(axis=0))
        rows.append(members[chosen])
    return np.concatenate(rows), np.concatenate(wavenumbers)
