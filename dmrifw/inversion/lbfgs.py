"""L-BFGS: steps along the gradient, bent by the curvature that the last steps met."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import LbfgsInvHessProduct

from dmrifw.errors import InputError
from dmrifw.inversion.linearization import Chart, flat
from dmrifw.inversion.optimizer import Look, Objective, check_learnable, check_positive, detached
from dmrifw.inversion.trials import Trials
from dmrifw.schedules import Stage
from dmrifw.typing import FloatArray

_ENOUGH = 1e-4
"""A step must gain this share of what the slope promises (Armijo)."""

_SHORTEST = 1e-6
"""Where no step is of use down to this share of the full one, there is none."""

_CURVED = 1e-8
"""Least cosine between a step and the change of the gradient along it that tells a curvature."""


@dataclass(frozen=True)
class LbfgsSettings:
    """Settings of L-BFGS.

    Attributes:
        memory: Steps whose curvature is remembered, at least 1.
        first_step: Largest change of any parameter in a step that knows no curvature yet, above 0.
        tolerance: Converged where a step gains less than this share of the loss, above 0.

    Raises:
        InputError: A value is out of its range.
    """

    memory: int = 10
    first_step: float = 0.6
    tolerance: float = 1e-7

    def __post_init__(self) -> None:
        check_positive(self)
        if self.memory != int(self.memory) or self.memory < 1:
            raise InputError(f"memory = {self.memory}", "give a whole number, at least 1", key="memory")

    def start(self, objective: Objective) -> Lbfgs:
        """See `OptimizerSettings.start`. Local.

        Raises:
            InputError: As of `check_learnable`.
        """
        check_learnable(objective, "L-BFGS")
        return Lbfgs(objective, self)


class Lbfgs:
    """See `Optimizer`. One simulation and one backward pass a step, and a simulation for each length that is tried.

    The direction is -H g, where H is made of the last steps s and the changes y of the gradient along them; pairs that
    tell no positive curvature are left out. Lengths are tried from 1 on, shorter and
    shorter, until the loss falls enough. Both ends of y are of the same terms: priors are asked again as they were an
    iteration before, and where the schedule weighs sequences differently, all that is known of curvature is forgotten.
    So a schedule that blends at every iteration leaves steepest descent. Where nothing was of use and nothing has
    changed since, nothing is tried.

    The learning rate of a schedule has no say: the slope has.

    Args:
        objective: What is minimized.
        settings: The settings.

    Source: Nocedal and Wright, Numerical Optimization, 2nd ed. 2006, algorithms 7.5 and 3.1.
    """

    mend = "start elsewhere, or lower the weight of the priors"

    def __init__(self, objective: Objective, settings: LbfgsSettings) -> None:
        self.objective, self.settings, self.trials = objective, settings, Trials(objective)
        count = sum(one.numel() for one in objective.parameters)
        self._steps: FloatArray = np.empty((0, count))
        self._changes: FloatArray = np.empty((0, count))
        self._before: dict[str, np.ndarray] = {}
        self.converged, self._changed = False, True

    def look(self, iteration: int, stage: Stage) -> Look:
        """See `Optimizer.look`. Collective."""
        chart = Chart(self.objective.parametrization, self.objective.parameters)
        simulated = time.perf_counter()
        data = self.objective.problem.linearize(chart.fields, chart.moving, stage)
        differentiated = time.perf_counter()
        of_data = self._agreed(chart.pull_back(data.gradient()))
        penalties = self.objective.penalties(chart.fields, iteration)
        place, weights = flat(self.objective.parameters), np.asarray(stage.sequence_weights, dtype=np.float64)
        self._remember(chart, place, weights, of_data)
        self._gradient = of_data + self._slope(chart, penalties)
        gradient_seconds = time.perf_counter() - differentiated
        terms = {"data_loss": data.loss} | {name: one.item() for name, one in penalties.items()}
        self._loss = self.trials.agreed(sum(terms.values()))
        now = {"place": place, "weights": weights, "gradient": self._gradient}
        self._changed = any(not np.array_equal(one, self._before.get(name, np.nan)) for name, one in now.items())
        self._before, self._stage = now | {"iteration": np.array(iteration)}, stage
        norm, shown = float(np.linalg.norm(self._gradient)), {"curvature_pairs": float(len(self._steps))}
        return Look(
            self._loss, terms, shown, norm, detached(chart.fields), differentiated - simulated, gradient_seconds
        )

    def move(self) -> dict[str, float]:
        """See `Optimizer.move`. Collective."""
        if self.converged and not self._changed:
            return {"accepted": 0.0, "trials": 0.0}
        origin = self.trials.origin()
        gained, tried = self._search(origin, self._direction())
        if gained <= 0 and len(self._steps):
            self._forget()
            gained, more = self._search(origin, self._direction())
            tried += more
        if gained <= 0:
            self.trials.place(origin, np.zeros_like(self._gradient))
        self.converged = gained <= self.settings.tolerance * abs(self._loss)
        return {"accepted": float(gained > 0), "trials": float(tried)}

    def state_dict(self) -> dict[str, Any]:
        """See `Optimizer.state_dict`. Local."""
        state = {"steps": self._steps, "changes": self._changes, "converged": np.array(self.converged)} | self._before
        return {"state": {0: {name: torch.from_numpy(one.copy()) for name, one in state.items()}}, "param_groups": []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `Optimizer.load_state_dict`. Local."""
        state = {name: one.numpy() for name, one in state_dict["state"][0].items()}
        self._steps, self._changes = state.pop("steps"), state.pop("changes")
        self.converged = bool(state.pop("converged"))
        self._before = state

    def _remember(self, chart: Chart, place: FloatArray, weights: FloatArray, of_data: FloatArray) -> None:
        """Add the last step and the change of the gradient along it, both of the terms that held for the step."""
        before = self._before
        if not before:
            return
        if not np.array_equal(before["weights"], weights):
            self._forget()
            return
        penalties = self.objective.penalties(chart.fields, int(before["iteration"]))
        step = place - before["place"]
        change = of_data + self._slope(chart, penalties) - before["gradient"]
        if step @ change > _CURVED * np.linalg.norm(step) * np.linalg.norm(change):
            kept = slice(-self.settings.memory, None)
            self._steps = np.vstack([self._steps, step])[kept]
            self._changes = np.vstack([self._changes, change])[kept]

    def _slope(self, chart: Chart, penalties: Mapping[str, torch.Tensor]) -> FloatArray:
        """(p,) the gradient of the priors."""
        return self._agreed(flat(chart.slope(penalties.values())))

    def _agreed(self, vector: FloatArray) -> FloatArray:
        """(p,) that of rank 0, to the last bit: by it all decide alike."""
        return np.asarray(self.objective.problem.comm.bcast(vector, root=0))

    def _forget(self) -> None:
        self._steps, self._changes = self._steps[:0], self._changes[:0]

    def _direction(self) -> FloatArray:
        """(p,) -H g, H beginning with the last curvature; without any -g, its largest entry made `first_step`."""
        if not len(self._steps):
            steepest = np.abs(self._gradient).max(initial=0.0)
            return -self._gradient * (self.settings.first_step / steepest if steepest > 0 else 0.0)
        step, change = self._steps[-1], self._changes[-1]
        scale = (step @ change) / (change @ change)
        # SciPy's H begins with 1; so it gets parameters in a unit in which that is the last curvature
        unit = np.sqrt(scale)
        return -scale * LbfgsInvHessProduct(self._steps / unit, self._changes * unit).matvec(self._gradient)

    def _search(self, origin: list[torch.Tensor], direction: FloatArray) -> tuple[float, int]:
        """Put the parameters where the loss falls enough; how much it fell there, 0 if nowhere, and how many tries."""
        direction, slope = self.objective.problem.comm.bcast((direction, self._gradient @ direction), root=0)
        length, tried = 1.0, 0
        while slope < 0 and length > _SHORTEST:
            self.trials.place(origin, length * direction)
            gained, tried = self._loss - self.trials.loss(int(self._before["iteration"]), self._stage), tried + 1
            if gained >= -_ENOUGH * length * slope:
                return gained, tried
            # the parabola through both losses with this slope has its lowest point at this share of the length
            share = -0.5 * slope * length / (-gained - slope * length) if math.isfinite(gained) else 0.0
            length *= min(max(share, 0.1), 0.5)
        return 0.0, tried
