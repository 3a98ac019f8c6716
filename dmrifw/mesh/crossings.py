"""Triangles that cut, touch or overlap others without sharing a vertex there."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from dmrifw.typing import BoolArray, FloatArray, IntArray

_EDGES = np.array([[0, 1], [1, 2], [2, 0]])

_EXACT = 1e-12
"""Rounding errors of volumes, relative to the cube of the extent."""

_SAME = 1e-9
"""Overlaps of less than this, relative to the extent, are rounding errors."""


def crossings(points: FloatArray, triangles: IntArray) -> IntArray:
    """Pairs of triangles that have more in common than the vertices and edges that they share.

    Either an edge of one meets the other, or both lie in one plane and overlap.

    Args:
        points: (V, 3) um.
        triangles: (T, 3) vertices.

    Returns:
        (n, 2) rows of `triangles`.

    Local.
    """
    first, second = _near_pairs(points[triangles])
    met = np.zeros(len(first), dtype=bool)
    for one, other in ((first, second), (second, first)):
        for edge in _EDGES:
            ends = triangles[one][:, edge]
            apart = np.flatnonzero(~(ends[:, :, None] == triangles[other][:, None, :]).any(axis=(1, 2)))
            met[apart] |= segments_meet(points[ends[apart]], points[triangles[other[apart]]])
    flat = np.flatnonzero(~met)
    met[flat] = _overlap(points[triangles[first[flat]]], points[triangles[second[flat]]])
    return np.column_stack([first[met], second[met]])


def _near_pairs(corners: FloatArray) -> tuple[IntArray, IntArray]:
    """Pairs of triangles whose bounding boxes meet."""
    low, high = corners.min(axis=1), corners.max(axis=1)
    reach = np.linalg.norm(high - low, axis=1) / 2
    pairs = cKDTree((low + high) / 2).query_pairs(2 * reach.max() * (1 + _SAME), output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    meet = ((low[first] <= high[second]) & (low[second] <= high[first])).all(axis=1)
    return first[meet], second[meet]


def _orientation(a: FloatArray, b: FloatArray, c: FloatArray, d: FloatArray) -> FloatArray:
    return np.einsum("ij,ij->i", np.cross(b - a, c - a), d - a)


def segments_meet(ends: FloatArray, corners: FloatArray) -> BoolArray:
    """Whether straight segments meet triangles, rims included, unless they lie in the same plane.

    Args:
        ends: (n, 2, 3) those of the segments, um.
        corners: (n, 3, 3) those of the triangles, um.

    Returns:
        (n,) one for each pair.

    Local.
    """
    (p, q), (a, b, c) = np.moveaxis(ends, 1, 0), np.moveaxis(corners, 1, 0)
    slack = _EXACT * np.ptp(np.concatenate([ends, corners], axis=1), axis=1).max(axis=1) ** 3
    above, below = _orientation(a, b, c, p), _orientation(a, b, c, q)
    reaches = (np.minimum(above, below) <= slack) & (np.maximum(above, below) >= -slack)
    reaches &= np.maximum(np.abs(above), np.abs(below)) > slack
    turns = np.stack([_orientation(p, q, u, v) for u, v in ((a, b), (b, c), (c, a))])
    return reaches & ((turns >= -slack).all(axis=0) | (turns <= slack).all(axis=0))


def _overlap(one: FloatArray, other: FloatArray) -> BoolArray:
    """Whether triangles (n, 3, 3) lie in one plane and no line there parts them."""
    normal = np.cross(one[:, 1] - one[:, 0], one[:, 2] - one[:, 0])
    size = np.linalg.norm(normal, axis=1)
    normal /= np.where(size > 0, size, 1.0)[:, None]
    slack = _SAME * np.ptp(np.concatenate([one, other], axis=1), axis=1).max(axis=1)
    height = np.einsum("nvi,ni->nv", other - one[:, :1], normal)
    overlaps: BoolArray = (size > 0) & (np.abs(height).max(axis=1) <= slack)
    for corners in (one, other):
        for start, end in _EDGES:
            across = np.cross(corners[:, end] - corners[:, start], normal)
            length = np.linalg.norm(across, axis=1)
            across /= np.where(length > 0, length, 1.0)[:, None]
            shadows = [np.einsum("nvi,ni->nv", triangle, across) for triangle in (one, other)]
            common = np.minimum(*(shadow.max(axis=1) for shadow in shadows)) - np.maximum(
                *(shadow.min(axis=1) for shadow in shadows)
            )
            overlaps &= common > slack
    return overlaps
