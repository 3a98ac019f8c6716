"""Tissue physics through both methods: relaxation, equilibrium, loss at surfaces, and what each compartment gives."""

import numpy as np
import pytest
from scipy.optimize import brentq

from dmrifw import Protocol
from dmrifw.mesh import bcc_grid, from_arrays, layers, spheres
from dmrifw.sequences import PGSE, BTensor, Sampled
from dmrifw.simulator import SignalModel

METHODS = ("full-order", "matrix-formalism")
DIRECTIONS = [[1.0, 0.0, 0.0], [0.6, 0.0, 0.8]]
ASYMMETRIC = Sampled(
    np.array([0.0, 1.0, 2.0, 4.0, 5.0]), np.array([[0, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, -5 / 3], [0, 0, 0]])
)
WAVEFORMS = {"pgse": PGSE(3.0, 5.0), "asymmetric": ASYMMETRIC, "tensor": BTensor(3.0, 0.0)}


def slabs(**options):
    """Two layers of 3 and 5 um, and a protocol whose first measurement of each direction is at b = 0."""
    grid = layers([3.0, 5.0], [1.0, 1.0], 0.5, 1.0)
    waveform = options.pop("waveform", WAVEFORMS["pgse"])
    protocol = Protocol.product(waveform, [0, 1500], DIRECTIONS)
    return SignalModel(grid, protocol, **{"interfaces": grid.is_interface, "tolerance": 1e-6, **options})


@pytest.mark.parametrize("method", METHODS)
def test_uniform_relaxation_is_a_factor(method: str) -> None:
    """S(T2) = exp(-TE/T2) S, TE = 8 ms, so that S/S0 stays."""
    plain = slabs(method=method).signal(0.1, keep=False)[0]
    relaxed = slabs(method=method, T2=25.0).signal(0.1, keep=False)[0]
    np.testing.assert_allclose(relaxed, np.exp(-8.0 / 25.0) * plain, rtol=5e-6)


@pytest.mark.parametrize("waveform", WAVEFORMS)
@pytest.mark.parametrize("method", METHODS)
def test_compartments_keep_their_water(waveform: str, method: str) -> None:
    """Detailed balance: densities 0.4 and 1 are in equilibrium across an open wall, and no gradient disturbs them."""
    model = slabs(method=method, density=[0.4, 1.0], diffusivity=[0.5, 2.0], waveform=WAVEFORMS[waveform])
    np.testing.assert_allclose(model.compartment_signal(1.0, rows=[0]), [[0.4 * 3.0, 5.0]], rtol=1e-11)


@pytest.mark.parametrize("waveform", WAVEFORMS)
@pytest.mark.parametrize("method", METHODS)
def test_compartments_add_up_to_the_signal(waveform: str, method: str) -> None:
    """Half an evolution squared and a whole one summed, or twice the same: one signal, to the tolerance."""
    model = slabs(method=method, waveform=WAVEFORMS[waveform], T2=[10.0, 80.0], density=[0.5, 1.0])
    signal = model.signal(0.05, keep=False)[0]
    parts = model.compartment_signal(0.05)
    assert parts.shape == (4, 2)
    np.testing.assert_allclose(parts.sum(axis=1), signal, atol=4e-6 * abs(signal[0]))


@pytest.mark.parametrize("method", METHODS)
def test_each_compartment_has_its_relaxation(method: str) -> None:
    """A closed wall: at b = 0 each one has its volume times exp(-TE/T2), TE = 8 ms."""
    model = slabs(method=method, T2=[10.0, 80.0])
    expected = [[3.0 * np.exp(-0.8), 5.0 * np.exp(-0.1)]]
    np.testing.assert_allclose(model.compartment_signal(0.0, rows=[0]), expected, rtol=5e-6)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("waveform", ["pgse", "asymmetric"])
@pytest.mark.parametrize("method", METHODS)
def test_magnetization_integrates_to_the_signal_of_each_compartment(degree: int, waveform: str, method: str) -> None:
    """The integral of a linear field over a tetrahedron is its volume times the mean of the corners.

    Of quadratic elements the corners alone say less; at b = 0 they are all 1.
    """
    model = slabs(method=method, degree=degree, waveform=WAVEFORMS[waveform], density=[0.5, 1.0])
    fields = model.magnetization(0.05)
    assert fields.shape == (4, len(model.grid.cells), 4)
    if degree == 2:
        densities = np.array([0.5, 1.0])[model.grid.cell_tags]
        np.testing.assert_allclose(fields[0], np.repeat(densities[:, None], 4, axis=1), rtol=1e-9)
        return
    integrals = model.grid.cell_volumes * fields.mean(axis=2)
    totals = np.stack([integrals[:, model.grid.cell_tags == tag].sum(axis=1) for tag in (0, 1)], axis=1)
    np.testing.assert_allclose(totals, model.compartment_signal(0.05), atol=1e-10)


