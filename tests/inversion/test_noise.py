"""Noise has the size that was asked for, and the estimate finds it again."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from dmrifw.errors import InputError
from dmrifw.inversion import add_noise, estimate_sigma, remainder
from dmrifw.sequences import PGSE, Protocol, fibonacci_directions

COUNT = 20_000


@pytest.fixture(scope="module")
def many() -> Protocol:
    """Two sequences, each with many measurements at b = 0 and some at 1000."""
    bvals = np.repeat([0.0, 1000.0], [COUNT, 100])
    vectors = np.tile([1.0, 0.0, 0.0], (len(bvals), 1))
    return Protocol.pgse(bvals, vectors, 10, 20) + Protocol.pgse(bvals, vectors, 10, 60)


@pytest.fixture(scope="module")
def clean(many: Protocol) -> np.ndarray:
    """S0 is 50 in the first sequence and 8 in the second."""
    return np.array([50.0, 8.0])[many.sequence] * np.where(many.bvals > 0, 0.3j, 1.0)


def test_noise_is_a_share_of_s0_of_each_sequence_in_both_parts(many: Protocol, clean: np.ndarray) -> None:
    """Standard deviations of 1/20; their own error is 1/sqrt(2 n) = 0.5 %."""
    noise = (add_noise(clean, many, 20.0, seed=1) - clean) / np.abs(clean)
    for number in (0, 1):
        rows = (many.sequence == number) & (many.bvals == 0)
        for part in (noise.real, noise.imag):
            assert part[rows].std() == pytest.approx(0.05, rel=0.02)
            assert part[rows].mean() == pytest.approx(0.0, abs=0.002)
        assert np.corrcoef(noise[rows].real, noise[rows].imag)[0, 1] == pytest.approx(0.0, abs=0.03)


def test_rician_noise_has_rice_s_distribution(many: Protocol, clean: np.ndarray) -> None:
    noisy = add_noise(clean, many, 2.0, seed=2, noise="rician")
    assert (noisy.imag == 0).all()
    at_zero = (many.sequence == 1) & (many.bvals == 0)
    assert scipy.stats.kstest(noisy.real[at_zero], scipy.stats.rice(2.0, scale=4.0).cdf).pvalue > 0.01


def test_a_seed_gives_one_noise_and_another_seed_another(many: Protocol, clean: np.ndarray) -> None:
    one, again, other = (add_noise(clean, many, 20.0, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()


@pytest.mark.parametrize("snr", [3.0, 5.0, 50.0, 500.0])
@pytest.mark.parametrize("noise", ["gaussian", "rician"])
def test_the_estimate_finds_the_noise(many: Protocol, clean: np.ndarray, snr: float, noise: str) -> None:
    """Relative to S0 as it is measured: at SNR 3 the mean magnitude is itself 6 % too large (Rice)."""
    measured = add_noise(clean, many, snr, seed=5, noise=noise)  # type: ignore[arg-type]
    inflated = 1.0 if snr > 20 else scipy.stats.rice.mean(snr, scale=1 / snr)
    sigma = estimate_sigma(measured, many, magnitude=noise == "rician")
    assert sigma == pytest.approx(1.0 / snr / inflated, rel=0.02)


def test_what_tells_no_noise_is_refused(many: Protocol, clean: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"^sigma: .*do not differ"):
        estimate_sigma(clean, many, magnitude=True)
    few = many.select([0, COUNT, COUNT + 100, COUNT + 101 + COUNT])
    with pytest.raises(InputError, match=r"^sigma: no sequence has two"):
        estimate_sigma(np.ones(4), few, magnitude=True)
    with pytest.raises(InputError, match=r"^snr: "):
        add_noise(clean, many, 0.0, seed=1)


@pytest.mark.parametrize("complex_valued", [True, False])
def test_noise_is_told_whatever_a_model_misses(complex_valued: bool) -> None:
    """Of 450 weighted measurements each part leaves half and more: the error of the estimate is below 5 %."""
    protocol = Protocol.preset("spinverse")
    x, y, z = protocol.q.T / max(np.linalg.norm(protocol.q, axis=1).max(), 1e-300)
    missed = 0.3 * (x**2 - 2 * y * z + 1.5 * x**2 * y**2) + 0.2j * (x**3 - x * y * z + 0.5 * z**3)
    parts = 0.02 * np.random.default_rng(7).standard_normal((2, len(protocol)))
    noise = parts[0] + 1j * parts[1]
    missed, noise = (missed, noise) if complex_valued else (missed.real, noise.real)
    alone, told = remainder(noise, protocol), remainder(missed + noise, protocol)
    assert alone is not None
    assert told is not None
    assert told.noise == pytest.approx(0.02, rel=0.1)
    assert told.noise == pytest.approx(alone.noise, rel=1e-9)
    assert told.excess > 10
    given = remainder(missed + noise, protocol, sigma=0.03)
    assert given is not None
    assert given.noise == 0.03


@pytest.mark.parametrize("complex_valued", [True, False])
def test_noise_alone_seldom_exceeds_itself(complex_valued: bool) -> None:
    """By two standard deviations once in forty times; a third of it in degree 2 by more than that always."""
    protocol, generator = Protocol.preset("spinverse"), np.random.default_rng(11)
    x, y, z = np.divide(
        protocol.q, np.linalg.norm(protocol.q, axis=1)[:, None], where=protocol.q.any(axis=1)[:, None]
    ).T
    missed = (x**2 - 0.4 * z**2 + y * z) * (protocol.bvals > 0)
    missed *= 0.4 / np.sqrt(np.mean(missed**2))
    excesses, with_missed = [], []
    for _ in range(100):
        noise = generator.standard_normal(len(protocol))
        if complex_valued:
            noise = noise + 1j * generator.standard_normal(len(protocol))
        one, other = remainder(noise, protocol), remainder(noise + missed, protocol)
        assert one is not None
        assert other is not None
        excesses.append(one.excess)
        with_missed.append(other.excess)
    assert np.mean(excesses) == pytest.approx(0.0, abs=0.4)
    assert np.std(excesses) == pytest.approx(1.0, abs=0.3)
    assert np.mean(np.array(excesses) > 2) < 0.1
    assert np.median(with_missed) > 3


def test_what_grows_with_b_is_told_at_a_quarter_of_the_noise() -> None:
    """540 / 16 of excess in 3 x 13 freedoms are 3.9 standard deviations; shell by shell they would be 2.5 in 93."""
    protocol, generator = Protocol.preset("spinverse"), np.random.default_rng(12)
    x, y, z = protocol.q.T / np.linalg.norm(protocol.q, axis=1).max()
    missed = x**2 - 0.4 * z**2 + y * z + 0.2 * protocol.bvals / protocol.bvals.max()
    missed *= 0.25 / np.sqrt(np.mean(missed**2))
    told = [remainder(missed + generator.standard_normal(len(protocol)), protocol) for _ in range(100)]
    assert np.median([one.excess for one in told if one is not None]) == pytest.approx(
        540 / 16 / np.sqrt(2 * 39), abs=0.6
    )


def test_too_few_directions_tell_no_noise() -> None:
    protocol = Protocol.product(PGSE(10, 20), [0.0, 1000.0], fibonacci_directions(6))
    assert remainder(np.random.default_rng(8).standard_normal(len(protocol)), protocol) is None
