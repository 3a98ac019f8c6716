"""Checks of derivatives that anyone can run on their own function: Taylor, finite differences, dot product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dmrifw.errors import InputError
from dmrifw.typing import ArrayLike, FloatArray


@dataclass(frozen=True, eq=False)
class TaylorResult:
    """Remainders of the Taylor expansion of f along a direction d, for halved steps h.

    Attributes:
        steps: (n,) the steps h.
        R0: (n,) |f(x + h d) - f(x)|: falls as h.
        R1: (n,) |f(x + h d) - f(x) - h g.d|: falls as h^2 where the gradient g is right.
        R2: (n,) |f(x + h d) - f(x) - h g.d - h^2/2 d.H.d|, with the curvature measured from the smallest step of a
            central difference: falls as h^3 where f is smooth.
        rates: Convergence order of each remainder between consecutive steps, {"R0": (n-1,), ...}.
        slope: g.d, the directional derivative claimed by the gradient.
    """

    steps: FloatArray
    R0: FloatArray
    R1: FloatArray
    R2: FloatArray
    rates: dict[str, FloatArray]
    slope: float

    @property
    def rate(self) -> float:
        """The smallest order of R1 over the steps: 2 for an exact gradient."""
        return float(self.rates["R1"].min())


def taylor_test(
    f: Callable[[torch.Tensor], torch.Tensor],
    x: ArrayLike,
    direction: ArrayLike | None = None,
    step: float = 1e-2,
    halvings: int = 4,
    seed: int = 0,
) -> TaylorResult:
    """Taylor test of a differentiable scalar function.

    Args:
        f: Takes a float64 tensor of the shape of `x` and returns a scalar tensor.
        x: Where to test.
        direction: Direction d of the shape of `x`; standard normal by default.
        step: Largest step h.
        halvings: How often h is halved; at least 1.
        seed: Seed of the random direction, the same on all ranks.

    Returns:
        The remainders and their rates.

    Raises:
        InputError: f is not scalar, or its derivative along d is zero, so that the test could not fail.

    Collective if `f` is.
    """
    point = torch.as_tensor(x, dtype=torch.float64).detach().clone()
    if direction is None:
        d = torch.from_numpy(np.random.default_rng(seed).standard_normal(tuple(point.shape)))
    else:
        d = torch.as_tensor(direction, dtype=torch.float64)
    value, gradient = _value_and_gradient(f, point)
    slope = float((gradient * d).sum())
    if slope == 0.0:
        raise InputError("the derivative along the direction is zero", "choose a direction in which f changes")
    steps = step * 0.5 ** np.arange(halvings + 1)
    with torch.no_grad():
        ahead = np.array([float(f(point + h * d)) for h in steps])
        behind = float(f(point - steps[-1] * d))
    curvature = (ahead[-1] - 2 * value + behind) / steps[-1] ** 2
    zeroth = ahead - value
    first = zeroth - steps * slope
    second = first - 0.5 * steps**2 * curvature
    r0, r1, r2 = np.abs(zeroth), np.abs(first), np.abs(second)
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = {name: np.log2(values[:-1] / values[1:]) for name, values in (("R0", r0), ("R1", r1), ("R2", r2))}
    return TaylorResult(steps, r0, r1, r2, rates, slope)


def finite_difference(
    f: Callable[[torch.Tensor], torch.Tensor], x: ArrayLike, entries: ArrayLike, step: float = 1e-3
) -> tuple[FloatArray, FloatArray]:
    """Gradient entries beside fourth-order central differences that use values of f alone.

    Args:
        f: Takes a float64 tensor of the shape of `x` and returns a scalar tensor.
        x: Where to test.
        entries: (n,) flat indices of x.
        step: Step of the differences, in the unit of x.

    Returns:
        (n,) gradient entries and (n,) differences (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h.

    Raises:
        InputError: f is not scalar.

    Collective if `f` is.
    """
    point = torch.as_tensor(x, dtype=torch.float64).detach().clone()
    _, gradient = _value_and_gradient(f, point)
    chosen = np.asarray(entries, dtype=np.int64).reshape(-1)
    differences = np.zeros(len(chosen))
    with torch.no_grad():
        for row, entry in enumerate(chosen):
            unit = torch.zeros_like(point).view(-1)
            unit[entry] = step
            shift = unit.view(point.shape)
            near = float(f(point + shift)) - float(f(point - shift))
            far = float(f(point + 2 * shift)) - float(f(point - 2 * shift))
            differences[row] = (8 * near - far) / (12 * step)
    return gradient.reshape(-1).numpy()[chosen], differences


def _value_and_gradient(f: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor) -> tuple[float, torch.Tensor]:
    leaf = point.clone().requires_grad_()
    value = f(leaf)
    if value.numel() != 1 or value.is_complex():
        raise InputError(f"f returned shape {tuple(value.shape)}, {value.dtype}", "return one real number")
    (gradient,) = torch.autograd.grad(value.reshape(()), leaf)
    return float(value.detach()), gradient
