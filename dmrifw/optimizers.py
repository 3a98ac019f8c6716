"""What an optimizer plugin implements: settings from which a search is started."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class OptimizerSettings(Protocol):
    """Settings from which an optimizer is made."""

    def start(self, objective: Any) -> Any:
        """The optimizer, at its first step.

        Args:
            objective: What is minimized, a `dmrifw.inversion.optimizer.Objective`.

        Returns:
            A `dmrifw.inversion.optimizer.Optimizer`.

        Collective.
        """
