"""Further starts leave a symmetric trap, the best one is kept, and a step to where there is no loss is shortened."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dmrifw.errors import InputError
from dmrifw.inversion import AdamSettings, Checkpoint, Interrupted, InversionProblem, Restarts, Result, invert
from dmrifw.schedules import Stage

MARK = {"grid": "g", "protocol": "p", "config": "c"}


class Even(torch.nn.Module):
    """Permeabilities that depend on the square of the parameters: at 0, where it starts, the loss has no slope."""

    def __init__(self, faces: int) -> None:
        super().__init__()
        self.v = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.register_buffer("turn", torch.linspace(0.0, 1.0, faces, dtype=torch.float64), persistent=False)

    def forward(self) -> dict[str, torch.Tensor]:
        return {"permeability": 10.0 ** (self.v[0] ** 2 + self.turn * self.v[1] ** 2)}


@pytest.fixture
def problem(toy: Any) -> InversionProblem:
    model = Even(len(toy.grid.faces))
    with torch.no_grad():
        model.v.copy_(torch.tensor([0.9, 0.6], dtype=torch.float64))
        return InversionProblem(toy, toy(**model()).numpy())


def solve(problem: InversionProblem, restarts: Restarts, **options: Any) -> Result:
    model = Even(len(problem.simulator.grid.faces))
    stage = Stage((1.0,) * len(problem.simulator.protocol.waveforms))
    settings = AdamSettings(learning_rate=0.1)
    iterations = options.pop("iterations", 200)
    return invert(problem, model, {}, lambda _: stage, settings, iterations, restarts=restarts, **options)


def test_a_symmetric_start_is_a_trap_that_a_further_start_leaves(problem: InversionProblem) -> None:
    trapped = solve(problem, Restarts())
    assert trapped.loss_final == trapped.loss_initial
    found = solve(problem, Restarts(count=3, enough=1e-9))
    assert found.loss_initial == trapped.loss_initial
    assert found.loss_final < 1e-3 * found.loss_initial
    assert found.start > 0
    assert problem.relative_error(found.fields) < 0.03 * problem.relative_error(trapped.fields)


def test_the_best_start_is_kept_and_the_history_tells_them_apart(problem: InversionProblem) -> None:
    found = solve(problem, Restarts(count=2, enough=1e-9), iterations=8)
    assert found.history.column("start").tolist() == [0.0] * 8 + [1.0] * 8 + [2.0] * 8
    assert found.history.column("iteration").tolist() == list(range(24))
    ends = [found.history.rows[last]["loss"] for last in (7, 15, 23)]
    assert found.loss_final == ends[found.start]
    assert found.start == int(np.argmin(ends))
    assert len(found.course) == 24 + (found.start == 2)  # one more where the last step led to what was found


def test_an_optimizer_may_refuse_further_starts(problem: InversionProblem) -> None:
    class Determined(AdamSettings):
        def check(self, *together: Any) -> None:
            if together[-1]:
                raise InputError("it makes new attempts by itself", "leave them out", key="restarts")

    model, stage = Even(len(problem.simulator.grid.faces)), Stage((1.0,) * len(problem.simulator.protocol.waveforms))
    with pytest.raises(InputError, match=r"restarts.*by itself"):
        invert(problem, model, {}, lambda _: stage, Determined(), 5, restarts=Restarts(count=1))


def test_no_start_follows_one_that_is_good_enough(problem: InversionProblem) -> None:
    assert len(solve(problem, Restarts(count=5, enough=10.0), iterations=4).history) == 4


def test_starts_follow_the_seed(problem: InversionProblem) -> None:
    def losses(seed: int) -> list[float]:
        return solve(problem, Restarts(count=2, enough=1e-9, seed=seed), iterations=5).history.column("loss").tolist()

    assert losses(1) == losses(1)
    assert losses(1)[:5] == losses(2)[:5]
    assert losses(1)[5:] != losses(2)[5:]


class Interrupting:
    """An observer that sends a signal after an iteration."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_start(self, iterations: int, history: Any) -> None:
        assert iterations == 15

    def on_iteration(self, row: Any, fields: Any) -> None:
        if row["iteration"] == self.at:
            signal.raise_signal(signal.SIGINT)

    def on_end(self, history: Any) -> None:
        pass


@pytest.mark.parametrize("at", [0, 4, 5, 7, 12])
def test_resuming_goes_the_same_way_through_all_starts(problem: InversionProblem, tmp_path: Path, at: int) -> None:
    """Interrupted within a start, at its end, and in later ones: the same rows and fields, to the last bit."""
    restarts = Restarts(count=2, enough=1e-9)
    straight = solve(problem, restarts, iterations=5)
    checkpoint = Checkpoint(tmp_path / "checkpoint.h5", MARK)
    with pytest.raises(Interrupted):
        solve(problem, restarts, iterations=5, checkpoint=checkpoint, renewal=2, observers=[Interrupting(at)])
    resumed = solve(problem, restarts, iterations=5, checkpoint=checkpoint, renewal=2, resume=True)
    assert resumed.start == straight.start
    for name in ("loss", "start"):
        np.testing.assert_array_equal(resumed.history.column(name), straight.history.column(name))
    assert torch.equal(resumed.fields["permeability"], straight.fields["permeability"])
    again = solve(problem, restarts, iterations=5, checkpoint=checkpoint, resume=True)
    assert len(again.history) == 15
    assert torch.equal(again.fields["permeability"], straight.fields["permeability"])


class Narrow:
    """A forward model that refuses permeabilities beyond a limit, as a simulator does inverted elements."""

    def __init__(self, toy: Any, limit: float) -> None:
        self.toy, self.grid, self.protocol, self.limit = toy, toy.grid, toy.protocol, limit
        self.refused = 0

    def __call__(self, permeability: torch.Tensor, rows: Any = None) -> torch.Tensor:
        if float(permeability.max()) > self.limit:
            self.refused += 1
            raise InputError("too permeable", "lower it", key="permeability")
        return self.toy(permeability, rows)


def test_steps_and_starts_that_the_simulator_refuses_are_shortened(toy: Any) -> None:
    """Steps of a whole unit and perturbations of five would leave the range at once."""
    narrow = Narrow(toy, limit=1e2)
    model = Even(len(toy.grid.faces))
    with torch.no_grad():
        model.v.copy_(torch.tensor([1.2, 0.3], dtype=torch.float64))
        target = toy(**model()).numpy()
        model.v.copy_(torch.tensor([0.1, 0.1], dtype=torch.float64))
    stage = Stage((1.0,) * len(toy.protocol.waveforms))
    result = invert(
        InversionProblem(narrow, target), model, {}, lambda _: stage, AdamSettings(1.0), 5,
        restarts=Restarts(count=3, jitter=5.0, enough=1e-9),
    )  # fmt: skip
    assert narrow.refused > 3
    assert len(result.history) == 20
    assert result.loss_final < result.loss_initial


def test_a_start_that_is_refused_outright_is_an_error(toy: Any) -> None:
    problem = InversionProblem(Narrow(toy, limit=0.1), toy(torch.ones(len(toy.grid.faces)).double()).numpy())
    with pytest.raises(InputError, match="too permeable"):
        solve(problem, Restarts())


@pytest.mark.parametrize("options", [{"count": -1}, {"jitter": 0.0}, {"enough": 0.0}])
def test_settings_of_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as error:
        Restarts(**options)
    assert error.value.key == next(iter(options))
