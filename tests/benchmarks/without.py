"""`dmrifw` with one part of the label search taken out: what that part is worth, in permeability.py.

    ./env python tests/benchmarks/without.py PART invert CONFIG -o FOLDER

PART is one of those listed in PARTS; all that follows is a command of dmrifw.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest import mock

from dmrifw_cell_labels import clouds
from dmrifw_cell_labels.attempts import attempts
from dmrifw_cell_labels.context import Context
from dmrifw_cell_labels.descent import Descent
from dmrifw_cell_labels.misfit import FINEST
from dmrifw_cell_labels.race import each_rounded
from dmrifw_cell_labels.search import Found
from dmrifw_cell_labels.state import State

from dmrifw.cli import main


def only_free(*arguments: Any) -> list[Any]:
    """Attempts without a symmetry, and so without three compartments but those that cuts make."""
    free = next(one for one in attempts(*arguments) if one.free)
    return [replace(free, heat=0)] * 4


def the_same_place(_: Context, descent: Descent, *__: Any) -> tuple[Descent, float]:
    """Shares stay where the descent left them."""
    return descent, float("inf")


def nothing_alike(_: Context, state: State, *__: Any) -> State:
    """Mixtures are corrected by what no walls are off by, always."""
    return state


def the_best_three(workers: Any, search: Any, starts: Sequence[Found], generator: Any) -> list[Found]:
    """Rounded steps, as many as help, from the three partitions nearest to the data."""
    nearest = sorted(starts, key=lambda one: one.misfit)[:3]
    return sorted(each_rounded(workers, search, nearest, generator), key=lambda one: one.misfit)


def unmoved(_: Any, start: Found, *__: Any) -> Found:
    """No rounded step."""
    return start


def where_it_is(workers: Any, search: Any, start: Found, steps: int, *_: Any, **__: Any) -> Found:
    """Single moves of a record, at no other place."""
    return search.descend(start, steps)


PARTS: dict[str, dict[str, Any]] = {
    "symmetry": {"optimizer.attempts": only_free},
    "coarse-to-fine": {"clouds.PHASES": ((FINEST, 0.0),) * 3 + clouds.PHASES[-1:]},
    "loose-mixtures": {"clouds.LOOSE": 0.0},
    "heats": {"clouds.HEAT": len(clouds.PHASES) + 1},
    "elsewhere": {"clouds.elsewhere": the_same_place},
    "corrected-mixtures": {"clouds.alike": nothing_alike, "symmetric.alike": nothing_alike},
    "race": {"optimizer.raced": the_best_three},
    "rounded-steps": {"race.rounded": unmoved},
    "other-places": {"optimizer.settle": where_it_is},
}
"""What stands for what, in dmrifw_cell_labels, where each of them is taken out."""


if __name__ == "__main__":
    with ExitStack() as replaced:
        for name, other in PARTS[sys.argv.pop(1)].items():
            replaced.enter_context(mock.patch(f"dmrifw_cell_labels.{name}", other))
        main()
