"""A learnable permeability on every face of a tetrahedral grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log10

import torch

from dmrifw.errors import InputError
from dmrifw.hookspecs import hookimpl
from dmrifw.parametrizations import Parametrization, Setting
from dmrifw.plugins import NonNegative, Positive

__all__ = ["FacePermeability"]


class FacePermeability(torch.nn.Module):
    """Permeability face by face, between two bounds on a logarithmic scale.

    Each face F has one learnable number v_F:

        s_F = sigmoid(v_F / temperature)
        log10 kappa_F = log10 minimum + (log10 maximum - log10 minimum) s_F

    Under a reflecting exterior the exterior faces carry no permeability: they read `maximum`, so that nothing takes
    them for a recovered barrier, and pass no gradient on.

    Args:
        setting: The problem at hand; uses its grid, exterior and seed.
        minimum: Permeability of a perfect barrier, um/ms.
        maximum: Permeability of an open face, um/ms.
        start: Permeability at the start, um/ms, between the two.
        temperature: Divides v; the smaller, the faster a face commits itself.
        jitter: Standard deviation of a seeded perturbation of v at the start. Magnitude data cannot tell a shape from
            its point reflection; on a symmetric grid a perturbation lets the inversion choose one of them.

    Raises:
        InputError: `start` does not lie between `minimum` and `maximum`.

    Local; the same numbers on all ranks.

    Source: Spinverse, arXiv 2603.04638 (unknown: a permeability per face); its bounds 1e-5 and 0.1 um/us are the
    defaults here, in um/ms.
    """

    learnable: torch.Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        minimum: Positive = 0.01,
        maximum: Positive = 100.0,
        start: Positive = 1.0,
        temperature: Positive = 1.0,
        jitter: NonNegative = 0.0,
    ) -> None:
        super().__init__()
        if not minimum < start < maximum:
            raise InputError(
                f"{start:g} um/ms does not lie between {minimum:g} and {maximum:g}",
                "choose minimum < start < maximum",
                key="start",
            )
        self.minimum, self.maximum, self.temperature = minimum, maximum, temperature
        share = (log10(start) - log10(minimum)) / (log10(maximum) - log10(minimum))
        generator = torch.Generator().manual_seed(setting.seed)
        noise = torch.randn(len(setting.grid.faces), generator=generator, dtype=torch.float64)
        middle = torch.logit(torch.tensor(share, dtype=torch.float64))
        self.v = torch.nn.Parameter(temperature * middle + jitter * noise)
        learnable = torch.from_numpy(~setting.grid.is_exterior | (setting.exterior == "permeable"))
        self.register_buffer("learnable", learnable, persistent=False)

    def forward(self) -> dict[str, torch.Tensor]:
        """{"permeability": (F,) um/ms}, replicated, differentiable. Local."""
        share = torch.sigmoid(self.v / self.temperature)
        exponent = log10(self.minimum) + (log10(self.maximum) - log10(self.minimum)) * share
        return {"permeability": torch.where(self.learnable, 10.0**exponent, self.maximum)}


@hookimpl
def dmrifw_parametrizations() -> Mapping[str, Callable[..., Parametrization]]:
    """The name that `[inversion] parametrization` uses."""
    return {"face-permeability": FacePermeability}
