"""The page of an inversion, `report.html`: what is shown, and in which words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from dmrifw import report
from dmrifw.cli.inversion import BUILT_IN_OPTIMIZERS
from dmrifw.cli.stopwatch import Stopwatch
from dmrifw.report import Fact, Figure, Page, Setting

if TYPE_CHECKING:
    from dmrifw.cli.outcome import Outcome

_FACTS = {
    "signal_relative_error": ("{:.2%}", "of S0: how far the signals are from the target (root mean square)"),
    "signal_error_over_noise": ("{:.2f}", "the same over the noise: 1 is all that can be asked"),
}
"""The metrics at the top of the page, before those of the subject: their form, and what they mean."""


def page_of(outcome: Outcome, folder: Path, watch: Stopwatch) -> Page:
    """The page of an inversion.

    Args:
        outcome: What was found.
        folder: The run folder, which holds the files.
        watch: What was measured so far.

    Returns:
        The page; without pictures in space, and with a note that says why, where they cannot be drawn.

    Local; call it on one rank.
    """
    from dmrifw import plugins

    case, metrics = outcome.case, outcome.metrics
    told = {name: one for name, one in (_FACTS | outcome.subject.facts).items() if metrics.get(name) is not None}
    facts = [Fact(form.format(metrics[name]), words) for name, (form, words) in told.items()]
    notes: list[str] = []
    with watch.lap("pictures"):
        figures = list(_figures(outcome, folder, notes))
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
    case, metrics = outcome.case, outcome.metrics
    starts = f" and {metrics['starts']} starts, of which the best" if "starts" in metrics else ""
    ended = f" The search ended because {outcome.result.ending}." if outcome.result.ending else ""
    return [
        f"{metrics['iterations']} iterations{starts} took the loss from {metrics['loss_initial']:.4g} "
        f"to {metrics['loss_final']:.4g} before the last step.{ended}",
        outcome.subject.summary(outcome.fields),
        f"{len(case.protocol)} signals of {len(np.unique(case.protocol.sequence))} sequences, "
        f"b up to {case.protocol.bvals.max():g} s/mm².",
        f"The {outcome.target}.",
    ]


def _figures(outcome: Outcome, folder: Path, notes: list[str]) -> Iterator[Figure]:
    """The figures in the order of the page."""
    from dmrifw import plotting

    protocol = outcome.case.protocol
    yield from outcome.subject.pictures(folder, outcome.fields, notes)
    measured, fitted = outcome.problem.reference, outcome.relative
    yield Figure(
        "Signals",
        "Points: the target, averaged over directions, with the range over them. Line and band: the same of the "
        "result. All relative to the signal at b = 0 of the sequence.",
        svg=plotting.signal_figure(protocol, measured, fitted),
    )
    yield Figure(
        "What is left of them",
        "Each shell is a row and each direction a column. Stripes tell of a shape that is not explained; "
        "what looks like noise is noise.",
        svg=plotting.residual_figure(protocol, measured, fitted),
    )
    yield Figure("Loss", _loss_caption(outcome), svg=plotting.history_figure(outcome.result.course))
    yield from outcome.subject.figures(outcome.fields)


def _loss_caption(outcome: Outcome) -> str:
    if _optimizer(outcome) not in BUILT_IN_OPTIMIZERS:
        return f"The loss is what {_optimizer(outcome)} lowers: its documentation tells what that is made of."
    kind = outcome.case.config.inversion.likelihood if outcome.case.config.inversion else "squared"
    compared = {"squared": "squared differences", "gaussian": "a Gaussian likelihood", "rician": "a Rician likelihood"}
    told = f"The loss is the sum of its terms: {compared[kind]} of the signals, and the priors."
    return told + " The schedule changes which sequences count, so steps in the data term are no accidents."


def _optimizer(outcome: Outcome) -> str:
    return outcome.case.config.inversion.optimizer if outcome.case.config.inversion else ""


_PARTS = {"signal": "signals", "gradient": "gradients", "check": "checks by the simulator"}
"""What columns of seconds in the history are of; those of other optimizers speak for themselves."""


def _seconds(outcome: Outcome, watch: Stopwatch) -> dict[str, float]:
    """Parts of the wall-clock time. Iterations count all that were ever done; the rest, those of this session."""
    history = outcome.result.history
    whole = float(history.column("seconds").sum())
    columns = [name for name in history.columns if name.endswith("_seconds")]
    told = {name.removesuffix("_seconds"): float(np.nansum(history.column(name))) for name in columns}
    parts = {f"iterations: {_PARTS.get(name, name)}": spent for name, spent in told.items() if spent}
    parts["iterations: the rest, such as priors, steps and diagnostics"] = whole - sum(told.values())
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
    idle = tuple(f"inversion.{one}." for one in BUILT_IN_OPTIMIZERS if one != _optimizer(outcome))
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
