"""The picture of an inversion: true barriers, recovered barriers, and how the loss came down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from dmrifw.mesh import Grid
from dmrifw.plotting.space import draw_faces, heading, series, space
from dmrifw.plotting.style import BLUE, GREEN, INK, STYLE, TRUE_SURFACE, VERMILLION, YELLOW
from dmrifw.surface import BARRIER_THRESHOLD, barrier_faces, per_face, replacing
from dmrifw.typing import ArrayLike, BoolArray, FloatArray

_MISSING = to_rgba(YELLOW, 0.7)
_BARRIERS = LinearSegmentedColormap.from_list("barriers", ["#0b3c68", BLUE, "#cfe6f5"])

_SCALE_DECADES = 2
"""Decades of permeability below the threshold that the colour scale spans."""


def recovery_figure(
    path: str | Path,
    grid: Grid,
    truth: ArrayLike,
    permeability: ArrayLike,
    history: Sequence[Mapping[str, Any]],
    title: str | None = None,
    threshold: float = BARRIER_THRESHOLD,
    faces: ArrayLike | None = None,
) -> None:
    """One PNG: the true surface, the recovered surface, and loss, recall and precision against iteration.

    Recovered barriers are coloured by permeability; faces that are wrongly closed (false) or wrongly open (missing)
    have colours of their own, and are counted, since walls may hide some. Needs no display and no OpenGL. The file
    replaces an older one in one step.

    Args:
        path: Where; the suffix should be .png.
        grid: The grid.
        truth: (F,) True for the true barrier faces.
        permeability: (F,) recovered, um/ms.
        history: Rows with `iteration` and `loss`, and `barrier_recall` and `barrier_precision` where known.
        title: Headline of the figure.
        threshold: A face below this permeability, um/ms, is a recovered barrier.
        faces: (F,) True for the faces that take part; all by default, as in `dmrifw.metrics.barrier_metrics`.

    Raises:
        InputError: A length does not match the grid, or a permeability is NaN.

    Local; call it on one rank.
    """
    kappa = np.asarray(per_face(permeability, grid, "permeability"), dtype=np.float64)
    true = per_face(truth, grid, "truth").astype(bool)
    recovered = barrier_faces(kappa, threshold)
    if faces is not None:
        taking_part = per_face(faces, grid, "faces").astype(bool)
        true, recovered = true & taking_part, recovered & taking_part
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(14.0, 6.0), facecolor="white")
        FigureCanvasAgg(figure)
        if title:
            figure.suptitle(title, x=0.02, y=0.965, ha="left", fontsize=13, fontweight="bold")
        _draw_truth(figure, grid, true)
        _draw_recovery(figure, grid, true, recovered, kappa, threshold)
        _draw_history(figure, history)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=200, bbox_inches="tight", pad_inches=0.15)


def _draw_truth(figure: Figure, grid: Grid, true: BoolArray) -> None:
    axes = space(figure, 0.0, grid.points[np.unique(grid.faces)], "a   True barriers")
    draw_faces(axes, grid.points[grid.faces[true]], np.tile(to_rgba(TRUE_SURFACE), (int(true.sum()), 1)))
    _legend(figure, 0.165, [Patch(fc=TRUE_SURFACE, ec=INK, lw=0.6, label=f"true, {true.sum()} faces")])


def _draw_recovery(
    figure: Figure, grid: Grid, true: BoolArray, recovered: BoolArray, kappa: FloatArray, threshold: float
) -> None:
    axes = space(figure, 0.33, grid.points[np.unique(grid.faces)], "b   Recovered barriers")
    scale = ScalarMappable(LogNorm(threshold / 10**_SCALE_DECADES, threshold, clip=True), _BARRIERS)
    colours = scale.to_rgba(np.maximum(kappa, np.finfo(float).tiny))
    colours[recovered & ~true] = to_rgba(VERMILLION)
    colours[true & ~recovered] = _MISSING
    shown = true | recovered
    draw_faces(axes, grid.points[grid.faces[shown]], colours[shown])
    found, false, missing = (int(mask.sum()) for mask in (true & recovered, recovered & ~true, true & ~recovered))
    _legend(
        figure,
        0.495,
        [
            Patch(fc=BLUE, ec=INK, lw=0.6, label=f"found {found} of {true.sum()}"),
            Patch(fc=VERMILLION, ec=INK, lw=0.6, label=f"false {false}"),
            Patch(fc=_MISSING, ec=INK, lw=0.6, label=f"missing {missing}"),
        ],
    )
    bar = figure.colorbar(scale, cax=figure.add_axes((0.415, 0.105, 0.16, 0.02)), orientation="horizontal")
    bar.formatter = FuncFormatter(lambda value, _: f"{value:g}")
    bar.minorformatter = NullFormatter()
    bar.set_label("permeability of barriers found (µm/ms)", labelpad=2)


def _draw_history(figure: Figure, history: Sequence[Mapping[str, Any]]) -> None:
    heading(figure, 0.69, "c   Convergence")
    axes = figure.add_axes((0.715, 0.17, 0.225, 0.58))
    lines = axes.plot(*series(history, "loss"), color=INK, lw=1.4, label="loss")
    axes.set(xlabel="iteration", ylabel="loss", yscale="log")
    axes.grid(True, which="major")
    axes.margins(x=0.01)
    shares = axes.twinx()
    shares.set(ylabel="share of faces", ylim=(-0.02, 1.02))
    for key, label, colour, dashes in (
        ("barrier_recall", "recall", BLUE, "-"),
        ("barrier_precision", "precision", VERMILLION, (0, (4, 1.5))),
        ("barrier_f1_symmetric", "F1 of any image", GREEN, (0, (1, 1))),
    ):
        if any(key in row for row in history):
            lines += shares.plot(*series(history, key), color=colour, ls=dashes, lw=1.8, label=label)
    for side in (axes, shares):
        side.spines["top"].set_visible(False)
    shares.legend(handles=lines, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, handlelength=2.2)


def _legend(figure: Figure, middle: float, handles: Sequence[Patch]) -> None:
    figure.legend(
        handles=list(handles),
        loc="center",
        bbox_to_anchor=(middle, 0.165),
        ncols=3,
        handlelength=1.2,
        columnspacing=1.4,
    )
