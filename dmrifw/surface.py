"""The recovered surface and its fields as files that mesh viewers and ParaView open."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import meshio
import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh import Grid
from dmrifw.typing import ArrayLike, BoolArray, FloatArray

BARRIER_THRESHOLD = 1.0
"""Permeability in um/ms below which a face counts as a barrier (Spinverse: 1e-3 um/us)."""

_PROBABILITY_WIDTH = 0.5
"""Width of the soft threshold in decades of permeability (Spinverse)."""


def barrier_faces(permeability: ArrayLike, threshold: float = BARRIER_THRESHOLD) -> BoolArray:
    """The faces that count as barriers.

    Args:
        permeability: (F,) um/ms.
        threshold: um/ms.

    Returns:
        (F,) True where the permeability lies below the threshold.

    Raises:
        InputError: A permeability is NaN, or the threshold is not positive.

    Local.
    """
    values = np.asarray(permeability, dtype=np.float64)
    if np.isnan(values).any():
        row = int(np.flatnonzero(np.isnan(values))[0])
        raise InputError(f"permeability of face {row} is NaN", "give numbers in um/ms", key="permeability")
    if not threshold > 0:
        raise InputError(f"threshold = {threshold}", "give a positive permeability in um/ms", key="threshold")
    return values < threshold


def barrier_probability(permeability: ArrayLike, threshold: float = BARRIER_THRESHOLD) -> FloatArray:
    """How far each face is on the barrier side, from 0 to 1.

    Args:
        permeability: (F,) um/ms, at least 0.
        threshold: um/ms; the probability there is one half.

    Returns:
        (F,) 1 / (1 + (permeability / threshold)^(2 / ln 10)): a sigmoid of width half a decade.

    Source: Spinverse, arXiv 2603.04638 (barrier probability).

    Local.
    """
    ratio = np.asarray(permeability, dtype=np.float64) / threshold
    return 1.0 / (1.0 + ratio ** (1.0 / (_PROBABILITY_WIDTH * np.log(10.0))))


def write_interface(path: str | Path, grid: Grid, faces: ArrayLike, permeability: ArrayLike) -> None:
    """Write faces of a grid as a triangle surface in a .ply file.

    Vertices that no face uses are left out. Each triangle carries its row of `grid.faces` as `face_index`, and
    `log10_permeability`. The file replaces an older one in one step.

    Args:
        path: Where; the suffix should be .ply.
        grid: The grid; coordinates are written in um.
        faces: (F,) True for the faces to write; none at all gives a valid, empty surface.
        permeability: (F,) um/ms.

    Raises:
        InputError: A length does not match the grid.

    Local; call it on one rank.
    """
    rows = np.flatnonzero(per_face(faces, grid, "faces"))
    decades = _log10(per_face(permeability, grid, "permeability")[rows])
    used, corners = np.unique(grid.faces[rows], return_inverse=True)
    with replacing(path) as temporary, open(temporary, "wb") as stream:
        stream.write(_PLY_HEADER.format(vertices=len(used), faces=len(rows)).encode("ascii"))
        np.savetxt(stream, grid.points[used], fmt="%.17g")
        np.savetxt(stream, np.column_stack([corners.reshape(-1, 3), rows, decades]), fmt="3 %d %d %d %d %.17g")


# Own writer, because meshio and VTK drop scalars on PLY faces; as text, because meshio misreads them in binary.
_PLY_HEADER = """\
ply
format ascii 1.0
comment dmrifw barrier surface: coordinates in um, log10 of the permeability in um/ms
element vertex {vertices}
property double x
property double y
property double z
element face {faces}
property list uchar int vertex_indices
property int face_index
property double log10_permeability
end_header
"""


def write_fields(
    path: str | Path,
    grid: Grid,
    permeability: ArrayLike,
    truth: ArrayLike | None = None,
    threshold: float = BARRIER_THRESHOLD,
) -> None:
    """Write every face and every cell of a grid with their data as a .vtu file for ParaView.

    The triangles come first, in the order of `grid.faces`, then the tetrahedra in the order of `grid.cells`. Arrays:
    `permeability` (um/ms), `log10_permeability`, `barrier_probability`, `area` (um^2) and, where given, `truth` (0 or
    1) are NaN on tetrahedra; `cell_tag` is -1 on triangles; `is_exterior` marks triangles on the outside. ParaView's
    Threshold on `permeability` shows the walls: it drops NaN. The file replaces an older one in one step.

    Args:
        path: Where; the suffix should be .vtu.
        grid: The grid; coordinates are written in um.
        permeability: (F,) um/ms.
        truth: (F,) True for the true barrier faces, where they are known.
        threshold: um/ms, the middle of `barrier_probability`.

    Raises:
        InputError: A length does not match the grid.

    Local; call it on one rank.
    """
    kappa = per_face(permeability, grid, "permeability").astype(np.float64)
    on_faces = {
        "permeability": kappa,
        "log10_permeability": _log10(kappa),
        "barrier_probability": barrier_probability(kappa, threshold),
        "area": grid.face_areas,
    }
    if truth is not None:
        on_faces["truth"] = per_face(truth, grid, "truth").astype(np.float64)
    no_value = np.full(len(grid.cells), np.nan)
    data = {name: [values, no_value] for name, values in on_faces.items()}
    data["cell_tag"] = [np.full(len(grid.faces), -1, dtype=np.int64), grid.cell_tags]
    data["is_exterior"] = [grid.is_exterior.astype(np.int64), np.zeros(len(grid.cells), dtype=np.int64)]
    mesh = meshio.Mesh(grid.points, [("triangle", grid.faces), ("tetra", grid.cells)], cell_data=data)
    with replacing(path) as temporary:
        meshio.write(temporary, mesh, file_format="vtu")


def write_magnetization(path: str | Path, grid: Grid, fields: ArrayLike, rows: Sequence[int]) -> None:
    """Write magnetization fields as a .vtu file for ParaView, each tetrahedron with four points of its own.

    So a field may jump from one tetrahedron to the next, as it does at a wall. Points hold, for each row, `real_ROW`,
    `imaginary_ROW`, `magnitude_ROW` (relative to density 1) and `phase_ROW` (rad); cells hold `compartment`. The file
    replaces an older one in one step.

    Args:
        path: Where; the suffix should be .vtu.
        grid: The grid; coordinates are written in um.
        fields: (n, E, 4) complex, as from `SignalModel.magnetization`.
        rows: (n,) measurements to which they belong.

    Raises:
        InputError: The shape does not match the grid.

    Local; call it on one rank.
    """
    values = np.asarray(fields, dtype=np.complex128)
    if values.shape != (len(rows), *grid.cells.shape):
        raise InputError(f"fields has shape {values.shape}", f"give {(len(rows), *grid.cells.shape)}", key="fields")
    data: dict[str, np.ndarray] = {}
    for row, field in zip(rows, values.reshape(len(rows), -1), strict=True):
        data |= {f"real_{row}": field.real, f"imaginary_{row}": field.imag}
        data |= {f"magnitude_{row}": np.abs(field), f"phase_{row}": np.angle(field)}
    mesh = meshio.Mesh(
        grid.points[grid.cells.ravel()],
        [("tetra", np.arange(grid.cells.size).reshape(-1, 4))],
        point_data=data,
        cell_data={"compartment": [grid.cell_tags]},
    )
    with replacing(path) as temporary:
        meshio.write(temporary, mesh, file_format="vtu")


def per_face(values: ArrayLike, grid: Grid, key: str) -> np.ndarray:
    """`values` as an array, checked to have one entry per face of `grid`.

    Raises:
        InputError: It has another shape; the error names `key`.

    Local.
    """
    array = np.asarray(values)
    if array.shape != (len(grid.faces),):
        raise InputError(
            f"{key} has shape {array.shape}", f"give one entry for each of the {len(grid.faces)} faces", key=key
        )
    return array


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that takes its place if the block succeeds and goes if not.

    The block makes a file or a folder there. A file is replaced in one step; an older folder is moved away first.

    Local.
    """
    path = Path(path)
    temporary, older = (path.with_name(f".{path.stem}-{os.getpid()}{mark}{path.suffix}") for mark in ("", "-older"))
    try:
        yield temporary
        if path.is_dir():
            os.rename(path, older)
        os.replace(temporary, path)
    finally:
        remove(temporary)
        remove(older)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it holds, if it is there. Local."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _log10(permeability: ArrayLike) -> FloatArray:
    """log10 of permeabilities; -inf for an impermeable face, which viewers show as below range."""
    with np.errstate(divide="ignore"):
        return np.log10(np.asarray(permeability, dtype=np.float64))
