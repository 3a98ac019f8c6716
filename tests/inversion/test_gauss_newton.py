"""Damped Gauss-Newton: exact on what is linear, fast near a fit, never uphill, and resumable."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_loop import numbers

from dmrifw import Protocol, Simulator
from dmrifw.errors import ConvergenceError, InputError
from dmrifw.inversion import (
    Checkpoint,
    GaussNewtonSettings,
    Interrupted,
    InversionProblem,
    OptimizerSettings,
    invert,
)
from dmrifw.inversion.damped import dense_model, krylov_model
from dmrifw.inversion.linearization import Chart
from dmrifw.mesh.generators import layers
from dmrifw.schedules import Stage
from dmrifw.testing import example_setting

MARK = {"grid": "g", "protocol": "p", "config": "c"}
STAGE = Stage((1.0,) * len(example_setting().protocol.waveforms))
UNDAMPED = GaussNewtonSettings(damping=1e-12, smallest_damping=1e-12)


class MatrixTape:
    """Derivatives of S(x) = V (1 + matrix x + bend (matrix x)^2)."""

    def __init__(self, signal: np.ndarray, jacobian: np.ndarray) -> None:
        self.signal, self.jacobian = signal, jacobian

    def push_forward(self, directions: Any) -> np.ndarray:
        return self.jacobian @ directions["points"].ravel()

    def pull_back(self, cotangent: np.ndarray, wanted: Any = None) -> dict[str, np.ndarray]:
        return {name: (self.jacobian.conj().T @ cotangent).real.reshape(-1, 3) for name in wanted}


class MatrixModel:
    """A forward model that is linear, or bent, in its vertices, and refuses vertices past a wall, as a mesh would."""

    def __init__(self, unknowns: int, bend: float = 0.0, wall: float = np.inf) -> None:
        setting = example_setting()
        self.grid, self.protocol, self.bend, self.wall = setting.grid, setting.protocol, bend, wall
        generator, shape = np.random.default_rng(0), (len(self.protocol), unknowns)
        self.matrix = generator.normal(size=shape) + 1j * generator.normal(size=shape)
        self.matrix *= (self.protocol.bvals > 0)[:, None]
        self.refused = 0

    def signal(self, points: np.ndarray, rows: np.ndarray, keep: bool) -> tuple[np.ndarray, MatrixTape]:
        if np.abs(points).max() > self.wall:
            self.refused += 1
            raise InputError("the moved points invert a tetrahedron", "move them less", key="points")
        matrix, volume = self.matrix[rows], self.grid.volume
        moved = matrix @ points.ravel()
        tape = MatrixTape(
            volume * (1.0 + moved + self.bend * moved**2), volume * matrix * (1.0 + 2.0 * self.bend * moved)[:, None]
        )
        return tape.signal, tape

    def __call__(self, points: torch.Tensor, rows: Any = None) -> torch.Tensor:
        rows = np.arange(len(self.protocol)) if rows is None else rows
        return torch.from_numpy(self.signal(points.detach().numpy(), rows, keep=False)[0])


class Vertices(torch.nn.Module):
    """Vertices that are the parameters themselves, in two tensors, in reverse order of the flattened truth."""

    def __init__(self, unknowns: int) -> None:
        super().__init__()
        self.head = torch.nn.Parameter(torch.zeros(unknowns - 1, dtype=torch.float64))
        self.tail = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self) -> dict[str, torch.Tensor]:
        return {"points": torch.cat([self.head, self.tail[None]]).reshape(-1, 3)}


def case(
    unknowns: int, settings: OptimizerSettings = UNDAMPED, *, size: float = 0.1, **model: float
) -> tuple[dict[str, Any], torch.Tensor]:
    """What `invert` needs, and the vertices from which the target was made."""
    forward, free = MatrixModel(unknowns, **model), MatrixModel(unknowns, **{**model, "wall": np.inf})
    truth = size * torch.randn(unknowns // 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    problem = InversionProblem(forward, free(truth).numpy(), magnitude=False)
    return {
        "problem": problem,
        "parametrization": Vertices(unknowns),
        "priors": {},
        "schedule": lambda iteration: STAGE,
        "optimizer": settings,
        "iterations": 30,
    }, truth


def test_a_linear_problem_is_solved_in_one_step() -> None:
    """Few unknowns: the Jacobian as a matrix."""
    arguments, truth = case(6)
    result = invert(**arguments | {"iterations": 1})
    torch.testing.assert_close(result.fields["points"], truth, rtol=1e-8, atol=1e-9)
    row = result.history.rows[0]
    assert (row["accepted"], row["trials"]) == (1.0, 1.0)
    assert row["loss"] == pytest.approx(float(arguments["problem"].data_loss({"points": 0.0 * truth}, STAGE)))


def test_many_unknowns_are_solved_by_products_alone() -> None:
    """More than 64: conjugate gradients end after as many products as there are measurements that tell anything."""
    arguments, _ = case(99, replace(UNDAMPED, inner_iterations=80))
    result = invert(**arguments)
    assert result.history.rows[2]["loss"] < 1e-5 * result.loss_initial


def test_a_step_that_the_simulator_refuses_is_not_taken() -> None:
    """The full step would pass the wall; the damping rises until one does not, and every step lowers the loss."""
    wall = 1.02 * float(case(6)[1].abs().max())
    arguments, truth = case(6, GaussNewtonSettings(damping=1e-6), bend=0.3, wall=wall)
    with torch.no_grad():
        arguments["parametrization"].head.copy_(-0.9 * truth.flatten()[:-1])
    result = invert(**arguments)
    assert (np.diff(result.history.column("loss")[:-1]) < 0).all()
    torch.testing.assert_close(result.fields["points"], truth, rtol=1e-3, atol=1e-4)


def test_a_rejected_step_leaves_the_parameters_and_raises_the_damping() -> None:
    """Every move is refused: nothing changes, and after the largest damping the search is over."""
    arguments, _ = case(6, GaussNewtonSettings(damping=1e-2, largest_damping=10.0), wall=1e-12)
    result = invert(**arguments)
    assert torch.equal(result.fields["points"], torch.zeros(2, 3, dtype=torch.float64))
    assert result.iterations == 1
    row = result.history.rows[0]
    assert (row["damping"], row["accepted"], row["trials"]) == (1e-2, 0.0, 5.0)  # 0.01, 0.04, 0.16, 0.64, 2.56 x
    assert arguments["problem"].simulator.refused == 5


def test_other_faults_are_not_taken_for_a_step_too_long() -> None:
    arguments, _ = case(6)

    def fail(points: np.ndarray, **others: Any) -> Any:
        raise InputError("the protocol is at fault", "mend it", key="protocol")

    arguments["problem"].simulator.signal = fail
    with pytest.raises(InputError, match="protocol is at fault"):
        invert(**arguments)


def test_a_prior_enters_with_its_gradient_and_curvature() -> None:
    """The penalty w |x - a|^2 beside a linear problem: one step to (J^T J + 2 w)^-1 (J^T r + 2 w a), the minimum."""
    arguments, _ = case(6)
    problem, weight, wanted = arguments["problem"], 7.0, torch.ones(2, 3, dtype=torch.float64)
    arguments["priors"] = {"near": lambda fields, iteration: weight * (fields["points"] - wanted).square().sum()}
    zero = {"points": torch.zeros(2, 3, dtype=torch.float64)}
    data = problem.linearize(zero, ["points"], STAGE)
    jacobian = np.column_stack(
        [data.residual_change(data.signal_change({"points": one.reshape(2, 3)})) for one in np.eye(6)]
    )
    right = -data.gradient()["points"].ravel() + 2.0 * weight
    expected = np.linalg.solve(jacobian.T @ jacobian + 2.0 * weight * np.eye(6), right)
    result = invert(**arguments | {"iterations": 1})
    np.testing.assert_allclose(result.fields["points"].numpy().ravel(), expected, rtol=1e-7)


def test_an_infinite_prior_refuses_a_step() -> None:
    """A barrier that is infinite past a line: the steps stay before it."""
    arguments, truth = case(6, GaussNewtonSettings())
    line = 0.5 * float(truth.max())

    def barrier(fields: Any, iteration: int) -> torch.Tensor:
        return torch.where(fields["points"].max() < line, 0.0, torch.inf) + 0.0 * fields["points"].sum()

    result = invert(**arguments | {"priors": {"barrier": barrier}})
    assert float(result.fields["points"].max()) < line
    assert result.loss_final < result.loss_initial


class Tissue(torch.nn.Module):
    """A diffusivity and a permeability, both on a logarithmic scale."""

    def __init__(self, diffusivity: float, permeability: float) -> None:
        super().__init__()
        start = torch.tensor([diffusivity, permeability], dtype=torch.float64)
        self.logarithms = torch.nn.Parameter(start.log())

    def forward(self) -> dict[str, torch.Tensor]:
        diffusivity, permeability = self.logarithms.exp()
        return {"diffusivity": diffusivity, "permeability": permeability[None]}


@pytest.mark.parametrize("likelihood", ["squared", "rician"])
def test_diffusivity_and_permeability_of_two_layers_to_a_millionth_in_six_steps(likelihood: str) -> None:
    """Noiseless signals of D = 1.7 um^2/ms, kappa = 0.02 um/ms, from a start that is off by a third and by 2.5 times.

    The Rician likelihood of noiseless magnitudes is smallest near the truth, not there, so it is asked for less.
    """
    grid = layers([8.0, 12.0], [2.0, 2.0], h=1.0)
    along = np.tile([1.0, 0.0, 0.0], (4, 1))
    protocol = Protocol.pgse([0, 500, 1500, 3000], along, 2, 8) + Protocol.pgse([0, 500, 1500, 3000], along, 5, 60)
    simulator = Simulator(grid, protocol, interfaces=grid.is_interface, tolerance=1e-4)
    truth = Tissue(1.7, 0.02)
    with torch.no_grad():
        target = simulator(**truth()).numpy()
    sigma = None if likelihood == "squared" else 1e-3
    problem = InversionProblem(simulator, target, likelihood=likelihood, sigma=sigma)
    model = Tissue(2.3, 0.05)
    result = invert(problem, model, {}, lambda iteration: Stage((1.0, 1.0)), GaussNewtonSettings(), iterations=6)
    found = model.logarithms.detach().exp() / truth.logarithms.detach().exp() - 1.0
    assert float(found.abs().max()) < (1e-6 if likelihood == "squared" else 1e-2)
    assert (np.diff(result.history.column("loss")) <= 0).all()


class Interrupter:
    """An observer that raises a signal at an iteration."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_start(self, iterations: int, history: Any) -> None: ...

    def on_iteration(self, row: Any, fields: Any) -> None:
        if row["iteration"] == self.at:
            signal.raise_signal(signal.SIGINT)

    def on_end(self, history: Any) -> None: ...


