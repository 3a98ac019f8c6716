"""Panels of a picture in matplotlib: triangles in space, headlines, and columns of a history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from dmrifw.plotting.style import INK, RULE
from dmrifw.typing import FloatArray

_ELEVATION, _AZIMUTH = 22, -57
_LIGHT = np.array([0.35, -0.5, 0.8])


def space(figure: Figure, left: float, points: FloatArray, title: str) -> Axes3D:
    """Axes in um, of equal scale, around points, (n, 3). Local."""
    heading(figure, left + 0.02, title)
    axes: Axes3D = figure.add_axes((left + 0.005, 0.2, 0.32, 0.68), projection="3d", proj_type="ortho")
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


def draw_faces(axes: Axes3D, corners: FloatArray, colours: FloatArray) -> None:
    """Triangles, (n, 3, 3) um, opaque or not, (n, 4) RGBA, lit from both sides: faces have no orientation. Local."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    elevation, azimuth = np.radians([_ELEVATION, _AZIMUTH])
    to_viewer = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    normals *= np.where(normals @ to_viewer < 0, -1.0, 1.0)[:, None]
    lit = np.clip(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0.0, 1.0)
    shaded = colours.copy()
    shaded[:, :3] *= (0.65 + 0.35 * lit)[:, None]
    axes.add_collection3d(Poly3DCollection(corners, facecolors=shaded, edgecolors=INK, linewidths=0.6))


def heading(figure: Figure, left: float, text: str) -> None:
    """The headline of a panel. Local."""
    figure.text(left, 0.87, text, fontsize=11, fontweight="bold")


def series(history: Sequence[Mapping[str, Any]], key: str) -> tuple[FloatArray, FloatArray]:
    """Iterations and values of the rows that have a number under `key`; NaN between two starts. Local."""
    rows: list[tuple[float, float]] = []
    start = 0
    for row in history:
        if row.get("start", 0) != start:
            start = row["start"]
            rows.append((row["iteration"] - 0.5, np.nan))
        if row.get(key) is not None:
            rows.append((row["iteration"], row[key]))
    table = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def mark_starts(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    """A thin line where a further start begins. Local."""
    for before, after in pairwise(history):
        if before.get("start", 0) != after.get("start", 0):
            axes.axvline(after["iteration"] - 0.5, color=INK, lw=0.6, ls=(0, (2, 2)), alpha=0.6, zorder=0)
