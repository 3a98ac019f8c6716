"""The inverse problem: how far a simulated signal is from the one that was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch

from dmrifw.errors import InputError
from dmrifw.inversion.likelihoods import Likelihood, data_term, squared_difference
from dmrifw.inversion.linearization import Linearization
from dmrifw.inversion.noise import estimate_sigma, unweighted_signal
from dmrifw.mesh import Grid
from dmrifw.schedules import Stage
from dmrifw.sequences import Protocol as MeasurementProtocol
from dmrifw.tape import Tape
from dmrifw.typing import ArrayLike, ComplexArray, FloatArray

if TYPE_CHECKING:
    from mpi4py import MPI


class ForwardModel(Protocol):
    """What an inversion asks of a simulator; `dmrifw.Simulator` satisfies it.

    One that keeps anything from one call to the next which the signals depend on, however little, has a method
    `forget()`, collective, that drops it.
    """

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


@runtime_checkable
class TapedModel(Protocol):
    """What Gauss-Newton and L-BFGS ask of a simulator besides; `dmrifw.Simulator` satisfies it."""

    def signal(self, *args: Any, **kwargs: Any) -> tuple[ComplexArray, Tape]:
        """Signals of `rows=` and, with `keep=True`, the tape of their derivatives; see `SignalModel.signal`."""


class InversionProblem:
    """A target signal and the loss that compares a simulation with it.

    Both signals are divided by S0: the target's mean magnitude at b = 0 of the same sequence or, where the target's
    unit is arbitrary, each by its own.

    Args:
        simulator: The forward model.
        target: (n,) complex, um^3 or arbitrary, replicated: the measured signal, one per row of the simulator's
            protocol.
        magnitude: Compare magnitudes, as scanners give them; otherwise real and imaginary parts.
        weight: Factor on the data loss; 100 for "squared" and 1 for a likelihood by default.
        likelihood: How signals are compared; see `dmrifw.inversion.likelihoods`.
        sigma: Standard deviation of the noise in each part, relative to S0; by default estimated from the target's
            scatter at b = 0 where the likelihood needs it.
        arbitrary_unit: Whether the target is known up to a factor only, as an image's voxel is.

    Attributes:
        target: (n,) complex, as it was given.
        sigma: The noise that the likelihood reckons with; None for "squared".
        known_sigma: The same where it was given, and not estimated.

    Raises:
        InputError: The target has the wrong length, is not finite, or a sequence has no (or no positive) b = 0 signal;
            or sigma is not positive, or cannot be estimated.

    Local.
    """

    def __init__(
        self,
        simulator: ForwardModel,
        target: ArrayLike,
        magnitude: bool = True,
        weight: float | None = None,
        *,
        likelihood: Likelihood = "squared",
        sigma: float | None = None,
        arbitrary_unit: bool = False,
    ) -> None:
        protocol = simulator.protocol
        signal = _checked_target(target, len(protocol))
        scale = unweighted_signal(signal, protocol)
        self.known_sigma = None if likelihood == "squared" else sigma
        if likelihood != "squared" and sigma is None:
            sigma = estimate_sigma(signal, protocol, magnitude)
        self.simulator = simulator
        self.target = signal
        self.magnitude = magnitude
        self.arbitrary_unit = arbitrary_unit
        self.sigma = None if likelihood == "squared" else sigma
        self.weight = _DEFAULT_WEIGHTS.get(likelihood, 1.0) if weight is None else float(weight)
        self._cost = data_term(likelihood, magnitude, sigma)
        self._scale = torch.from_numpy(scale)
        self._reference = torch.from_numpy(signal / scale)

    @property
    def comm(self) -> MPI.Comm:
        """The ranks over which the simulation is distributed."""
        return self.simulator.grid.comm

    @property
    def reference(self) -> ComplexArray:
        """(n,) the target relative to its S0."""
        return self._reference.numpy()

    @property
    def scale(self) -> FloatArray:
        """(n,) S0 of the target, by which signals are divided."""
        return self._scale.numpy()

    def data_loss(self, fields: Mapping[str, torch.Tensor], stage: Stage) -> torch.Tensor:
        """The misfit: weight * sum over sequences of w * mean over its measurements of their costs.

        The cost of a measurement is (|S|/S0 - |S_ref|/S0)^2 by default. Sequences of weight 0 are not simulated.

        Args:
            fields: Inputs of the simulator by keyword, replicated.
            stage: The weights w of the sequences.

        Returns:
            A scalar, float64, differentiable, replicated.

        Raises:
            InputError: The stage has not one weight per sequence, or gives no measurement any weight.

        Collective.

        Source: Spinverse, arXiv 2603.04638 (squared data loss).
        """
        rows, weights = self._weighed_rows(stage)
        return self._loss(self.simulator(rows=rows, **fields), rows, weights)

    def linearize(self, fields: Mapping[str, torch.Tensor], wanted: Sequence[str], stage: Stage) -> Linearization:
        """The data loss at some fields, with its gradient and Gauss-Newton curvature by them.

        The residuals are weighted differences between |S|/S0, or both parts of S/S0, and the target's. Half the sum of
        their squares is the data loss where squares are compared or noise is Gaussian; the curvature of a Rician
        likelihood, which is never larger, is taken for that of a Gaussian one.

        Args:
            fields: As of `data_loss`.
            wanted: Names of the fields by which it will be differentiated.
            stage: As of `data_loss`.

        Returns:
            The linearization.

        Raises:
            InputError: As of `data_loss`; or the simulator keeps no tape.

        Collective.
        """
        simulator = self.simulator
        if not isinstance(simulator, TapedModel):
            raise InputError("this forward model keeps no tape", "give one with `signal`, or use Adam", key="optimizer")
        rows, weights = self._weighed_rows(stage)
        inputs = {name: value.detach().cpu().numpy() for name, value in fields.items()}
        _, tape = simulator.signal(rows=rows, keep=True, **inputs)
        return Linearization(
            tape,
            wanted,
            partial(self._loss, rows=rows, weights=weights),
            partial(self._residuals, rows=rows, weights=weights),
            self.comm,
        )

    def relative(self, signal: torch.Tensor) -> ComplexArray:
        """(n,) simulated signals of all measurements over S0, to be set beside `reference`. Local."""
        return self._relative(signal.detach(), np.arange(len(self._scale))).numpy()

    def distance(self, relative: ComplexArray) -> float:
        """Root mean square of the differences between signals over S0, (n,), and `reference`. Local."""
        squares = squared_difference(torch.from_numpy(relative), self._reference, magnitude=self.magnitude)
        return float(squares.mean().sqrt())

    def relative_error(self, fields: Mapping[str, torch.Tensor]) -> float:
        """Root mean square over all measurements of (|S| - |S_ref|)/S0, all sequences simulated. Collective."""
        with torch.no_grad():
            return self.distance(self.relative(self.simulator(**fields)))

    def forget(self) -> None:
        """Have the simulator drop what it keeps from one call to the next, if it keeps anything. Collective."""
        forget = getattr(self.simulator, "forget", None)
        if forget is not None:
            forget()

    def _weighed_rows(self, stage: Stage) -> tuple[np.ndarray, torch.Tensor]:
        """The measurements that count, and the weights of their costs in the data loss."""
        sequence = self.simulator.protocol.sequence
        weights = np.asarray(stage.sequence_weights, dtype=np.float64)
        count = len(self.simulator.protocol.waveforms)
        if weights.shape != (count,):
            raise InputError(f"a stage weighs {weights.size} sequences", f"give {count} weights", key="schedule")
        rows = np.flatnonzero(weights[sequence] > 0)
        if len(rows) == 0:
            raise InputError("a stage gives weight to no measurement", "give a weight above 0", key="schedule")
        per_row = weights[sequence[rows]] / np.bincount(sequence, minlength=count)[sequence[rows]]
        return rows, torch.from_numpy(per_row)

    def _loss(self, signal: torch.Tensor, rows: np.ndarray, weights: torch.Tensor) -> torch.Tensor:
        return self.weight * torch.dot(weights, self._cost(self._relative(signal, rows), self._reference[rows]))

    def _residuals(self, signal: torch.Tensor, rows: np.ndarray, weights: torch.Tensor) -> torch.Tensor:
        """Differences whose squares, halved and summed, have the curvature of the loss."""
        relative, reference = self._relative(signal, rows), self._reference[rows]
        curvature = 2.0 if self.sigma is None else self.sigma**-2
        factors = (self.weight * curvature * weights).sqrt()
        if self.magnitude:
            return factors * (relative.abs() - reference.abs())
        return (factors[:, None] * torch.view_as_real(relative - reference)).flatten()

    def _relative(self, signal: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        """Signals of some rows over S0. The rows hold whole sequences."""
        if not self.arbitrary_unit:
            return signal / self._scale[rows]
        protocol = self.simulator.protocol
        sequence, at_zero = torch.from_numpy(protocol.sequence[rows]), torch.from_numpy(protocol.bvals[rows] == 0)
        count = torch.bincount(sequence[at_zero], minlength=len(protocol.waveforms))
        total = torch.zeros(len(count), dtype=torch.float64).index_add(0, sequence[at_zero], signal[at_zero].abs())
        return signal / (total / count)[sequence]


_DEFAULT_WEIGHTS = {"squared": 100.0}
"""Weight of the data loss by likelihood: Spinverse's for squares; -log p needs none."""


def _checked_target(target: ArrayLike, count: int) -> ComplexArray:
    signal = np.asarray(target, dtype=np.complex128)
    if signal.shape != (count,):
        raise InputError(f"the signal has shape {signal.shape}", f"give {count}, one per measurement", key="target")
    if not np.isfinite(signal).all():
        row = int(np.flatnonzero(~np.isfinite(signal))[0])
        raise InputError(f"the signal of measurement {row} is not finite", "give finite signals", key="target")
    return signal
