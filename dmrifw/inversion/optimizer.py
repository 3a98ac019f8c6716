"""What an optimizer is: it looks at the loss where the parameters are, then steps; a checkpoint keeps its state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeAlias

import torch

from dmrifw.errors import InputError
from dmrifw.gradients import GradientRule
from dmrifw.inversion.problem import ForwardModel, InversionProblem
from dmrifw.optimizers import OptimizerSettings
from dmrifw.parametrizations import Parametrization
from dmrifw.priors import Prior
from dmrifw.schedules import Schedule, Stage

Fields: TypeAlias = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Objective:
    """What is minimized, and over what.

    Attributes:
        problem: Simulator and target.
        parametrization: The unknown.
        priors: Penalties by name.
        gradient_rules: What happens to the gradient before a step.
    """

    problem: InversionProblem
    parametrization: Parametrization
    priors: Mapping[str, Prior]
    gradient_rules: Sequence[GradientRule] = ()

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """The tensors that are learned."""
        return [one for one in self.parametrization.parameters() if one.requires_grad]

    def penalties(self, fields: Fields, iteration: int) -> dict[str, torch.Tensor]:
        """Each prior's scalar, as `prior_NAME`. Local."""
        return {f"prior_{name}": prior(fields, iteration) for name, prior in self.priors.items()}


@dataclass(frozen=True)
class Look:
    """The loss and its gradient where the parameters are.

    Attributes:
        loss: The sum of the terms.
        terms: The data loss, and each prior as `prior_NAME`.
        control: What decides how long the step will be, by name.
        gradient_norm: Norm of the gradient by the parameters.
        fields: The fields, detached, replicated.
        signal_seconds: Time in the data loss.
        gradient_seconds: Time in derivatives.
    """

    loss: float
    terms: dict[str, float]
    control: dict[str, float]
    gradient_norm: float
    fields: dict[str, torch.Tensor]
    signal_seconds: float
    gradient_seconds: float


class Optimizer(Protocol):
    """One way to step. Every rank does the same on the same numbers.

    Attributes:
        mend: What a user can do where numbers are not finite.
        converged: Whether another step under the same terms is of no use. Part of the state.
        ending: Why, in words; optional.
    """

    mend: str

    @property
    def converged(self) -> bool:
        """See the class."""

    def look(self, iteration: int, stage: Stage) -> Look:
        """The loss and its gradient at the parameters, which stay. Collective."""

    def move(self) -> dict[str, float]:
        """Take the step from where `look` looked; numbers for the history. Collective."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides later steps, in the form of torch's optimizers. Local."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Restore what `state_dict` gave. Local."""


def detached(fields: Fields) -> dict[str, torch.Tensor]:
    """The same fields without their graph. Local."""
    return {name: value.detach() for name, value in fields.items()}


def check_together(
    settings: OptimizerSettings,
    parametrization: Parametrization,
    priors: Mapping[str, Prior],
    gradient_rules: Sequence[GradientRule],
    schedule: Schedule,
    restarts: int,
) -> None:
    """Have an optimizer's settings refuse what they do not go together with, if they refuse anything.

    Args:
        settings: They may have a method `check` of the other arguments.
        parametrization: The unknown.
        priors: Penalties by name.
        gradient_rules: What happens to gradients.
        schedule: The terms of each iteration.
        restarts: Further starts.

    Raises:
        InputError: By `check`; its key is one of `[inversion]`.

    Local.
    """
    check = getattr(settings, "check", None)
    if check is not None:
        check(parametrization, priors, gradient_rules, schedule, restarts)


def check_model(settings: OptimizerSettings, model: Callable[[], ForwardModel]) -> None:
    """Have an optimizer's settings refuse a forward model that they do not know enough about, if they refuse any.

    Args:
        settings: They may have a method `check_model` of the forward model.
        model: Gives the forward model; asked only if there is such a method.

    Raises:
        InputError: By that method; its key is one of `[inversion]`.

    Collective if `model` is.
    """
    check = getattr(settings, "check_model", None)
    if check is not None:
        check(model())


def check_learnable(objective: Objective, name: str) -> None:
    """Refuse what an optimizer that follows no gradient rules has no use for.

    Args:
        objective: What is minimized.
        name: The optimizer, in words.

    Raises:
        InputError: There are gradient rules; or the parametrization has nothing to learn.

    Local.
    """
    if objective.gradient_rules:
        raise InputError(f"{name} steps follow no gradient rules", "leave them out", key="gradient_rules")
    if not objective.parameters:
        raise InputError("it has nothing to learn", "give it a torch.nn.Parameter", key="parametrization")


def check_positive(settings: Any) -> None:
    """Refuse settings, a dataclass of numbers, of which one is not finite and above 0.

    Raises:
        InputError: One is not. Names it.

    Local.
    """
    for one in fields(settings):
        value = getattr(settings, one.name)
        if not 0 < value < math.inf:
            raise InputError(f"{one.name} = {value}", "give a positive number", key=one.name)
