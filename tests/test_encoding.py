"""Periodic axes: free diffusion, mixtures without walls, obstacles, and cells cut elsewhere or replicated."""

import numpy as np
import pytest

from dmrifw import Protocol
from dmrifw.encoding import Encoding
from dmrifw.mesh import from_arrays, layers
from dmrifw.mesh.grid import Grid
from dmrifw.sequences import OGSE, PGSE, BTensor, Sampled, fibonacci_directions
from dmrifw.simulator import SignalModel

TENSOR = np.array([[1.5, 0.4, 0.1], [0.4, 1.0, -0.2], [0.1, -0.2, 0.6]])
ASYMMETRIC = Sampled(
    np.array([0.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0]),
    np.array([[0, 0, 0], [0, 0, 1], [0, 0.5, 1], [0, 0.5, 0], [0, -1.75, -2], [0, -0.25, -1], [0, 0, 0]]),
)
WAVEFORMS = {
    "pgse": PGSE(5.0, 8.0),
    "ogse": OGSE(10.0, 12.0, 2),
    "ste": BTensor(10.0, 0.0),
    "pte": BTensor(10.0, -0.5),
    "sampled": ASYMMETRIC,
}
METHODS = ("full-order", "matrix-formalism")


def lattice(side: float, periods: tuple[int, int], origin: tuple[float, float], across: float = 1.0) -> Grid:
    """Cells of a square lattice in x and y, of which compartment 1 is a bar of half its side along z.

    The triangulation is the same at every vertex, wherever the lattice is cut.
    """
    grid = layers([periods[0] * side], [periods[1] * side, across], 0.5, 0.5)
    place = (grid.points[grid.cells].mean(axis=1)[:, :2] + origin) % side
    return from_arrays(grid.points, grid.cells, (np.abs(place - side / 2) < side / 4).all(axis=1).astype(int))


def stripes(periods: int) -> Grid:
    """Layers 2 um thick along x, alternately of compartments 0 and 1, from the middle of one of them on."""
    grid = layers([4.0 * periods], [0.5, 0.5], 0.25, 0.5)
    x = grid.points[grid.cells, 0].mean(axis=1) % 4.0
    return from_arrays(grid.points, grid.cells, (np.abs(x - 2.0) < 1.0).astype(int))


@pytest.mark.parametrize("name", WAVEFORMS)
@pytest.mark.parametrize("method", METHODS)
def test_free_diffusion(name: str, method: str) -> None:
    """S = V exp(-B:D) for any waveform, direction and tensor, whatever the lattice (Stejskal and Tanner 1965)."""
    grid = layers([4.0], [3.0, 5.0], 2.0, 1.5)
    protocol = Protocol.product(WAVEFORMS[name], [0, 500, 2000, 5000], fibonacci_directions(4))
    walls = np.zeros(len(grid.faces), dtype=bool)
    model = SignalModel(grid, protocol, TENSOR, interfaces=walls, periodic=True, method=method, tolerance=1e-6)
    expected = grid.volume * np.exp(-np.einsum("nij,ij->n", protocol.btensors, TENSOR))
    np.testing.assert_allclose(model.signal(0.0, keep=False)[0], expected, atol=1e-6 * grid.volume)


def in_the_middle(grid: Grid, side: float, protocol: Protocol, axes: int, **options) -> np.ndarray:
    """S/S0 of the cell in the middle of a reflecting grid of so many cells along the first axes."""
    centres = grid.points[grid.cells].mean(axis=1)[:, :axes]
    middle = 0.5 * grid.points.max(axis=0)[:axes]
    inside = (np.abs(centres - middle) < side / 2).all(axis=1)
    tagged = from_arrays(grid.points, grid.cells, inside.astype(int))
    totals = SignalModel(tagged, protocol, **options).compartment_signal(PERMEABILITY)[:, 1]
    return totals / tagged.cell_volumes[inside].sum()


PERMEABILITY = 0.1
DIFFUSIVITY = np.array([1.0, 0.3])


