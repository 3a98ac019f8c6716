"""The commands."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dmrifw.cli.parallel import is_first, open_exit_channel, settle
from dmrifw.cli.status import DEBUG_VARIABLE, outcome

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _remember_debug(value: bool) -> bool:
    if value:
        os.environ[DEBUG_VARIABLE] = "1"
    return value


def _tell_version(wanted: bool) -> None:
    if wanted:
        _console().print(f"dmrifw {version('dmrifw')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Tissue barriers from diffusion MRI, by inverting the Bloch-Torrey equation."""


ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The config; see docs/configuration.md.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite results that the folder holds.")]
Debug = Annotated[
    bool,
    typer.Option("--debug", envvar=DEBUG_VARIABLE, callback=_remember_debug, help="Show the traceback of an error."),
]


class SignalFormat(StrEnum):
    """How signals are kept beside signal.csv."""

    netcdf = "netcdf"
    zarr = "zarr"


@app.command()
def simulate(
    config: ConfigFile,
    output: Output,
    format: Annotated[
        SignalFormat, typer.Option("--format", help="Keep the dataset as signal.nc or as signal.zarr.")
    ] = SignalFormat.netcdf,
    magnetization: Annotated[
        str | None,
        typer.Option(metavar="ROWS", help="Write the field at the echo of these measurements too, such as 0,5."),
    ] = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Simulate the signals of a config: signal.nc and signal.csv."""
    from dmrifw.cli.simulate import simulate as work

    work(config, output, format=format.value, magnetization=magnetization, force=force, console=_shared_console())


@app.command()
def invert(
    config: ConfigFile,
    output: Output,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in the folder.")] = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Recover barriers or a shape from signals: a report, metrics, history, surfaces, fields and pictures."""
    from dmrifw.cli.invert import invert as work

    work(config, output, resume=resume, force=force, console=_shared_console())


@app.command()
def demo(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder for the results; dmrifw-demo, or the next free one."
        ),
    ] = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Watch a sphere emerge from its diffusion signals, in a few minutes."""
    from dmrifw.cli.demo import demo as work

    work(output, force=force, console=_shared_console())


@app.command()
def train(
    config: ConfigFile,
    output: Output,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in the folder.")] = False,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Train what a plugin learns, such as the autoencoder of shapes."""
    from dmrifw.cli.train import train as work

    work(config, output, resume=resume, force=force, console=_shared_console())


@app.command()
def check(config: ConfigFile, debug: Debug = False) -> None:
    """Check a config and the files it names, without running anything."""
    from dmrifw.cli.check import check as work

    work(config, console=_shared_console())


@app.command()
def plugins(debug: Debug = False) -> None:
    """List the installed plugins and what they offer."""
    from dmrifw.cli.listing import list_plugins

    list_plugins(_console())


mesh_app = typer.Typer(no_args_is_help=True, help="Examine, mend and make meshes.")
app.add_typer(mesh_app, name="mesh")


@mesh_app.command("check")
def mesh_check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A mesh of tetrahedra, a surface, or a neuron.")],
    fix: Annotated[
        Path | None, typer.Option("--fix", metavar="OUT", help="Mend what is safe and write the result here.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Say what is wrong with a mesh file, where, and how to mend it."""
    from dmrifw.cli.mesh import check as work

    work(file, fix=fix, console=_shared_console())


@mesh_app.command("make")
def mesh_make(
    config: ConfigFile,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A .msh, .vtu, .xdmf or .npz.")],
    debug: Debug = False,
) -> None:
    """Write the mesh of a config's [geometry]."""
    from dmrifw.cli.mesh import make as work

    work(config, output, console=_shared_console())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: Its words after the program's name; those of the process by default.

    Returns:
        The exit status, the same on all ranks.

    Collective.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's TERM means what Ctrl-C means
    return settle(*outcome(lambda: app(arguments, prog_name="dmrifw", standalone_mode=False)))


def _console() -> Console:
    """Rank 0's console; the others' says nothing. Local."""
    return Console(quiet=not is_first(), highlight=False, markup=False)


def _shared_console() -> Console:
    """The same for a command in which the ranks work together: starts MPI. Collective."""
    open_exit_channel()
    return _console()
