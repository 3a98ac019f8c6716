"""Barriers that keep elements from turning over: they grow without bound as one becomes flat."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from dmrifw.errors import InputError
from dmrifw.parametrizations import Setting
from dmrifw.plugins import NonNegative, Positive
from dmrifw_spectral_latent.quality import scaled_jacobian, volumes


class InverseVolume:
    """Weight times the mean over elements of their volume at rest over their volume; infinite past inversion.

    1 at rest whatever the mesh is, so that the weight means the same on every mesh.

    Args:
        setting: The problem at hand; its grid is the mesh at rest.
        weight: The weight.

    Source: ReMiDi, arXiv 2502.01988 (the sum of inverse volumes).
    """

    def __init__(self, setting: Setting, *, weight: NonNegative = 1e-3) -> None:
        self.weight, self.cells = weight, setting.grid.cells
        self.rest = torch.from_numpy(setting.grid.cell_volumes)

    def __call__(self, fields: Mapping[str, torch.Tensor], iteration: int) -> torch.Tensor:
        """Weight times penalty of fields["points"], (V, 3) in um. Local."""
        share = volumes(fields["points"], self.cells) / self.rest
        return self.weight * _reciprocal(share).mean()


class ScaledJacobian:
    """Weight times the mean over elements of (margin at rest / margin - 1)^2 where the margin has shrunk, else 0.

    An element's margin is its scaled Jacobian above a floor. Elements no worse than at rest pay nothing, so good
    shapes are not pulled back towards rest.

    Args:
        setting: The problem at hand; its grid is the mesh at rest.
        weight: The weight.
        floor: Scaled Jacobian at which the penalty becomes infinite.

    Raises:
        InputError: An element at rest does not keep the floor.
    """

    def __init__(self, setting: Setting, *, weight: NonNegative = 1e-5, floor: Positive = 0.005) -> None:
        self.weight, self.floor, self.cells = weight, floor, setting.grid.cells
        self.rest = scaled_jacobian(torch.from_numpy(setting.grid.points), self.cells) - floor
        if not bool((self.rest > 0).all()):
            worst = float(self.rest.min()) + floor
            raise InputError(
                f"the grid has an element with a scaled Jacobian of {worst:.3g}", "lower the floor", key="floor"
            )

    def __call__(self, fields: Mapping[str, torch.Tensor], iteration: int) -> torch.Tensor:
        """Weight times penalty of fields["points"], (V, 3) in um. Local."""
        margin = scaled_jacobian(fields["points"], self.cells) - self.floor
        return self.weight * torch.relu(self.rest * _reciprocal(margin) - 1.0).square().mean()


def _reciprocal(values: torch.Tensor) -> torch.Tensor:
    """1 / value, infinite where the value is not above 0; the gradient there is 0, not NaN."""
    good = values > 0
    return torch.where(good, 1.0 / torch.where(good, values, 1.0), torch.inf)