@pytest.mark.parametrize("at", [0, 3, 5])
def test_resuming_goes_the_same_way_to_the_last_bit(tmp_path: Path, at: int) -> None:
    def fresh() -> dict[str, Any]:
        settings = GaussNewtonSettings(damping=1.0, tolerance=1e-12)
        return case(6, settings, bend=2.0)[0] | {"iterations": 8, "renewal": 2}

    straight = invert(**fresh())
    checkpoint = Checkpoint(tmp_path / "checkpoint.h5", MARK)
    with pytest.raises(Interrupted):
        invert(**fresh(), checkpoint=checkpoint, observers=[Interrupter(at)])
    resumed = invert(**fresh(), checkpoint=checkpoint, resume=True)
    assert numbers(resumed.history) == numbers(straight.history)
    assert torch.equal(resumed.fields["points"], straight.fields["points"])
    assert len(set(straight.history.column("damping"))) > 2  # a state that a checkpoint could lose
    again = invert(**fresh(), checkpoint=checkpoint, resume=True)
    assert len(again.history) == len(straight.history)  # nothing is left to do


def test_it_goes_on_where_the_schedule_brings_other_measurements() -> None:
    """A start at the minimum has converged at once, yet other measurements come at iteration 5."""
    arguments, truth = case(6)
    with torch.no_grad():
        arguments["parametrization"].head.copy_(truth.flatten()[:-1])
        arguments["parametrization"].tail.copy_(truth.flatten()[-1])
    assert invert(**arguments).iterations == 1
    other = Stage((0.5, *STAGE.sequence_weights[1:]))
    result = invert(**arguments | {"schedule": lambda iteration: STAGE if iteration < 5 else other})
    assert result.iterations == 6


