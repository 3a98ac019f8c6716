"""The page of an inversion, `report.html`: what is shown, and in which words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from dmrifw import report
from dmrifw.cli.stopwatch import Stopwatch
from dmrifw.cli.target import describe_target
from dmrifw.mesh.spacing import wall_spacing
from dmrifw.report import Fact, Figure, Page, Setting
from dmrifw.surface import barrier_faces

if TYPE_CHECKING:
    from dmrifw.cli.outcome import Outcome

_FACTS = {
    "signal_relative_error": ("{:.2%}", "of S0: how far the signals are from the target (root mean square)"),
    "signal_error_over_noise": ("{:.2f}", "the same over the noise: 1 is all that can be asked"),
    "barrier_recall": ("{:.1%}", "of the true walls are found (recall)"),
    "barrier_precision": ("{:.1%}", "of the walls found are true (precision)"),
    "barrier_f1_symmetric": ("{:.3f}", "F1, up to point reflection"),
    "chamfer_um": ("{:.2f} µm", "from true to recovered surface, centred (chamfer distance)"),
    "bad_edge_fraction": ("{:.1%}", "of the surface's edges are open or branch"),
}
"""The metrics at the top of the page: their form, and what they mean."""


def page_of(outcome: Outcome, watch: Stopwatch) -> Page:
    """The page of an inversion.

    Args:
        outcome: What was found.
        watch: What was measured so far.

    Returns:
        The page; without pictures in space, and with a note that says why, where they cannot be drawn.

    Local; call it on one rank.
    """
    from dmrifw import plugins

    case, metrics = outcome.case, outcome.metrics
    known = {name: metrics[name] for name in _FACTS if metrics.get(name) is not None}
    facts = [Fact(_FACTS[name][0].format(value), _FACTS[name][1]) for name, value in known.items()]
    notes: list[str] = []
    with watch.lap("pictures"):
        figures = list(_figures(outcome, notes))
    versions = report.software_versions() | {
        plugin.name: plugin.version for plugin in plugins.describe() if plugin.version
    }
    return Page(
        title=f"Inversion of {case.config.path.stem}",
        summary=_summary(outcome),
        facts=facts,
        figures=figures,
        metrics={name: "none" if value is None else f"{value:.6g}" for name, value in metrics.items()},
        seconds=_seconds(outcome, watch),
        settings=list(_settings(outcome)),
        config=case.config.text,
        versions=versions,
        notes=notes,
    )


def _summary(outcome: Outcome) -> list[str]:
    case, grid = outcome.case, outcome.case.grid
    walls = outcome.barriers
    spacing = f"; the smallest spacing between them is {wall_spacing(grid, walls):.3g} µm" if walls.any() else ""
    return [
        f"{outcome.metrics['iterations']} iterations took the loss from {outcome.metrics['loss_initial']:.4g} "
        f"to {outcome.metrics['loss_final']:.4g}.",
        f"{len(grid.cells)} tetrahedra of {grid.volume:.6g} µm³ with {len(grid.faces)} faces, of which "
        f"{int(walls.sum())} became walls{spacing}.",
        f"{len(case.protocol)} signals of {len(np.unique(case.protocol.sequence))} sequences, "
        f"b up to {case.protocol.bvals.max():g} s/mm².",
        f"The {describe_target(case, outcome.truth)}.",
    ]


def _figures(outcome: Outcome, notes: list[str]) -> Iterator[Figure]:
    """The figures in the order of the page."""
    from dmrifw import plotting

    case, protocol = outcome.case, outcome.case.protocol
    pictures = _pictures(outcome, notes)
    if pictures:
        yield Figure("Surface", _surface_caption(outcome), png=pictures)
    measured, fitted = outcome.problem.reference, outcome.relative
    yield Figure(
        "Signals",
        "Points: the target, averaged over directions, with the range over them. Line and band: the same of the "
        "recovered walls. All relative to the signal at b = 0 of the sequence.",
        svg=plotting.signal_figure(protocol, measured, fitted),
    )
    yield Figure(
        "What is left of them",
        "Each shell is a row and each direction a column. Stripes tell of a shape that is not explained; "
        "what looks like noise is noise.",
        svg=plotting.residual_figure(protocol, measured, fitted),
    )
    yield Figure("Loss", _loss_caption(outcome), svg=plotting.history_figure(outcome.history.rows))
    part = case.judged_faces
    truth = None if case.true_barrier is None else case.true_barrier[part]
    yield Figure(
        "Permeabilities",
        "How many faces have which permeability. What lies left of the threshold is a wall.",
        svg=plotting.permeability_figure(outcome.permeability[part], truth),
    )


def _pictures(outcome: Outcome, notes: list[str]) -> dict[str, bytes]:
    """The true surface and the recovered one, from the same place; a note where this machine draws none."""
    from dmrifw.plotting import Surface, scene
    from dmrifw.plotting.style import BLUE, TRUE_SURFACE, VERMILLION, YELLOW

    case, truth, grid = outcome.case, outcome.truth, outcome.case.grid
    walls, true = outcome.barriers, case.true_barrier
    scenes = {}
    if truth is not None:
        faces = barrier_faces(truth.required_permeability()) & truth.judged_faces
        scenes["truth"] = [Surface(truth.grid, faces, TRUE_SURFACE)]
    elif true is not None:
        scenes["truth"] = [Surface(grid, true & case.judged_faces, TRUE_SURFACE)]
    if true is None:
        scenes["recovered"] = [Surface(grid, walls, BLUE)]
    else:
        true = true & case.judged_faces
        wrong = [Surface(grid, walls & ~true, VERMILLION), Surface(grid, true & ~walls, YELLOW, opacity=0.7)]
        scenes["recovered"] = [Surface(grid, walls & true, BLUE), *wrong]
        if (walls != true).any():
            scenes["what is wrong with it"] = wrong
    try:
        return {
            name: scene(surfaces, grid, edges=name != "truth" or truth is None) for name, surfaces in scenes.items()
        }
    except Exception as error:  # VTK fails in many ways where there is no OpenGL, and a finished inversion must be kept
        notes.append(f"The surfaces could not be drawn here ({type(error).__name__}: {error}); see interface.ply.")
        return {}


def _surface_caption(outcome: Outcome) -> str:
    low, high = outcome.case.grid.points.min(axis=0), outcome.case.grid.points.max(axis=0)
    box = " x ".join(f"{extent:.4g}" for extent in high - low)
    told = f"The box is that of the grid, {box} µm."
    if outcome.case.true_barrier is not None:
        told += " Recovered walls are blue where they are true and vermillion where they are not; what is missing is "
        told += "yellow."
    return told


def _loss_caption(outcome: Outcome) -> str:
    kind = outcome.case.config.inversion.likelihood if outcome.case.config.inversion else "squared"
    compared = {"squared": "squared differences", "gaussian": "a Gaussian likelihood", "rician": "a Rician likelihood"}
    told = f"The loss is the sum of its terms: {compared[kind]} of the signals, and the priors."
    return told + " The schedule changes which sequences count, so steps in the data term are no accidents."


def _seconds(outcome: Outcome, watch: Stopwatch) -> dict[str, float]:
    """Parts of the wall-clock time. Iterations count all that were ever done; the rest, those of this session."""
    history = outcome.history
    signals, gradients, whole = (history.column(f"{name}seconds").sum() for name in ("signal_", "gradient_", ""))
    parts = {
        "iterations: signals": signals,
        "iterations: gradients": gradients,
        "iterations: priors, steps and diagnostics": whole - signals - gradients,
    }
    seconds: dict[str, float] = {}
    for name, measured in watch.seconds.items():
        if name == "inversion":
            seconds |= parts
            name, measured = "checkpoints and progress", max(0.0, measured - whole)
        seconds[name] = measured
    return seconds


def _settings(outcome: Outcome) -> Iterator[Setting]:
    """The config with all defaults, and with what the run made of those that depend on something."""
    case, problem = outcome.case, outcome.problem
    made = {
        "solver.tolerance": case.tolerance,
        "solver.degree": case.degree,
        "inversion.data_weight": problem.weight,
        "inversion.sigma": problem.sigma,
        "inversion.target.unit": "arbitrary" if problem.arbitrary_unit else "um^3",
    }
    idle = "inversion.adam." if "damping" in outcome.history.columns else "inversion.gauss-newton."
    found = {one.key: one for one in _walk(case.config, "") if not one.key.startswith(idle)}
    for key, value in made.items():
        if value is not None and key not in found:
            found[key] = Setting(key, _text(value), False)
    for name, options in outcome.options.items():
        tables = case.config.inversion.tables if case.config.inversion else {}
        for option, value in options.items():
            key = f"inversion.{name}.{option}"
            found[key] = Setting(key, _text(value), option in tables.get(name, {}))
    order = list(type(case.config).model_fields)
    yield from sorted(found.values(), key=lambda one: order.index(one.key.partition(".")[0]))


def _walk(section: BaseModel, place: str) -> Iterator[Setting]:
    for name, field in type(section).model_fields.items():
        value, key = getattr(section, name), f"{place}{field.alias or name}"
        if isinstance(value, BaseModel):
            yield from _walk(value, f"{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
            for number, one in enumerate(value):
                yield from _walk(one, f"{key}[{number}].")
        elif value is not None:
            yield Setting(key, _text(value), name in section.model_fields_set)
    for name, value in (section.model_extra or {}).items():
        if not isinstance(value, dict):
            yield Setting(f"{place}{name}", _text(value), True)


def _text(value: Any) -> str:
    """A value as TOML writes it, or nearly so."""
    try:
        return json.dumps(value, ensure_ascii=False).replace("Infinity", "inf")
    except TypeError:
        return str(value)
