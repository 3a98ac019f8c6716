"""Derivatives of the signal by every physical input: exact both ways, and what physics says of their sums."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

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
    result = taylor_test(f, 0.0, 1.0, step=0.4, halvings=2)
    assert result.rate >= 1.95
    claimed, differences = finite_difference(f, 0.0, [0], step=0.1)
    assert (differences != 0).all()
    np.testing.assert_allclose(claimed, differences, rtol=1e-5)
    return result.slope


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", INPUTS)
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


