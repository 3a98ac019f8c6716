"""Derivatives of the signal by every physical input: exact both ways, and what physics says of their sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from gradient_cases import COTANGENT, INPUTS, METHODS, SPACES, TENSOR, Case, case

from dmrifw import Protocol
from dmrifw.mesh import bcc_grid
from dmrifw.sequences import PGSE
from dmrifw.simulator import SignalModel
from dmrifw.tape import Tape
from dmrifw.typing import FloatArray
from dmrifw.verify import dot_product_test, finite_difference, taylor_test

FAST = 1e-2
"""Tolerance of the signals: what is exact is so whatever the time steps."""


@cache
def shared(space: str, method: str) -> Case:
    return case(space, method, FAST)


@cache
def derivatives(space: str, method: str) -> tuple[Tape, dict[str, FloatArray]]:
    """The tape with all inputs, and the gradients of Re sum conj(c) S by all of them at once."""
    made = shared(space, method)
    tape = made.simulator.signal(**made.x)[1]
    return tape, tape.pull_back(COTANGENT)


def along(made: Case, name: str, x: FloatArray, d: FloatArray) -> Callable[[torch.Tensor], torch.Tensor]:
    """Re sum conj(c) S on the line x + t d of one input, the others at rest."""
    others = {key: value for key, value in made.x.items() if key != name}

    def f(t: torch.Tensor) -> torch.Tensor:
        signal = made.simulator(**others, **{name: torch.as_tensor(x) + t * torch.as_tensor(d)})
        return (torch.as_tensor(COTANGENT).conj() * signal).real.sum()

    return f


def check_values(made: Case, name: str, x: FloatArray, d: FloatArray) -> float:
    """Remainders fall as h^2 along a random direction, and the slope is that of central differences; the slope."""
    f = along(made, name, x, d)
    result = taylor_test(f, 0.0, 1.0, step=0.1, halvings=2)
    assert result.rate >= 1.95
    claimed, differences = finite_difference(f, 0.0, [0], step=0.1)
    assert (differences != 0).all()
    np.testing.assert_allclose(claimed, differences, rtol=1e-5)
    return result.slope


def cases() -> Iterator[object]:
    """Every input in every space by both methods; quadratic elements at full order are slow, two do for every run."""
    for name, space, method in product(INPUTS, SPACES, METHODS):
        quick = (space, method) != ("quadratic", "full-order") or name in ("diffusivity", "points")
        yield pytest.param(name, space, method, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("name", "space", "method"), cases())
def test_gradient_by_every_input(name: str, space: str, method: str) -> None:
    """Taylor, differences of fourth order to 1e-5, and both directions of differentiation to 1e-10."""
    made = shared(space, method)
    slope = check_values(made, name, made.x[name], made.d[name])
    tape, gradients = derivatives(space, method)
    backward = float((gradients[name] * made.d[name]).sum())
    forward = float((COTANGENT.conj() * tape.push_forward({name: made.d[name]})).real.sum())
    assert gradients[name].shape == made.x[name].shape
    assert forward == pytest.approx(backward, rel=1e-10)
    assert slope == pytest.approx(backward, rel=1e-10)


def shapes_of(space: str) -> dict[str, tuple[str, FloatArray]]:
    """Shapes of inputs beside those of the cases, by what they are called."""
    grid, random = shared(space, METHODS[0]).simulator.grid, np.random.default_rng(1)
    cells, faces = len(grid.cells), len(grid.faces)
    return {
        "one permeability": ("permeability", np.array(0.2)),
        "permeability of faces": ("permeability", random.uniform(0.05, 0.5, faces)),
        "one diffusivity": ("diffusivity", np.array(1.4)),
        "one tensor": ("diffusivity", TENSOR),
        "tensors of cells": ("diffusivity", random.uniform(0.7, 1.3, cells)[:, None, None] * TENSOR),
        "density of cells": ("density", random.uniform(0.6, 1.0, cells)),
        "one relaxivity": ("surface_relaxivity", np.array(0.02)),
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("shape", "space"),
    [
        ("one permeability", "ambient"),
        ("permeability of faces", "walls"),
        ("one diffusivity", "walls"),
        ("one tensor", "walls"),
        ("tensors of cells", "ambient"),
        pytest.param("tensors of cells", "walls", marks=pytest.mark.slow),
        ("density of cells", "walls"),
        ("one relaxivity", "ambient"),
    ],
)
def test_gradient_in_every_shape(shape: str, space: str, method: str) -> None:
    """The same for a value per cell, face, compartment, or one for all; tensors also where water drifts with k."""
    name, x = shapes_of(space)[shape]
    made = shared(space, method)
    d = 0.05 * x * np.random.default_rng(2).uniform(0.2, 1.0, x.shape)
    check_values(made, name, x, d)
    others = {key: value for key, value in made.x.items() if key != name}

    def signal(value: torch.Tensor) -> torch.Tensor:
        return made.simulator(**others, **{name: value})

    result = dot_product_test(signal, x, directions=[d], cotangent=COTANGENT)
    assert result.forward_mode and result.relative < 1e-10


PULSES = PGSE(2.0, 4.0)
ECHO = 6.0


@cache
def plain(method: str, **options) -> tuple[SignalModel, dict[str, FloatArray], Tape]:
    """Linear pulses on a random ambient grid with leaking sides, isotropic; all its inputs, and the tape."""
    random, grid = np.random.default_rng(3), bcc_grid(2, 40 / 3)
    protocol = Protocol.product(PULSES, [0, 800, 2000], [[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [0.48, 0.6, -0.64]])
    settings = {"exterior": "permeable", "tolerance": 1e-3, **options}
    model = SignalModel(grid, protocol, 1.5, T2=40.0, method=method, **settings)
    x = {
        "permeability": random.uniform(0.05, 0.5, len(grid.faces)),
        "diffusivity": random.uniform(1.0, 2.0, len(grid.cells)),
        "density": random.uniform(0.6, 1.0, len(grid.cells)),
        "surface_relaxivity": random.uniform(0.01, 0.03, len(grid.faces)),
        "points": grid.points,
        "q": protocol.q,
    }
    return model, x, model.signal(**x)[1]


def centred(points: FloatArray) -> FloatArray:
    """Positions about the middle of the bounding box, to which phases refer."""
    return points - 0.5 * (points.min(axis=0) + points.max(axis=0))


def gradients_of(tape: Tape, row: int, part: complex = 1.0) -> dict[str, FloatArray]:
    cotangent = np.zeros(len(tape.signal), dtype=np.complex128)
    cotangent[row] = part
    return tape.pull_back(cotangent)


@pytest.mark.parametrize("method", METHODS)
def test_relaxation_of_uniform_tissue(method: str) -> None:
    """S goes as exp(-TE/T2), so dS/dT2 = S TE/T2^2, and the rates of all cells share it by their water."""
    grid, T2 = bcc_grid(2, 8.0), 25.0
    model = SignalModel(grid, Protocol.pgse([0, 1500], [[0, 0, 1]] * 2, 2.0, 4.0), tolerance=1e-5, method=method)
    signal, tape = model.signal(0.2, T2=T2)
    for row in range(2):
        slope = gradients_of(tape, row)["T2"]
        assert slope.shape == ()
        assert float(slope) == pytest.approx(signal[row].real * ECHO / T2**2, rel=1e-5)
    by_cell = gradients_of(model.signal(0.2, T2=np.full(len(grid.cells), T2))[1], 0)["T2"]
    np.testing.assert_allclose(by_cell, grid.cell_volumes * np.exp(-ECHO / T2) * ECHO / T2**2, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_signals_are_proportional_to_the_density(method: str) -> None:
    """Exchange is driven by w/rho: S(c rho, c kappa) = c S, so by Euler rho.dS/drho + kappa.dS/dkappa = S."""
    _, x, tape = plain(method)
    for row, signal in enumerate(tape.signal):
        by = gradients_of(tape, row)
        total = sum(float((x[name] * by[name]).sum()) for name in ("density", "permeability"))
        assert total == pytest.approx(signal.real, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_signals_do_not_depend_on_the_unit_of_length(method: str) -> None:
    """Points by s, D by s^2, kappa and relaxivity by s, q by 1/s: S by s^3. Euler's identity holds to rounding."""
    _, x, tape = plain(method)
    powers = {"points": 1, "diffusivity": 2, "permeability": 1, "surface_relaxivity": 1, "q": -1}
    scaled = {**x, "points": centred(x["points"])}
    for row, signal in enumerate(tape.signal):
        by = gradients_of(tape, row)
        parts = [power * float((scaled[name] * by[name]).sum()) for name, power in powers.items()]
        assert max(map(abs, parts)) > 0.1 * abs(signal)
        assert sum(parts) == pytest.approx(3 * signal.real, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_signals_do_not_depend_on_the_frame(method: str) -> None:
    """Points and q turned together: no change, to rounding; either alone does change signals."""
    _, x, tape = plain(method)
    for axis in np.eye(3):
        turned = {"points": np.cross(axis, centred(x["points"])), "q": np.cross(axis, x["q"])}
        either = [np.abs(tape.push_forward({name: change})).max() for name, change in turned.items()]
        assert np.abs(tape.push_forward(turned)).max() < 1e-9 * min(either)


@pytest.mark.parametrize("method", METHODS)
def test_refocused_signals_do_not_depend_on_the_place(method: str) -> None:
    """All points moved alike change nothing but the error of time steps; along a periodic axis nothing at all."""
    _, x, tape = plain(method, tolerance=1e-6)
    largest = np.abs(tape.pull_back(np.ones(len(tape.signal)))["points"]).max()
    for axis in np.eye(3):
        moved = np.broadcast_to(axis, x["points"].shape)
        assert np.abs(tape.push_forward({"points": moved})).max() < 1e-5 * largest * len(moved)
    made = shared("walls", method)
    along = np.broadcast_to([0.0, 1.0, 0.0], made.x["points"].shape)
    change = derivatives("walls", method)[0].push_forward({"points": along})
    assert np.abs(change).max() < 1e-10 * made.simulator.grid.volume
