"""The data loss is the published formula, spends no simulation on silent sequences, and refuses what it cannot use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dmrifw.errors import InputError
from dmrifw.inversion import InversionProblem
from dmrifw.schedules import Stage
from dmrifw.sequences import Protocol
from dmrifw.testing import example_setting


class Fixed:
    """A simulator that returns given signals."""

    def __init__(self, protocol: Protocol, signal: Any) -> None:
        self.grid, self.protocol = example_setting().grid, protocol
        self.signal = torch.tensor(signal, dtype=torch.complex128)

    def __call__(self, permeability: torch.Tensor, rows: Any = None) -> torch.Tensor:
        return self.signal if rows is None else self.signal[torch.from_numpy(rows)]


FIELDS = {"permeability": torch.ones(1, dtype=torch.float64)}
TARGET = [8.0, 12.0, 5.0, 20.0, 10.0]  # S0 is 10 for the first sequence (mean of 8 and 12), 20 for the second
SIGNAL = [10.0, 10.0, 3.0j, 20.0, 6.0]


def test_the_loss_is_the_weighted_sum_over_sequences_of_mean_squares(table: Protocol) -> None:
    """First sequence: (.2^2 + .2^2 + .2^2)/3 = .04; second: (0 + .2^2)/2 = .02; times the weights and 100."""
    problem = InversionProblem(Fixed(table, SIGNAL), TARGET)
    assert problem.data_loss(FIELDS, Stage((1.0, 0.0))).item() == pytest.approx(100 * 0.04)
    assert problem.data_loss(FIELDS, Stage((0.0, 1.0))).item() == pytest.approx(100 * 0.02)
    assert problem.data_loss(FIELDS, Stage((0.5, 2.0))).item() == pytest.approx(100 * (0.5 * 0.04 + 2 * 0.02))


def test_complex_data_see_the_phase(table: Protocol) -> None:
    """|3i - 5|^2 / 10^2 = 0.34 instead of (3 - 5)^2 / 10^2."""
    problem = InversionProblem(Fixed(table, SIGNAL), TARGET, magnitude=False, weight=1.0)
    assert problem.data_loss(FIELDS, Stage((1.0, 0.0))).item() == pytest.approx((0.04 + 0.04 + 0.34) / 3)


def test_the_relative_error_is_the_rms_over_all_measurements(table: Protocol) -> None:
    """Four differences of 0.2 S0 and one of 0."""
    problem = InversionProblem(Fixed(table, SIGNAL), TARGET)
    assert problem.relative_error(FIELDS) == pytest.approx(np.sqrt(4 * 0.04 / 5))


def test_only_sequences_with_weight_are_simulated(problem: InversionProblem, toy: Any) -> None:
    problem.data_loss({"permeability": torch.ones(len(toy.grid.faces), dtype=torch.float64)}, Stage((0.0, 1.0, 0.0)))
    assert toy.simulated == [np.flatnonzero(toy.protocol.sequence == 1).tolist()]


@pytest.mark.parametrize("magnitude", [True, False])
def test_the_gradient_agrees_with_central_differences(toy: Any, truth: torch.Tensor, magnitude: bool) -> None:
    problem = InversionProblem(toy, toy(truth).numpy(), magnitude=magnitude)
    logarithm = torch.linspace(-1.0, 1.0, len(truth), dtype=torch.float64)

    def loss(shift: torch.Tensor) -> torch.Tensor:
        return problem.data_loss({"permeability": 10.0 ** (logarithm + shift)}, Stage((1.0, 0.5, 0.0)))

    shift = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (shift,))


def test_the_truth_has_no_error(problem: InversionProblem, truth: torch.Tensor) -> None:
    assert problem.relative_error({"permeability": truth}) == pytest.approx(0.0, abs=1e-14)
    assert problem.data_loss({"permeability": truth}, Stage((1.0, 1.0, 1.0))).item() == pytest.approx(0.0, abs=1e-25)


def test_a_sequence_without_measurements_needs_no_unweighted_signal(table: Protocol) -> None:
    chosen = table.select(np.arange(3))
    problem = InversionProblem(Fixed(chosen, SIGNAL[:3]), TARGET[:3])
    assert problem.relative_error(FIELDS) == pytest.approx(0.2)
    with pytest.raises(InputError, match="weight to no measurement"):
        problem.data_loss(FIELDS, Stage((0.0, 1.0)))


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ([1.0, 2.0], "give 5, one per measurement"),
        ([8.0, 12.0, float("nan"), 20.0, 10.0], "measurement 2 is not finite"),
        ([8.0, 12.0, 5.0, 0.0, 10.0], "sequence 1 is zero"),
    ],
)
def test_a_target_that_cannot_be_used_is_refused(table: Protocol, target: list[float], fault: str) -> None:
    with pytest.raises(InputError, match=rf"^target: .*{fault}"):
        InversionProblem(Fixed(table, SIGNAL), target)


def test_a_sequence_without_b0_is_refused(table: Protocol) -> None:
    chosen = table.select([0, 1, 2, 4])
    with pytest.raises(InputError, match=r"^protocol: sequence 1 has no measurement at b = 0"):
        InversionProblem(Fixed(chosen, [1.0] * 4), [1.0] * 4)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0, 1.0), (0.0, 0.0)])
def test_a_stage_that_does_not_fit_is_refused(table: Protocol, weights: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="schedule"):
        InversionProblem(Fixed(table, SIGNAL), TARGET).data_loss(FIELDS, Stage(weights))


def test_a_likelihood_weighs_one_and_takes_its_noise_from_the_target(table: Protocol) -> None:
    """-log p of the Gaussian is the squared difference over 2 sigma^2; 8 and 12 scatter by sqrt(8)/10 around 10."""
    squared = InversionProblem(Fixed(table, SIGNAL), TARGET, weight=1.0).data_loss(FIELDS, Stage((1.0, 1.0)))
    given = InversionProblem(Fixed(table, SIGNAL), TARGET, likelihood="gaussian", sigma=0.1)
    assert given.data_loss(FIELDS, Stage((1.0, 1.0))).item() == pytest.approx(squared.item() / 0.02)
    assert InversionProblem(Fixed(table, SIGNAL), TARGET).sigma is None
    found = InversionProblem(Fixed(table, SIGNAL), TARGET, magnitude=False, likelihood="gaussian")
    assert found.sigma == pytest.approx(np.sqrt(0.08 / 2))  # the imaginary parts do not scatter, the real parts do


def test_an_arbitrary_unit_compares_attenuations(table: Protocol) -> None:
    """Each side is divided by its own S0: 1, 1, .3 and 1, .3 against .8, 1.2, .5 and 1, .5, whatever the unit is."""
    for unit in (1.0, 1e4):
        target = unit * np.array(TARGET)
        problem = InversionProblem(Fixed(table, SIGNAL), target, weight=1.0, arbitrary_unit=True)
        assert problem.data_loss(FIELDS, Stage((1.0, 0.0))).item() == pytest.approx((0.04 + 0.04 + 0.04) / 3)
        assert problem.data_loss(FIELDS, Stage((0.0, 1.0))).item() == pytest.approx((0.0 + 0.04) / 2)
        relative = problem.relative(torch.tensor(SIGNAL, dtype=torch.complex128))
        np.testing.assert_allclose(np.abs(relative), [1.0, 1.0, 0.3, 1.0, 0.3])
        np.testing.assert_allclose(problem.reference, [0.8, 1.2, 0.5, 1.0, 0.5])


@pytest.mark.parametrize("likelihood", ["gaussian", "rician"])
def test_the_gradient_through_s0_agrees_with_central_differences(
    toy: Any, truth: torch.Tensor, likelihood: Any
) -> None:
    problem = InversionProblem(toy, toy(truth).numpy(), likelihood=likelihood, sigma=0.05, arbitrary_unit=True)
    logarithm = torch.linspace(-1.0, 1.0, len(truth), dtype=torch.float64)
    shift = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda one: problem.data_loss({"permeability": 10.0 ** (logarithm + one)}, Stage((1.0, 0.5, 0.0))), (shift,)
    )
