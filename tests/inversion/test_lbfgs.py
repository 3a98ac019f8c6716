"""L-BFGS: its direction by the dense formula, never uphill, of the terms that hold, and resumable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_gauss_newton import MARK, STAGE, Interrupter, case
from test_loop import numbers

from dmrifw.errors import ConvergenceError, InputError
from dmrifw.inversion import Checkpoint, Interrupted, LbfgsSettings, invert
from dmrifw.inversion.lbfgs import Lbfgs
from dmrifw.inversion.optimizer import Objective
from dmrifw.schedules import Stage


def objective(arguments: dict[str, Any]) -> Objective:
    return Objective(arguments["problem"], arguments["parametrization"], arguments["priors"])


def test_its_first_step_goes_down_the_slope_by_first_step() -> None:
    """Against a difference quotient of the loss by each parameter."""
    arguments, _ = case(6, LbfgsSettings(first_step=1e-3))
    problem, size = arguments["problem"], 1e-5

    def loss(points: np.ndarray) -> float:
        return float(problem.data_loss({"points": torch.from_numpy(points).reshape(2, 3)}, STAGE))

    gradient = np.array([(loss(size * one) - loss(-size * one)) / (2 * size) for one in np.eye(6)])
    assert np.abs(gradient).min() > 0
    step = invert(**arguments | {"iterations": 1}).fields["points"].numpy().ravel()
    np.testing.assert_allclose(step, -1e-3 * gradient / np.abs(gradient).max(), rtol=1e-4)


def test_its_direction_is_that_of_the_dense_formula() -> None:
    """H+ = (1 - s y^T / s^T y) H (1 - y s^T / s^T y) + s s^T / s^T y, from s^T y / y^T y (Nocedal and Wright, 7.19)."""
    arguments, _ = case(6, LbfgsSettings(memory=3), bend=0.3)
    searcher = arguments["optimizer"].start(objective(arguments))
    places, gradients = [], []
    for iteration in range(6):
        searcher.look(iteration, STAGE)
        state = searcher.state_dict()["state"][0]
        places.append(state["place"].numpy())
        gradients.append(state["gradient"].numpy())
        if iteration < 5:
            searcher.move()
    steps, changes = np.diff(places, axis=0)[-3:], np.diff(gradients, axis=0)[-3:]
    assert (np.einsum("ij,ij->i", steps, changes) > 0).all()
    dense = np.eye(6) * (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for step, change in zip(steps, changes, strict=True):
        left = np.eye(6) - np.outer(step, change) / (step @ change)
        dense = left @ dense @ left.T + np.outer(step, step) / (step @ change)
    searcher.move()
    searcher.look(6, STAGE)
    taken = searcher.state_dict()["state"][0]["place"].numpy() - places[-1]
    np.testing.assert_allclose(taken, -dense @ gradients[-1], rtol=1e-7)  # the full length is tried first


def test_it_finds_the_truth_of_a_linear_problem_and_of_a_bent_one() -> None:
    for bend in (0.0, 0.3):
        arguments, truth = case(12, LbfgsSettings(), bend=bend)
        result = invert(**arguments | {"iterations": 60})
        torch.testing.assert_close(result.fields["points"], truth, rtol=1e-3, atol=1e-4)
        assert (np.diff(result.history.column("loss")) < 0).all()


def test_a_step_that_the_simulator_refuses_is_not_taken() -> None:
    """The first step would pass the wall; shorter ones are tried until one does not."""
    wall = 1.02 * float(case(6)[1].abs().max())
    arguments, truth = case(6, LbfgsSettings(first_step=10 * wall), wall=wall)
    result = invert(**arguments | {"iterations": 60})
    assert arguments["problem"].simulator.refused > 0
    torch.testing.assert_close(result.fields["points"], truth, rtol=1e-3, atol=1e-4)


def test_where_every_step_is_refused_it_has_converged_and_stays() -> None:
    arguments, _ = case(6, LbfgsSettings(), wall=1e-12)
    result = invert(**arguments)
    assert torch.equal(result.fields["points"], torch.zeros(2, 3, dtype=torch.float64))
    assert (result.iterations, result.history.rows[0]["accepted"]) == (1, 0.0)


def test_curvature_is_that_of_one_iteration_s_terms() -> None:
    """A quadratic prior whose weight doubles at every step: y = 2 w s of the step's own weight, beside the data's."""
    arguments, _ = case(6, LbfgsSettings())
    weights = [1.0, 2.0, 4.0]
    prior = {"near": lambda fields, iteration: weights[iteration] * (fields["points"] - 1.0).square().sum()}
    searcher = arguments["optimizer"].start(objective(arguments | {"priors": prior}))
    jacobian = arguments["problem"].linearize({"points": torch.zeros(2, 3, dtype=torch.float64)}, ["points"], STAGE)
    for iteration in range(3):
        searcher.look(iteration, STAGE)
        if iteration < 2:
            searcher.move()
    state = searcher.state_dict()["state"][0]
    assert len(state["steps"]) == 2
    for weight, step, change in zip(weights, state["steps"].numpy(), state["changes"].numpy(), strict=False):
        moved = jacobian.residual_change(jacobian.signal_change({"points": step.reshape(2, 3)}))
        expected = jacobian.pull_back(moved)["points"].ravel() + 2.0 * weight * step
        np.testing.assert_allclose(change, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def along_x(loss: Callable[[torch.Tensor, int], torch.Tensor], start: float, **settings: float) -> Lbfgs:
    """A search whose loss is one of the first coordinate alone, all but 1e-12 of it, at its start."""
    arguments, _ = case(3, LbfgsSettings(**settings))
    with torch.no_grad():
        arguments["parametrization"].head[0] = start
    arguments["problem"].weight = 1e-12
    prior = {"alone": lambda fields, iteration: loss(fields["points"][0, 0], iteration)}
    return arguments["optimizer"].start(objective(arguments | {"priors": prior}))


def x_of(searcher: Lbfgs) -> float:
    return float(searcher.objective.parametrization()["points"][0, 0])


@pytest.mark.parametrize("first_step", [4.0, 1.9999])
def test_a_step_that_gains_too_little_is_shortened_by_the_parabola(first_step: float) -> None:
    """x^2 / 2 from 1: to -3 it rises, to -0.9999 it falls by 1e-4, half of what is asked for; the parabola is exact.

    In the next iteration the loss is upside down, and a trial that was judged by that would be refused.
    """
    searcher = along_x(lambda x, iteration: (0.5 if iteration == 0 else -0.5) * x**2, 1.0, first_step=first_step)
    searcher.look(0, STAGE)
    assert searcher.move() == {"accepted": 1.0, "trials": 2.0}
    assert x_of(searcher) == pytest.approx(0.0, abs=1e-4)


def test_negative_curvature_is_left_out_and_the_search_goes_on() -> None:
    """1 - exp(-x^2 / 2) from 2, beyond its inflection at 1: the first step, to 1.5, meets a steeper slope."""
    searcher = along_x(lambda x, iteration: 1.0 - torch.exp(-0.5 * x**2), 2.0, first_step=0.5)
    pairs = []
    for iteration in range(12):
        pairs.append(searcher.look(iteration, STAGE).control["curvature_pairs"])
        searcher.move()
    assert pairs[:2] == [0.0, 0.0]
    assert max(pairs) > 0
    assert x_of(searcher) == pytest.approx(0.0, abs=1e-5)


def test_curvature_that_misleads_is_forgotten() -> None:
    """A pair that tells a curvature of 1e-16: no part of such a step gains, and down the slope one does."""
    searcher = along_x(lambda x, iteration: x**2, 1.0)
    searcher.look(0, STAGE)
    state = searcher.state_dict()
    along = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    state["state"][0] |= {"steps": 1e8 * along, "changes": 1e-8 * along}
    searcher.load_state_dict(state)
    assert searcher.move()["accepted"] == 1.0
    assert x_of(searcher) == pytest.approx(0.4)
    assert searcher.look(1, STAGE).control["curvature_pairs"] == 1.0  # that of this step alone


def test_where_nothing_changes_nothing_is_tried_again() -> None:
    searcher = along_x(lambda x, iteration: (x - (0.0 if iteration < 3 else 1.0)) ** 2, 0.0)
    trials = []
    for iteration in range(5):
        searcher.look(iteration, STAGE)
        trials.append(searcher.move()["trials"])
    assert trials[1:3] == [0.0, 0.0]
    assert trials[3] > 0
    assert x_of(searcher) == pytest.approx(1.0)


def test_it_does_not_end_before_a_prior_that_comes_later() -> None:
    """Its weight is 0 up to iteration 30; a search of one set of terms had converged by then."""
    arguments, truth = case(6, LbfgsSettings())
    assert invert(**arguments | {"iterations": 60}).iterations < 30
    arguments, _ = case(6, LbfgsSettings())
    ramp = {"far": lambda fields, iteration: 1e6 * (iteration >= 30) * (fields["points"] - 9.0).square().sum()}
    result = invert(**arguments | {"iterations": 60, "priors": ramp})
    torch.testing.assert_close(result.fields["points"], torch.full_like(truth, 9.0), rtol=0.05, atol=0.0)


def test_it_forgets_where_the_schedule_weighs_sequences_differently() -> None:
    other = Stage((0.5, *STAGE.sequence_weights[1:]))
    arguments, _ = case(6, LbfgsSettings(), bend=0.3)
    result = invert(**arguments | {"schedule": lambda iteration: STAGE if iteration < 3 else other, "iterations": 5})
    assert list(result.history.column("curvature_pairs")) == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("at", [0, 3, 5])
def test_resuming_goes_the_same_way_to_the_last_bit(tmp_path: Path, at: int) -> None:
    def fresh() -> dict[str, Any]:
        return case(6, LbfgsSettings(memory=3), bend=1.0)[0] | {"iterations": 8, "renewal": 2}

    straight = invert(**fresh())
    checkpoint = Checkpoint(tmp_path / "checkpoint.h5", MARK)
    with pytest.raises(Interrupted):
        invert(**fresh(), checkpoint=checkpoint, observers=[Interrupter(at)])
    resumed = invert(**fresh(), checkpoint=checkpoint, resume=True)
    assert numbers(resumed.history) == numbers(straight.history)
    assert torch.equal(resumed.fields["points"], straight.fields["points"])
    assert straight.history.column("curvature_pairs").max() == 3


def test_numbers_that_are_not_finite_stop_it() -> None:
    arguments, _ = case(6, LbfgsSettings())
    arguments["priors"] = {"explode": lambda fields, iteration: fields["points"].sum() * float("nan")}
    with pytest.raises(ConvergenceError, match="prior_explode"):
        invert(**arguments)


def test_gradient_rules_and_settings_of_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="gradient_rules"):
        invert(**case(6, LbfgsSettings())[0], gradient_rules=[lambda gradients, fields, iteration: gradients])
    for settings in ({"memory": 0}, {"memory": 2.5}, {"first_step": -1.0}, {"tolerance": float("nan")}):
        with pytest.raises(InputError, match=next(iter(settings))):
            LbfgsSettings(**settings)
    nothing = case(6, LbfgsSettings())[0]
    nothing["parametrization"].requires_grad_(False)
    with pytest.raises(InputError, match="nothing to learn"):
        invert(**nothing)
