"""Further starts of a search that may end in a minimum that explains little, and which of them was the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from dmrifw.errors import InputError
from dmrifw.parametrizations import Parametrization

Arrays = dict[str, np.ndarray]

_BRANCH = "starts"
"""Where a checkpoint keeps what has become of the starts."""


@dataclass(frozen=True)
class Restarts:
    """Settings of further starts, each a seeded perturbation of the first.

    Attributes:
        count: Further starts, at most.
        jitter: Standard deviation of what is added to each parameter of the first start.
        enough: No further start is made once signals differ by no more than this, in S/S0 and root mean square.
        seed: Seed of the perturbations.

    Raises:
        InputError: A value is out of range.
    """

    count: int = 0
    jitter: float = 0.5
    enough: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InputError(f"{self.count} further starts", "give at least 0", key="count")
        for name in ("jitter", "enough"):
            if not getattr(self, name) > 0:
                raise InputError(f"{getattr(self, name)} is not above 0", "give a positive number", key=name)


class Starts:
    """What has become of the starts of an inversion. Part of its state.

    Args:
        parametrization: The unknown, at its first start; its parameters are changed in place.
        settings: How many starts, and where.

    Attributes:
        errors: Of each start that is over, how far its signals were from the target: root mean square in S/S0.
    """

    def __init__(self, parametrization: Parametrization, settings: Restarts) -> None:
        self.parametrization, self.settings = parametrization, settings
        self.parameters = [one for one in parametrization.parameters() if one.requires_grad]
        self.errors: list[float] = []
        self._origin = self._best = self._state()
        self._sound: list[torch.Tensor] = []

    @property
    def number(self) -> int:
        """The start that is under way, counted from 0; the last one, once all are over."""
        return len(self.errors) - 1 if self.are_over else len(self.errors)

    @property
    def best(self) -> int:
        """The start whose signals are nearest to the target; the first, while none is over."""
        return int(np.argmin(self.errors)) if self.errors else 0

    @property
    def are_over(self) -> bool:
        """Whether no further start is needed, or none is left."""
        return len(self.errors) > self.settings.count or bool(self.errors and min(self.errors) <= self.settings.enough)

    def end(self, error: float) -> None:
        """Close a start, and go to where the next one begins or, after the last, to where the best one ended.

        Args:
            error: How far its signals are from the target.

        Local; the same on all ranks.
        """
        self.errors.append(error)
        if self.best == len(self.errors) - 1:
            self._best = self._state()
        if self.are_over:
            self.parametrization.load_state_dict(self._best)
            return
        self.parametrization.load_state_dict(self._origin)
        self.settle()
        generator = np.random.default_rng([self.settings.seed, self.number])
        for parameter in self.parameters:
            noise = torch.from_numpy(np.asarray(generator.standard_normal(tuple(parameter.shape))))
            with torch.no_grad():
                parameter.add_(noise.to(parameter), alpha=self.settings.jitter)

    def settle(self) -> None:
        """Note that there is a loss where the parameters are. Local."""
        self._sound = [one.detach().clone() for one in self.parameters]

    def retreat(self) -> bool:
        """Go half of the way back to where there was a loss last; False where there never was one. Local."""
        with torch.no_grad():
            for parameter, sound in zip(self.parameters, self._sound, strict=False):
                parameter.lerp_(sound, 0.5)
        return bool(self._sound)

    def pack(self) -> Arrays:
        """The state as arrays by path, to stand beside those of `checkpoint.pack`. Local."""
        kept = {"errors": np.array(self.errors, dtype=np.float64)}
        kept |= {f"best/{name}": value.numpy().copy() for name, value in self._best.items()}
        kept |= {f"sound/{index}": value.numpy().copy() for index, value in enumerate(self._sound)}
        return {f"{_BRANCH}/{name}": array for name, array in kept.items()}

    def unpack(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restore what `pack` gave. Local."""
        self.errors = [float(error) for error in arrays[f"{_BRANCH}/errors"]]
        self._best = {name: torch.from_numpy(arrays[f"{_BRANCH}/best/{name}"]) for name in self._best}
        count = sum(path.startswith(f"{_BRANCH}/sound/") for path in arrays)
        self._sound = [torch.from_numpy(arrays[f"{_BRANCH}/sound/{index}"]) for index in range(count)]

    def _state(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self.parametrization.state_dict().items()}
