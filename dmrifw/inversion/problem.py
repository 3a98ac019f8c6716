"""The inverse problem: how far a simulated signal is from the one that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from dmrifw.errors import InputError
from dmrifw.mesh import Grid
from dmrifw.schedules import Stage
from dmrifw.sequences import Protocol as MeasurementProtocol
from dmrifw.typing import ArrayLike, ComplexArray, FloatArray

if TYPE_CHECKING:
    from mpi4py import MPI


class ForwardModel(Protocol):
    """What an inversion asks of a simulator; `dmrifw.Simulator` satisfies it."""

    @property
    def grid(self) -> Grid:
        """The grid whose fields it takes."""

    @property
    def protocol(self) -> MeasurementProtocol:
        """The measurements that it simulates."""

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Signals of the measurements `rows=` (all if None) for fields given by keyword.

        Returns:
            complex128, one per row, um^3, replicated, differentiable in the fields.

        Collective.
        """

    def forget(self) -> None:
        """Drop what is held from earlier calls, so that the next one does not depend on them. Local."""


class InversionProblem:
    """A target signal and the loss that compares a simulation with it.

    Both signals are divided by S0, the target's mean magnitude at b = 0 of the same sequence.

    Args:
        simulator: The forward model.
        target: (n,) complex, um^3, replicated: the measured signal, one per row of the simulator's protocol.
        magnitude: Compare magnitudes, as scanners give them; otherwise real and imaginary parts.
        weight: Factor on the data loss.

    Raises:
        InputError: The target has the wrong length, is not finite, or a sequence has no (or no positive) b = 0 signal.

    Local.
    """

    def __init__(
        self, simulator: ForwardModel, target: ArrayLike, magnitude: bool = True, weight: float = 100.0
    ) -> None:
        signal = _checked_target(target, len(simulator.protocol))
        scale = _unweighted_signal(signal, simulator.protocol)
        reference = np.abs(signal) if magnitude else signal
        self.simulator = simulator
        self.magnitude = magnitude
        self.weight = float(weight)
        self._scale = torch.from_numpy(scale)
        self._reference = torch.from_numpy(reference / scale)

    @property
    def comm(self) -> MPI.Comm:
        """The ranks over which the simulation is distributed."""
        return self.simulator.grid.comm

    def data_loss(self, fields: Mapping[str, torch.Tensor], stage: Stage) -> torch.Tensor:
        """The misfit: weight * sum over sequences of w * mean over its measurements of (|S|/S0 - |S_ref|/S0)^2.

        Sequences of weight 0 are not simulated.

        Args:
            fields: Inputs of the simulator by keyword, replicated.
            stage: The weights w of the sequences.

        Returns:
            A scalar, float64, differentiable, replicated.

        Raises:
            InputError: The stage has not one weight per sequence, or gives no measurement any weight.

        Collective.

        Source: Spinverse, arXiv 2603.04638 (data loss).
        """
        sequence = self.simulator.protocol.sequence
        weights = np.asarray(stage.sequence_weights, dtype=np.float64)
        count = len(self.simulator.protocol.waveforms)
        if weights.shape != (count,):
            raise InputError(f"a stage weighs {weights.size} sequences", f"give {count} weights", key="schedule")
        rows = np.flatnonzero(weights[sequence] > 0)
        if len(rows) == 0:
            raise InputError("a stage gives weight to no measurement", "give a weight above 0", key="schedule")
        per_row = weights[sequence[rows]] / np.bincount(sequence, minlength=count)[sequence[rows]]
        misfit = self._misfit(self.simulator(rows=rows, **fields), rows)
        return self.weight * torch.dot(torch.from_numpy(per_row), misfit)

    def relative_error(self, fields: Mapping[str, torch.Tensor]) -> float:
        """Root mean square over all measurements of (|S| - |S_ref|)/S0, all sequences simulated. Collective."""
        with torch.no_grad():
            misfit = self._misfit(self.simulator(**fields), np.arange(len(self._scale)))
        return float(misfit.mean().sqrt())

    def _misfit(self, signal: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        """Squared differences from the target, (len(rows),)."""
        if self.magnitude:
            return (signal.abs() / self._scale[rows] - self._reference[rows]).square()
        difference = signal / self._scale[rows] - self._reference[rows]
        return torch.view_as_real(difference).square().sum(dim=-1)


def _checked_target(target: ArrayLike, count: int) -> ComplexArray:
    signal = np.asarray(target, dtype=np.complex128)
    if signal.shape != (count,):
        raise InputError(f"the signal has shape {signal.shape}", f"give {count}, one per measurement", key="target")
    if not np.isfinite(signal).all():
        row = int(np.flatnonzero(~np.isfinite(signal))[0])
        raise InputError(f"the signal of measurement {row} is not finite", "give finite signals", key="target")
    return signal


def _unweighted_signal(signal: ComplexArray, protocol: MeasurementProtocol) -> FloatArray:
    """(n,) mean magnitude at b = 0 of the sequence of each measurement."""
    count = len(protocol.waveforms)
    unweighted = protocol.bvals == 0
    number = np.bincount(protocol.sequence[unweighted], minlength=count)
    total = np.bincount(protocol.sequence[unweighted], weights=np.abs(signal[unweighted]), minlength=count)
    for one in np.unique(protocol.sequence):
        if number[one] == 0:
            raise InputError(
                f"sequence {one} has no measurement at b = 0 to divide its signals by", "add one", key="protocol"
            )
        if not total[one] > 0:
            raise InputError(f"the b = 0 signal of sequence {one} is zero", "give a positive signal", key="target")
    return (total / np.maximum(number, 1))[protocol.sequence]
