"""Damped Gauss-Newton: steps to where a linearized signal would fit, no further than the linearization holds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dmrifw.errors import InputError
from dmrifw.inversion.damped import DampedModel, dense_model, krylov_model
from dmrifw.inversion.linearization import Chart, Linearization, flat
from dmrifw.inversion.optimizer import Look, Objective, check_learnable, check_positive, detached
from dmrifw.inversion.trials import Trials
from dmrifw.schedules import Stage
from dmrifw.typing import FloatArray

_DENSE = 64
"""Most parameters for which the whole Jacobian is made, a column at a time."""

_PROBES = 8
"""Random signs by which the curvature's diagonal is estimated where the Jacobian is not made."""

_RAISE, _LOWER = 4.0, 0.2
"""Factors on the damping after a poor step and after a good one."""


@dataclass(frozen=True)
class GaussNewtonSettings:
    """Settings of Gauss-Newton with Levenberg and Marquardt's damping. All are above 0.

    Attributes:
        damping: At the start, relative to the curvature's diagonal.
        smallest_damping: It never falls below this.
        largest_damping: Where no step lowers the loss up to this, the search has converged, or is stuck.
        poor_ratio: A step that gains less than this share of what the linearization promised raises the damping.
        good_ratio: One that gains more than this share lowers it.
        inner_iterations: Most products with the curvature in a step, for more than 64 parameters.
        tolerance: Converged where a step promises and gains less than this share of the loss.

    Raises:
        InputError: A value is not above 0, or two that belong together are in the wrong order.
    """

    damping: float = 1e-2
    smallest_damping: float = 1e-9
    largest_damping: float = 1e6
    poor_ratio: float = 0.25
    good_ratio: float = 0.75
    inner_iterations: int = 30
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        check_positive(self)
        if not self.smallest_damping <= self.damping <= self.largest_damping:
            raise InputError(
                f"damping = {self.damping:g}",
                f"give one from {self.smallest_damping:g} to {self.largest_damping:g}, the limits",
                key="damping",
            )
        if not self.poor_ratio < self.good_ratio < 1:
            raise InputError(
                f"good_ratio = {self.good_ratio:g}", f"give one from {self.poor_ratio:g} to 1", key="good_ratio"
            )

    def start(self, objective: Objective) -> GaussNewton:
        """See `OptimizerSettings.start`. Local.

        Raises:
            InputError: As of `check_learnable`.
        """
        check_learnable(objective, "Gauss-Newton")
        return GaussNewton(objective, self)


