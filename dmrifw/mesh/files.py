"""Mesh files: tetrahedra, closed surfaces and neurons in; tetrahedra out. Reading one never executes code from it."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh.doctor import examine_surface, unit_finding
from dmrifw.mesh.gmsh_session import Arrays, on_first_rank
from dmrifw.mesh.grid import Grid
from dmrifw.mesh.surfaces import TriangleSurface, fill
from dmrifw.mesh.swc import fill_neuron, read_swc

TAG_NAMES = ("gmsh:physical", "cell_tags")
"""Cell data that number the compartments of a mesh file, in order of preference."""

SURFACE_SUFFIXES = (".ply", ".stl", ".obj")
WRITABLE = (".npz", ".msh", ".vtu", ".xdmf")


def read_grid(path: Path, h: float | None = None, comm: Any = None) -> Grid:
    """The grid in a file.

    Args:
        path: Tetrahedra (.npz, .msh, .vtu, .xdmf, or anything else that meshio reads), whose distinct tags in ascending
            order are the compartments; or closed surfaces (.ply, .stl, .obj), each a compartment, inside out; or a
            neuron (.swc).
        h: Edge length of the tetrahedra that fill a surface or neuron, um; they have one of their own by default.
        comm: MPI communicator; the world by default.

    Raises:
        InputError: The file cannot be read, or what it holds is unsound.

    Collective: the first rank reads.
    """
    return on_first_rank(lambda: _read(path, h), comm, path)


def _read(path: Path, h: float | None) -> Arrays:
    content = read_file(path, h)
    if isinstance(content, Arrays):
        if len(content.points) and (finding := unit_finding(content.points)):
            raise finding.error()
        return content
    fault = next((finding for finding in examine_surface(content) if finding.kind == "fault"), None)
    if fault:
        raise fault.error()
    return fill(content, h)


def read_file(path: Path, h: float | None = None) -> Arrays | TriangleSurface:
    """What a file holds, unexamined: tetrahedra (a neuron is meshed on the way), or surfaces.

    Raises:
        InputError: The file cannot be read.

    Local.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _read_npz(path)
    if suffix == ".swc":
        return fill_neuron(read_swc(path), h)
    mesh = _meshio(path)
    if suffix in SURFACE_SUFFIXES:
        return _surface(mesh, path)
    return _tetrahedra(mesh, path)


def write_grid(path: Path, grid: Grid) -> None:
    """Write the tetrahedra and compartments of a grid.

    Args:
        path: .npz, .msh (Gmsh 2.2, physical volumes from 1), .vtu or .xdmf (with an .h5 beside it).
        grid: The grid.

    Raises:
        InputError: The suffix is none of these.

    Local; call it on one rank.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise InputError(
            f"cannot write {suffix or 'a file without suffix'}", f"use one of {', '.join(WRITABLE)}", file=path
        )
    if suffix == ".npz":
        np.savez_compressed(path, points=grid.points, cells=grid.cells, cell_tags=grid.cell_tags)
        return
    import meshio

    data: dict[str, Any] = {"cell_tags": [grid.cell_tags]}
    if suffix == ".msh":
        data = {name: [(grid.cell_tags + 1).astype(np.int32)] for name in ("gmsh:physical", "gmsh:geometrical")}
    mesh = meshio.Mesh(grid.points, [("tetra", grid.cells)], cell_data=data)
    mesh.write(path, **({"file_format": "gmsh22"} if suffix == ".msh" else {}))


def write_surface(path: Path, surface: TriangleSurface) -> None:
    """Write triangles as .ply, .stl or .obj.

    Raises:
        InputError: The suffix is none of these.

    Local; call it on one rank.
    """
    if path.suffix.lower() not in SURFACE_SUFFIXES:
        raise InputError("a surface cannot be written so", f"use one of {', '.join(SURFACE_SUFFIXES)}", file=path)
    import meshio

    with redirect_stdout(StringIO()):
        meshio.Mesh(surface.points, [("triangle", surface.triangles.astype(np.int32))]).write(path)


def _read_npz(file: Path) -> Arrays:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files if name in ("points", "cells", "cell_tags")}
    except Exception as error:  # a damaged zip raises from many libraries
        raise InputError(f"not an .npz of plain arrays ({error})", "write it with numpy.savez", file=file) from error
    for name in ("points", "cells"):
        if name not in content:
            raise InputError("the array is missing", "save points (V, 3) in um and cells (E, 4)", key=name, file=file)
    return _numbered(content["points"], content["cells"], content.get("cell_tags"))


def _numbered(points: Any, cells: Any, tags: Any) -> Arrays:
    """Compartments from 0: the distinct tags in ascending order."""
    numbers = np.zeros(len(cells), dtype=np.int64) if tags is None else np.unique(tags, return_inverse=True)[1]
    return Arrays(points, cells, numbers.reshape(-1))


def _meshio(file: Path) -> Any:
    import meshio

    said = StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):  # meshio prints its complaints
            return meshio.read(file)
    except (Exception, SystemExit) as error:  # its readers raise whatever their parsers do, and some exit
        told = said.getvalue().strip() or f"{type(error).__name__}: {error}"
        mend = "give .npz, .msh, .vtu, .xdmf, .ply, .stl, .obj or .swc"
        raise InputError(f"cannot be read as a mesh ({told})", mend, file=file) from error


def _tetrahedra(mesh: Any, file: Path) -> Arrays:
    blocks = [index for index, block in enumerate(mesh.cells) if block.type == "tetra"]
    if not blocks:
        raise InputError(
            f"no linear tetrahedra, only {_kinds(mesh)}", "mesh the volume with first-order tetrahedra", file=file
        )
    cells = np.concatenate([mesh.cells[index].data for index in blocks])
    for name in TAG_NAMES:
        if name in mesh.cell_data:
            tags = np.concatenate([np.ravel(mesh.cell_data[name][index]) for index in blocks])
            return _numbered(mesh.points, cells, tags)
    return _numbered(mesh.points, cells, None)


def _surface(mesh: Any, file: Path) -> TriangleSurface:
    others = {block.type for block in mesh.cells} - {"triangle", "vertex", "line"}
    blocks = [block.data for block in mesh.cells if block.type == "triangle"]
    if others or not blocks:
        raise InputError(f"not a surface of triangles, but of {_kinds(mesh)}", "triangulate it", file=file)
    points = np.asarray(mesh.points, dtype=np.float64)
    triangles = np.concatenate(blocks).astype(np.int64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InputError("some points are no three finite numbers", "give coordinates in um", file=file)
    if triangles.min() < 0 or triangles.max() >= len(points):
        raise InputError(f"a triangle names point {triangles.max()} of {len(points)}", "export it anew", file=file)
    return TriangleSurface(points, triangles)


def _kinds(mesh: Any) -> str:
    return ", ".join(sorted({block.type for block in mesh.cells})) or "no cells"
