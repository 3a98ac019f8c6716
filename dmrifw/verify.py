"""Checks of derivatives that anyone can run on their own function: Taylor, finite differences, dot product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch.autograd import forward_ad

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


@dataclass(frozen=True)
class DotProductResult:
    """The derivative of Re sum conj(c) f along a direction d, computed in two ways.

    Attributes:
        vjp: From backward: Re sum d conj(J^H c).
        jvp: Re sum conj(c) (J d), from forward mode, or from values of f where that is not to be had.
        forward_mode: Whether `jvp` came from forward mode, exact; from values it has some 10 digits.
        relative: |vjp - jvp| over the larger of the two.
    """

    vjp: float
    jvp: float
    forward_mode: bool

    @property
    def relative(self) -> float:
        """See the class."""
        return abs(self.vjp - self.jvp) / max(abs(self.vjp), abs(self.jvp))


def dot_product_test(
    f: Callable[..., torch.Tensor],
    *x: ArrayLike,
    directions: Sequence[ArrayLike] | None = None,
    cotangent: ArrayLike | None = None,
    step: float = 1e-2,
    seed: int = 0,
) -> DotProductResult:
    """Dot-product test of a torch function: its derivatives backwards and forwards are transposes of each other.

    J d comes from forward mode (`torch.autograd.forward_ad`). A `torch.autograd.Function` without `jvp` has none; then
    it comes from central differences of values, extrapolated three times. The double-backward trick would be no test:
    what it computes is the transpose of backward, right or wrong.

    Args:
        f: Takes as many float64 tensors as there are `x`, of their shapes, and returns a real or complex tensor.
        *x: Where to test.
        directions: d, an array for each x; standard normal by default.
        cotangent: c, of the shape of f(x); standard normal by default, complex where f is.
        step: Largest step of the differences, in units of the directions.
        seed: Seed of what is random, the same on all ranks.

    Returns:
        Both products.

    Raises:
        InputError: f returns no tensor with a gradient, or both products are zero, so that the test could not fail.

    Collective if `f` is.
    """
    random = np.random.default_rng(seed)
    points = [torch.as_tensor(one, dtype=torch.float64).detach().clone() for one in x]
    if directions is None:
        directions = [random.standard_normal(tuple(point.shape)) for point in points]
    d = [torch.as_tensor(one, dtype=torch.float64) for one in directions]
    leaves = [point.clone().requires_grad_() for point in points]
    value = f(*leaves)
    if not isinstance(value, torch.Tensor) or not value.requires_grad:
        raise InputError("f returned nothing that has a gradient", "return a tensor made of the ones that it is given")
    if cotangent is None:
        parts = random.standard_normal((2, *value.shape))
        cotangent = parts[0] + 1j * parts[1] if value.is_complex() else parts[0]
    c = torch.as_tensor(cotangent, dtype=value.dtype)
    gradients = torch.autograd.grad(value, leaves, c, allow_unused=True)
    backward = sum(float((g * one).sum()) for g, one in zip(gradients, d, strict=True) if g is not None)
    tangent = _tangent(f, points, d)
    moved = _differences(f, points, d, step) if tangent is None else tangent
    forward = float((c.conj() * moved).real.sum())
    if backward == 0.0 and forward == 0.0:
        raise InputError("both products are zero", "choose a direction in which f changes")
    return DotProductResult(backward, forward, tangent is not None)


def _tangent(f: Callable[..., torch.Tensor], points: list[torch.Tensor], d: list[torch.Tensor]) -> torch.Tensor | None:
    """The derivative along d by forward mode; None where a part of f has none."""
    try:
        with forward_ad.dual_level():
            value = f(*(forward_ad.make_dual(point, one) for point, one in zip(points, d, strict=True)))
            primal, tangent = forward_ad.unpack_dual(value)
            return torch.zeros_like(primal) if tangent is None else tangent.detach()
    except NotImplementedError:
        return None


def _differences(
    f: Callable[..., torch.Tensor], points: list[torch.Tensor], d: list[torch.Tensor], step: float
) -> torch.Tensor:
    """The same by central differences at halved steps, whose errors of order 2, 4 and 6 are extrapolated away."""

    def value(h: float) -> torch.Tensor:
        return f(*(point + h * one for point, one in zip(points, d, strict=True)))

    with torch.no_grad():
        row = [(value(h) - value(-h)) / (2 * h) for h in step * 0.5 ** np.arange(4)]
    for order in (2, 4, 6):
        row = [(2**order * fine - coarse) / (2**order - 1) for coarse, fine in pairwise(row)]
    return row[0]


def _value_and_gradient(f: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor) -> tuple[float, torch.Tensor]:
    leaf = point.clone().requires_grad_()
    value = f(leaf)
    if value.numel() != 1 or value.is_complex():
        raise InputError(f"f returned shape {tuple(value.shape)}, {value.dtype}", "return one real number")
    (gradient,) = torch.autograd.grad(value.reshape(()), leaf)
    return float(value.detach()), gradient
