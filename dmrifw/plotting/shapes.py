"""The picture of a shape inversion: the truth, what was recovered, and how both came together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dmrifw.mesh import Grid
from dmrifw.plotting.space import draw_faces, heading, mark_starts, series, space
from dmrifw.plotting.style import BLUE, INK, STYLE, TRUE_SURFACE, VERMILLION
from dmrifw.surface import replacing
from dmrifw.typing import FloatArray

_DISTANCES = LinearSegmentedColormap.from_list("distances", [BLUE, "#cfe6f5", VERMILLION])

_LEAST_RANGE = 0.1
"""Least upper end of the colour scale, um: smaller distances all look alike, as they should."""


def shape_figure(
    path: str | Path,
    grid: Grid,
    points: FloatArray,
    truth: FloatArray | None,
    history: Sequence[Mapping[str, Any]],
) -> None:
    """One PNG: the true shape, the recovered one, and loss and distance against iteration.

    Without a truth the template stands in its place. Needs no display and no OpenGL. The file replaces an older one in
    one step.

    Args:
        path: Where; the suffix should be .png.
        grid: The template.
        points: (V, 3) recovered vertices, um.
        truth: (V, 3) the true ones, laid over the recovered shape, um; None where they are not known.
        history: Rows with `iteration`, `loss` and, where known, `vertex_rmsd_um`.

    Local; call it on one rank.
    """
    other = grid.points - grid.points.mean(axis=0) if truth is None else truth
    everything = np.concatenate([points, other])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(14.0, 6.0), facecolor="white")
        FigureCanvasAgg(figure)
        axes = space(figure, 0.0, everything, "a   Template" if truth is None else "a   True shape")
        corners = other[grid.faces[grid.is_exterior]]
        draw_faces(axes, corners, np.tile(to_rgba(TRUE_SURFACE), (len(corners), 1)))
        _draw_recovered(figure, grid, points, truth, everything)
        _draw_history(figure, history)
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=200, bbox_inches="tight", pad_inches=0.15)


def _draw_recovered(
    figure: Figure, grid: Grid, points: FloatArray, truth: FloatArray | None, everything: FloatArray
) -> None:
    axes = space(figure, 0.33, everything, "b   Recovered shape")
    faces = grid.faces[grid.is_exterior]
    if truth is None:
        draw_faces(axes, points[faces], np.tile(to_rgba(BLUE), (len(faces), 1)))
        return
    distance = np.linalg.norm(points - truth, axis=1)[faces].mean(axis=1)
    scale = ScalarMappable(Normalize(0.0, max(float(distance.max()), _LEAST_RANGE)), _DISTANCES)
    draw_faces(axes, points[faces], scale.to_rgba(distance))
    bar = figure.colorbar(scale, cax=figure.add_axes((0.415, 0.135, 0.16, 0.02)), orientation="horizontal")
    bar.locator = MaxNLocator(4)
    bar.set_label("distance from the true vertex (µm)", labelpad=2)


def _draw_history(figure: Figure, history: Sequence[Mapping[str, Any]]) -> None:
    heading(figure, 0.69, "c   Convergence")
    axes = figure.add_axes((0.715, 0.17, 0.225, 0.62))
    lines = axes.plot(*series(history, "loss"), color=INK, lw=1.4, marker=".", label="loss")
    axes.set(xlabel="iteration", ylabel="loss", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(True, which="major")
    mark_starts(axes, history)
    axes.spines["top"].set_visible(False)
    iterations, distance = series(history, "vertex_rmsd_um")
    if len(iterations):
        other = axes.twinx()
        other.set(ylabel="distance from the truth (µm)", yscale="log")
        lines += other.plot(iterations, distance, color=BLUE, lw=1.8, ls=(0, (4, 1.5)), marker=".", label="RMSD")
        other.spines["top"].set_visible(False)
        axes, other = other, axes
    axes.legend(handles=lines, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, handlelength=2.2)
