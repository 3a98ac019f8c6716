"""Small cases of every kind, shared by the tests of propagators, and dense references for them."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from dmrifw import Protocol
from dmrifw.mesh import bcc_grid, cylinders, layers, packed_cylinders, shape_barrier, spheres
from dmrifw.mesh.shapes import Sphere
from dmrifw.propagators.held_steps import HeldSteps
from dmrifw.propagators.steps import Steps
from dmrifw.sequences import DDE, OGSE, PGSE, BTensor, Sampled, fibonacci_directions
from dmrifw.simulator import SignalModel

DIRECTIONS = fibonacci_directions(3)
TENSOR = np.array([[1.5, 0.4, 0.1], [0.4, 1.0, -0.2], [0.1, -0.2, 0.6]])
SHORT = PGSE(3.0, 5.0)
ASYMMETRIC = Sampled(
    np.array([0.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0]),
    np.array([[0, 0, 0], [0, 0, 1], [0, 0.5, 1], [0, 0.5, 0], [0, -1.75, -2], [0, -0.25, -1], [0, 0, 0]]),
)


def tissue(grid, wall: float, waveform=SHORT, bvals=(0, 1000, 3000), **options) -> tuple:
    """Grid, protocol, permeability and options of a substrate with walls between its compartments."""
    permeability = np.where(grid.is_interface, wall, 0.0)
    protocol = Protocol.product(waveform, bvals, DIRECTIONS)
    return grid, protocol, permeability, {"interfaces": grid.is_interface, **options}


def ambient(permeability: Callable[[Any], Any], waveform=SHORT, cells=3, bvals=(0, 1000, 3000), **options) -> tuple:
    """Grid, protocol, permeability and options of an ambient grid of 864 unknowns, or of 192 for 2 `cells`."""
    grid = bcc_grid(cells, 20 / 3 * cells)
    return grid, Protocol.product(waveform, bvals, DIRECTIONS), permeability(grid), options


def random_permeability(grid) -> np.ndarray:
    return 10 ** np.random.default_rng(0).uniform(-2, 1, len(grid.faces))


def uniform(grid) -> np.ndarray:
    return np.ones(len(grid.faces))


def crisp(grid) -> np.ndarray:
    return np.where(shape_barrier(grid, Sphere(7.0)), 0.01, 100.0)


def obstacle():
    """A closed cylinder in a periodic square of 3.6 um, one element thick."""
    return packed_cylinders(1, 1.2, 0.0, 0.35, 0.5, 0.9, 0.5, periodic=True)


CASES: dict[str, Callable[[], tuple]] = {
    "layers": lambda: tissue(layers([3.0, 5.0], [1.0, 1.0], 0.5, 1.0), 0.1, diffusivity=[1.0, 2.0]),
    "sphere": lambda: tissue(spheres([4.0], 2.4), 0.0),
    "cylinders": lambda: tissue(
        cylinders([2.0, 4.0], 1.0, 1.2, 1.0), 0.05, diffusivity=[1.0, 2.0], T2=[20.0, 60.0], density=[0.7, 1.0]
    ),
    "crisp": lambda: ambient(crisp),
    "uniform": lambda: ambient(uniform),
    "leaking": lambda: ambient(random_permeability, exterior="permeable"),
    "tensor": lambda: tissue(spheres([4.0], 2.4), 0.0, diffusivity=TENSOR),
    "ogse": lambda: tissue(spheres([4.0], 2.4), 0.0, OGSE(10.0, 12.0, 2), bvals=(0, 500)),
    "dde": lambda: ambient(random_permeability, DDE(3.0, 5.0, 4.0, 60.0), 2),
    "ste": lambda: ambient(random_permeability, BTensor(6.0, 0.0), 2),
    "sampled": lambda: ambient(random_permeability, ASYMMETRIC, 2, surface_relaxivity=0.02),
    "periodic": lambda: tissue(obstacle(), 0.02, diffusivity=[1.0, 2.0], periodic=True),
}


@cache
def case(name: str) -> tuple:
    """A grid, a protocol, a permeability and the options of `SignalModel`."""
    return CASES[name]()


def attenuations(name: str, method: str, tolerance: float) -> np.ndarray:
    """S/S0 of a case; its first measurement is at b = 0."""
    grid, protocol, permeability, options = case(name)
    signal, _ = SignalModel(grid, protocol, tolerance=tolerance, method=method, **options).signal(
        permeability, keep=False
    )
    return signal / signal[0]


def fix_steps(monkeypatch: pytest.MonkeyPatch, driven: float, still: float) -> None:
    """Let every sequence be cut into so many steps per ms, whatever their error."""
    monkeypatch.setattr(HeldSteps, "of", lambda *_: Steps(driven, still))
    monkeypatch.setattr(HeldSteps, "renewed", lambda *_: False)


def dense_signal(model: SignalModel, permeability: np.ndarray, steps_per_ms: float) -> np.ndarray:
    """Signals by exponentials of dense matrices, the commutator-free Magnus scheme of order four.

    Exact where the gradient is constant. Source: Blanes and Moan, Appl. Numer. Math. 56:1519 (2006), eq. 43.
    """
    operators, comm = model.operators, model.grid.comm
    encoding = operators.encoding
    mass, diffusion = operators.mass.to_dense(comm), operators.diffusion(permeability).to_dense(comm)
    lower = np.linalg.cholesky(mass)

    def scaled(matrix: np.ndarray) -> np.ndarray:
        half = scipy.linalg.solve_triangular(lower, matrix, lower=True)
        return scipy.linalg.solve_triangular(lower, half.T, lower=True).T

    decay = scaled(diffusion)
    couplings = [
        scaled(coupling.to_dense(comm)) * (1j if n < 3 else 1) for n, coupling in enumerate(operators.couplings)
    ]
    start = lower.T @ np.ones(len(mass))
    protocol, signals = model.protocol, []
    for sequence, q in zip(protocol.sequence, protocol.q, strict=True):
        waveform, state = protocol.waveforms[sequence], start.astype(complex)
        for number, (begin, end) in enumerate(zip(waveform.breakpoints[:-1], waveform.breakpoints[1:], strict=True)):
            count = max(1, int(np.ceil((end - begin) * steps_per_ms)))
            h, before = (end - begin) / count, None
            for index in range(count):
                nodes = begin + h * (index + 0.5 + np.array([-1, 1]) * np.sqrt(3) / 6)
                first, second = (encoding.weights(waveform, q[None], time, number)[0] for time in nodes)
                for near, far in ((first, second), (second, first)):
                    share = (0.25 + np.sqrt(3) / 6) * near + (0.25 - np.sqrt(3) / 6) * far
                    if before is None or not np.array_equal(share, before):
                        generator = 0.5 * decay + sum(w * c for w, c in zip(share, couplings, strict=True))
                        exponential, before = scipy.linalg.expm(-h * generator), share
                    state = exponential @ state
        relaxed = np.exp(-operators.slowest_relaxation * waveform.echo_time)
        signals.append(start @ state * relaxed * encoding.damping(waveform, q[None])[0])
    return np.array(signals)
