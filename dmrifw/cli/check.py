"""`dmrifw check`: everything that can be known about a config without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from dmrifw.cli.case import Case, blame, build_case
from dmrifw.cli.config import load
from dmrifw.cli.parallel import together
from dmrifw.cli.search import build_search
from dmrifw.cli.simulate import geometry_line, summary
from dmrifw.cli.target import build_truth, read_target, true_fields

if TYPE_CHECKING:
    from dmrifw.optimizers import OptimizerSettings


def check(config_file: Path, *, console: Console) -> None:
    """Build everything that a config names, and say what it describes.

    Raises:
        InputError: The config, or a file that it names, is at fault.

    Collective.
    """
    case, optimizer = together(lambda: _checked(config_file))
    if optimizer is not None:
        from dmrifw.inversion.optimizer import check_model

        with blame("inversion", config_file):
            check_model(optimizer, case.simulator)
    console.print(summary(case))
    console.print(geometry_line(case), soft_wrap=True)
    console.print(f"{config_file} is good for: {' and '.join(_uses(case))}", soft_wrap=True)


def _checked(config_file: Path) -> tuple[Case, OptimizerSettings | None]:
    """The case, and how it would be inverted, if it would."""
    case = build_case(load(config_file))
    if case.config.inversion is None:
        case.required_permeability()
        return case, None
    search = build_search(case)
    read_target(case)
    build_truth(case)
    true_fields(case)
    return case, search.optimizer


def _uses(case: Case) -> list[str]:
    uses = ["dmrifw simulate"] if case.permeability is not None else []
    return [*uses, "dmrifw invert"] if case.config.inversion is not None else uses
