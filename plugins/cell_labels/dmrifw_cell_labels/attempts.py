"""What a search tries, one after the other: symmetries, numbers of compartments, where these begin."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dmrifw.inversion import InversionProblem
from dmrifw.typing import BoolArray, ComplexArray, FloatArray
from dmrifw_cell_labels.symmetry import PointGroup, Symmetry, patterns, shown

_WIDTHS = (0.85, 2.0)
"""Standard deviations of the bumps that symmetric descents begin at, over the radius of a ball of the same volume, one
tried after the other: which of them leads home depends on the shape."""

_FREE = 4
"""Clouds without a symmetry in a heat."""

_LEAST_PART = 1 / 3
"""Of the symmetry that signals show, in three compartments: a wall inside may break it and hardly be seen."""

_NOISY = 5e-3
"""Noise, in S/S0, which may hide that a tissue is not quite symmetric."""


@dataclass(frozen=True, eq=False)
class Attempt:
    """A way to search.

    Attributes:
        count: Compartments to begin with, the one around included.
        symmetry: What partitions are held to.
        width: Of the bump that it begins at, over the radius of a ball of the same volume.
        pattern: (E,) field by whose signs three compartments begin apart; None for two.
        heat: Its heat: only the best of one go on.
    """

    count: int
    symmetry: Symmetry
    width: float = np.inf
    pattern: FloatArray | None = None
    heat: int = 0

    @property
    def free(self) -> bool:
        """Whether partitions are held to no symmetry."""
        return self.symmetry.trivial


def attempts(problem: InversionProblem, plain: ComplexArray, noise: float, compartments: int) -> list[Attempt]:
    """What to try, in this order, and again from the beginning.

    First partitions with the symmetry that signals show, of two compartments and, where that symmetry is more than
    magnitudes always have, of three, or of a large part of it, since a wall between the two others changes signals
    little. Then any. Magnitudes, and complex signals of waveforms that are odd in time, show a point reflection that
    the tissue may not have: its subgroups without are tried too. Three compartments of that symmetry alone come last,
    and in noise, which may hide what a turn changes, those of it and a turn, too. The fewer unknowns, the earlier a
    heat: the more of them, the easier signals are explained by something else.

    Args:
        problem: Target and simulator.
        plain: (n,) signals without walls, in S/S0.
        noise: Standard deviation of the noise in each part, in S/S0.
        compartments: That there are at most, the one around included.

    Local.
    """
    grid = problem.simulator.grid
    cells, everything = len(grid.cells), PointGroup.of(grid)
    group = everything.part(shown_by(problem, everything, plain))
    free = [Attempt(2, Symmetry.none(cells, 2))] * _FREE
    if len(group) == 1:
        return free
    two = [Attempt(2, Symmetry.of(group, np.zeros(len(group), dtype=bool), 2), width) for width in _WIDTHS]
    seen: set[bytes] = set()
    fields: list[FloatArray] = []
    whole: list[Attempt] = []
    broken: list[Attempt] = []
    for pattern in patterns(grid):
        if any(group.takes(pattern, one) for one in fields):
            continue
        fields.append(pattern)
        signs = group.signs(pattern)
        part, swaps = group.part(signs != 0), signs[signs != 0] < 0
        if compartments > 2 and len(part) >= max(2, _LEAST_PART * len(group)):
            three = whole if len(part) == len(group) else broken
            three.append(Attempt(3, Symmetry.of(part, swaps, 3), pattern=pattern))
        kept = group.part(signs > 0)
        unreflected = group.inverts and not kept.inverts and len(kept) > 1
        if unreflected and len(part) == len(group) and swaps.tobytes() not in seen:
            seen.add(swaps.tobytes())
            two.append(Attempt(2, Symmetry.of(kept, np.zeros(len(kept), dtype=bool), 2), _WIDTHS[0]))
    whole, broken = ([replace(one, width=width) for width in _WIDTHS for one in some] for some in (whole, broken))
    certain = len(group) > (4 if noise > _NOISY else 2 if group.inverts else 1)
    heats = [two, whole, broken, free] if certain else [[*two, *free], free, free, whole, broken]
    return [replace(one, heat=number) for number, heat in enumerate(heats) for one in heat]


def shown_by(problem: InversionProblem, group: PointGroup, plain: ComplexArray) -> BoolArray:
    """(g,) which operations leave the target's signals as they are: what walls change of them. Local."""
    relative = problem.reference
    changed = np.abs(relative) - np.abs(plain) if problem.magnitude else relative - plain
    return shown(group, problem.simulator.protocol, changed)
