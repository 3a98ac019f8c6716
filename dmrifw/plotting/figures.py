"""Figures of an inversion as SVG text, to stand inside a page: signal fit, residuals, losses, permeabilities."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dmrifw.plotting.space import mark_starts, series
from dmrifw.plotting.style import BLUE, CYCLE, INK, STYLE, TRUE_SURFACE, VERMILLION
from dmrifw.sequences import Protocol, shell_numbers
from dmrifw.surface import BARRIER_THRESHOLD
from dmrifw.typing import ArrayLike, FloatArray

_WIDTH = 9.6
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (4, 1.2, 1, 1.2)), (0, (7, 2)), (0, (2, 1)))
_SMALLEST_TERM = 1e-6
"""Share of the loss below which its terms are not shown."""

_LOWEST, _HIGHEST = 1e-4, 1e4
"""Permeabilities, um/ms, beyond which all fall into the last bins of the histogram."""


@dataclass(frozen=True)
class _Panel:
    """A panel beside that of the loss: labels of columns of the history, their unit, and its axis."""

    columns: Mapping[str, str]
    unit: str
    scale: str = "linear"
    limits: tuple[float | None, float | None] = (None, None)


_PANELS = (
    _Panel(
        {"barrier_recall": "recall", "barrier_precision": "precision", "barrier_f1_symmetric": "F1 of any image"},
        "share of faces",
        limits=(-0.02, 1.02),
    ),
    _Panel({"vertex_rmsd_um": "RMSD", "chamfer_um": "chamfer"}, "distance from the truth (µm)", "log"),
    _Panel({"volume_um3": "volume"}, "volume (µm³)"),
)


def signal_figure(protocol: Protocol, measured: ArrayLike, fitted: ArrayLike) -> str:
    """Signals over b, a panel for each sequence: means over directions as points, their range as bars, the fit as line.

    Args:
        protocol: The measurements.
        measured: (n,) magnitudes relative to S0.
        fitted: (n,) the same of the simulation.

    Returns:
        SVG text.

    Local.
    """
    measured, fitted = np.abs(measured), np.abs(fitted)
    sequences, shells = np.unique(protocol.sequence), shell_numbers(protocol)

    def draw(figure: Figure) -> None:
        for axes, number in zip(_row(figure, len(sequences)), sequences, strict=True):
            rows = protocol.sequence == number
            shell = np.unique(shells[rows], return_inverse=True)[1]
            b = np.bincount(shell, protocol.bvals[rows]) / np.bincount(shell)
            target, fit = (_over_directions(values[rows], shell) for values in (measured, fitted))
            bars = np.maximum([target[0] - target[1], target[2] - target[0]], 0.0)  # means of equal values round
            axes.fill_between(b, fit[1], fit[2], color=BLUE, alpha=0.15, lw=0)
            axes.plot(b, fit[0], color=BLUE, lw=1.6, label="fit")
            axes.errorbar(b, target[0], bars, fmt="o", ms=4, color=INK, lw=0.9, capsize=2, label="target")
            axes.set_title(_name(protocol, number), fontsize=9, loc="left", fontweight="bold")
            axes.set(xlabel="b (s/mm²)", ylim=(0, None))
            axes.xaxis.set_major_locator(MaxNLocator(5))
        figure.axes[0].set_ylabel("|S| / S0")
        figure.axes[0].legend(loc="upper right", handlelength=1.4)

    return _svg(draw, (_WIDTH, 3.0))


def residual_figure(protocol: Protocol, measured: ArrayLike, fitted: ArrayLike) -> str:
    """What is left of each measurement: a row for each shell, a column for each of its directions.

    Args:
        protocol: The measurements.
        measured: (n,) magnitudes relative to S0.
        fitted: (n,) the same of the simulation.

    Returns:
        SVG text.

    Local.
    """
    table, names = _per_shell(protocol, 100.0 * (np.abs(fitted) - np.abs(measured)))
    largest = float(np.nanmax(np.abs(table))) or 1.0
    colours = mpl.colormaps["RdBu_r"].with_extremes(bad="#eceff2")

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        image = axes.imshow(table, cmap=colours, vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest")
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set(xlabel="direction, in the order of the protocol")
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, pad=0.015, fraction=0.03)
        bar.set_label("fit - target (% of S0)")
        bar.outline.set_visible(False)  # type: ignore[operator]

    return _svg(draw, (_WIDTH, 1.1 + 0.2 * len(names)))


def history_figure(history: Sequence[Mapping[str, Any]]) -> str:
    """The loss and its terms over the iterations and what else is known: recall and precision, distances, a volume.

    Args:
        history: Rows with `iteration`, `loss`, `data_loss`, `prior_NAME`, and the columns of `_PANELS`.

    Returns:
        SVG text.

    Local.
    """
    names = list(dict.fromkeys(name for row in history for name in row))
    terms = ["loss", "data_loss", *(name for name in names if name.startswith("prior_"))]
    others = [panel for panel in _PANELS if any(name in names for name in panel.columns)]

    def draw(figure: Figure) -> None:
        first, *panels = _row(figure, 1 + len(others))
        for number, name in enumerate(terms):
            iterations, values = series(history, name)
            label = name.removeprefix("prior_").replace("data_loss", "data")
            colour = INK if number == 0 else CYCLE[(number - 1) % len(CYCLE)]
            shown = np.where(values > 0, values, np.nan)
            first.plot(iterations, shown, color=colour, lw=1.4, ls=_DASHES[number % len(_DASHES)], label=label)
        first.set(xlabel="iteration", ylabel="loss", yscale="log")
        low, high = first.get_ylim()
        least = min([high, *(row["loss"] for row in history if row.get("loss", 0) > 0)])
        first.set_ylim(max(low, min(0.5 * least, high * _SMALLEST_TERM)), high)
        for axes, panel in zip(panels, others, strict=True):
            for (name, label), colour, dashes in zip(panel.columns.items(), CYCLE, _DASHES, strict=False):
                axes.plot(*series(history, name), color=colour, lw=1.6, ls=dashes, label=label)
            axes.set(xlabel="iteration", ylabel=panel.unit, yscale=panel.scale, ylim=panel.limits)
        columns = 2 if len(panels) > 1 else 4
        for axes in (first, *panels):
            mark_starts(axes, history)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.legend(
                loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, handlelength=2.2, columnspacing=1.2
            )

    return _svg(draw, (_WIDTH, 3.3))


def permeability_figure(permeability: ArrayLike, truth: ArrayLike | None = None) -> str:
    """How many faces have which permeability, on a logarithmic scale; true walls apart where they are known.

    Args:
        permeability: (n,) um/ms of the faces that take part.
        truth: (n,) True for the true walls.

    Returns:
        SVG text.

    Local.
    """
    kappa = np.clip(np.asarray(permeability, dtype=np.float64), _LOWEST, _HIGHEST)
    low, high = np.floor(np.log10(kappa.min())), np.ceil(np.log10(kappa.max()))
    bins = np.logspace(low, max(high, low + 1), 49)
    walls = None if truth is None else np.asarray(truth, dtype=bool)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        if walls is None:
            axes.hist(kappa, bins.tolist(), color=BLUE)
        else:
            parts = [kappa[walls], kappa[~walls]]
            labels = [f"{walls.sum()} true walls", f"{(~walls).sum()} truly open"]
            axes.hist(parts, bins.tolist(), color=[BLUE, TRUE_SURFACE], stacked=True, label=labels)
        axes.axvline(BARRIER_THRESHOLD, color=VERMILLION, lw=1.2, ls=_DASHES[1], label="threshold of a wall")
        axes.set(xscale="log", xlabel="permeability (µm/ms)", ylabel="faces", xlim=(bins[0], bins[-1]))
        axes.set_yscale("symlog", linthresh=10)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=3)
        _plain(axes)

    return _svg(draw, (_WIDTH, 2.8))


def _over_directions(values: FloatArray, shell: np.ndarray) -> FloatArray:
    """(3, shells) mean, smallest and largest of each shell."""
    count = np.bincount(shell)
    low, high = np.full(len(count), np.inf), np.full(len(count), -np.inf)
    np.minimum.at(low, shell, values)
    np.maximum.at(high, shell, values)
    return np.array([np.bincount(shell, values) / count, low, high])


def _per_shell(protocol: Protocol, values: FloatArray) -> tuple[FloatArray, list[str]]:
    """(shells, directions) values, NaN where a shell has fewer directions; and the names of the shells."""
    shell = shell_numbers(protocol)
    order = np.argsort(shell, kind="stable")
    count = np.bincount(shell)
    column = np.empty(len(shell), dtype=np.int64)
    column[order] = np.arange(len(shell)) - np.repeat(np.cumsum(count) - count, count)
    table = np.full((len(count), count.max()), np.nan)
    table[shell, column] = values
    first = np.unique(shell, return_index=True)[1]
    means = np.bincount(shell, protocol.bvals) / count
    names = [_name(protocol, int(one)) for one in protocol.sequence[first]]
    return table, [f"{name}, b = {b:.5g}" for name, b in zip(names, means, strict=True)]


def _name(protocol: Protocol, number: int) -> str:
    """A sequence in a few words: its timing where it has pulses."""
    row = int(np.argmax(protocol.sequence == number))
    delta, Delta = protocol.delta[row], protocol.Delta[row]
    kind = type(protocol.waveforms[number]).__name__
    return f"{kind} {delta:g}/{Delta:g} ms" if np.isfinite([delta, Delta]).all() else f"{kind} {number}"


def _row(figure: Figure, count: int) -> list[Axes]:
    """Panels beside each other."""
    panels = [figure.add_subplot(1, count, number + 1) for number in range(count)]
    for axes in panels:
        _plain(axes)
        axes.grid(True, which="major")
    return panels


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def _svg(draw: Callable[[Figure], None], size: tuple[float, float]) -> str:
    """A figure as an <svg> element, its letters as outlines so that it looks the same everywhere."""
    with mpl.rc_context({**STYLE, "svg.fonttype": "path", "svg.hashsalt": "dmrifw"}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    element = stream.getvalue()
    element = element[element.index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
