"""A learnable permeability on every face of a tetrahedral grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from math import log10
from pathlib import Path

import numpy as np
import torch

from dmrifw.errors import InputError
from dmrifw.hookspecs import hookimpl
from dmrifw.mesh import Grid, carry_faces
from dmrifw.parametrizations import Parametrization, Setting
from dmrifw.plugins import NonNegative, Positive
from dmrifw.typing import FloatArray

__all__ = ["FacePermeability"]

_SHARES_CARRIED = (0.05, 0.95)
"""Least and largest s with which faces of an earlier result start."""


class FacePermeability(torch.nn.Module):
    """Permeability face by face, between two bounds on a logarithmic scale.

    Each face F has one learnable number v_F:

        s_F = sigmoid(v_F / temperature)
        log10 kappa_F = log10 minimum + (log10 maximum - log10 minimum) s_F

    Under a reflecting exterior the exterior faces carry no permeability: they read `maximum`, so that nothing takes
    them for a recovered barrier, and pass no gradient on.

    It starts uniform, or near where an earlier inversion ended, of this grid or of a coarser one: a face then has the
    least permeability that water meets there on its way from one cell to the next, with s moved to 0.05 or 0.95 where
    it is beyond, since a face at a bound hardly moves.

    Args:
        setting: The problem at hand; uses its grid, exterior and seed.
        minimum: Permeability of a perfect barrier, um/ms.
        maximum: Permeability of an open face, um/ms.
        start: Permeability at the start, um/ms, between the two.
        start_from: The result.nc of an earlier inversion to start from instead, relative to the setting's
            folder.
        temperature: Divides v; the smaller, the faster a face commits itself.
        jitter: Standard deviation of a seeded perturbation of v at the start. Magnitude data cannot tell a shape from
            its point reflection; on a symmetric grid a perturbation lets the inversion choose one of them.

    Raises:
        InputError: `start` does not lie between `minimum` and `maximum`; or the earlier result cannot be read, or lies
            elsewhere in space.

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
        start_from: str | None = None,
        temperature: Positive = 1.0,
        jitter: NonNegative = 0.0,
    ) -> None:
        super().__init__()
        if not minimum < maximum:
            raise InputError(f"{maximum:g} um/ms is not above the minimum", "choose minimum < maximum", key="maximum")
        if start_from is None and not minimum < start < maximum:
            raise InputError(
                f"{start:g} um/ms does not lie between {minimum:g} and {maximum:g}",
                "choose minimum < start < maximum",
                key="start",
            )
        self.minimum, self.maximum, self.temperature = minimum, maximum, temperature
        if start_from is None:
            share = self._share(torch.full((len(setting.grid.faces),), start, dtype=torch.float64))
        else:
            carried = _carried(setting.folder / start_from, setting.grid, maximum)
            share = self._share(torch.from_numpy(carried)).clamp(*_SHARES_CARRIED)
        generator = torch.Generator().manual_seed(setting.seed)
        noise = torch.randn(len(setting.grid.faces), generator=generator, dtype=torch.float64)
        self.v = torch.nn.Parameter(temperature * torch.logit(share) + jitter * noise)
        learnable = torch.from_numpy(~setting.grid.is_exterior | (setting.exterior == "permeable"))
        self.register_buffer("learnable", learnable, persistent=False)

    def _share(self, kappa: torch.Tensor) -> torch.Tensor:
        """The s_F of permeabilities."""
        return (kappa.log10() - log10(self.minimum)) / (log10(self.maximum) - log10(self.minimum))

    def forward(self) -> dict[str, torch.Tensor]:
        """{"permeability": (F,) um/ms}, replicated, differentiable. Local."""
        share = torch.sigmoid(self.v / self.temperature)
        exponent = log10(self.minimum) + (log10(self.maximum) - log10(self.minimum)) * share
        return {"permeability": torch.where(self.learnable, 10.0**exponent, self.maximum)}


def _carried(path: Path, grid: Grid, elsewhere: float) -> FloatArray:
    """(F,) permeabilities of the faces of a grid from an earlier inversion, um/ms."""
    from dmrifw.report import read_walls

    try:
        source, permeability = read_walls(path)
    except InputError as error:
        told = f"{error.key}: {error.fault}" if error.key else error.fault
        raise InputError(told, error.mend, key="start_from", file=error.file) from error
    carried = carry_faces(permeability, source, grid, math.nan)
    if np.isnan(carried).all():
        mend = "give a result of this grid or of another in the same place"
        raise InputError("its grid lies elsewhere in space", mend, key="start_from", file=path)
    return np.where(np.isnan(carried), elsewhere, carried)


@hookimpl
def dmrifw_parametrizations() -> Mapping[str, Callable[..., Parametrization]]:
    """The name that `[inversion] parametrization` uses."""
    return {"face-permeability": FacePermeability}
