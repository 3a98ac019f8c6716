"""Costs of measurements are the negative logarithms of the densities that scipy knows, stable at any noise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from dmrifw import verify
from dmrifw.errors import InputError
from dmrifw.inversion.likelihoods import data_term, gaussian, rician, squared_difference

SIGNAL = np.array([1.0, 0.7 - 0.2j, 0.1j, 0.004, 0.3])
MEASURED = np.array([0.98, 0.6 + 0.3j, 0.05, 0.02, 0.35])


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.tensor(array, dtype=torch.complex128) for array in arrays]


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.3, 3.0])
def test_rician_is_scipy_s_density(sigma: float) -> None:
    """The term log(m / sigma^2), in which the simulated signal does not occur, is left out."""
    found = rician(*tensors(SIGNAL, MEASURED), sigma=sigma).numpy()
    m = np.abs(MEASURED)
    expected = -scipy.stats.rice.logpdf(m, np.abs(SIGNAL) / sigma, scale=sigma) + np.log(m / sigma**2)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_gaussian_is_scipy_s_density() -> None:
    """Of both parts, or of the magnitude; the terms log(sqrt(2 pi) sigma) are left out."""
    sigma, constant = 0.05, np.log(np.sqrt(2 * np.pi) * 0.05)
    magnitude = gaussian(*tensors(SIGNAL, MEASURED), sigma=sigma, magnitude=True).numpy()
    expected = -scipy.stats.norm.logpdf(np.abs(MEASURED), np.abs(SIGNAL), sigma) - constant
    np.testing.assert_allclose(magnitude, expected, rtol=1e-12, atol=1e-12)
    parts = gaussian(*tensors(SIGNAL, MEASURED), sigma=sigma, magnitude=False).numpy()
    expected = -scipy.stats.norm.logpdf(MEASURED.real, SIGNAL.real, sigma) - constant
    expected -= scipy.stats.norm.logpdf(MEASURED.imag, SIGNAL.imag, sigma) + constant
    np.testing.assert_allclose(parts, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sigma", [1e-9, 1e-4, 1e4])
def test_rician_neither_overflows_nor_underflows(sigma: float) -> None:
    """I0(m S / sigma^2) itself overflows above 700. Costs are at least 0; gradients are finite, at S = 0 too."""
    signal = torch.tensor([1.0, 1e-3, 0.0, 1.0], dtype=torch.complex128, requires_grad=True)
    measured = torch.tensor([1.0, 1e-3, 0.5, 0.0], dtype=torch.complex128)
    cost = rician(signal, measured, sigma=sigma)
    cost.sum().backward()
    assert torch.isfinite(cost).all()
    assert (cost >= 0).all()
    assert torch.isfinite(torch.view_as_real(signal.grad)).all()


def test_little_noise_makes_rician_gaussian() -> None:
    """-log p differs by log(m / S) / 2 where S is far above sigma, from I0's asymptote exp(x) / sqrt(2 pi x)."""
    sigma = 1e-3
    one, other = tensors(np.array([0.5]), np.array([0.502]))
    difference = rician(one, other, sigma=sigma) - gaussian(one, other, sigma=sigma, magnitude=True)
    expected = 0.5 * np.log(2 * np.pi * 0.5 * 0.502 / sigma**2)
    assert difference.item() == pytest.approx(expected, abs=1e-5)  # the next term is sigma^2 / (8 m S) = 5e-7


@pytest.mark.parametrize(
    ("likelihood", "magnitude"), [("squared", True), ("gaussian", True), ("gaussian", False), ("rician", True)]
)
def test_gradients_pass_the_taylor_test(likelihood: str, magnitude: bool) -> None:
    cost = data_term(likelihood, magnitude, 0.1)  # type: ignore[arg-type]
    (measured,) = tensors(MEASURED)

    def total(x: torch.Tensor) -> torch.Tensor:
        return cost(torch.view_as_complex(x), measured).sum()

    point = np.column_stack([SIGNAL.real, SIGNAL.imag])
    result = verify.taylor_test(total, point, step=1e-5)
    assert result.rate > 1.95
    entries = np.arange(point.size)[np.abs(point.ravel()) > 0]
    gradient, differences = verify.finite_difference(total, point, entries, step=1e-4)
    np.testing.assert_allclose(gradient, differences, rtol=1e-5, atol=1e-6)


def test_the_rician_minimum_lies_at_the_truth_where_that_of_magnitudes_does_not() -> None:
    """At S = sigma magnitudes average 1.55 sigma (Rice): squares are fooled by the noise floor, the likelihood not."""
    sigma, truth = 0.1, 0.1
    noise = np.random.default_rng(0).normal(scale=sigma, size=(2, 200_000))
    m = torch.from_numpy(np.abs(truth + noise[0] + 1j * noise[1])).to(torch.complex128)
    candidates = [0.05, 0.1, 0.15, 0.2]
    signals = [torch.full_like(m, one) for one in candidates]
    likely = [rician(one, m, sigma=sigma).mean().item() for one in signals]
    squared = [squared_difference(one, m, magnitude=True).mean().item() for one in signals]
    assert candidates[int(np.argmin(likely))] == truth
    assert candidates[int(np.argmin(squared))] == 0.15


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("poisson", True, 0.1), "likelihood"),
        (("rician", False, 0.1), "likelihood"),
        (("rician", True, None), "sigma"),
        (("gaussian", True, 0.0), "sigma"),
        (("gaussian", True, float("nan")), "sigma"),
    ],
)
def test_what_makes_no_likelihood_is_refused(arguments: tuple, key: str) -> None:
    with pytest.raises(InputError, match=rf"^{key}: "):
        data_term(*arguments)