def test_magnetization_is_where_the_caller_numbers_it() -> None:
    """One unit of water in a single cell of the ambient grid: closed faces, so that it stays where it is."""
    grid = bcc_grid(cells=2, size=6.0)
    density = np.random.default_rng(0).uniform(0.5, 1.5, len(grid.cells))
    model = SignalModel(grid, Protocol.pgse([0], [[0, 0, 1]], 1.0, 2.0), density=density)
    np.testing.assert_allclose(model.magnetization(0.0)[0], np.repeat(density[:, None], 4, axis=1), rtol=1e-9)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_a_permeable_exterior_is_a_relaxing_one(degree: int, method: str) -> None:
    """With density 1, kappa w and s rho w are the same loss."""
    grid = spheres([4.0], 2.4)
    protocol = Protocol.product(WAVEFORMS["pgse"], [0, 1500], DIRECTIONS)
    options = {"interfaces": grid.is_interface, "tolerance": 1e-5, "method": method, "degree": degree}
    permeable = SignalModel(grid, protocol, exterior="permeable", **options).signal(0.1, keep=False)[0]
    relaxing = SignalModel(grid, protocol, surface_relaxivity=0.1, **options).signal(0.0, keep=False)[0]
    assert permeable[0].real < 0.8 * grid.volume
    np.testing.assert_allclose(relaxing, permeable, rtol=1e-9)


@pytest.mark.parametrize("strength", [0.002, 0.2])
@pytest.mark.parametrize("method", METHODS)
def test_relaxivity_of_a_slab(strength: float, method: str) -> None:
    """Modes cos(k x) with D k tan(k a) = s in a slab of half-width a: Brownstein and Tarr 1979.

    At s a/D = 0.004 the lowest is the whole signal, exp(-s S/V t), S/V = 1/a, with a rate that falls short by a share
    s a/(3 D).
    """
    grid = layers([8.0], [1.0, 1.0], 0.125, 1.0)
    a, diffusivity, time = 4.0, 2.0, 8.0
    loss = np.where(np.abs(grid.points[grid.faces][..., 0] - 4.0).min(axis=1) > 3.999, strength, 0.0)
    model = SignalModel(
        grid,
        Protocol.product(WAVEFORMS["pgse"], [0], [[1.0, 0.0, 0.0]]),
        diffusivity,
        interfaces=grid.is_interface,
        surface_relaxivity=loss,
        tolerance=1e-5,
        method=method,
    )
    found = model.signal(0.0, keep=False)[0].real[0] / grid.volume
    roots = np.array(
        [
            brentq(lambda z: z * np.tan(z) - strength * a / diffusivity, np.pi * m + 1e-12, np.pi * (m + 0.5) - 1e-9)
            for m in range(40)
        ]
    )
    weights = 2 * np.sin(roots) ** 2 / (roots * (roots + np.sin(roots) * np.cos(roots)))
    expected = weights @ np.exp(-diffusivity * (roots / a) ** 2 * time)
    assert found == pytest.approx(expected, abs=2e-5)
    if strength < 0.01:
        assert found == pytest.approx(
            np.exp(-strength / a * time), abs=strength * time / a * strength * a / diffusivity
        )


@pytest.mark.parametrize("method", METHODS)
def test_relaxivity_of_a_wall_acts_on_both_sides(method: str) -> None:
    """Slow relaxation at a closed wall between slabs: each loses s/width, the first order of Brownstein and Tarr."""
    strength, time = 1e-4, 8.0
    grid = layers([3.0, 5.0], [1.0, 1.0], 0.5, 1.0)
    model = slabs(method=method, surface_relaxivity=np.where(grid.is_interface, strength, 0.0), density=[0.5, 1.0])
    expected = np.array([1.5, 5.0]) * np.exp(-strength * time / np.array([3.0, 5.0]))
    np.testing.assert_allclose(model.compartment_signal(0.0, rows=[0])[0], expected, rtol=2e-6)


def test_a_scalar_relaxivity_is_that_of_every_surface() -> None:
    """The exterior, and the walls where there are any."""
    grid = layers([3.0, 5.0], [1.0, 1.0], 1.0, 1.0)
    one = from_arrays(grid.points, grid.cells)
    for which, surfaces in ((grid, 2 * 1.0), (one, 0.0)):
        model = SignalModel(
            which, Protocol.pgse([0], [[1, 0, 0]], 1.0, 2.0), interfaces=which.is_interface, surface_relaxivity=0.01
        )
        ones = np.ones((model.operators.mass.rows.size_local, 1))
        lost = float((ones.T @ (model.operators.decay @ ones)).item())
        assert lost == pytest.approx(0.01 * (2 * 1.0 + 4 * 8.0 + surfaces), rel=1e-10)
