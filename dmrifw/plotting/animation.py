"""A shape on its way, as an animated GIF, drawn by PyVista without a display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmrifw.mesh import Grid
from dmrifw.plotting.scenes import add_surface, stage
from dmrifw.plotting.style import BLUE, INK, TRUE_SURFACE
from dmrifw.surface import replacing
from dmrifw.typing import FloatArray

if TYPE_CHECKING:
    import pyvista
    from PIL.Image import Image

_SIZE = (480, 470)
"""Pixels of a panel."""

_SECONDS, _PAUSE = 6.0, 2.0
"""Duration of the way, and how long its end is held."""

_MOST_FRAMES = 60


@dataclass(frozen=True, eq=False)
class Frame:
    """A shape on its way: its vertices, (V, 3) um, and what is written above it."""

    points: FloatArray
    caption: str


def animate(path: str | Path, grid: Grid, frames: Sequence[Frame], truth: FloatArray | None = None) -> None:
    """Write a GIF of a shape on its way, beside the truth where it is known. It replaces an older one in one step.

    Args:
        path: Where; the suffix should be .gif.
        grid: The template.
        frames: At least one, in their order; of many, some are left out.
        truth: (V, 3) um.

    Local; call it on one rank.
    """
    import pyvista
    from PIL import Image

    kept = [frames[row] for row in np.unique(np.linspace(0, len(frames) - 1, _MOST_FRAMES).round().astype(int))]
    outline = np.concatenate([frame.points for frame in kept] + ([] if truth is None else [truth]))
    panels = 1 if truth is None else 2
    plotter = pyvista.Plotter(
        off_screen=True,
        shape=(1, panels),
        window_size=(panels * _SIZE[0], _SIZE[1]),
        border=False,
        lighting="light kit",
    )
    try:
        if truth is not None:
            _add(plotter, grid, truth, TRUE_SURFACE, outline)
            _write(plotter, "truth")
            plotter.subplot(0, 1)
        moving = _add(plotter, grid, kept[0].points, BLUE, outline)
        images = []
        for frame in kept:
            moving.points = frame.points
            _write(plotter, frame.caption)
            images.append(Image.fromarray(plotter.screenshot(return_img=True)).quantize(64))
    finally:
        plotter.close()
    _save(path, images)


def _save(path: str | Path, images: Sequence[Image]) -> None:
    steady = int(1000 * min(0.5, _SECONDS / len(images)))
    durations = [steady] * (len(images) - 1) + [int(1000 * _PAUSE)]
    with replacing(path) as temporary:
        images[0].save(
            temporary, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False
        )


def _add(
    plotter: pyvista.Plotter, grid: Grid, points: FloatArray, colour: str, outline: FloatArray
) -> pyvista.PolyData:
    import pyvista

    mesh = pyvista.PolyData.from_regular_faces(points, grid.faces[grid.is_exterior])
    stage(plotter, outline)
    plotter.camera.zoom(0.9)  # room for the caption
    add_surface(plotter, mesh, colour, 1.0, edges=True)
    return mesh


def _write(plotter: pyvista.Plotter, text: str) -> None:
    """The caption of the panel that is drawn in; replaces the one before."""
    plotter.add_text(
        text, position=(12, _SIZE[1] - 28), font_size=10, color=INK, name=f"caption {plotter.renderers.active_index}"
    )
