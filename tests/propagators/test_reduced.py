"""The reduced dynamics against the matrix exponential, and its adjoint against differences."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from mpi4py import MPI

from dmrifw.encoding import Encoding
from dmrifw.propagators import imex
from dmrifw.propagators.modes import Modes
from dmrifw.propagators.reduced import ReducedSystem
from dmrifw.propagators.steps import Drive, Interval, Steps, intervals
from dmrifw.sequences import PGSE

WAVEFORM = PGSE(5.0, 9.0)
Q = np.array([[0.2, 0.0, 0.1], [0.0, -0.3, 0.2], [0.0, 0.0, 0.0]])
REFLECTING = Encoding((False, False, False), np.zeros((3, 3)), ())
DRIVE = Drive(WAVEFORM, Q, REFLECTING)


@pytest.fixture
def matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A symmetric positive operator with a degenerate pair, three symmetric moments, a total."""
    random = np.random.default_rng(1)
    rates = np.sort(np.abs(random.standard_normal(12)) * 3)
    rates[0], rates[5] = 0.0, rates[6]
    moments = random.standard_normal((3, 12, 12))
    return np.diag(rates), moments + moments.transpose(0, 2, 1), random.standard_normal(12)


def model_of(operator: np.ndarray, moments: np.ndarray, total: np.ndarray) -> ReducedSystem:
    """The equation with mass 1, the field w = 1 having the coefficients `total`, in the basis of all modes."""
    rates, vectors = np.linalg.eigh(operator)
    operators: Any = SimpleNamespace(comm=MPI.COMM_SELF, couplings=moments, total=total)
    return ReducedSystem(operators, Modes(np.maximum(rates, 0.0), vectors, complete=True))


def exact(operator: np.ndarray, moments: np.ndarray, total: np.ndarray, q: np.ndarray) -> complex:
    drive = 1j * np.einsum("i,ijk->jk", q, moments)
    gap = scipy.linalg.expm(-operator * (WAVEFORM.Delta - WAVEFORM.delta))
    first = scipy.linalg.expm(-(operator + drive) * WAVEFORM.delta)
    second = scipy.linalg.expm(-(operator - drive) * WAVEFORM.delta)
    return complex(total @ second @ gap @ first @ total)


def cut(steps: float) -> list[Interval]:
    return intervals(WAVEFORM, REFLECTING, Steps(steps, steps))


def squared(model: ReducedSystem, steps: float) -> np.ndarray:
    return model.read(model.evolve(DRIVE, cut(steps), False).final, squared=True).real


class Products:
    """An `imex.Derivative` of the diffusion operator alone: the sum of left right^T."""

    def __init__(self) -> None:
        self.sum: np.ndarray | float = 0.0

    def diffusion(self, left: np.ndarray, right: np.ndarray) -> None:
        self.sum = self.sum + left @ right.T

    def mass(self, *_: object) -> None:
        """The mass is held."""

    def drive(self, *_: object) -> None:
        """So is the drive."""


def test_half_an_evolution_gives_the_exact_signal(matrices) -> None:
    """S = |y(TE/2)|^2 for an antisymmetric waveform; the exact one is a product of three matrix exponentials."""
    operator, moments, total = matrices
    expected = [exact(operator, moments, total, q) for q in Q]
    assert np.abs(np.imag(expected)).max() < 1e-12
    np.testing.assert_allclose(squared(model_of(*matrices), 40), np.real(expected), rtol=1e-6)


def test_convergence_is_of_fourth_order(matrices) -> None:
    """ARK4(3)6L[2]SA (Kennedy and Carpenter 2003): halving the step divides the error by 16."""
    model = model_of(*matrices)
    expected = np.real([exact(*matrices, q) for q in Q[:2]])
    errors = [np.abs(squared(model, steps)[:2] - expected).max() for steps in (8, 16, 32)]
    assert np.log2(errors[0] / errors[1]) > 3.6
    assert np.log2(errors[1] / errors[2]) > 3.6


def test_no_gradient_is_pure_decay(matrices) -> None:
    """With q = 0 the signal is sum total^2 exp(-rate TE)."""
    operator, _, total = matrices
    expected = total**2 @ np.exp(-np.diag(operator) * WAVEFORM.echo_time)
    assert squared(model_of(*matrices), 40)[2] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("steps", [0.4, 3.0])
def test_adjoint_is_exact_for_the_discrete_scheme(matrices, steps: float) -> None:
    """d(loss) along a full symmetric perturbation of the operator, at coarse and fine steps alike."""
    operator, moments, total = matrices
    weights = np.array([1.0, -2.0, 0.5])
    operator = operator + 0.1 * np.eye(12)  # stays positive when it is perturbed
    model = model_of(operator, moments, total)
    cuts = cut(steps)
    trajectory = model.evolve(DRIVE, cuts, True)
    products = Products()
    imex.pull_back(model, DRIVE, cuts, trajectory, 2 * trajectory.final * np.tile(weights, 2), products)
    direction = np.random.default_rng(2).standard_normal(operator.shape)
    direction = direction + direction.T
    h = 1e-5
    ahead, behind = (
        weights @ squared(model_of(operator + sign * h * direction, moments, total), steps) for sign in (1, -1)
    )
    vectors = model.modes.vectors
    claimed = float((vectors @ products.sum @ vectors.T * direction).sum())
    assert abs(claimed) > 0.1
    assert claimed == pytest.approx((ahead - behind) / (2 * h), rel=1e-7)
