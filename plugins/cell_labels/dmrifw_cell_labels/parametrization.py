"""A compartment for every cell; walls stand where neighbours belong to different ones."""

from __future__ import annotations

from math import log
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from dmrifw.errors import InputError
from dmrifw.parametrizations import Setting
from dmrifw.plugins import NonNegative, Positive
from dmrifw.typing import IntArray

_SURE = 40.0
"""Logit of the label that a cell has for certain."""

_IMPERMEABLE = 1e-9
"""Permeability of a wall that lets nothing through, um/ms: its logarithm is finite."""

_START = 0.75
"""Share of the compartment around at the start."""


class CellLabels(torch.nn.Module):
    """Permeability from the compartments on both sides of each face: no wall can have a hole.

    Each cell holds shares w_k of the compartments, softmax of learnable numbers; compartment 0 lies around the others.
    A face is a wall with the chance that its sides belong to different compartments,

        p_F = 1 - sum_k w_k w'_k,    log kappa_F = (1 - p_F) log maximum + p_F log minimum,

    and beyond an exterior face lies compartment 0. Under a reflecting exterior, exterior faces read `maximum`.

    Args:
        setting: The problem at hand; uses its grid, exterior, permeabilities and seed.
        compartments: Number of labels, the compartment around included. Cells that do not touch may share a label.
        minimum: Permeability of a wall, um/ms; by default the setting's `barrier_permeability`.
        maximum: Permeability of an open face, um/ms; by default the setting's `open_permeability`.
        jitter: Standard deviation of a seeded perturbation of the learnable numbers at the start.

    Raises:
        InputError: `minimum` is not below `maximum`.

    Local; the same numbers on all ranks.
    """

    sides: torch.Tensor
    inside: torch.Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        compartments: Annotated[int, Field(ge=2)] = 3,
        minimum: Positive | None = None,
        maximum: Positive | None = None,
        jitter: NonNegative = 0.1,
    ) -> None:
        super().__init__()
        minimum = minimum or max(setting.barrier_permeability, _IMPERMEABLE)
        maximum = maximum or setting.open_permeability
        if not minimum < maximum:
            raise InputError(f"{minimum:g} um/ms is not below {maximum:g}", "choose minimum < maximum", key="minimum")
        self.compartments, self.minimum, self.maximum = compartments, minimum, maximum
        self.exterior = setting.exterior
        grid = setting.grid
        generator = torch.Generator().manual_seed(setting.seed)
        noise = torch.randn(compartments, len(grid.cells), generator=generator, dtype=torch.float64)
        start = torch.full((compartments, 1), (1 - _START) / (compartments - 1), dtype=torch.float64)
        start[0] = _START
        self.logits = torch.nn.Parameter(start.log() + jitter * noise)
        self.register_buffer("sides", torch.from_numpy(np.maximum(grid.face_cells, 0)), persistent=False)
        self.register_buffer("inside", torch.from_numpy(~grid.is_exterior), persistent=False)

    def forward(self) -> dict[str, torch.Tensor]:
        """{"permeability": (F,) um/ms}, replicated, differentiable. Local."""
        shares = torch.softmax(self.logits, dim=0)
        first, second = shares[:, self.sides[:, 0]], shares[:, self.sides[:, 1]]
        wall = 1.0 - torch.where(self.inside, (first * second).sum(dim=0), first[0])
        exponent = log(self.maximum) + (log(self.minimum) - log(self.maximum)) * wall
        judged = self.inside if self.exterior == "reflecting" else torch.ones_like(self.inside)
        return {"permeability": torch.where(judged, exponent.exp(), self.maximum)}

    @property
    def labels(self) -> IntArray:
        """(E,) the compartment with the largest share in each cell, 0 for the one around. Local."""
        return self.logits.detach().argmax(dim=0).numpy()

    def place(self, labels: IntArray) -> None:
        """Give every cell to one compartment, (E,) numbers from 0. Local."""
        with torch.no_grad():
            hot = torch.nn.functional.one_hot(torch.from_numpy(np.asarray(labels)), self.compartments)
            self.logits.copy_(_SURE * hot.T.to(self.logits))
