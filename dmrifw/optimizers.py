"""What an optimizer plugin implements: settings from which a search is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from dmrifw.gradients import GradientRule
from dmrifw.parametrizations import Parametrization
from dmrifw.priors import Prior
from dmrifw.schedules import Schedule


@runtime_checkable
class OptimizerSettings(Protocol):
    """Settings from which an optimizer is made.

    What they may have besides:
        limits: Names of the options that only end a search, and may be another when it is resumed.
        renewal: Iterations between two states that a checkpoint may hold: 1 if each costs much.
        check: A method that refuses what does not go together, before anything is simulated: see `check_together`.
    """

    def start(self, objective: Any) -> Any:
        """The optimizer, at its first step.

        Args:
            objective: What is minimized, a `dmrifw.inversion.optimizer.Objective`.

        Returns:
            A `dmrifw.inversion.optimizer.Optimizer`.

        Collective.
        """


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
