"""The loop does what Adam, its rules and the schedule say, keeps a history, stops cleanly, and goes on exactly."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dmrifw.errors import ConvergenceError, InputError
from dmrifw.inversion import AdamSettings, Checkpoint, History, Interrupted, InversionProblem, invert
from dmrifw.schedules import Stage

MARK = {"grid": "g", "protocol": "p", "config": "c"}


class Watcher:
    """An observer that writes down its calls and may do something at an iteration."""

    def __init__(self, at: int | None = None, act: Any = None) -> None:
        self.calls: list[Any] = []
        self.at, self.act = at, act

    def on_start(self, iterations: int, history: History) -> None:
        self.calls.append(("start", iterations, len(history)))

    def on_iteration(self, row: Any, fields: Any) -> None:
        self.calls.append(row["iteration"])
        assert not fields["permeability"].requires_grad
        if row["iteration"] == self.at:
            self.act()

    def on_end(self, history: History) -> None:
        self.calls.append(("end", len(history)))


def numbers(history: History) -> list[dict[str, float]]:
    """The rows without their times."""
    return [{name: value for name, value in row.items() if not name.endswith("seconds")} for row in history.rows]


def test_it_fits_the_target(arguments: dict[str, Any]) -> None:
    problem, model = arguments["problem"], arguments["parametrization"]
    before = problem.relative_error(model())
    arguments |= {"priors": {}, "schedule": lambda iteration: Stage((1.0, 1.0, 1.0), 0.1), "iterations": 300}
    result = invert(**arguments)
    assert problem.relative_error(result.fields) < 0.01 * before
    assert result.loss_final < 1e-4 * result.loss_initial
    assert torch.equal(result.fields["permeability"], model()["permeability"])


def clipped(gradients: Sequence[torch.Tensor], limit: float) -> list[torch.Tensor]:
    """The gradients, scaled down to a norm where they are longer."""
    norm = torch.cat([one.flatten() for one in gradients]).norm().item()
    return [one * min(1.0, limit / norm) for one in gradients]


def test_rules_follow_each_other_and_see_the_fields_of_the_iteration(arguments: dict[str, Any]) -> None:
    """Clipped, then doubled: twice the limit; and each rule is told the iteration and the fields before its step."""
    seen: list[tuple[int, float]] = []

    def note(gradients: Sequence[torch.Tensor], fields: Mapping[str, torch.Tensor], iteration: int) -> Any:
        assert not fields["permeability"].requires_grad
        seen.append((iteration, torch.cat([one.flatten() for one in gradients]).norm().item()))
        return gradients

    rules = [lambda g, *_: clipped(g, 1e-3), lambda g, *_: [2.0 * one for one in g], note]
    history = invert(**arguments, gradient_rules=rules).history
    assert [iteration for iteration, _ in seen] == list(range(12))
    assert [norm for _, norm in seen] == pytest.approx(12 * [2e-3])
    assert history.column("gradient_norm").min() > 1e-3  # kept as it was before the rules


def test_its_steps_are_those_of_adam_on_the_clipped_gradient_of_the_sum(arguments: dict[str, Any]) -> None:
    """Adam by hand (Kingma and Ba, algorithm 1), the gradient scaled down to norm 0.3 where it is larger."""
    problem, model, prior = arguments["problem"], arguments["parametrization"], arguments["priors"]["smooth"]
    x = torch.zeros(len(model.v) + 1, dtype=torch.float64, requires_grad=True)
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    norms = []
    for iteration in range(5):
        stage = arguments["schedule"](iteration)
        fields = {"permeability": 10.0 ** (x[:-1] + x[-1])}
        (gradient,) = torch.autograd.grad(problem.data_loss(fields, stage) + prior(fields, iteration), x)
        norms.append(gradient.norm().item())
        gradient = gradient * min(1.0, 0.3 / norms[-1])
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        unbiased = [first / (1 - 0.9 ** (iteration + 1)), second / (1 - 0.999 ** (iteration + 1))]
        with torch.no_grad():
            x -= 0.6 * stage.learning_rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
    arguments |= {"iterations": 5, "optimizer": AdamSettings(learning_rate=0.6)}
    result = invert(**arguments, gradient_rules=[lambda gradients, fields, iteration: clipped(gradients, 0.3)])
    assert max(norms) > 0.3  # the clip has something to do
    assert result.history.column("gradient_norm") == pytest.approx(norms, rel=1e-10)
    torch.testing.assert_close(torch.cat([model.v, model.mean[None]]), x.detach(), rtol=1e-9, atol=1e-12)


def test_the_history_keeps_every_term(arguments: dict[str, Any]) -> None:
    arguments["diagnostics"] = lambda fields: {"mean": float(fields["permeability"].mean())}
    result = invert(**arguments)
    history = result.history
    assert history.columns == [
        "iteration",
        "loss",
        "data_loss",
        "prior_smooth",
        "learning_rate",
        "gradient_norm",
        "signal_seconds",
        "gradient_seconds",
        "seconds",
        "mean",
    ]
    assert history.column("iteration").tolist() == list(range(12))
    assert history.column("loss") == pytest.approx(history.column("data_loss") + history.column("prior_smooth"))
    assert history.column("learning_rate") == pytest.approx([0.6 * 0.2 / (1 + 0.1 * one) for one in range(12)])
    parts = history.column("signal_seconds") + history.column("gradient_seconds")
    assert (parts > 0).all()
    assert (history.column("seconds") > parts).all()
    assert history.rows[0]["mean"] == pytest.approx(1.0)  # the row speaks of the fields before its step, all at 1 um/ms
    found = float(result.fields["permeability"].mean())
    assert result.course == [*history.rows, {"iteration": 12, "start": 0, "mean": found}]
    assert found != history.rows[-1]["mean"]


def test_observers_are_started_told_of_every_iteration_and_ended(arguments: dict[str, Any]) -> None:
    watcher = Watcher()
    invert(**arguments, observers=[watcher])
    assert watcher.calls == [("start", 12, 0), *range(12), ("end", 12)]


def test_an_observer_that_fails_ends_the_run_and_the_others_are_told(arguments: dict[str, Any]) -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    watcher = Watcher()
    with pytest.raises(OSError, match="disk is full"):
        invert(**arguments, observers=[watcher, Watcher(2, fail)])
    assert watcher.calls[-1] == ("end", 3)


@pytest.mark.parametrize("split", [1, 5, 11])
def test_resuming_goes_the_same_way_to_the_last_bit(arguments: dict[str, Any], tmp_path: Path, split: int) -> None:
    model = arguments["parametrization"]
    straight = invert(**arguments)
    checkpoint = Checkpoint(tmp_path / "checkpoint.h5", MARK)
    first = arguments | {"parametrization": type(model)(len(model.v)), "iterations": split, "checkpoint": checkpoint}
    invert(**first)
    second = arguments | {"parametrization": type(model)(len(model.v)), "checkpoint": checkpoint}
    watcher = Watcher()
    resumed = invert(**second, resume=True, observers=[watcher])
    assert watcher.calls[:2] == [("start", 12, split), split]
    assert numbers(resumed.history) == numbers(straight.history)
    assert torch.equal(resumed.fields["permeability"], straight.fields["permeability"])
    again = invert(**second, resume=True)  # nothing is left to do
    assert torch.equal(again.fields["permeability"], straight.fields["permeability"])


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_between_iterations_with_a_checkpoint(
    arguments: dict[str, Any], tmp_path: Path, which: signal.Signals
) -> None:
    straight = invert(**arguments)
    model = arguments["parametrization"]
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    arguments |= {"checkpoint": Checkpoint(tmp_path / "checkpoint.h5", MARK)}
    watcher = Watcher(4, lambda: os.kill(os.getpid(), which))
    with pytest.raises(Interrupted, match=r"resume from .*checkpoint\.h5") as caught:
        invert(**arguments | {"parametrization": type(model)(len(model.v))}, observers=[watcher])
    done = caught.value.iterations
    assert done in (5, 6)  # the signal is read at the end of its iteration or of the next one
    assert watcher.calls[-1] == ("end", done)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    resumed = invert(**arguments | {"parametrization": type(model)(len(model.v))}, resume=True)
    assert torch.equal(resumed.fields["permeability"], straight.fields["permeability"])


def test_an_interruption_without_a_checkpoint_says_that_nothing_was_kept(arguments: dict[str, Any]) -> None:
    watcher = Watcher(0, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted, match="nothing was kept"):
        invert(**arguments, observers=[watcher])


def test_a_second_signal_acts_at_once_and_nothing_is_lost(arguments: dict[str, Any], tmp_path: Path) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)  # in this thread: two signals to the process may reach another one as one
        signal.raise_signal(signal.SIGINT)

    straight = invert(**arguments)
    model = arguments["parametrization"]
    arguments |= {"checkpoint": Checkpoint(tmp_path / "checkpoint.h5", MARK), "renewal": 2}
    with pytest.raises(KeyboardInterrupt):
        invert(**arguments | {"parametrization": type(model)(len(model.v))}, observers=[Watcher(4, twice)])
    watcher = Watcher()
    resumed = invert(**arguments | {"parametrization": type(model)(len(model.v))}, resume=True, observers=[watcher])
    assert watcher.calls[:2] == [("start", 12, 4), 4]
    assert torch.equal(resumed.fields["permeability"], straight.fields["permeability"])


def test_numbers_that_are_not_finite_stop_it_before_the_step(arguments: dict[str, Any]) -> None:
    def explode(fields: dict[str, torch.Tensor], iteration: int) -> torch.Tensor:
        return fields["permeability"].mean() * (float("inf") if iteration == 3 else 1.0)

    model, watcher = arguments["parametrization"], Watcher()
    with pytest.raises(ConvergenceError, match=r"iteration 3: not finite: .*prior_explode.*learning_rate"):
        invert(**arguments | {"priors": {"explode": explode}}, observers=[watcher])
    assert watcher.calls[-1] == ("end", 3)
    assert torch.isfinite(model.v).all()


def test_a_checkpoint_is_written_when_it_is_due(arguments: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.h5"

    def fail() -> None:
        raise OSError("power cut")

    with pytest.raises(OSError, match="power cut"):
        checkpoint = Checkpoint(path, MARK, every_seconds=0.0)
        invert(**arguments, checkpoint=checkpoint, observers=[Watcher(7, fail)], renewal=1)
    model = arguments["parametrization"]
    arguments |= {"parametrization": type(model)(len(model.v)), "checkpoint": Checkpoint(path, MARK)}
    watcher = Watcher()
    invert(**arguments, resume=True, observers=[watcher])
    assert watcher.calls[1] == 7


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_learning_rate_of_no_sense_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="learning_rate"):
        AdamSettings(learning_rate=value)


def test_it_refuses_to_do_nothing_and_to_resume_from_nothing(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        invert(**arguments | {"iterations": 0})
    with pytest.raises(InputError, match="checkpoint"):
        invert(**arguments, resume=True)
    with pytest.raises(InputError, match="renewal"):
        invert(**arguments, renewal=0)


class Remembering:
    """A forward model whose signals depend, a little, on the fields that it saw first since it last forgot."""

    def __init__(self, toy: Any) -> None:
        self.toy, self.grid, self.protocol = toy, toy.grid, toy.protocol
        self.first: torch.Tensor | None = None
        self.forgotten = 0

    def __call__(self, permeability: torch.Tensor, rows: Any = None) -> torch.Tensor:
        if self.first is None:
            self.first = permeability.detach().clone()
        return self.toy(permeability, rows) * (1.0 + 1e-3 * self.first.log10().mean())

    def forget(self) -> None:
        self.first, self.forgotten = None, self.forgotten + 1


@pytest.mark.parametrize("at", [0, 2, 4, 6, 10])
def test_what_the_forward_model_remembers_does_not_part_a_resumed_run_from_a_straight_one(
    arguments: dict[str, Any], toy: Any, truth: torch.Tensor, tmp_path: Path, at: int
) -> None:
    """A signal comes at any iteration; the checkpoint goes back to a point where the straight run forgot too."""
    model, target = arguments["parametrization"], toy(truth).numpy()

    def fresh() -> dict[str, Any]:
        problem = InversionProblem(Remembering(toy), target)
        return arguments | {"problem": problem, "parametrization": type(model)(len(model.v)), "renewal": 3}

    first = fresh()
    straight = invert(**first)
    assert first["problem"].simulator.forgotten == 5  # at the start and after iterations 3, 6, 9 and 12
    checkpoint = Checkpoint(tmp_path / "checkpoint.h5", MARK)
    with pytest.raises(Interrupted):
        invert(**fresh(), checkpoint=checkpoint, observers=[Watcher(at, lambda: signal.raise_signal(signal.SIGINT))])
    resumed = invert(**fresh(), checkpoint=checkpoint, resume=True)
    assert numbers(resumed.history) == numbers(straight.history)
    assert torch.equal(resumed.fields["permeability"], straight.fields["permeability"])
