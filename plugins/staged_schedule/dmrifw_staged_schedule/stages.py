"""Sequences one after the other, or all together."""

from __future__ import annotations

from dmrifw.errors import InputError
from dmrifw.parametrizations import Setting
from dmrifw.plugins import Positive
from dmrifw.schedules import Stage
from dmrifw_staged_schedule.learning_rates import Cosine, LearningRate
from dmrifw_staged_schedule.sequences import Weights, by_diffusion_time


class Staged:
    """One sequence after the other, the longest diffusion time first, with equal shares of the iterations.

    Stage j of m takes the iterations from j n / m to (j + 1) n / m of n, rounded. Its sequence alone has weight. The
    learning rate starts anew at each stage.

    Args:
        setting: The problem at hand; uses its protocol and number of iterations.
        sequences: Rows of `Protocol.waveforms` to use; the two of longest diffusion time by default.
        learning_rate: Factor on the learning rate within each stage.
        strength: First and last factor on the weights; see `Weights`.

    Raises:
        InputError: A sequence does not exist or is named twice, or there are more of them than iterations.

    Source: Spinverse, arXiv 2603.04638 (measurement schedule: hard switch).
    """

    def __init__(
        self,
        setting: Setting,
        *,
        sequences: list[int] | None = None,
        learning_rate: LearningRate = Cosine(),
        strength: tuple[Positive, Positive] = (1.0, 1.0),
    ) -> None:
        self.order = by_diffusion_time(setting, sequences)[: None if sequences else 2]
        self.weights = Weights(setting, strength)
        self.learning_rate = learning_rate
        self.starts = [round(setting.iterations * one / len(self.order)) for one in range(len(self.order) + 1)]
        if len(set(self.starts)) < len(self.starts):
            raise InputError(
                f"{len(self.order)} stages do not fit into {setting.iterations} iterations",
                "use more iterations or fewer sequences",
                key="sequences",
            )

    def __call__(self, iteration: int) -> Stage:
        """The terms of an iteration; beyond the last one planned, those of the last stage go on. Local."""
        stage = sum(iteration >= start for start in self.starts[1:-1])
        start, end = self.starts[stage : stage + 2]
        factor = self.learning_rate(iteration - start, end - start)
        return Stage(self.weights({self.order[stage]: 1.0}, iteration), factor)


class AllAtOnce:
    """All sequences with equal weight, 1, from first to last.

    Args:
        setting: The problem at hand; uses its protocol and number of iterations.
        sequences: Rows of `Protocol.waveforms` to use; all by default.
        learning_rate: Factor on the learning rate over the run.
        strength: First and last factor on the weights; see `Weights`.

    Raises:
        InputError: A sequence does not exist or is named twice.

    Source: Spinverse, arXiv 2603.04638 (baseline without a schedule).
    """

    def __init__(
        self,
        setting: Setting,
        *,
        sequences: list[int] | None = None,
        learning_rate: LearningRate = Cosine(),
        strength: tuple[Positive, Positive] = (1.0, 1.0),
    ) -> None:
        self.shares = dict.fromkeys(by_diffusion_time(setting, sequences), 1.0)
        self.weights = Weights(setting, strength)
        self.iterations, self.learning_rate = setting.iterations, learning_rate

    def __call__(self, iteration: int) -> Stage:
        """The terms of an iteration. Local."""
        return Stage(self.weights(self.shares, iteration), self.learning_rate(iteration, self.iterations))
