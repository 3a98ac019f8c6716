"""ADC, kurtosis and tensor fits: exact on signals of their own models, honest about noise, in agreement with DIPY."""

import numpy as np
import pytest

from dmrifw.errors import InputError
from dmrifw.models import fit_directions, fit_tensor, free_attenuation
from dmrifw.sequences import PGSE, BTensor, Protocol, fibonacci_directions

D = np.array([[2.0, 0.3, -0.1], [0.3, 1.0, 0.2], [-0.1, 0.2, 0.5]])
VECTORS = fibonacci_directions(12)
TABLE = Protocol.product(PGSE(10, 30), [0.0, 500.0, 1000.0, 2000.0], VECTORS)
ALONG = np.einsum("di,ij,dj->d", VECTORS, D, VECTORS)


def test_free_diffusion_is_exp_of_minus_b_d():
    """B:D of linear encoding is b n.D n; of spherical encoding b trace(D)/3."""
    np.testing.assert_allclose(free_attenuation(TABLE, 2.0), np.exp(-2e-3 * TABLE.bvals), rtol=1e-12)
    np.testing.assert_allclose(free_attenuation(TABLE, D), np.exp(-1e-3 * TABLE.bvals * np.tile(ALONG, 4)), rtol=1e-12)
    sphere = Protocol.product(BTensor(30, 0.0), [1500.0], VECTORS)
    np.testing.assert_allclose(free_attenuation(sphere, D), np.exp(-1.5 * np.trace(D) / 3), rtol=1e-10)


def test_each_direction_has_the_adc_of_the_tensor():
    """n.D n for Gaussian diffusion, whatever S0 and phase."""
    fit = fit_directions(TABLE, 7.5j * free_attenuation(TABLE, D))
    np.testing.assert_allclose(fit.direction, VECTORS, atol=1e-12)
    np.testing.assert_allclose(fit.adc, ALONG, rtol=1e-10)
    np.testing.assert_allclose(fit.s0, 7.5, rtol=1e-12)
    assert (fit.kurtosis == 0).all()
    assert (fit.adc_error < 1e-12).all()


def test_kurtosis_is_that_of_two_gaussians():
    """By cumulants: ADC = mean D, K = 3 var(D)/mean(D)^2; the quadratic fit is exact as b goes to 0."""
    protocol = Protocol.product(PGSE(10, 30), [0.0, 5.0, 10.0, 15.0], [[1, 0, 0]])
    signal = 0.5 * free_attenuation(protocol, 2.5) + 0.5 * free_attenuation(protocol, 0.5)
    fit = fit_directions(protocol, signal, kurtosis=True)
    np.testing.assert_allclose(fit.adc, 1.5, rtol=1e-4)
    np.testing.assert_allclose(fit.kurtosis, 3 * 1.0 / 1.5**2, rtol=1e-2)


def test_sequences_and_opposite_directions_are_told_apart():
    """Restricted diffusion depends on the timing, not on the sign of the direction."""
    short = Protocol.pgse([0, 800, 800], [[0, 0, 0], [0, 0, 1], [0, 0, -1]], 5, 10)
    protocol = short + Protocol.pgse([0, 800], [[0, 0, 0], [0, 0, 1]], 5, 50)
    fit = fit_directions(protocol, np.exp(-np.array([0, 0.8, 0.8, 0, 0.4])))
    assert fit.sequence.tolist() == [0, 1]
    np.testing.assert_allclose(fit.adc, [1.0, 0.5])
    assert np.isnan(fit.adc_error[1])  # two signals, two parameters


@pytest.mark.parametrize("b_delta", [1.0, 0.6])
def test_the_tensor_comes_back(b_delta):
    """From linear encoding, and from b-tensors that are not."""
    protocol = Protocol.product(BTensor(30, b_delta), [0.0, 1000.0, 2000.0], VECTORS)
    fit = fit_tensor(protocol, 3.0 * free_attenuation(protocol, D))
    np.testing.assert_allclose(fit.tensor, D, atol=1e-10)
    assert fit.s0 == pytest.approx(3.0)
    assert fit.mean_diffusivity[0] == pytest.approx(np.trace(D) / 3)
    np.testing.assert_allclose(fit.adc(VECTORS)[0], ALONG, rtol=1e-9)


def test_the_tensor_is_the_one_of_dipy():
    """DIPY's weighted fit of the same noisy signals."""
    gradients = pytest.importorskip("dipy.core.gradients")
    dti = pytest.importorskip("dipy.reconst.dti")
    noise = np.random.default_rng(0).normal(0, 0.01, len(TABLE))
    signal = free_attenuation(TABLE, D) + noise
    table = gradients.gradient_table(TABLE.bvals, bvecs=TABLE.bvecs, b0_threshold=0)
    theirs = dti.TensorModel(table, fit_method="WLS").fit(signal).quadratic_form * 1e3
    np.testing.assert_allclose(fit_tensor(TABLE, signal).tensor, theirs, rtol=1e-6, atol=1e-8)


def test_standard_errors_are_those_of_repeated_noise():
    """The spread of estimates over 400 draws of noise, to its own statistical error of about 1/sqrt(800) x 4."""
    rng, truth = np.random.default_rng(1), free_attenuation(TABLE, D)
    fits = [fit_tensor(TABLE, truth + rng.normal(0, 0.005, len(TABLE))) for _ in range(400)]
    spread = np.std([fit.mean_diffusivity[0] for fit in fits])
    told = np.sqrt(np.mean([fit.mean_diffusivity[1] ** 2 for fit in fits]))
    assert told == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize(
    ("call", "key", "words"),
    [
        (lambda: fit_directions(TABLE, np.ones(3)), "signal", "shape \\(3,\\) for 48"),
        (lambda: fit_directions(TABLE, np.zeros(48)), "signal", "measurement 0"),
        (lambda: fit_directions(TABLE.select(TABLE.bvals == 500), np.ones(12)), "bvals", "1 b-values along"),
        (lambda: fit_directions(TABLE.select(TABLE.bvals == 0), np.ones(12)), "bvals", "at b = 0"),
        (lambda: fit_tensor(TABLE.select(TABLE.bvals == 500), np.ones(12)), "bvecs", "do not determine"),
        (lambda: fit_tensor(TABLE + Protocol.pgse([0], [[1, 0, 0]], 1, 2), np.ones(49)), "protocol", "2 sequences"),
        (lambda: free_attenuation(TABLE, -1.0), "diffusivity", "at least 0"),
        (lambda: free_attenuation(TABLE, np.ones((2, 2))), "diffusivity", "3x3"),
    ],
)
def test_what_cannot_be_fitted_is_refused(call, key, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert caught.value.key == key
