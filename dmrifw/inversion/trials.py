"""Trial steps: parameters put elsewhere, and the loss that they have there, if any. Rank 0's numbers decide."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from dmrifw.errors import ConvergenceError, InputError
from dmrifw.inversion.linearization import Linearization
from dmrifw.inversion.optimizer import Fields, Objective
from dmrifw.schedules import Stage
from dmrifw.typing import FloatArray


class Trials:
    """An objective whose parameters an optimizer moves to and fro.

    Args:
        objective: What is minimized.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.parameters = objective.parameters

    def origin(self) -> list[torch.Tensor]:
        """Where the parameters are. Local."""
        return [one.detach().clone() for one in self.parameters]

    def place(self, origin: Sequence[torch.Tensor], step: FloatArray) -> None:
        """Put the parameters a step, (p,), away from where they were. Local."""
        parts = torch.from_numpy(step).split([one.numel() for one in origin])
        with torch.no_grad():
            for parameter, start, part in zip(self.parameters, origin, parts, strict=True):
                parameter.copy_(start + part.reshape(start.shape).to(start))

    def loss(self, iteration: int, stage: Stage) -> float:
        """The loss where the parameters are; infinite where there is none. Collective."""
        with torch.no_grad():
            fields = dict(self.objective.parametrization())
            penalties = self.objective.penalties(fields, iteration)
        penalty = self.agreed(sum(one.item() for one in penalties.values()))
        if not math.isfinite(penalty):  # nearly flat elements may take forever to simulate
            return math.inf
        data = self._linearized(fields, stage)
        loss = math.inf if data is None else self.agreed(data.loss + penalty)
        return loss if math.isfinite(loss) else math.inf

    def agreed(self, value: float) -> float:
        """The value of rank 0, by which all decide. Collective."""
        return float(self.objective.problem.comm.bcast(value, root=0))

    def _linearized(self, fields: Fields, stage: Stage) -> Linearization | None:
        """The data loss at some fields; None where the simulator refuses them."""
        try:
            return self.objective.problem.linearize(fields, [], stage)
        except (InputError, ConvergenceError) as error:
            if isinstance(error, InputError) and error.key not in fields:
                raise
            return None
