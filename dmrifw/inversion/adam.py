"""Adam: steps along the gradient, each parameter's divided by how large its gradients have been."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dmrifw.errors import InputError
from dmrifw.inversion.optimizer import Fields, Look, Objective, detached
from dmrifw.schedules import Stage


@dataclass(frozen=True)
class AdamSettings:
    """Settings of Adam.

    Attributes:
        learning_rate: Step size, above 0; the schedule scales it.

    Raises:
        InputError: The learning rate is not above 0.

    Source: Kingma and Ba, arXiv 1412.6980; the default is that of Spinverse, arXiv 2603.04638.
    """

    learning_rate: float = 0.6

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise InputError(f"{self.learning_rate} is not above 0", "give a positive number", key="learning_rate")

    def start(self, objective: Objective) -> Adam:
        """See `OptimizerSettings.start`. Local."""
        return Adam(objective, self)


class Adam:
    """See `Optimizer`. One simulation and one backward pass a step.

    Args:
        objective: What is minimized.
        settings: The settings.
    """

    mend = "lower `learning_rate` in [inversion.adam], the weight of the priors, or both, and start again"
    converged = False

    def __init__(self, objective: Objective, settings: AdamSettings) -> None:
        self.objective, self.settings = objective, settings
        self.parameters = list(objective.parametrization.parameters())
        self._adam = torch.optim.Adam(self.parameters, lr=settings.learning_rate)

    def look(self, iteration: int, stage: Stage) -> Look:
        """See `Optimizer.look`. Collective."""
        rate = self.settings.learning_rate * stage.learning_rate
        self._adam.param_groups[0]["lr"] = rate
        self._adam.zero_grad()
        fields = self.objective.parametrization()
        simulated = time.perf_counter()
        terms = {"data_loss": self.objective.problem.data_loss(fields, stage)}
        signal_seconds = time.perf_counter() - simulated
        terms |= self.objective.penalties(fields, iteration)
        loss = torch.stack(list(terms.values())).sum()
        differentiated = time.perf_counter()
        loss.backward()
        gradient_seconds = time.perf_counter() - differentiated
        fields = detached(fields)
        norm = self._apply_rules(fields, iteration)
        values = {name: term.item() for name, term in terms.items()}
        return Look(loss.item(), values, {"learning_rate": rate}, norm, fields, signal_seconds, gradient_seconds)

    def move(self) -> dict[str, float]:
        """See `Optimizer.move`. Local."""
        self._adam.step()
        return {}

    def state_dict(self) -> dict[str, Any]:
        """See `Optimizer.state_dict`. Local."""
        return self._adam.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `Optimizer.load_state_dict`. Local."""
        self._adam.load_state_dict(state_dict)

    def _apply_rules(self, fields: Fields, iteration: int) -> float:
        """Let the rules change the gradients; the norm before they did."""
        used = [(one, one.grad) for one in self.parameters if one.grad is not None]
        gradients: Sequence[torch.Tensor] = [gradient for _, gradient in used]
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        for rule in self.objective.gradient_rules:
            gradients = rule(gradients, fields, iteration)
        for (parameter, _), gradient in zip(used, gradients, strict=True):
            parameter.grad = gradient
        return norm.item()
