"""How good recovered barriers are: which faces were found, how far off they lie, whether they form a surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.spatial import cKDTree

from dmrifw.errors import InputError
from dmrifw.mesh import Grid
from dmrifw.mesh.symmetries import Images, images, reflected_faces
from dmrifw.mesh.topology import components
from dmrifw.surface import BARRIER_THRESHOLD, barrier_faces, per_face
from dmrifw.typing import ArrayLike, BoolArray, FloatArray, IntArray

_SUBDIVISIONS = 6
"""Sample points per face edge in the chamfer distance: each face gives this number squared."""

_NEAREST_IMAGES = 3
"""Images of the truth, nearest by the middles of their faces, whose chamfer distance is computed in full."""

Samples: TypeAlias = tuple[FloatArray, FloatArray]
"""Points, (n, 3) um, and the share of the area that each stands for, (n,)."""

Metrics = dict[str, float | None]
"""Values by name; None (null in JSON) where a value does not exist."""


def barrier_metrics(
    grid: Grid,
    permeability: ArrayLike,
    truth: ArrayLike,
    threshold: float = BARRIER_THRESHOLD,
    faces: ArrayLike | None = None,
    translations: bool | None = None,
) -> Metrics:
    """Everything that is reported about a recovered set of barriers.

    Keys:
        barrier_recall, barrier_precision, barrier_f1, open_recall: see `barrier_scores`.
        chamfer_um, chamfer_plain_um: see `chamfer_distance`; centred and as it lies.
        signed_volume_error: see `signed_volume_error`.
        open_edge_fraction, branch_edge_fraction, bad_edge_fraction: see `edge_fractions`.
        barrier_recall_reflected, barrier_precision_reflected, barrier_f1_reflected, chamfer_um_reflected: against the
            point reflection of the truth about the grid's centre. Signal magnitudes cannot tell the two apart. None
            where the grid is not its own reflection.
        barrier_recall_symmetric, barrier_precision_symmetric, barrier_f1_symmetric, open_recall_symmetric: against the
            image of the truth of best F1, among those of `dmrifw.mesh.symmetries.images`: the truth itself, its
            reflection, and with `translations` all of both that lie within the grid.
        chamfer_um_symmetric, chamfer_plain_um_symmetric: the least distance from such an image; as it lies, from the
            truth and the three images that are nearest by the middles of their faces.

    Volume and edges are those of the recovered barriers alone, or do not change with place: they are their own
    up-to-symmetry values.

    Args:
        grid: The grid.
        permeability: (F,) recovered, um/ms.
        truth: (F,) True for the true barrier faces.
        threshold: A face below this permeability, um/ms, is a recovered barrier.
        faces: (F,) True for the faces that take part; all by default. Pass `~grid.is_exterior` where the exterior
            reflects, since the permeability of its faces then means nothing.
        translations: Whether a translated truth is as good; by default where exterior faces take part, since a closed
            cell in a lossy surround gives the same signal wherever it sits.

    Returns:
        The values by key, all plain floats or None, so that they go into JSON as they are. Shares of faces are 0
        where there is nothing to share (scikit-learn's convention); distances and edge fractions of a surface that
        does not exist are None.

    Raises:
        InputError: A length does not match the grid, or a permeability is NaN.

    Source: Spinverse, arXiv 2603.04638 (recall, open recall, chamfer, edges); the rest is ours.

    Local.
    """
    taking_part = _taking_part(grid, faces)
    recovered = barrier_faces(per_face(permeability, grid, "permeability"), threshold) & taking_part
    equivalents = Equivalents.of(grid, truth, taking_part, translations)
    true = equivalents.truth
    plain = barrier_scores(recovered[taking_part], true[taking_part])
    return {
        **plain,
        "chamfer_um": chamfer_distance(grid, recovered, true),
        "chamfer_plain_um": chamfer_distance(grid, recovered, true, centred=False),
        "signed_volume_error": signed_volume_error(grid, recovered, true, taking_part),
        **edge_fractions(grid, recovered, taking_part),
        **_reflected(grid, recovered, true, taking_part),
        **_up_to_symmetry(grid, recovered, equivalents),
    }


@dataclass(frozen=True, eq=False)
class Equivalents:
    """A truth, and its images of which signal magnitudes cannot tell it.

    Attributes:
        truth: (F,) True for the true barriers that take part.
        maps: The images, the truth first.
        total: Faces that take part.
    """

    truth: BoolArray
    maps: Images
    total: int

    @classmethod
    def of(
        cls, grid: Grid, truth: ArrayLike, faces: ArrayLike | None = None, translations: bool | None = None
    ) -> Equivalents:
        """Those of a truth; see `barrier_metrics` for the arguments. Local."""
        part = _taking_part(grid, faces)
        if translations is None:
            translations = bool(part[grid.is_exterior].any())
        true = per_face(truth, grid, "truth").astype(bool) & part
        maps = images(grid, true, translations)
        allowed = part[maps.faces].all(axis=1)
        return cls(true, Images(maps.signs[allowed], maps.shifts[allowed], maps.faces[allowed]), int(part.sum()))

    def nearest(self, recovered: BoolArray) -> tuple[BoolArray, dict[str, float]]:
        """(F,) True for the faces of the image that is recovered best, and its `barrier_scores`. Local."""
        found = recovered[self.maps.faces].sum(axis=1)
        best = int(found.argmax())
        image = np.zeros_like(self.truth)
        image[self.maps.faces[best]] = True
        return image, _scores(int(found[best]), recovered.sum(), self.truth.sum(), self.total)


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
    return _scores((recovered & truth).sum(), recovered.sum(), truth.sum(), truth.size)


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
    first, second = (_sample(grid, mask, centred) for mask in masks)
    return float(_distances(first, second, np.ones(1), np.zeros((1, 3)))[0])


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


def signed_volume_error(
    grid: Grid, recovered: ArrayLike, truth: ArrayLike, faces: ArrayLike | None = None
) -> float | None:
    """How much more the recovered barriers enclose than the true ones, relative to these: (V - V_true) / V_true.

    Enclosed are the cells from which no open face leads on to the outside. Where exterior faces take part the outside
    is what lies around the grid; otherwise, where the exterior reflects, it is the largest of the pieces into which
    the barriers cut the grid. A single open face lets all out: barriers that are not watertight enclose nothing, -1.

    Args:
        grid: The grid.
        recovered: (F,) True for the recovered barriers.
        truth: (F,) True for the true ones.
        faces: (F,) True for the faces that take part; all by default.

    Returns:
        The error, -1 or more; None where the truth encloses nothing.

    Local.
    """
    masks = [per_face(one, grid, key).astype(bool) for one, key in ((recovered, "recovered"), (truth, "truth"))]
    part = _taking_part(grid, faces)
    found, true = (enclosed_volume(grid, mask, part) for mask in masks)
    return float(found / true - 1.0) if true > 0 else None


def enclosed_volume(grid: Grid, walls: BoolArray, faces: BoolArray) -> float:
    """Volume of the cells from which no open face leads on to the outside, um^3; see `signed_volume_error`. Local."""
    piece = components(grid, ~walls & (faces | ~grid.is_exterior))
    volumes = np.bincount(piece[:-1], grid.cell_volumes, minlength=int(piece.max()) + 1)
    outside = piece[-1] if faces[grid.is_exterior].any() else volumes.argmax()
    return float(volumes.sum() - volumes[outside])


def _reflected(grid: Grid, recovered: BoolArray, true: BoolArray, taking_part: BoolArray) -> Metrics:
    """Scores and chamfer distance against the point reflection of the truth."""
    keys = ("barrier_recall", "barrier_precision", "barrier_f1")
    mirror = reflected_faces(grid)
    if mirror is None:
        return dict.fromkeys([f"{key}_reflected" for key in (*keys, "chamfer_um")])
    mirrored = true[mirror] & taking_part
    scores = barrier_scores(recovered[taking_part], mirrored[taking_part])
    chamfer = chamfer_distance(grid, recovered, mirrored)
    return {f"{key}_reflected": scores[key] for key in keys} | {"chamfer_um_reflected": chamfer}


def _up_to_symmetry(grid: Grid, recovered: BoolArray, equivalents: Equivalents) -> Metrics:
    """Scores against the image of the truth that is recovered best, and the least chamfer distances from any."""
    true, maps = equivalents.truth, equivalents.maps
    values: Metrics = {f"{key}_symmetric": value for key, value in equivalents.nearest(recovered)[1].items()}
    if not (recovered.any() and true.any()):
        return values | {"chamfer_um_symmetric": None, "chamfer_plain_um_symmetric": None}
    signs, shifts = maps.signs, maps.shifts
    ours, theirs = (_sample(grid, mask, centred=True) for mask in (recovered, true))
    turns = np.unique(signs)
    centred = _distances(ours, theirs, turns, np.zeros((len(turns), 3))).min()
    ours, theirs = (_sample(grid, mask, centred=False, subdivisions=1) for mask in (recovered, true))
    near = np.union1d(0, np.argsort(_distances(ours, theirs, signs, shifts), kind="stable")[:_NEAREST_IMAGES])
    ours, theirs = (_sample(grid, mask, centred=False) for mask in (recovered, true))
    plain = _distances(ours, theirs, signs[near], shifts[near]).min()
    return values | {"chamfer_um_symmetric": float(centred), "chamfer_plain_um_symmetric": float(plain)}


def _scores(found: int, recovered: int, true: int, total: int) -> dict[str, float]:
    return {
        "barrier_recall": _share(found, true),
        "barrier_precision": _share(found, recovered),
        "barrier_f1": _share(2 * found, true + recovered),
        "open_recall": _share(total - true - recovered + found, total - true),
    }


def _taking_part(grid: Grid, faces: ArrayLike | None) -> BoolArray:
    """(F,) True for the faces that take part; all if none are named."""
    return np.ones(len(grid.faces), dtype=bool) if faces is None else per_face(faces, grid, "faces").astype(bool)


def _share(part: int, whole: int) -> float:
    return float(part) / float(whole) if whole else 0.0


def _faces_per_edge(grid: Grid, mask: BoolArray) -> IntArray:
    return np.bincount(grid.face_edges[np.asarray(mask, dtype=bool)].ravel(), minlength=len(grid.edges))


def _sample(grid: Grid, mask: BoolArray, centred: bool, subdivisions: int = _SUBDIVISIONS) -> Samples:
    """`subdivisions` squared points on each face."""
    corners = grid.points[grid.faces[mask]]
    barycentric = _sub_triangle_centroids(subdivisions)
    points = np.einsum("pk,fki->fpi", barycentric, corners).reshape(-1, 3)
    areas = grid.face_areas[mask]
    weights = np.repeat(areas / (areas.sum() * len(barycentric)), len(barycentric))
    return (points - weights @ points if centred else points), weights


def _distances(ours: Samples, theirs: Samples, signs: FloatArray, shifts: FloatArray) -> FloatArray:
    """(M,) mean two-way distances of points from the images sign x + shift of others, um."""
    (a, weights_a), (b, weights_b) = ours, theirs
    trees = cKDTree(a), cKDTree(b)
    # An isometry keeps distances: from us to their image as from our image under its inverse to them.
    there = [weights_a @ trees[1].query(sign * (a - shift))[0] for sign, shift in zip(signs, shifts, strict=True)]
    back = [weights_b @ trees[0].query(sign * b + shift)[0] for sign, shift in zip(signs, shifts, strict=True)]
    return 0.5 * np.add(there, back)


def _sub_triangle_centroids(n: int) -> FloatArray:
    """(n^2, 3) barycentric coordinates of the centroids of the n^2 congruent triangles that a triangle splits into."""
    i, j = np.divmod(np.arange(n * n), n)
    upright, turned = i + j < n, i + j < n - 1
    up = np.column_stack([i, j])[upright] + 1 / 3
    down = np.column_stack([i, j])[turned] + 2 / 3
    first_two = np.concatenate([up, down]) / n
    return np.column_stack([first_two, 1.0 - first_two.sum(axis=1)])