def test_numbers_that_are_not_finite_stop_it() -> None:
    arguments, _ = case(6)
    arguments["priors"] = {"explode": lambda fields, iteration: fields["points"].sum() * float("inf")}
    with pytest.raises(ConvergenceError, match="prior_explode"):
        invert(**arguments)


def test_gradient_rules_and_settings_of_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="gradient_rules"):
        invert(**case(6)[0], gradient_rules=[lambda gradients, fields, iteration: gradients])
    for settings in ({"damping": -1.0}, {"good_ratio": 0.1}, {"damping": 1e9}, {"tolerance": float("nan")}):
        with pytest.raises(InputError, match=next(iter(settings))):
            GaussNewtonSettings(**settings)


def test_a_model_without_a_tape_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="tape"):
        invert(**arguments | {"optimizer": GaussNewtonSettings()})


def test_the_chart_is_the_jacobian_of_the_fields() -> None:
    """Fields of several parameters of which one moves nothing: both products against torch's own Jacobian."""

    class Curved(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Parameter(torch.linspace(0.1, 1.0, 4, dtype=torch.float64).reshape(2, 2))
            self.idle = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
            self.b = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

        def forward(self) -> dict[str, torch.Tensor]:
            return {
                "one": torch.linalg.matrix_exp(self.a),
                "fixed": torch.ones(2, dtype=torch.float64),
                "two": self.b.sin()[None],
            }

    model = Curved()
    chart = Chart(model, list(model.parameters()))
    assert chart.moving == ["one", "two"]
    exact = np.zeros((5, 8))
    exact[:4, :4] = torch.autograd.functional.jacobian(torch.linalg.matrix_exp, model.a.detach()).reshape(4, 4).numpy()
    exact[4, 7] = np.cos(0.3)
    direction, bars = np.arange(1.0, 9.0), {"one": np.arange(4.0).reshape(2, 2), "two": np.array([5.0])}
    moved = chart.push_forward(direction)
    np.testing.assert_allclose(np.append(moved["one"], moved["two"]), exact @ direction, rtol=1e-12)
    np.testing.assert_allclose(chart.pull_back(bars), exact.T @ np.append(bars["one"], bars["two"]), rtol=1e-12)


@pytest.mark.parametrize("damping", [1e-6, 1e-2, 10.0])
def test_both_models_solve_the_damped_equations(damping: float) -> None:
    """(A + damping D) s = -g with D the diagonal, by numpy's solver; and what the model says that s gains."""
    generator = np.random.default_rng(2)
    root, gradient = generator.normal(size=(30, 12)), generator.normal(size=12)
    curvature = root.T @ root
    scaled = np.diag(np.diag(curvature))
    expected = np.linalg.solve(curvature + damping * scaled, -gradient)
    promised = -(gradient @ expected + 0.5 * expected @ curvature @ expected)
    step, predicted = dense_model(gradient, curvature).step(damping)
    np.testing.assert_allclose(step, expected, rtol=1e-8)
    assert predicted == pytest.approx(promised, rel=1e-8)
    krylov = krylov_model(gradient, lambda vector: curvature @ vector, np.diag(curvature), damping, 12)
    for larger in (1.0, 8.0):  # what serves a damping serves a larger one
        step, _ = krylov.step(larger * damping)
        residual = (curvature + larger * damping * scaled) @ step + gradient
        scale = np.sqrt(np.diag(curvature))
        assert np.linalg.norm(residual / scale) <= 1.01e-3 * np.linalg.norm(gradient / scale)


def test_negative_curvature_counts_as_none() -> None:
    """Along it the gradient over the damping is the step: downhill, and finite."""
    step, predicted = dense_model(np.array([1.0, 1.0]), np.array([[1.0, 3.0], [3.0, 1.0]])).step(0.5)
    assert step @ np.array([1.0, 1.0]) < 0 < predicted
