"""How near two shapes of the same template are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from dmrifw.errors import InputError
from dmrifw.typing import ArrayLike, FloatArray, IntArray
from dmrifw_spectral_latent.quality import volumes


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

    A signal from all directions cannot see where a cell lies, and its magnitude for symmetric pulses cannot tell a
    cell from its point reflection; turning it is seen only as far as the directions are not uniform.

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


def reflect_or_not(points: ArrayLike, truth: ArrayLike) -> Alignment:
    """Shift a shape onto another and reflect it through its centre where that is nearer, without turning it.

    What a signal cannot see of a cell whose orientation counts.

    Local.
    """
    points, truth = _pair(points, truth)
    centre = truth.mean(axis=0)
    centred = points - points.mean(axis=0)
    moves = ((sign * centred + centre, sign < 0) for sign in (1.0, -1.0))
    return min((Alignment(moved, vertex_rmsd(moved, truth), back) for moved, back in moves), key=lambda one: one.rmsd)


def chamfer(points: ArrayLike, truth: ArrayLike) -> float:
    """Mean distance from either of two point sets, (n, 3) and (m, 3), to the nearest point of the other, um. Local."""
    points, truth = np.asarray(points, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    there, back = cKDTree(truth).query(points)[0], cKDTree(points).query(truth)[0]
    return float(0.5 * (there.mean() + back.mean()))


def volume(points: ArrayLike, cells: IntArray) -> float:
    """Volume of tetrahedra with vertices (V, 3) um, um^3. Local."""
    return float(volumes(torch.as_tensor(points, dtype=torch.float64), cells).sum())


def _pair(points: ArrayLike, truth: ArrayLike) -> tuple[FloatArray, FloatArray]:
    first, second = np.asarray(points, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if first.shape != second.shape:
        raise InputError(f"shapes of {len(first)} and {len(second)} vertices", "compare one template's", key="truth")
    return first, second
