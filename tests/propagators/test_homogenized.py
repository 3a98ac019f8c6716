"""The homogenized ADC: exact in slabs and spheres, the initial slope of the simulated signal, short and long times."""

import numpy as np
import pytest

from dmrifw.errors import InputError
from dmrifw.mesh import from_arrays
from dmrifw.mesh.generators import layers, spheres
from dmrifw.models import short_time_adc
from dmrifw.propagators import homogenized_adc
from dmrifw.sequences import DDE, OGSE, PGSE, BTensor, Protocol, fibonacci_directions
from dmrifw.simulator import SignalModel

X, Y = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]


def model(grid, protocol, diffusivity=2.0, **options):
    return SignalModel(grid, protocol, diffusivity, interfaces=grid.is_interface, tolerance=1e-7, **options)


def pgse_memory(rates, delta, Delta):
    """Integral of f(t) f(s) exp(-r(t-s)) over s < t, divided by that of F^2, for PGSE (Neuman 1974)."""
    z = rates * delta
    pulses = 2 * z - 2 + 2 * np.exp(-z) + 2 * np.exp(-rates * Delta)
    pulses -= np.exp(-rates * (Delta - delta)) + np.exp(-rates * (Delta + delta))
    return pulses / rates**2 / (delta**2 * (Delta - delta / 3))


@pytest.mark.parametrize(("delta", "Delta"), [(10.0, 20.0), (1.0, 3.0)])
def test_a_slab_has_the_series_of_its_modes(delta, Delta):
    """Modes D (pi n/a)^2, n odd, with squared moments 8 a^2/(pi n)^4 of the volume: the mesh costs 1e-4."""
    grid = layers([8.0], [1.0, 1.0], 0.05, 1.0)
    protocol = Protocol.pgse([1000.0], [X], delta, Delta)
    n = np.arange(1, 2001, 2)
    exact = (8 * 64 / (np.pi * n) ** 4) @ pgse_memory(2.0 * (np.pi * n / 8) ** 2, delta, Delta)
    found = homogenized_adc(model(grid, protocol).operators, protocol, np.zeros(len(grid.faces)))
    np.testing.assert_allclose(found, exact, rtol=1e-4)


def test_it_is_the_initial_slope_of_the_signal():
    """-ln S/b at b = 1 s/mm^2, one connected or two coupled compartments, any waveform, to 1e-3."""
    sphere, slabs = spheres([5.0], 2.4), layers([3.0, 5.0], [1.0, 1.0], 0.2, 1.0)
    waveforms = (PGSE(10, 20, 1), OGSE(20, 25, 2), OGSE(20, 25, 1, "sin"), BTensor(20, 0.0), DDE(3, 12, 20, 90))
    for grid, diffusivity, permeability in ((sphere, 2.0, 0.0), (slabs, [1.0, 2.5], 0.1)):
        protocol = sum(
            (Protocol.product(waveform, [1.0], [X]) for waveform in waveforms[1:]),
            Protocol.product(waveforms[0], [1.0], [X]),
        )
        simulator = model(grid, protocol, diffusivity)
        faces = np.full(len(grid.faces), permeability)
        slope = -np.log(simulator.signal(faces, keep=False)[0].real / grid.volume) / 1e-3
        np.testing.assert_allclose(homogenized_adc(simulator.operators, protocol, faces), slope, rtol=1e-3)


def test_compartments_without_exchange_average_by_volume():
    """Two closed slabs: the initial slope is the mean of each one's, weighted by volume and density."""
    grid = layers([4.0, 8.0], [1.0, 1.0], 0.1, 1.0)
    protocol = Protocol.pgse([1000.0], [X], 5, 15)
    found = homogenized_adc(
        model(grid, protocol, [1.0, 2.0], density=[3.0, 1.0]).operators, protocol, np.zeros(len(grid.faces))
    )
    n = np.arange(1, 2001, 2)
    each = [
        (8 * a**2 / (np.pi * n) ** 4) @ pgse_memory(d * (np.pi * n / a) ** 2, 5, 15)
        for a, d in ((4.0, 1.0), (8.0, 2.0))
    ]
    np.testing.assert_allclose(found, (3 * 4 * each[0] + 8 * each[1]) / (3 * 4 + 8), rtol=1e-3)


def test_short_times_see_the_surface_only():
    """Mitra's limit across a slab: S/V = 2/a in one dimension."""
    grid = layers([20.0], [1.0, 1.0], 0.02, 1.0)
    protocol = Protocol.pgse([1.0], [X], 0.2, 0.5)
    found = homogenized_adc(model(grid, protocol).operators, protocol, np.zeros(len(grid.faces)), 1e-5)
    np.testing.assert_allclose(found, short_time_adc(PGSE(0.2, 0.5), 2.0, 2 / 20, dimension=1), rtol=1e-3)