class GaussNewton:
    """See `Optimizer`. One step is a linearization and as many simulations as it takes to find a lower loss.

    The curvature of the data loss is J^T J, J the Jacobian of the residuals by the parameters; that of the priors is
    their Hessian, by differentiating twice. Up to 64 parameters J is made a column at a time, beyond that only products
    are made. A step is refused where the loss does not fall or is not finite, and where the simulator refuses the
    fields, as it does vertices that turn an element over: the damping then rises.

    The learning rate of a schedule has no say: the damping has.

    Args:
        objective: What is minimized.
        settings: The settings.

    Source: Nocedal and Wright, Numerical Optimization, 2nd ed. 2006, chapter 10.
    """

    mend = "start elsewhere, or lower the weight of the priors"

    def __init__(self, objective: Objective, settings: GaussNewtonSettings) -> None:
        self.objective, self.settings, self.trials = objective, settings, Trials(objective)
        self.damping, self.converged = settings.damping, False

    def look(self, iteration: int, stage: Stage) -> Look:
        """See `Optimizer.look`. Collective."""
        self._iteration, self._stage = iteration, stage
        chart = Chart(self.objective.parametrization, self.objective.parameters)
        simulated = time.perf_counter()
        data = self.objective.problem.linearize(chart.fields, chart.moving, stage)
        signal_seconds = time.perf_counter() - simulated
        differentiated = time.perf_counter()
        penalties = self.objective.penalties(chart.fields, iteration)
        self._model = self._modelled(chart, data, _Penalty(chart, penalties))
        gradient_seconds = time.perf_counter() - differentiated
        terms = {"data_loss": data.loss} | {name: one.item() for name, one in penalties.items()}
        self._loss = self.trials.agreed(sum(terms.values()))
        norm, shown = float(np.linalg.norm(self._model.gradient)), {"damping": self.damping}
        return Look(self._loss, terms, shown, norm, detached(chart.fields), signal_seconds, gradient_seconds)

    def move(self) -> dict[str, float]:
        """See `Optimizer.move`. Collective."""
        settings, origin, tried, accepted = self.settings, self.trials.origin(), 0, False
        self.converged = False
        while not accepted and not self.converged:
            step, predicted = self.objective.problem.comm.bcast(self._model.step(self.damping), root=0)
            self.trials.place(origin, step)
            gained, tried = self._loss - self.trials.loss(self._iteration, self._stage), tried + 1
            accepted = gained > 0
            small = max(predicted, gained) <= settings.tolerance * self._loss
            self.converged = small and (not accepted or self.damping <= 1.0)
            if gained < settings.poor_ratio * predicted:
                self.damping *= _RAISE
                self.converged |= not accepted and self.damping > settings.largest_damping
            elif gained > settings.good_ratio * predicted:
                self.damping = max(self.damping * _LOWER, settings.smallest_damping)
        if not accepted:
            self.trials.place(origin, np.zeros_like(step))
            self.damping = settings.damping  # other measurements, if they come, are another problem
        self.damping = min(self.damping, settings.largest_damping)
        del self._model
        return {"accepted": float(accepted), "trials": float(tried)}

    def state_dict(self) -> dict[str, Any]:
        """See `Optimizer.state_dict`. Local."""
        state = {"damping": torch.tensor(self.damping, dtype=torch.float64), "converged": torch.tensor(self.converged)}
        return {"state": {0: state}, "param_groups": []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `Optimizer.load_state_dict`. Local."""
        state = state_dict["state"][0]
        self.damping, self.converged = float(state["damping"]), bool(state["converged"])

    def _modelled(self, chart: Chart, data: Linearization, prior: _Penalty) -> DampedModel:
        """The model of the loss about the parameters."""
        count = len(prior.gradient)
        if count <= _DENSE:
            unit = np.eye(count)
            changes = [data.signal_change(chart.push_forward(one)) for one in unit]
            gradient = prior.gradient + [data.loss_change(one) for one in changes]
            jacobian = np.column_stack([data.residual_change(one) for one in changes])
            hessian = np.column_stack([prior.product(one) for one in unit])
            return dense_model(gradient, jacobian.T @ jacobian + 0.5 * (hessian + hessian.T))

        def product(vector: FloatArray) -> FloatArray:
            moved = data.residual_change(data.signal_change(chart.push_forward(vector)))
            return chart.pull_back(data.pull_back(moved)) + prior.product(vector)

        # The squares of J^T signs are, on average over signs, the diagonal of J^T J; the mean steadies the few.
        signs = np.random.default_rng(self._iteration).choice([-1.0, 1.0], size=(_PROBES, data.size))
        squares = np.mean([chart.pull_back(data.pull_back(one)) ** 2 for one in signs], axis=0)
        diagonal = 0.5 * (squares + squares.mean())
        gradient = prior.gradient + chart.pull_back(data.gradient())
        return krylov_model(gradient, product, diagonal, self.damping, self.settings.inner_iterations)


class _Penalty:
    """The priors' gradient and Hessian by the parameters."""

    def __init__(self, chart: Chart, penalties: dict[str, torch.Tensor]) -> None:
        self._chart, self._gradient = chart, chart.slope(penalties.values(), create_graph=True)
        self.gradient = flat(self._gradient)

    def product(self, vector: FloatArray) -> FloatArray:
        """(p,) the Hessian times a vector, (p,)."""
        parts = zip(self._gradient, self._chart.split(vector), strict=True)
        curved = [(one, part) for one, part in parts if one.requires_grad]
        if not curved:
            return np.zeros_like(vector)
        outputs, directions = zip(*curved, strict=True)
        return flat(
            torch.autograd.grad(outputs, self._chart.parameters, directions, retain_graph=True, materialize_grads=True)
        )