@pytest.mark.parametrize(
    "waveform", [PGSE(1.0, 2.0), pytest.param(ASYMMETRIC, marks=pytest.mark.slow)], ids=["pgse", "sampled"]
)
@pytest.mark.parametrize("method", METHODS)
def test_two_diffusivities_without_a_wall(waveform, method: str) -> None:
    """The cell in the middle of nine, whose far ends reflect: they are 16 um away, twice the diffusion length.

    One side is a phase, the other a shift of the wave vector, so that errors of the mesh differ: quadratic elements.
    """
    protocol = Protocol.product(waveform, [0, 1000], [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]])
    options = {"tolerance": 1e-4, "method": method, "degree": 2}
    signals = []
    for periods in (1, 9):
        grid = stripes(periods)
        options["interfaces"] = np.zeros(len(grid.faces), dtype=bool)
        diffusivity = DIFFUSIVITY[grid.cell_tags]
        if periods == 1:
            model = SignalModel(grid, protocol, diffusivity, periodic=True, **options)
            signals.append(model.signal(PERMEABILITY, keep=False)[0] / grid.volume)
        else:
            options["periodic"] = (False, True, True)
            signals.append(in_the_middle(grid, 4.0, protocol, 1, diffusivity=diffusivity, **options))
    np.testing.assert_allclose(signals[1], signals[0], atol=2e-4)
    mean = np.exp(-1.0 * DIFFUSIVITY.mean())
    assert abs(signals[0][-1] - mean) > 1e-3


@pytest.mark.parametrize("waveform", [PGSE(0.4, 0.6), ASYMMETRIC], ids=["pgse", "sampled"])
@pytest.mark.parametrize("method", METHODS)
def test_where_the_cell_is_cut_does_not_matter(waveform, method: str) -> None:
    """The same lattice, cut through the space between bars or through a bar, has the same signal."""
    protocol = Protocol.product(waveform, [0, 1500], [[1.0, 0.3, 0.2], [0.0, 1.0, 0.0]])
    signals = []
    for origin in ((0.0, 0.0), (1.5, 1.5)):
        grid = lattice(4.0, (1, 1), origin)
        model = SignalModel(
            grid,
            protocol,
            DIFFUSIVITY,
            interfaces=grid.is_interface,
            periodic=True,
            tolerance=1e-4,
            method=method,
        )
        signals.append(model.signal(PERMEABILITY, keep=False)[0] / grid.volume)
    assert np.abs(signals[0][2:]).max() < 0.9
    np.testing.assert_allclose(signals[1], signals[0], atol=2e-4)


@pytest.mark.slow
def test_the_cell_in_the_middle_of_nine() -> None:
    """For a ms the far walls of 3 x 3 reflecting cells are not felt in the middle: erfc(4/sqrt(4 D t)) = 5e-3."""
    protocol = Protocol.product(PGSE(0.4, 0.6), [0, 600], [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]])
    options = {"tolerance": 1e-4, "method": "full-order", "degree": 2}
    one, nine = lattice(4.0, (1, 1), (0.0, 0.0), 0.5), lattice(4.0, (3, 3), (0.0, 0.0), 0.5)
    model = SignalModel(one, protocol, DIFFUSIVITY, interfaces=one.is_interface, periodic=True, **options)
    periodic = model.signal(PERMEABILITY, keep=False)[0] / one.volume
    options.update(diffusivity=DIFFUSIVITY[nine.cell_tags], interfaces=nine.is_interface, periodic=(False, False, True))
    np.testing.assert_allclose(in_the_middle(nine, 4.0, protocol, 2, **options), periodic, atol=1e-3)


def test_weights_of_a_periodic_axis() -> None:
    """Phases along closed axes have g, drifts along periodic ones k, and spreads k_a k_b, twice where a != b."""
    tensors = np.stack([np.eye(3), 3 * np.eye(3) + 0.5 * (np.eye(3, k=1) + np.eye(3, k=-1))])
    encoding = Encoding.of((True, True, False), tensors, np.array([1.0, 3.0]))
    assert encoding.spread == ((0, 0), (0, 1), (1, 1))
    np.testing.assert_allclose(encoding.mean_diffusivity, [[2.5, 0.375, 0], [0.375, 2.5, 0], [0, 0, 0]])
    q = np.array([[0.1, 0.2, 0.3]])
    k = 2.0 * q[0]
    np.testing.assert_allclose(
        encoding.weights(PGSE(5.0, 8.0), q, 2.0, 0), [[k[0], k[1], 0.3, k[0] ** 2, 2 * k[0] * k[1], k[1] ** 2]]
    )
    np.testing.assert_array_equal(encoding.transposition, [1, 1, -1, 1, 1, 1])


def test_the_gap_between_pulses_is_still_only_without_periodic_axes() -> None:
    """In the gap of PGSE no gradient acts, but the wave vector does."""
    waveform = PGSE(2.0, 6.0)
    for periodic, still in ((False, True), (True, False)):
        encoding = Encoding.of((periodic, False, False), np.ones(1), np.ones(1))
        assert encoding.is_still(waveform, 2.0, 6.0, 1) == still
        assert not encoding.is_still(waveform, 0.0, 2.0, 0)
