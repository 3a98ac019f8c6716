"""How near two shapes of the same template are, as they lie and up to what a signal cannot tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dmrifw.errors import InputError
from dmrifw.mesh import Grid
from dmrifw.mesh.grid import signed_volumes, triangle_areas
from dmrifw.typing import ArrayLike, FloatArray, IntArray

_TURNS = 72
"""Rotations about an axis of revolution that are tried."""

_SAME_MOMENTS = 0.02
"""Relative difference up to which two principal moments count as the same: there is an axis of revolution then."""

_OUTSIDE = -0.2
"""Least barycentric coordinate of a vertex that counts as inside: a polygon for a circle lets corners stick out."""

_NEAREST_CELLS = 24
"""Cells, by distance of their centroids, among which that of a point is looked for."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """A shape moved onto another.

    Attributes:
        points: (V, 3) the moved vertices, um.
        rmsd: Root of the mean squared distance to the other's vertices, um.
        reflected: Whether it was reflected through a point first.
    """

    points: FloatArray
    rmsd: float
    reflected: bool


def vertex_rmsd(points: ArrayLike, truth: ArrayLike) -> float:
    """Root of the mean squared distance between vertices of the same number, as they lie, um. Local."""
    points, truth = _pair(points, truth)
    return float(np.sqrt(np.mean(np.sum((points - truth) ** 2, axis=1))))


def align(points: ArrayLike, truth: ArrayLike, reflection: bool = True) -> Alignment:
    """Move a shape rigidly onto another, vertex by vertex, as near as it goes.

    Args:
        points: (V, 3) um.
        truth: (V, 3) um.
        reflection: Whether the shape may be reflected through a point, where that is nearer.

    Returns:
        The best of the moves.

    Source: Kabsch 1976, through `scipy.spatial.transform.Rotation.align_vectors`.

    Local.
    """
    points, truth = _pair(points, truth)
    centre = truth.mean(axis=0)
    candidates = []
    for reflected in (False, True) if reflection else (False,):
        centred = (points - points.mean(axis=0)) * (-1.0 if reflected else 1.0)
        rotation, _ = Rotation.align_vectors(truth - centre, centred)
        moved = rotation.apply(centred) + centre
        candidates.append(Alignment(moved, vertex_rmsd(moved, truth), reflected))
    return min(candidates, key=lambda one: one.rmsd)


class Equivalents:
    """All shapes of a template whose signals are those of a given one, each with its vertices.

    A signal sees which points of space belong to the cell, not which point of the template each of them was. So the
    vertices may slide as a symmetry of the template lets them: half turns about its principal axes and, if it is round,
    turns about its axis by multiples of 5 degrees. Magnitudes, for pulses that are antisymmetric about the middle of
    the echo time, do not tell a cell from its point reflection; its vertices are then relabelled by a reflection of the
    template, where the template has one, so that no element turns over. Nor is seen where the cell lies: vertices are
    centred. The orientation is seen, and stays.

    Args:
        template: The grid at rest.
        truth: (V, 3) um, a shape of it.

    Attributes:
        points: (K, V, 3) um, the equivalents, centred, the truth itself first. Between vertices of the template the
            shape is taken to be linear, so all but the first are exact only where its symmetry is that of the mesh.

    Local.
    """

    def __init__(self, template: Grid, truth: ArrayLike) -> None:
        shape, _ = _pair(truth, template.points)
        rest = template.points - template.points.mean(axis=0)
        found = [shape]
        tree = cKDTree(rest[template.cells].mean(axis=1))
        for symmetry in _symmetries(rest):
            weights, cells = _located(rest @ symmetry.T, rest, template.cells, tree)
            if weights.min() >= _OUTSIDE:
                sign = np.sign(np.linalg.det(symmetry))
                found.append(sign * np.einsum("vi,vij->vj", weights, shape[template.cells[cells]]))
        self.points = np.array([one - one.mean(axis=0) for one in found])

    def nearest(self, points: ArrayLike) -> tuple[FloatArray, float]:
        """The equivalent that is nearest to a shape.

        Args:
            points: (V, 3) um, a shape of the template.

        Returns:
            Its vertices, (V, 3) um, and the root of the mean squared distance to them, um, both shapes centred.

        Local.
        """
        points, _ = _pair(points, self.points[0])
        squares = ((self.points - (points - points.mean(axis=0))) ** 2).sum(axis=2).mean(axis=1)
        best = int(np.argmin(squares))
        return self.points[best], float(np.sqrt(squares[best]))


def chamfer(points: ArrayLike, truth: ArrayLike) -> float:
    """Mean distance from either of two point sets, (n, 3) and (m, 3), to the nearest point of the other, um. Local."""
    points, truth = np.asarray(points, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    there, back = cKDTree(truth).query(points)[0], cKDTree(points).query(truth)[0]
    return float(0.5 * (there.mean() + back.mean()))


def volume(points: ArrayLike, cells: IntArray) -> float:
    """Volume of tetrahedra with vertices (V, 3) um, um^3. Local."""
    return float(signed_volumes(np.asarray(points, dtype=np.float64), cells).sum())


def surface_area(points: ArrayLike, grid: Grid) -> float:
    """Area of the exterior faces of a grid whose vertices are moved to (V, 3) um, um^2. Local."""
    return float(triangle_areas(np.asarray(points, dtype=np.float64), grid.faces[grid.is_exterior]).sum())


def _symmetries(rest: FloatArray) -> Iterator[FloatArray]:
    """(3, 3) orthogonal matrices that may take a body into itself, by its principal moments; no identity."""
    moments, axes = np.linalg.eigh(rest.T @ rest / len(rest))
    gaps = np.diff(moments) <= _SAME_MOMENTS * moments[2]
    axis = 0 if gaps[1] and not gaps[0] else 2  # of revolution, if there is one
    angles = 2.0 * np.pi * np.arange(_TURNS) / _TURNS if gaps.any() else np.zeros(1)
    for signs in np.array(np.meshgrid([1, -1], [1, -1], [1, -1])).T.reshape(-1, 3):
        if gaps.any() and signs[(axis + 1) % 3] < 0:
            continue  # a turn brings the other one of the mirrors here
        for angle in angles:
            turn = Rotation.from_rotvec(angle * axes[:, axis]).as_matrix()
            symmetry = turn @ (axes * signs) @ axes.T
            if not np.allclose(symmetry, np.eye(3)):
                yield symmetry


def _located(points: FloatArray, rest: FloatArray, cells: IntArray, tree: cKDTree) -> tuple[FloatArray, IntArray]:
    """(n, 4) barycentric coordinates of points in the cell that holds each, or is nearest, and its (n,) row."""
    near = np.atleast_2d(tree.query(points, k=min(_NEAREST_CELLS, len(cells)))[1]).reshape(len(points), -1)
    corners = rest[cells[near]]  # (n, k, 4, 3)
    edges = np.swapaxes(corners[:, :, 1:] - corners[:, :, :1], 2, 3)
    inner = np.linalg.solve(edges, (points[:, None] - corners[:, :, 0])[..., None])[..., 0]
    weights = np.concatenate([1.0 - inner.sum(axis=2, keepdims=True), inner], axis=2)
    best = weights.min(axis=2).argmax(axis=1)
    rows = np.arange(len(points))
    return weights[rows, best], near[rows, best]


def _pair(points: ArrayLike, truth: ArrayLike) -> tuple[FloatArray, FloatArray]:
    first, second = np.asarray(points, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if first.shape != second.shape:
        raise InputError(f"shapes of {len(first)} and {len(second)} vertices", "compare one template's", key="truth")
    return first, second
