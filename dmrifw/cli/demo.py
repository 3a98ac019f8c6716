"""`dmrifw demo`: the main job, small, on an example that needs no file."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path

from rich.console import Console

from dmrifw.cli.config import parse_text
from dmrifw.cli.folder import CONFIG_COPY, INTERFACE, REPORT
from dmrifw.cli.invert import run_inversion
from dmrifw.cli.parallel import together

DEFAULT_FOLDER = "dmrifw-demo"

CONFIG = """\
# What `dmrifw demo` runs: find a sphere in an ambient grid from its diffusion signals.

[geometry]
kind = "grid"
cells = 4
size = 26.6667                                # um
barrier = { shape = "sphere", radius = 10 }   # the truth, of which the signals are made

[tissue]
diffusivity = "2 um^2/ms"
barrier_permeability = 0.01                   # um/ms
open_permeability = 100
exterior = "permeable"

[protocol]
preset = "spinverse"                          # PGSE 5/6, 10/20, 10/60 ms; b to 5000 s/mm^2; 30 directions

[solver]
tolerance = 1e-3                              # error in S/S0

[inversion]
parametrization = "face-permeability"
priors = ["continuity", "soft-manifold"]
schedule = "staged"                           # 10/60 ms shows the outline, then 10/20 ms the detail
iterations = 300
"""


def demo(output: Path | None, *, force: bool, console: Console) -> None:
    """Recover a sphere from its own signals.

    Args:
        output: The run folder; `dmrifw-demo`, or the next number that is free, by default.
        force: Whether results in it may be overwritten.
        console: Where to show progress and results.

    Raises:
        InputError: The folder holds results.

    Collective.
    """
    folder = output or (Path(DEFAULT_FOLDER) if force else together(_free_folder))
    console.print(
        "A sphere of 10 um stands in a grid of 576 tetrahedra. From its diffusion signals alone, and faces that all\n"
        "start equally permeable, the inversion must find where its wall is.",
        soft_wrap=True,
    )
    config = folder / CONFIG_COPY
    run_inversion(lambda: parse_text(CONFIG, config), None, folder, resume=False, force=force, console=console)
    console.print(f"see it: xdg-open {folder / REPORT}; in 3-D: paraview {folder / INTERFACE}", soft_wrap=True)


def _free_folder() -> Path:
    names = chain([DEFAULT_FOLDER], (f"{DEFAULT_FOLDER}-{number}" for number in count(2)))
    return next(path for path in map(Path, names) if not path.exists())
