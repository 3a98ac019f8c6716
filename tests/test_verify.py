"""The verification kit on functions whose derivatives are known, right and wrong."""

import numpy as np
import pytest
import torch

from dmrifw.errors import InputError
from dmrifw.verify import finite_difference, taylor_test


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
