"""A simulation that can be differentiated: its Jacobian times directions, and transposed times cotangents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dmrifw.errors import InputError
from dmrifw.inputs import Given
from dmrifw.propagators import Propagator, Record
from dmrifw.typing import ArrayLike, ComplexArray, FloatArray


@dataclass(frozen=True, eq=False)
class Tape:
    """A simulation that can be differentiated, in the shapes in which its inputs were given.

    Attributes:
        signal: (n,) um^3, replicated.
    """

    signal: ComplexArray
    _propagator: Propagator
    _record: Record
    _given: dict[str, Given]

    def pull_back(self, cotangent: ArrayLike, wanted: Sequence[str] | None = None) -> dict[str, FloatArray]:
        """Gradients: the transposed Jacobian times a cotangent.

        Args:
            cotangent: (n,) complex; d loss = Re sum conj(cotangent) dS, torch's convention; replicated.
            wanted: Names of inputs that were given; all of them by default.

        Returns:
            d loss by each, in its shape, per its unit, replicated.

        Raises:
            InputError: An input was not given, so no derivative was prepared.

        Collective.
        """
        chosen = self._chosen(self._given if wanted is None else wanted)
        bar = np.asarray(cotangent, dtype=np.complex128)
        if bar.shape != self.signal.shape:
            raise InputError(
                f"the cotangent has shape {bar.shape}",
                f"give {self.signal.shape}, one per measurement",
                key="cotangent",
            )
        inside = self._propagator.pull_back(self._record, bar, tuple(given.name for given in chosen.values()))
        return {name: given.back(inside[given.name]) for name, given in chosen.items()}

    def push_forward(self, directions: Mapping[str, ArrayLike]) -> ComplexArray:
        """The Jacobian times a direction.

        Args:
            directions: By the name of inputs that were given, arrays of their shapes, replicated.

        Returns:
            (n,) complex, um^3, replicated.

        Raises:
            InputError: An input was not given, or a direction has another shape.

        Collective.
        """
        chosen = self._chosen(directions)
        inside = {
            given.name: given.along(np.asarray(directions[name], dtype=np.float64)) for name, given in chosen.items()
        }
        return self._propagator.push_forward(self._record, inside)

    def gauss_newton(
        self, directions: Mapping[str, ArrayLike], weights: ArrayLike = 1.0, wanted: Sequence[str] | None = None
    ) -> dict[str, FloatArray]:
        """J^T W J times a direction: the curvature of sum_n weights_n |S_n - target_n|^2 / 2 without its residual.

        Args:
            directions: As of `push_forward`.
            weights: (n,) weight of each measurement, or one for all.
            wanted: As of `pull_back`; the inputs of the direction by default.

        Returns:
            As of `pull_back`.

        Collective.
        """
        moved = np.asarray(weights) * self.push_forward(directions)
        return self.pull_back(moved, list(directions) if wanted is None else wanted)

    def _chosen(self, names: Iterable[str]) -> dict[str, Given]:
        for name in names:
            if name not in self._given:
                raise InputError(
                    f"{name!r} is no input of this signal",
                    f"it has {', '.join(self._given)}: give it by keyword",
                    key=name,
                )
        return {name: self._given[name] for name in names}
