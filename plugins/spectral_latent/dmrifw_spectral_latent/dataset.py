"""Shapes drawn at random from a family, every element of every one of them sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dmrifw.errors import InputError
from dmrifw_spectral_latent.families import Family
from dmrifw_spectral_latent.quality import scaled_jacobian
from dmrifw_spectral_latent.template import Template

FLOOR = 0.03
"""Least scaled Jacobian of a shape in a data set. The template's is 0.38."""

ABSENT = 0.25
"""Share of draws in which a parameter of strength is 0, so that the edges of a family's range are well covered."""

_BATCH = 256
_LEAST_ACCEPTANCE = 0.01
_PATIENCE = 5 * _BATCH


@dataclass(frozen=True, eq=False)
class Dataset:
    """Shapes and what made them.

    Attributes:
        points: (N, V, 3) vertices, um.
        values: (N, P) the family's parameters.
        rejected: Number of draws that were thrown away, since an element fell below the floor.
    """

    points: torch.Tensor
    values: torch.Tensor
    rejected: int


def draw(family: Family, template: Template, count: int, seed: int, floor: float = FLOOR) -> Dataset:
    """Draw shapes until enough of them are sound.

    Parameters are uniform over their ranges; each strength is 0 in a share `ABSENT` of the draws, and of a
    composition each family is absent in half of them. The first shapes of a seed are the same for every count.

    Args:
        family: What to draw from.
        template: The straight cylinder.
        count: Number of shapes.
        seed: Seed; the same shapes on every machine, up to rounding.
        floor: Least scaled Jacobian of every element.

    Returns:
        The shapes.

    Raises:
        InputError: Fewer than one draw in a hundred keeps the floor.

    Local.
    """
    generator = np.random.default_rng(seed)
    kept_points, kept_values, drawn, kept = [], [], 0, 0
    while kept < count:
        values = torch.from_numpy(_values(family, _BATCH, generator))
        points = family.shape(template, values)
        good = scaled_jacobian(points, template.cells).amin(dim=-1) > floor
        rows = torch.nonzero(good).flatten()[: count - kept]
        # Of the last batch only the draws up to the last shape that was needed count.
        drawn += _BATCH if len(rows) + kept < count else int(rows[-1]) + 1
        kept += len(rows)
        kept_points.append(points[rows])
        kept_values.append(values[rows])
        if drawn >= _PATIENCE and kept < _LEAST_ACCEPTANCE * drawn:
            raise InputError(
                f"only {kept} of {drawn} shapes keep a scaled Jacobian of {floor:g}",
                "lower the floor, or take a finer template",
                key="floor",
            )
    return Dataset(torch.cat(kept_points), torch.cat(kept_values), drawn - kept)


def _values(family: Family, count: int, generator: np.random.Generator) -> np.ndarray:
    low, high = (np.array([getattr(one, end) for one in family.parameters]) for end in ("low", "high"))
    strength = np.array([one.strength for one in family.parameters])
    values = low + (high - low) * generator.random((count, len(low)))
    absent = generator.random(values.shape) < ABSENT
    if len(family.groups) > 1:
        absent |= np.repeat(generator.random((count, len(family.groups))) < 0.5, family.groups, axis=1)
    return np.where(absent & strength, 0.0, values)
