"""Gmsh, one model at a time: made on the first rank, quiet, on one thread and with fixed seeds, then sent to all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from dmrifw.errors import InputError
from dmrifw.mesh.grid import Grid, from_arrays, signed_volumes
from dmrifw.typing import FloatArray, IntArray

if TYPE_CHECKING:
    from mpi4py import MPI

_OPTIONS = {
    "General.Terminal": 0,
    "General.NumThreads": 1,
    "Mesh.RandomSeed": 1,
    "Mesh.Algorithm": 6,  # frontal-Delaunay, the best triangles
    "Mesh.Algorithm3D": 1,  # Delaunay, the most robust
    "Mesh.Optimize": 1,
    "Mesh.MeshSizeExtendFromBoundary": 0,
    "Mesh.MeshSizeFromPoints": 0,
}


class Arrays(NamedTuple):
    """A tetrahedral mesh as plain arrays: points (V, 3) in um, cells (E, 4), cell_tags (E,)."""

    points: FloatArray
    cells: IntArray
    cell_tags: IntArray


@contextmanager
def session(size: float | None = None) -> Iterator[Any]:
    """The gmsh module with an empty model of its own; whatever gmsh model the caller had is kept.

    So is the number of threads that others use: gmsh sets that of OpenMP, and so that of torch, to its own.

    Args:
        size: Edge length of the elements, um; gmsh's own choice if not given.

    Raises:
        InputError: Gmsh gives up on the geometry.

    Local.
    """
    import gmsh

    with threadpool_limits(), _session(gmsh, size) as made:
        yield made


@contextmanager
def _session(gmsh: Any, size: float | None) -> Iterator[Any]:
    started = not gmsh.isInitialized()
    before = "" if started else gmsh.model.getCurrent()
    if started:
        gmsh.initialize(readConfigFiles=False, interruptible=False)
    kept = {name: gmsh.option.getNumber(name) for name in (*_OPTIONS, "Mesh.MeshSizeMin", "Mesh.MeshSizeMax")}
    try:
        for name, value in _OPTIONS.items():
            gmsh.option.setNumber(name, value)
        if size is not None:
            gmsh.option.setNumber("Mesh.MeshSizeMin", size)
            gmsh.option.setNumber("Mesh.MeshSizeMax", size)
        gmsh.model.add("dmrifw")
        yield gmsh
    except InputError:
        raise
    except Exception as error:  # gmsh raises bare Exceptions
        raise InputError(
            f"gmsh cannot mesh this geometry ({error})", "check sizes and overlaps, or change h"
        ) from error
    finally:
        if started:
            gmsh.finalize()
        else:
            gmsh.model.remove()
            gmsh.model.setCurrent(before)
            for name, value in kept.items():
                gmsh.option.setNumber(name, value)


def tetrahedra(gmsh: Any, volumes: list[list[int]]) -> Arrays:
    """The tetrahedra of the current model: entry i of `volumes` lists the gmsh volumes of compartment i. Local."""
    blocks = [
        (compartment, gmsh.model.mesh.getElementsByType(4, volume)[1].reshape(-1, 4))
        for compartment, tags in enumerate(volumes)
        for volume in tags
    ]
    nodes, coordinates, _ = gmsh.model.mesh.getNodes()
    cells = np.concatenate([block for _, block in blocks]).astype(np.int64)
    tags = np.repeat([compartment for compartment, _ in blocks], [len(block) for _, block in blocks])
    points, cells = compact(nodes, coordinates.reshape(-1, 3), cells)
    return Arrays(points, oriented(points, cells), tags)


def triangles(gmsh: Any, surfaces: list[list[int]]) -> Arrays:
    """The same for triangles (E, 3), with points (V, 2): the model lies in the plane z = 0. Local."""
    blocks = [
        (compartment, gmsh.model.mesh.getElementsByType(2, surface)[1].reshape(-1, 3))
        for compartment, tags in enumerate(surfaces)
        for surface in tags
    ]
    nodes, coordinates, _ = gmsh.model.mesh.getNodes()
    cells = np.concatenate([block for _, block in blocks]).astype(np.int64)
    tags = np.repeat([compartment for compartment, _ in blocks], [len(block) for _, block in blocks])
    points, cells = compact(nodes, coordinates.reshape(-1, 3)[:, :2], cells)
    return Arrays(points, cells, tags)


def compact(nodes: IntArray, points: FloatArray, cells: IntArray) -> tuple[FloatArray, IntArray]:
    """Points and cells numbered from 0, without the nodes that no cell uses. Local."""
    used, inverse = np.unique(cells, return_inverse=True)
    order = np.argsort(nodes)
    rows = order[np.searchsorted(nodes[order], used)]
    return np.ascontiguousarray(points[rows]), inverse.reshape(cells.shape)


def oriented(points: FloatArray, cells: IntArray) -> IntArray:
    """The same tetrahedra, all right-handed. Local."""
    left_handed = signed_volumes(points, cells) < 0
    turned = cells.copy()
    turned[left_handed] = cells[left_handed][:, [1, 0, 2, 3]]
    return turned


def on_first_rank(work: Callable[[], Arrays], comm: MPI.Comm | None, file: Path | None = None) -> Grid:
    """The grid of a mesh that the first rank makes or reads; its InputError is raised on all ranks.

    Args:
        work: Makes the mesh.
        comm: Communicator of the grid; the world by default.
        file: Named in the error, where there is one.

    Collective.
    """
    if comm is None:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    made: Arrays | InputError | None = None
    if comm.rank == 0:
        try:
            made = work()
            from_arrays(made.points, made.cells, made.cell_tags, comm)  # so that a fault of the mesh is found here too
        except InputError as error:
            made = error.located(file=file)
    made = comm.bcast(made)
    if isinstance(made, InputError):
        raise made
    assert made is not None
    return from_arrays(made.points, made.cells, made.cell_tags, comm)
