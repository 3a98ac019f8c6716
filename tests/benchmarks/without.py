"""`dmrifw` with one part of the label search taken out: what that part is worth, in permeability.py.

    ./env python tests/benchmarks/without.py PART invert CONFIG -o FOLDER

PART is one of those listed in PARTS; all that follows is a command of dmrifw.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

from dmrifw_cell_labels import optimizer
from dmrifw_cell_labels.attempts import attempts
from dmrifw_cell_labels.descent import Descent
from dmrifw_cell_labels.misfit import FINEST
from dmrifw_cell_labels.optimizer import LabelSearch
from dmrifw_cell_labels.search import Found
from dmrifw_cell_labels.state import State

from dmrifw.cli import main


def only_free(*arguments: Any) -> list[Any]:
    """Attempts without a symmetry, and so without three compartments but those that cuts make."""
    free = next(one for one in attempts(*arguments) if one.free)
    return [replace(free, heat=0)] * 4


def the_same_place(_: LabelSearch, descent: Descent, *__: Any) -> tuple[Descent, float]:
    """Shares stay where the descent left them."""
    return descent, float("inf")


def nothing_alike(_: LabelSearch, state: State, __: Any) -> State:
    """Mixtures are corrected by what no walls are off by, always."""
    return state


def the_best_three(workers: Any, search: Any, starts: Sequence[Found], generator: Any) -> list[Found]:
    """Rounded steps, as many as help, from the three partitions nearest to the data."""
    nearest = sorted(starts, key=lambda one: one.misfit)[:3]
    return sorted(optimizer.each_rounded(workers, search, nearest, generator), key=lambda one: one.misfit)


def unmoved(_: Any, start: Found, *__: Any) -> Found:
    """No rounded step."""
    return start


def where_it_is(workers: Any, search: Any, start: Found, steps: int, *_: Any, **__: Any) -> Found:
    """Single moves of a record, at no other place."""
    return search.descend(start, steps)


_SEARCH = "dmrifw_cell_labels.optimizer"

PARTS: dict[str, Callable[[], Any]] = {
    "symmetry": lambda: mock.patch(f"{_SEARCH}.attempts", only_free),
    "coarse-to-fine": lambda: mock.patch(f"{_SEARCH}._PHASES", ((FINEST, 0.0),) * 3 + optimizer._PHASES[-1:]),
    "heats": lambda: mock.patch(f"{_SEARCH}._HEAT", len(optimizer._PHASES) + 1),
    "elsewhere": lambda: mock.patch.object(LabelSearch, "_shifted", the_same_place),
    "corrected-mixtures": lambda: mock.patch.object(LabelSearch, "_alike", nothing_alike),
    "race": lambda: mock.patch(f"{_SEARCH}.raced", the_best_three),
    "rounded-steps": lambda: mock.patch("dmrifw_cell_labels.race.rounded", unmoved),
    "other-places": lambda: mock.patch(f"{_SEARCH}.settle", where_it_is),
}
"""How to take each of them out."""


if __name__ == "__main__":
    part = PARTS[sys.argv.pop(1)]
    with part():
        main()
