"""How good recovered barriers are: which faces were found, how far off they lie, whether they form a surface."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from dmrifw.errors import InputError
from dmrifw.mesh import Grid
from dmrifw.surface import BARRIER_THRESHOLD, barrier_faces, per_face
from dmrifw.typing import ArrayLike, BoolArray, FloatArray, IntArray

_SUBDIVISIONS = 6
"""Sample points per face edge in the chamfer distance: each face gives this number squared."""

Metrics = dict[str, float | None]
"""Values by name; None (null in JSON) where a value does not exist."""


def barrier_metrics(
    grid: Grid,
    permeability: ArrayLike,
    truth: ArrayLike,
    threshold: float = BARRIER_THRESHOLD,
    faces: ArrayLike | None = None,
) -> Metrics:
    """Everything that is reported about a recovered set of barriers.

    Keys:
        barrier_recall, barrier_precision, barrier_f1, open_recall: see `barrier_scores`.
        chamfer_um, chamfer_plain_um: see `chamfer_distance`; centred and as it lies.
        open_edge_fraction, branch_edge_fraction, bad_edge_fraction: see `edge_fractions`.
        barrier_recall_reflected, barrier_precision_reflected, barrier_f1_reflected, chamfer_um_reflected: the same
            against the point reflection of the truth. Signal magnitudes cannot tell the two apart. None where the
            grid is not its own point reflection.
        barrier_f1_symmetric, chamfer_um_symmetric: the better one of truth and reflected truth.

    Args:
        grid: The grid.
        permeability: (F,) recovered, um/ms.
        truth: (F,) True for the true barrier faces.
        threshold: A face below this permeability, um/ms, is a recovered barrier.
        faces: (F,) True for the faces that take part; all by default. Pass `~grid.is_exterior` where the exterior
            reflects, since the permeability of its faces then means nothing.

    Returns:
        The values by key, all plain floats or None, so that they go into JSON as they are. Shares of faces are 0
        where there is nothing to share (scikit-learn's convention); distances and edge fractions of a surface that
        does not exist are None.

    Raises:
        InputError: A length does not match the grid, or a permeability is NaN.

    Source: Spinverse, arXiv 2603.04638 (recall, open recall, chamfer, edges); the rest is ours.

    Local.
    """
    taking_part = np.ones(len(grid.faces), dtype=bool) if faces is None else per_face(faces, grid, "faces").astype(bool)
    recovered = barrier_faces(per_face(permeability, grid, "permeability"), threshold) & taking_part
    true = per_face(truth, grid, "truth").astype(bool) & taking_part
    values: Metrics = {
        **barrier_scores(recovered[taking_part], true[taking_part]),
        "chamfer_um": chamfer_distance(grid, recovered, true),
        "chamfer_plain_um": chamfer_distance(grid, recovered, true, centred=False),
        **edge_fractions(grid, recovered, taking_part),
    }
    return values | _up_to_reflection(grid, recovered, true, taking_part, values)


def barrier_scores(recovered: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """How many faces are right; cheap enough for every iteration.

    Args:
        recovered: (n,) True for the recovered barriers.
        truth: (n,) True for the true ones.

    Returns:
        barrier_recall: share of the true barriers that were recovered; barrier_precision: share of the recovered
        barriers that are true; barrier_f1: their harmonic mean; open_recall: share of the open faces kept open. Each
        is 0 where there is nothing to share.

    Local.
    """
    recovered, truth = np.asarray(recovered, dtype=bool), np.asarray(truth, dtype=bool)
    if recovered.shape != truth.shape:
        raise InputError(f"truth has shape {truth.shape}", f"give shape {recovered.shape}", key="truth")
    found = int((recovered & truth).sum())
    return {
        "barrier_recall": _share(found, truth.sum()),
        "barrier_precision": _share(found, recovered.sum()),
        "barrier_f1": _share(2 * found, truth.sum() + recovered.sum()),
        "open_recall": _share((~recovered & ~truth).sum(), (~truth).sum()),
    }


def chamfer_distance(grid: Grid, first: ArrayLike, second: ArrayLike, centred: bool = True) -> float | None:
    """Mean distance from either of two sets of faces to the nearest point of the other.

    Every face is sampled at the centroids of 36 congruent sub-triangles, so the value has no randomness and is exactly
    zero for equal sets; points are weighted by area.

    Args:
        grid: The grid.
        first: (F,) True for the faces of one set.
        second: (F,) True for the faces of the other.
        centred: Shift each set so that its area centroid lies at the origin: shape is compared, not place.

    Returns:
        The mean of the two one-way means, um; None if a set is empty.

    Local.
    """
    masks = per_face(first, grid, "first").astype(bool), per_face(second, grid, "second").astype(bool)
    if not (masks[0].any() and masks[1].any()):
        return None
    (a, weights_a), (b, weights_b) = (_sample(grid, mask, centred) for mask in masks)
    return _two_way_mean(a, weights_a, b, weights_b)


def edge_fractions(grid: Grid, recovered: ArrayLike, faces: ArrayLike | None = None) -> Metrics:
    """Whether recovered faces close up to a surface: each of its edges then has exactly two of them.

    Only edges with at least one recovered face count. An edge that touches a face which takes no part is not judged:
    where the exterior reflects, a wall may end on it, and nobody can say whether it does so rightly. Where exterior
    faces take part they count like all others, so that a wall must be closed along the exterior.

    Args:
        grid: The grid.
        recovered: (F,) True for the recovered barriers.
        faces: (F,) True for the faces that take part; all by default.

    Returns:
        open_edge_fraction: share of the edges with one recovered face; branch_edge_fraction: with more than two;
        bad_edge_fraction: not with two. All None where no edge can be judged.

    Source: Spinverse, arXiv 2603.04638 (open, branch and bad edges).

    Local.
    """
    count = _faces_per_edge(grid, per_face(recovered, grid, "recovered"))
    judged = count > 0
    if faces is not None:
        judged &= _faces_per_edge(grid, ~per_face(faces, grid, "faces").astype(bool)) == 0
    count = count[judged]
    keys = ("open_edge_fraction", "branch_edge_fraction", "bad_edge_fraction")
    if len(count) == 0:
        return dict.fromkeys(keys)
    return {key: float(bad.mean()) for key, bad in zip(keys, (count == 1, count > 2, count != 2), strict=True)}


def reflected_faces(grid: Grid) -> IntArray | None:
    """The face that each face becomes under point reflection through the centre of the grid's bounding box.

    Args:
        grid: The grid.

    Returns:
        (F,) rows of `grid.faces`, or None where the grid is not its own reflection.

    Local.
    """
    used = np.unique(grid.faces)
    points = grid.points[used]
    low, high = points.min(axis=0), points.max(axis=0)
    distance, nearest = cKDTree(points).query(low + high - points)
    if distance.max() > 1e-6 * (high - low).max():
        return None
    image = np.zeros(len(grid.points), dtype=np.int64)
    image[used] = used[nearest]
    mirrored = np.sort(image[grid.faces], axis=1)
    names, wanted = _row_numbers(grid.faces, len(image)), _row_numbers(mirrored, len(image))
    rows = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return rows if (names[rows] == wanted).all() else None


def _up_to_reflection(
    grid: Grid, recovered: BoolArray, true: BoolArray, taking_part: BoolArray, plain: Metrics
) -> Metrics:
    keys = ("barrier_recall", "barrier_precision", "barrier_f1", "chamfer_um")
    mirror = reflected_faces(grid)
    reflected: Metrics = dict.fromkeys(keys)
    if mirror is not None:
        mirrored = true[mirror] & taking_part
        scores = barrier_scores(recovered[taking_part], mirrored[taking_part])
        reflected = {**scores, "chamfer_um": chamfer_distance(grid, recovered, mirrored)}
    f1 = [value for value in (plain["barrier_f1"], reflected["barrier_f1"]) if value is not None]
    chamfer = [value for value in (plain["chamfer_um"], reflected["chamfer_um"]) if value is not None]
    return {f"{key}_reflected": reflected[key] for key in keys} | {
        "barrier_f1_symmetric": max(f1),
        "chamfer_um_symmetric": min(chamfer, default=None),
    }


def _share(part: int, whole: int) -> float:
    return float(part) / float(whole) if whole else 0.0


def _faces_per_edge(grid: Grid, mask: BoolArray) -> IntArray:
    return np.bincount(grid.face_edges[np.asarray(mask, dtype=bool)].ravel(), minlength=len(grid.edges))


def _row_numbers(faces: IntArray, vertex_count: int) -> IntArray:
    """One number per face that orders faces as their rows do."""
    if vertex_count**3 > np.iinfo(np.int64).max:
        raise InputError(f"{vertex_count} vertices", "use a grid of at most two million points", key="grid")
    return (faces[:, 0] * vertex_count + faces[:, 1]) * vertex_count + faces[:, 2]


def _sample(grid: Grid, mask: BoolArray, centred: bool) -> tuple[FloatArray, FloatArray]:
    """Points on faces, (n, 3) um, and the share of the area that each stands for, (n,)."""
    corners = grid.points[grid.faces[mask]]
    points = np.einsum("pk,fki->fpi", _BARYCENTRIC, corners)
    areas = grid.face_areas[mask]
    weights = np.repeat(areas / (areas.sum() * len(_BARYCENTRIC)), len(_BARYCENTRIC))
    points = points.reshape(-1, 3)
    return (points - weights @ points if centred else points), weights


def _two_way_mean(a: FloatArray, weights_a: FloatArray, b: FloatArray, weights_b: FloatArray) -> float:
    there = weights_a @ cKDTree(b).query(a)[0]
    back = weights_b @ cKDTree(a).query(b)[0]
    return float(0.5 * (there + back))


def _sub_triangle_centroids(n: int) -> FloatArray:
    """(n^2, 3) barycentric coordinates of the centroids of the n^2 congruent triangles that a triangle splits into."""
    i, j = np.divmod(np.arange(n * n), n)
    upright, turned = i + j < n, i + j < n - 1
    up = np.column_stack([i, j])[upright] + 1 / 3
    down = np.column_stack([i, j])[turned] + 2 / 3
    first_two = np.concatenate([up, down]) / n
    return np.column_stack([first_two, 1.0 - first_two.sum(axis=1)])


_BARYCENTRIC = _sub_triangle_centroids(_SUBDIVISIONS)
