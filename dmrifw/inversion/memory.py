"""What a simulator holds from one iteration to the next, forgotten at set times so that a resumed run has it too."""

from __future__ import annotations

import numpy as np
import torch

from dmrifw.inversion.problem import InversionProblem
from dmrifw.parametrizations import Parametrization
from dmrifw.schedules import Schedule

PERIOD = 50
"""Iterations after which a simulator forgets: few enough to repeat, so many that a new basis costs little."""

_BRANCH = "repeat"


class Memory:
    """Brings a simulator to where it stood, by the iterations since it last forgot.

    A simulator holds bases and time steps from call to call, so that its signals depend on earlier calls, by less than
    its tolerance. A run that is resumed repeats their signals, and then goes on as if nobody had interrupted it. Before
    the first iteration, too, the simulator forgets: a basis made for the truth would know what is to be found.

    Args:
        problem: With the simulator.
        parametrization: The unknown.
        schedule: Which measurements an iteration simulates.
    """

    def __init__(self, problem: InversionProblem, parametrization: Parametrization, schedule: Schedule) -> None:
        self._problem, self._parametrization, self._schedule = problem, parametrization, schedule
        self._states: list[dict[str, torch.Tensor]] = []

    def before(self, iteration: int) -> None:
        """Note where an iteration starts from. Local."""
        if iteration % PERIOD == 0:
            self._problem.simulator.forget()
            self._states.clear()
        self._states.append(self._state())

    def pack(self) -> dict[str, np.ndarray]:
        """The states since the simulator last forgot, as arrays by path. Local."""
        return {
            f"{_BRANCH}/{number}/{name}": value.numpy()
            for number, state in enumerate(self._states)
            for name, value in state.items()
        }

    def unpack(self, arrays: dict[str, np.ndarray], iterations: int) -> None:
        """Repeat the signals of the last of so many iterations that are done.

        Args:
            arrays: Those of `pack`, and perhaps others.
            iterations: Iterations done.

        Collective.
        """
        states: dict[int, dict[str, torch.Tensor]] = {}
        for path, array in arrays.items():
            branch, _, rest = path.partition("/")
            if branch == _BRANCH:
                number, _, name = rest.partition("/")
                states.setdefault(int(number), {})[name] = torch.from_numpy(array)
        self._states = [states[number] for number in sorted(states)]
        here = self._state()
        self._problem.simulator.forget()
        with torch.no_grad():
            for iteration, state in enumerate(self._states, start=iterations - len(self._states)):
                self._parametrization.load_state_dict(state)
                self._problem.data_loss(self._parametrization(), self._schedule(iteration))
        self._parametrization.load_state_dict(here)

    def _state(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self._parametrization.state_dict().items()}
