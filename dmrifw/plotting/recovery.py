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
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from dmrifw.mesh import Grid
from dmrifw.plotting.style import BLUE, INK, RULE, STYLE, TRUE_SURFACE, VERMILLION, YELLOW
from dmrifw.surface import BARRIER_THRESHOLD, barrier_faces, per_face, replacing
from dmrifw.typing import ArrayLike, BoolArray, FloatArray

_MISSING = to_rgba(YELLOW, 0.7)
_BARRIERS = LinearSegmentedColormap.from_list("barriers", ["#0b3c68", BLUE, "#cfe6f5"])

_SCALE_DECADES = 2
"""Decades of permeability below the threshold that the colour scale spans."""

_ELEVATION, _AZIMUTH = 22, -57
_LIGHT = np.array([0.35, -0.5, 0.8])


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
    axes = _space(figure, 0.0, grid, "a   True barriers")
    _draw_faces(axes, grid, true, np.tile(to_rgba(TRUE_SURFACE), (int(true.sum()), 1)))
    _legend(figure, 0.165, [Patch(fc=TRUE_SURFACE, ec=INK, lw=0.6, label=f"true, {true.sum()} faces")])


def _draw_recovery(
    figure: Figure, grid: Grid, true: BoolArray, recovered: BoolArray, kappa: FloatArray, threshold: float
) -> None:
    axes = _space(figure, 0.33, grid, "b   Recovered barriers")
    scale = ScalarMappable(LogNorm(threshold / 10**_SCALE_DECADES, threshold, clip=True), _BARRIERS)
    colours = scale.to_rgba(np.maximum(kappa, np.finfo(float).tiny))
    colours[recovered & ~true] = to_rgba(VERMILLION)
    colours[true & ~recovered] = _MISSING
    shown = true | recovered
    _draw_faces(axes, grid, shown, colours[shown])
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
    _heading(figure, 0.69, "c   Convergence")
    axes = figure.add_axes((0.715, 0.17, 0.225, 0.62))
    lines = axes.plot(*_series(history, "loss"), color=INK, lw=1.4, label="loss")
    axes.set(xlabel="iteration", ylabel="loss", yscale="log")
    axes.grid(True, which="major")
    axes.margins(x=0.01)
    shares = axes.twinx()
    shares.set(ylabel="share of faces", ylim=(-0.02, 1.02))
    for key, label, colour, dashes in (
        ("barrier_recall", "recall", BLUE, "-"),
        ("barrier_precision", "precision", VERMILLION, (0, (4, 1.5))),
    ):
        lines += shares.plot(*_series(history, key), color=colour, ls=dashes, lw=1.8, label=label)
    for side in (axes, shares):
        side.spines["top"].set_visible(False)
    shares.legend(handles=lines, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, handlelength=2.2)


def _space(figure: Figure, left: float, grid: Grid, title: str) -> Axes3D:
    """Axes in um, of equal scale, around the whole grid."""
    _heading(figure, left + 0.02, title)
    axes: Axes3D = figure.add_axes((left + 0.005, 0.2, 0.32, 0.68), projection="3d", proj_type="ortho")
    points = grid.points[np.unique(grid.faces)]
    low, high = points.min(axis=0), points.max(axis=0)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axes.set_box_aspect(high - low, zoom=1.02)
    axes.view_init(elev=_ELEVATION, azim=_AZIMUTH)
    for axis, name in zip((axes.xaxis, axes.yaxis, axes.zaxis), "xyz", strict=True):
        axis.set_pane_color("white")
        axis.line.set_color(RULE)
        axis.set_label_text(f"{name} (µm)")
        axis.labelpad = 2
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.set_tick_params(labelsize=8, pad=0)
    return axes


def _draw_faces(axes: Axes3D, grid: Grid, mask: BoolArray, colours: FloatArray) -> None:
    """Opaque or translucent triangles, (n, 4) RGBA, lit from both sides since faces have no orientation."""
    corners = grid.points[grid.faces[mask]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    elevation, azimuth = np.radians([_ELEVATION, _AZIMUTH])
    to_viewer = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    normals *= np.where(normals @ to_viewer < 0, -1.0, 1.0)[:, None]
    lit = np.clip(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0.0, 1.0)
    shaded = colours.copy()
    shaded[:, :3] *= (0.65 + 0.35 * lit)[:, None]
    axes.add_collection3d(Poly3DCollection(corners, facecolors=shaded, edgecolors=INK, linewidths=0.6))


def _heading(figure: Figure, left: float, text: str) -> None:
    figure.text(left, 0.87, text, fontsize=11, fontweight="bold")


def _legend(figure: Figure, middle: float, handles: Sequence[Patch]) -> None:
    figure.legend(
        handles=list(handles),
        loc="center",
        bbox_to_anchor=(middle, 0.165),
        ncols=3,
        handlelength=1.2,
        columnspacing=1.4,
    )


def _series(history: Sequence[Mapping[str, Any]], key: str) -> tuple[FloatArray, FloatArray]:
    """Iterations and values of the rows that have a number under `key`."""
    rows = [(row["iteration"], row[key]) for row in history if row.get(key) is not None]
    table = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]
