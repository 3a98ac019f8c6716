"""What an optimizer plugin implements: settings from which a search is started."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class OptimizerSettings(Protocol):
    """Settings from which an optimizer is made.

    What they may have besides:
        limits: Names of its options, and of keys of `[inversion]`, that only end a search: they may be others when it
            is resumed.
        renewal: Iterations between two states that a checkpoint may hold: 1 if each costs much.
        check: A method that refuses what does not go together, before anything is simulated: see
            `dmrifw.inversion.optimizer.check_together`.
        check_model: A method that refuses a forward model, likewise; see `dmrifw.inversion.optimizer.check_model`.
    """

    def start(self, objective: Any) -> Any:
        """The optimizer, at its first step.

        Args:
            objective: What is minimized, a `dmrifw.inversion.optimizer.Objective`.

        Returns:
            A `dmrifw.inversion.optimizer.Optimizer`.

        Collective.
        """