def test_a_free_direction_has_the_free_diffusivity():
    """Far walls do not count: what they take away is 4/(3 sqrt pi) (2/L) sqrt(D t), and an anisotropic D turns up."""
    tensor = np.diag([1.0, 2.0, 0.5])
    grid = layers([1.0], [400.0, 1.0], 1.0, 1.0)
    protocol = Protocol.pgse([1.0], [Y], 1.0, 3.0)
    found = homogenized_adc(model(grid, protocol, tensor).operators, protocol, np.zeros(len(grid.faces)), 1e-4)
    walls = short_time_adc(PGSE(1.0, 3.0), 2.0, 2 / 400, dimension=1)
    np.testing.assert_allclose(found, walls, rtol=1e-3)
    np.testing.assert_allclose(found, 2.0, rtol=1e-2)


def test_periodic_water_is_free():
    """Without walls HADC is g.D g, and the b-tensor's shape weighs the axes: B:D/b."""
    tensor = np.array([[1.0, 0.3, 0.0], [0.3, 2.0, 0.1], [0.0, 0.1, 0.5]])
    grid = layers([5.0], [1.0, 1.0], 0.5, 0.5)
    protocol = Protocol.product(PGSE(5, 15), [1000.0], fibonacci_directions(4))
    protocol += Protocol.product(BTensor(20, 0.0), [1000.0], [X]) + Protocol.product(DDE(3, 12, 20, 90), [1000.0], [X])
    operators = model(grid, protocol, tensor, periodic=True).operators
    expected = np.einsum("nij,ij->n", protocol.btensors, tensor)
    np.testing.assert_allclose(homogenized_adc(operators, protocol, np.zeros(len(grid.faces))), expected, rtol=1e-6)


def test_periodic_walls_leave_the_diffusivity_of_their_series():
    """Long times across walls a apart: 1/D_long = 1/D + 1/(kappa a) (resistances in series); and it is the slope."""
    halves = layers([2.0, 2.0], [1.0, 1.0], 0.1, 1.0)
    grid = from_arrays(halves.points, halves.cells)  # one compartment, with a wall across it every 4 um
    walls = np.where(halves.is_interface, 0.3, 0.0)
    timing = Protocol.pgse([1.0, 1.0], [X, [1.0, 1.0, 0.0]], 1.0, 4000.0)
    protocol = timing + Protocol.pgse([1.0], [X], 3, 5)
    simulator = SignalModel(grid, protocol, 2.0, interfaces=halves.is_interface, periodic=True, tolerance=1e-6)
    found = homogenized_adc(simulator.operators, protocol, walls)
    across = 1 / (1 / 2.0 + 1 / (0.3 * 4.0))
    np.testing.assert_allclose(found[:2], [across, (across + 2.0) / 2], rtol=1e-3)
    slope = -np.log(simulator.signal(walls, rows=[2], keep=False)[0].real / grid.volume) / 1e-3
    np.testing.assert_allclose(found[2], slope[0], rtol=1e-3)


def test_a_ball_is_the_same_in_every_direction():
    """To the error of the mesh; and the b-value does not matter."""
    grid = spheres([5.0], 1.5)
    protocol = Protocol.product(PGSE(10, 20), [500.0, 2000.0], fibonacci_directions(4))
    found = homogenized_adc(model(grid, protocol).operators, protocol, np.zeros(len(grid.faces)))
    np.testing.assert_allclose(found[:4], found[4:], rtol=1e-12)
    np.testing.assert_allclose(found, found.mean(), rtol=2e-3)


def test_the_modes_left_out_are_bounded():
    """Few modes and many agree to the tolerance asked for."""
    grid = spheres([5.0], 1.2)
    protocol = Protocol.pgse([1.0], [X], 0.2, 0.4)
    operators, closed = model(grid, protocol).operators, np.zeros(len(grid.faces))
    loose, tight = (homogenized_adc(operators, protocol, closed, tolerance) for tolerance in (1e-1, 1e-4))
    assert abs(loose - tight)[0] <= 2.0 * 1e-1


@pytest.mark.parametrize(
    ("options", "vector", "key"),
    [({"T2": [50.0, 60.0]}, X, "T2"), ({"exterior": "permeable"}, X, "T2"), ({}, [0.0, 0.0, 0.0], "bvecs")],
)
def test_what_has_no_homogenized_adc_is_refused(options, vector, key):
    grid = layers([2.0, 2.0], [1.0, 1.0], 0.5, 1.0)
    protocol = Protocol.pgse([0.0], [vector], 5, 15)
    with pytest.raises(InputError) as caught:
        homogenized_adc(model(grid, protocol, **options).operators, protocol, np.ones(len(grid.faces)))
    assert caught.value.key == key
