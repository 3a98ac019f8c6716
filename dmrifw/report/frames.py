"""Shapes as meshes for ParaView: one file for a shape, and a sequence that grows while an inversion runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import meshio
import numpy as np

from dmrifw.mesh import Grid
from dmrifw.surface import replacing
from dmrifw.typing import FloatArray

if TYPE_CHECKING:
    import torch

    from dmrifw.inversion import History

_MOST = 300
"""Most shapes of a sequence; of more iterations every second, third, ... is kept."""


def write_shape(path: str | Path, grid: Grid, points: FloatArray, truth: FloatArray | None = None) -> None:
    """Write a shape of a grid as a .vtu file; replaces an older one in one step.

    Points carry `displacement` from the grid, um, and where the truth is known `distance` from it, um; cells carry
    `compartment`.

    Args:
        path: Where; the suffix should be .vtu.
        grid: The template.
        points: (V, 3) um.
        truth: (V, 3) um.

    Local; call it on one rank.
    """
    data = {"displacement": points - grid.points}
    if truth is not None:
        data["distance"] = np.linalg.norm(points - truth, axis=1)
    mesh = meshio.Mesh(points, [("tetra", grid.cells)], point_data=data, cell_data={"compartment": [grid.cell_tags]})
    with replacing(path) as temporary:
        meshio.write(temporary, mesh, file_format="vtu")


class FrameWriter:
    """An observer that writes the shape of every iteration, and a .pvd file by which ParaView plays them.

    Each file is replaced in one step, so that what is there can be opened at any time, also after a crash. A resumed
    inversion goes on with the sequence, less the iterations that it does again.

    Args:
        sequence: The .pvd file.
        folder: Folder of the shapes, beside it.
        grid: The template.
    """

    def __init__(self, sequence: Path, folder: Path, grid: Grid) -> None:
        self.sequence, self.folder, self.grid = sequence, folder, grid

    def on_start(self, iterations: int, history: History) -> None:
        """Make the folder; forget iterations that will be done again. Local."""
        self._every = math.ceil(iterations / _MOST)
        self.folder.mkdir(parents=True, exist_ok=True)
        for iteration, file in frames(self.folder).items():
            if iteration >= len(history):
                file.unlink()
        self._tell()

    def on_iteration(self, row: Mapping[str, float], fields: Mapping[str, torch.Tensor]) -> None:
        """Write the shape before the iteration's step. Local."""
        iteration = int(row["iteration"])
        if iteration % self._every == 0:
            write_shape(self.folder / f"{iteration:06d}.vtu", self.grid, fields["points"].numpy())
            self._tell()

    def on_end(self, history: History) -> None:
        """Nothing is left to do. Local."""

    def _tell(self) -> None:
        lines = [
            f'    <DataSet timestep="{iteration}" file="{self.folder.name}/{file.name}"/>'
            for iteration, file in frames(self.folder).items()
        ]
        head = '<VTKFile type="Collection" version="0.1">\n  <Collection>'
        with replacing(self.sequence) as temporary:
            temporary.write_text("\n".join([head, *lines, "  </Collection>", "</VTKFile>", ""]), encoding="utf-8")


def frames(folder: Path) -> dict[int, Path]:
    """The shapes that a `FrameWriter` has left in a folder, by iteration, in order. Local."""
    return {int(file.stem): file for file in sorted(folder.glob("*.vtu")) if file.stem.isdecimal()}
