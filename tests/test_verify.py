"""The verification kit on functions whose derivatives are known, right and wrong."""

import numpy as np
import pytest
import torch

from dmrifw.errors import InputError
from dmrifw.verify import dot_product_test, finite_difference, taylor_test


def cubic(x: torch.Tensor) -> torch.Tensor:
    return (x**3).sum()


class Wrong(torch.autograd.Function):
    """x^3 with a gradient that is 1 % too large."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x**3).sum()

    @staticmethod
    def backward(ctx, cotangent):
        return 3.03 * ctx.saved_tensors[0] ** 2 * cotangent


def test_a_right_gradient_passes() -> None:
    """Remainders of a cubic: orders 1, 2 and 3."""
    result = taylor_test(cubic, [1.0, -2.0, 0.5])
    assert result.rates["R0"] == pytest.approx(1.0, abs=0.05)
    assert result.rate == pytest.approx(2.0, abs=0.05)
    assert result.rates["R2"][:2] == pytest.approx(3.0, abs=0.1)


def test_a_wrong_gradient_fails() -> None:
    """An error of one percent turns the order of R1 from 2 to 1."""
    assert taylor_test(Wrong.apply, [1.0, -2.0, 0.5], step=1e-3).rate < 1.3


def test_a_test_that_cannot_fail_is_refused() -> None:
    """No slope along the direction, no information."""
    with pytest.raises(InputError, match="derivative along the direction is zero"):
        taylor_test(cubic, [1.0, 1.0], direction=[1.0, -1.0])


def test_differences_use_values_alone() -> None:
    """d/dx x^3 = 3 x^2; the wrong gradient is shown beside the right difference."""
    gradient, difference = finite_difference(Wrong.apply, [1.0, -2.0], [1])
    np.testing.assert_allclose(difference, 12.0, rtol=1e-9)
    np.testing.assert_allclose(gradient, 12.12, rtol=1e-12)


def coupled(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Complex, of two tensors of different shapes."""
    return torch.exp(1j * x[:, None] * y).sum(dim=0)


class RightBothWays(torch.autograd.Function):
    """x^3, entry by entry, with both derivatives."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return x**3

    @staticmethod
    def backward(ctx, cotangent):
        return 3 * ctx.saved_tensors[0] ** 2 * cotangent

    @staticmethod
    def jvp(ctx, tangent):
        return 3 * ctx.saved_tensors[0] ** 2 * tangent


class WrongForwards(RightBothWays):
    """Its jvp is a millionth too large."""

    @staticmethod
    def jvp(ctx, tangent):
        return (1 + 1e-6) * RightBothWays.jvp(ctx, tangent)


class WrongBackwards(RightBothWays):
    """Its vjp forgets the first entry."""

    @staticmethod
    def backward(ctx, cotangent):
        gradient = RightBothWays.backward(ctx, cotangent)
        return gradient * (torch.arange(len(gradient)) > 0)


class WithoutForwards(torch.autograd.Function):
    """x^3 without a jvp."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, cotangent):
        return 3 * ctx.saved_tensors[0] ** 2 * cotangent


def test_the_products_agree_where_both_derivatives_are_right() -> None:
    """Of one tensor and of two, real and complex: rounding is all that differs."""
    assert dot_product_test(RightBothWays.apply, [1.0, -2.0, 0.5]).relative < 1e-14
    result = dot_product_test(coupled, [0.3, 1.0], [0.5, -1.0, 2.0])
    assert result.forward_mode and result.relative < 1e-13


def test_the_products_are_those_of_the_directions_given() -> None:
    """d/dt Re conj(1 + 2i) exp(i t a) at t = 0, a = 3, is Re (1 - 2i) 3i = 6."""
    result = dot_product_test(lambda t: torch.exp(3j * t), 0.0, directions=[1.0], cotangent=1.0 + 2.0j)
    assert result.vjp == pytest.approx(6.0, rel=1e-14) and result.jvp == pytest.approx(6.0, rel=1e-14)


@pytest.mark.parametrize("wrong", [WrongForwards, WrongBackwards])
def test_a_derivative_that_is_wrong_either_way_is_caught(wrong) -> None:
    result = dot_product_test(wrong.apply, [1.0, -2.0, 0.5])
    assert result.forward_mode and result.relative > 1e-7


def test_without_forward_mode_values_tell() -> None:
    """A right backward agrees with differences to ten digits; one that is wrong by 1 % differs by that."""
    right = dot_product_test(WithoutForwards.apply, [1.0, -2.0, 0.5])
    assert not right.forward_mode and right.relative < 1e-10
    wrong = dot_product_test(Wrong.apply, [1.0, -2.0, 0.5])
    assert not wrong.forward_mode and wrong.relative == pytest.approx(0.03 / 3.03, rel=1e-6)


def test_a_dot_product_test_that_cannot_fail_is_refused() -> None:
    """A direction in which nothing changes, or a function that lost its graph."""
    with pytest.raises(InputError, match="both products are zero"):
        dot_product_test(cubic, [0.0, 0.0])
    with pytest.raises(InputError, match="nothing that has a gradient"):
        dot_product_test(lambda x: x.detach(), [1.0])
