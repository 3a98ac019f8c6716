"""The equation in some basis, what is read from it, and the sums in which its derivative is gathered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dmrifw.operators import Change, Operators, Sensitivity
from dmrifw.propagators import imex
from dmrifw.propagators.drives import DriveChange, DriveGradient
from dmrifw.propagators.imex import Moment, Trajectory
from dmrifw.propagators.steps import Drive, Interval
from dmrifw.typing import BoolArray, ComplexArray, FloatArray


@dataclass(frozen=True)
class Wanted:
    """Which derivatives of the equation a set of inputs needs.

    Attributes:
        exchange: By the exchange through facets.
        decay: By diffusion and relaxation in cells and at surfaces.
        mass: By the mass.
        couplings: By the couplings.
        q: By the amplitude and direction of gradients.
        samples: By the samples of waveforms.
    """

    exchange: bool
    decay: bool
    mass: bool
    couplings: bool
    q: bool
    samples: bool

    @classmethod
    def by(cls, names: Iterable[str], periodic: bool) -> Wanted:
        """What inputs need, by name; "samples 0" are those of sequence 0. Local."""
        wanted = set(names)
        mass = bool(wanted & {"density", "points"})
        return cls(
            exchange=bool(wanted & {"permeability", "points"}),
            decay=mass or bool(wanted & {"diffusivity", "relaxation_rate", "surface_relaxivity"}),
            mass=mass,
            couplings=mass or (periodic and "diffusivity" in wanted),
            q="q" in wanted,
            samples=any(name.startswith("samples") for name in wanted),
        )


class System(ABC):
    """The equation in some basis: an `imex.Equation` and what the derivative needs. Blocks are (n, 2m).

    Attributes:
        divided: Whether ranks integrate measurements of their own; otherwise unknowns are distributed.
        facets_apart: Whether the exchange through facets cannot be had from `outer`.
        time_share: Share of the tolerance given to time stepping.
        operators: The operators it came from.
        unit: (n,) the field w = 1, with which every measurement starts.
        total: (n,) the mass times `unit`: what integrates a field over the domain.
    """

    divided: ClassVar[bool]
    facets_apart: ClassVar[bool]
    time_share: ClassVar[float] = 0.5
    operators: Operators
    unit: FloatArray
    total: FloatArray

    @abstractmethod
    def mass(self, block: FloatArray) -> FloatArray:
        """See `imex.Equation`."""

    @abstractmethod
    def diffusion(self, block: FloatArray) -> FloatArray:
        """See `imex.Equation`."""

    @abstractmethod
    def solve(self, shift: float, block: FloatArray) -> FloatArray:
        """See `imex.Equation`."""

    @abstractmethod
    def coupled(self, block: FloatArray, needed: BoolArray) -> list[FloatArray | None]:
        """The products of a block with the couplings that are needed; None for the others."""

    @abstractmethod
    def outer(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """Sums over columns of products of fields, from which every cell's share can be had; additive."""

    def facets(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """The same for the jumps of fields at facets; needed only if `facets_apart`."""
        raise TypeError("this system has the exchange from `outer`")

    @abstractmethod
    def collected(self, pieces: dict[str, FloatArray], groups: Sequence[str], exchange: bool) -> Sensitivity:
        """What this rank's cells and facets have of sums of `outer` by group, and of `facets`.

        Args:
            pieces: The sums of this rank, some perhaps missing; that of `facets` is called "exchange".
            groups: Names of the sums that are wanted: "diffusion", "mass", and "coupling 0" and so on.
            exchange: Whether the exchange is wanted.

        Collective.
        """

    @abstractmethod
    def projected(self, change: Change) -> Matrices:
        """The derivative of the operators, in this basis. Collective."""

    @abstractmethod
    def lift(self, block: FloatArray) -> FloatArray:
        """(owned unknowns, 2m) the magnetization over density. Local."""

    @abstractmethod
    def threads(self, columns: int) -> AbstractContextManager[Any]:
        """Threads for blocks of so many columns. Local."""

    def drive(self, block: FloatArray, weights: FloatArray) -> FloatArray:
        """See `imex.Equation`."""
        products = self.coupled(block, np.any(weights, axis=0))
        return precession(products, weights, block)

    def evolve(self, drive: Drive, cuts: list[Interval], keep: bool) -> Trajectory:
        """The trajectory of a block from w = 1. Collective unless `divided`."""
        count = len(drive.q)
        start = np.zeros((len(self.unit), 2 * count))
        start[:, :count] = self.unit[:, None]
        with self.threads(count):
            return imex.evolve(self, start, drive, cuts, keep)

    def read(self, final: FloatArray, squared: bool) -> ComplexArray:
        """(m,) what this rank adds to the signals: their total, or |u|^2 at half the echo time."""
        if squared:
            return _by_measurement(final, self.mass(final)).astype(np.complex128)
        return _complex(self.total @ final)

    def read_along(
        self, final: FloatArray, change: FloatArray, squared: bool, moved: FloatArray | float
    ) -> ComplexArray:
        """(m,) the derivative of `read`: `change` is that of the final block, `moved` the mass' on it."""
        if squared:
            return _by_measurement(final, 2.0 * self.mass(change) + moved).astype(np.complex128)
        return _complex(self.total @ change + self.unit @ (moved + np.zeros_like(final)))

    def seed(self, final: FloatArray, cotangent: ComplexArray, squared: bool, gathering: Gathering) -> FloatArray:
        """The transpose of `read_along`: its share of the mass goes to the gathering."""
        if squared:
            weighted = np.tile(cotangent.real, 2) * final
            gathering.mass(weighted, final)
            return 2.0 * self.mass(weighted)
        columns = np.concatenate([cotangent.real, cotangent.imag])
        gathering.mass(np.outer(self.unit, columns), final)
        return np.outer(self.total, columns)


class Gathering:
    """An `imex.Derivative` that sums up what is wanted of it, in the form that a system gives products of fields.

    Attributes:
        drives: Where derivatives by the weights of the couplings go while a batch is on; None if they are not wanted.
    """

    def __init__(self, system: System, wanted: Wanted) -> None:
        self._system, self._wanted = system, wanted
        self._pieces: dict[str, Any] = {}
        self.drives: DriveGradient | None = None

    def diffusion(self, left: FloatArray, right: FloatArray) -> None:
        """See `imex.Derivative`."""
        apart = self._system.facets_apart
        if self._wanted.exchange and apart:
            self._add("exchange", self._system.facets(left, right))
        if self._wanted.decay or (self._wanted.exchange and not apart):
            self._add("diffusion", self._system.outer(left, right))

    def mass(self, left: FloatArray, right: FloatArray, less: FloatArray | None = None) -> None:
        """See `imex.Derivative`."""
        if self._wanted.mass:
            self._add("mass", self._system.outer(left, right if less is None else right - less))

    def drive(self, left: FloatArray, right: FloatArray, weights: FloatArray, moment: Moment) -> None:
        """See `imex.Derivative`."""
        half = right.shape[1] // 2
        if self._wanted.couplings:
            turned = np.hstack([right[:, half:], -right[:, :half]])
            for number, weight in enumerate(weights.T):
                other = turned if number < 3 else -right
                self._add(f"coupling {number}", self._system.outer(left * np.tile(weight, 2), other))
        if self.drives is not None:
            bars = []
            for number, product in enumerate(self._system.coupled(right, np.ones(weights.shape[1], dtype=bool))):
                assert product is not None
                if number < 3:
                    parts = left[:, :half] * product[:, half:] - left[:, half:] * product[:, :half]
                    bars.append(parts.sum(axis=0))
                else:
                    bars.append(-_by_measurement(left, product))
            self.drives.add(np.column_stack(bars), moment.time, moment.interval)

    def collected(self) -> Sensitivity:
        """What the operators need to know. Collective."""
        wanted, count = self._wanted, len(self._system.operators.couplings)
        groups = ["diffusion"] * wanted.decay + ["mass"] * wanted.mass
        groups += [f"coupling {number}" for number in range(count)] * wanted.couplings
        return self._system.collected(self._pieces, groups, wanted.exchange)

    def _add(self, group: str, piece: FloatArray) -> None:
        if group in self._pieces:
            self._pieces[group] += piece
        else:
            self._pieces[group] = piece


@dataclass(frozen=True, eq=False)
class Matrices:
    """Derivatives of the matrices of a system, each something that multiplies blocks, or None."""

    diffusion: Any
    mass: Any
    couplings: Sequence[Any]


class Along:
    """An `imex.Direction`: how a system and what drives it change."""

    def __init__(self, system: System, matrices: Matrices, drives: DriveChange | None) -> None:
        self._system, self._matrices, self._drives = system, matrices, drives

    def diffusion(self, block: FloatArray) -> FloatArray | float:
        """See `imex.Direction`."""
        return 0.0 if self._matrices.diffusion is None else self._matrices.diffusion @ block

    def mass(self, block: FloatArray) -> FloatArray | float:
        """See `imex.Direction`."""
        return 0.0 if self._matrices.mass is None else self._matrices.mass @ block

    def drive(self, block: FloatArray, weights: FloatArray, moment: Moment) -> FloatArray | float:
        """See `imex.Direction`."""
        products = [None if matrix is None else matrix @ block for matrix in self._matrices.couplings]
        change = precession(products, weights, block)
        if self._drives is not None:
            moved = self._drives.weights(moment.time, moment.interval)
            change += precession(self._system.coupled(block, np.any(moved, axis=0)), moved, block)
        return change


def precession(products: Sequence[FloatArray | None], weights: FloatArray, block: FloatArray) -> FloatArray:
    """-(i sum_a w_a J_a + sum_b w_b J_b) u from the products J u: the first three couplings are imaginary. Local."""
    out = np.zeros_like(block)
    half = block.shape[1] // 2
    for number, product in enumerate(products):
        if product is None:
            continue
        if number < 3:
            out[:, :half] += weights[:, number] * product[:, half:]
            out[:, half:] -= weights[:, number] * product[:, :half]
        else:
            out -= np.tile(weights[:, number], 2) * product
    return out


def _complex(values: FloatArray) -> ComplexArray:
    """(m,) from (2m,) real parts, then imaginary parts."""
    real, imaginary = np.split(values, 2)
    return np.asarray(real + 1j * imaginary, dtype=np.complex128)


def _by_measurement(left: FloatArray, right: FloatArray) -> FloatArray:
    """(m,) products of (n, 2m) blocks, real and imaginary parts of a measurement together."""
    return np.einsum("nm,nm->m", left, right).reshape(2, -1).sum(axis=0)
