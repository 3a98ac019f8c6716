"""Tissues in which every physical input varies, shared by the tests of gradients on one rank and on several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmrifw import Protocol, Simulator
from dmrifw.mesh import bcc_grid, from_arrays, layers
from dmrifw.mesh.grid import Grid
from dmrifw.sequences import PGSE, Sampled
from dmrifw.typing import FloatArray

METHODS = ("full-order", "matrix-formalism")
SPACES = ("ambient", "walls", "quadratic")
INPUTS = ("permeability", "diffusivity", "T2", "density", "surface_relaxivity", "points", "q", "samples")
TENSOR = np.array([[1.5, 0.4, 0.1], [0.4, 1.0, -0.2], [0.1, -0.2, 0.8]])
ASYMMETRIC = Sampled(
    np.array([0.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0]),
    np.array([[0, 0, 0], [0, 0, 1], [0, 0.5, 1], [0, 0.5, 0], [0, -1.75, -2], [0, -0.25, -1], [0, 0, 0]]),
)
COTANGENT = np.array([1.0, 2.0 + 0.5j, -1.0 + 1.0j, 0.7])
SCALES = {
    "permeability": 0.01,
    "diffusivity": 0.05,
    "T2": 1.0,
    "density": 0.05,
    "surface_relaxivity": 0.002,
    "points": 0.01,
    "q": 0.02,
    "samples": 0.05,
}
"""Size of a direction of each input, in its unit: signals change by some percent."""


@dataclass(frozen=True, eq=False)
class Case:
    """A simulator, inputs to call it with, and a direction of each."""

    simulator: Simulator
    x: dict[str, FloatArray]
    d: dict[str, FloatArray]


def bar() -> Grid:
    """A bar in a box of 32 small cubes whose opposite sides match, 192 tetrahedra in two compartments."""
    grid = layers([4.0], [4.0, 2.0], 1.0, 1.0)
    inside = (np.abs(grid.points[grid.cells].mean(axis=1)[:, :2] - 2.0) < 1.0).all(axis=1)
    return from_arrays(grid.points, grid.cells, inside.astype(int))


def case(space: str, method: str, tolerance: float = 1e-3) -> Case:
    """Every input of one space, each in a shape of its own; four measurements of two sequences."""
    random = np.random.default_rng(0)
    pulse = PGSE(2.0, 4.0)
    protocol = (
        Protocol.product(pulse, [0, 800], [[0.6, 0.0, 0.8]])
        + Protocol.product(ASYMMETRIC, [600], [[0.36, 0.48, 0.8]])
        + Protocol.product(pulse, [700], [[0.0, 1.0, 0.0]])
    )
    grid = bcc_grid(2, 40 / 3) if space == "ambient" else bar()
    options = {
        "ambient": {"exterior": "permeable"},
        "walls": {"interfaces": grid.is_interface, "periodic": (False, True, False)},
        "quadratic": {"interfaces": grid.is_interface, "degree": 2},
    }[space]
    simulator = Simulator(grid, protocol, 1.5, T2=40.0, tolerance=tolerance, method=method, **options)
    cells, faces, compartments = len(grid.cells), len(grid.faces), grid.compartment_count
    # a value per cell or face, per compartment or interface, or one for all: every shape is in some space
    shapes = {
        "ambient": {"permeability": faces, "diffusivity": cells, "T2": (), "density": cells},
        "walls": {"permeability": grid.interface_count, "diffusivity": 2, "T2": 2, "density": 2},
        "quadratic": {"permeability": faces, "diffusivity": compartments, "T2": cells, "density": ()},
    }[space]
    moved = grid.points + 0.03 * random.standard_normal(grid.points.shape)
    x = {
        "permeability": random.uniform(0.05, 0.5, shapes["permeability"]),
        "diffusivity": random.uniform(1.0, 2.0, shapes["diffusivity"]),
        "T2": np.asarray(random.uniform(20.0, 40.0, shapes["T2"])),
        "density": np.asarray(random.uniform(0.6, 1.0, shapes["density"])),
        "surface_relaxivity": np.asarray(random.uniform(0.01, 0.03, () if space == "walls" else faces)),
        "points": grid.points if space == "walls" else moved,
        "q": 1.1 * protocol.q,
        "samples": np.array(ASYMMETRIC.samples),
    }
    if space == "quadratic":
        x["diffusivity"] = np.array([1.0, 1.3])[:, None, None] * TENSOR
    d = {name: np.asarray(SCALES[name] * random.standard_normal(np.shape(value))) for name, value in x.items()}
    if space == "quadratic":
        d["diffusivity"] = SCALES["diffusivity"] * random.uniform(0.5, 1.5, (2, 3, 3))  # not symmetric: its mean counts
    if space == "walls":
        d["points"] = matched(grid, d["points"])
    return Case(simulator, x, d)


def matched(grid: Grid, change: FloatArray) -> FloatArray:
    """A change of the vertices that keeps the two sides across y on each other, so that the box stays periodic."""
    out = change.copy()
    low, high = (np.flatnonzero(np.isclose(grid.points[:, 1], side)) for side in (0.0, 4.0))
    across = grid.points[:, [0, 2]]
    partner = np.abs(across[high][:, None] - across[low][None]).sum(axis=2).argmin(axis=1)
    np.testing.assert_allclose(across[high], across[low[partner]], atol=1e-12)
    out[high] = out[low[partner]]
    return out
