"""How far tetrahedra are from turning over, and how far vertices may move before one comes too near to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from dmrifw.errors import InputError
from dmrifw.typing import ArrayLike, FloatArray, IntArray

_CORNERS = np.array([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]])
"""Each vertex of a tetrahedron and the other three: even permutations, so that the orientation is kept."""

_REAL = 1e-5
"""Largest imaginary part, relative to the root, of a root that is taken for real: a near miss counts as a hit."""


def volumes(points: torch.Tensor, cells: IntArray) -> torch.Tensor:
    """(..., E) signed volumes, um^3, of tetrahedra with vertices (..., V, 3) um; differentiable. Local."""
    edges = _edges(points, cells, 0)
    return torch.linalg.det(edges) / 6.0


def scaled_jacobian(points: torch.Tensor, cells: IntArray) -> torch.Tensor:
    """Scaled Jacobian of each tetrahedron: 1 for the regular one, 0 for a flat one, negative for one turned over.

    sqrt(2) times six volumes, over the largest product of the lengths of three edges that meet in a corner.

    Args:
        points: (..., V, 3) um.
        cells: (E, 4).

    Returns:
        (..., E), differentiable.

    Source: the Verdict library (tetrahedron, scaled Jacobian).

    Local.
    """
    products = torch.stack([_edges(points, cells, corner).norm(dim=-1).prod(dim=-1) for corner in range(4)])
    return np.sqrt(2.0) * 6.0 * volumes(points, cells) / products.amax(dim=0)


def smallest_scaled_jacobian(points: ArrayLike, cells: IntArray) -> float:
    """The worst tetrahedron's scaled Jacobian, of (V, 3) um. Local."""
    with torch.no_grad():
        return float(scaled_jacobian(torch.as_tensor(points, dtype=torch.float64), cells).min())


def largest_step(
    points: ArrayLike, direction: ArrayLike, cells: IntArray, floor: float = 0.01, limit: float = 1.0
) -> float:
    """The largest step along a direction before the worst scaled Jacobian falls to a floor.

    Exact: along a line, 2 J^2 - floor^2 times the squared edge product of a corner is a polynomial of degree six in
    the step; the first of their roots is the answer.

    Args:
        points: (V, 3) um, all scaled Jacobians above the floor.
        direction: (V, 3) um, the move that a step of 1 makes.
        cells: (E, 4).
        floor: Least scaled Jacobian, above 0.
        limit: Largest step of interest.

    Returns:
        A step from 0 to `limit`; every step from 0 up to it keeps the floor. 0 where the points do not keep it.

    Raises:
        InputError: The floor is not above 0.

    Local.
    """
    if not floor > 0:
        raise InputError(f"a floor of {floor:g}", "give one above 0", key="floor")
    points, direction = np.asarray(points, dtype=np.float64), np.asarray(direction, dtype=np.float64)
    if smallest_scaled_jacobian(points, cells) <= floor:
        return 0.0
    move = limit * direction
    share = _first_root(_margins(points, move, cells, floor).reshape(-1, 7))
    return limit * _kept(points, move, cells, floor, min(share, 1.0))


def largest_step_along(
    path: Callable[[float], ArrayLike], cells: IntArray, floor: float = 0.01, limit: float = 1.0, attempts: int = 30
) -> float:
    """A step along a curved path of vertices that keeps the worst scaled Jacobian above a floor.

    Tries `limit`, and half of what failed after that. A step is good where the straight way from the start to its end
    keeps the floor.

    Args:
        path: From a step to the vertices, (V, 3) um; `path(0)` is where they are.
        cells: (E, 4).
        floor: Least scaled Jacobian, above 0.
        limit: Largest step of interest.
        attempts: Halvings before giving up.

    Returns:
        A step from 0 to `limit`; 0 where the start does not keep the floor, or none was found.

    Local.
    """
    start = np.asarray(path(0.0), dtype=np.float64)
    for attempt in range(attempts):
        step = limit * 0.5**attempt
        end = np.asarray(path(step), dtype=np.float64)
        if np.isfinite(end).all() and largest_step(start, end - start, cells, floor) >= 1.0:
            return step
    return 0.0


def _edges(points: torch.Tensor, cells: IntArray, corner: int) -> torch.Tensor:
    """(..., E, 3, 3) the three edges that leave a corner of each tetrahedron, as rows."""
    index = torch.from_numpy(np.ascontiguousarray(cells[:, _CORNERS[corner]]))
    corners = points[..., index, :]
    return corners[..., 1:, :] - corners[..., :1, :]


def _margins(points: FloatArray, move: FloatArray, cells: IntArray, floor: float) -> FloatArray:
    """(E, 4, 7) coefficients of 2 J^2 - floor^2 (edge product)^2 of each corner, lowest first, over the first."""
    rest, change = (array[cells[:, _CORNERS]] for array in (points, move))  # (E, 4 corners, 4 vertices, 3)
    rest, change = (array[:, :, 1:] - array[:, :, :1] for array in (rest, change))
    squares = np.stack([(rest**2).sum(axis=-1), 2.0 * (rest * change).sum(axis=-1), (change**2).sum(axis=-1)], axis=-1)
    product = _times(_times(squares[:, :, 0], squares[:, :, 1]), squares[:, :, 2])
    jacobian = _determinant(rest[:, 0], change[:, 0])[:, None]
    margins = 2.0 * _times(jacobian, jacobian) - floor**2 * product
    return margins / margins[..., :1]


def _determinant(rest: FloatArray, change: FloatArray) -> FloatArray:
    """(E, 4) coefficients of det(rest + t change), cubic in t, of matrices (E, 3, 3)."""
    a, b, c = np.moveaxis(rest, 1, 0)
    u, v, w = np.moveaxis(change, 1, 0)

    def triple(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        return np.einsum("ij,ij->i", np.cross(x, y), z)

    return np.stack(
        [
            triple(a, b, c),
            triple(u, b, c) + triple(a, v, c) + triple(a, b, w),
            triple(u, v, c) + triple(u, b, w) + triple(a, v, w),
            triple(u, v, w),
        ],
        axis=-1,
    )


def _times(first: FloatArray, second: FloatArray) -> FloatArray:
    """Products of polynomials, coefficients along the last axis."""
    degree = second.shape[-1]
    total = np.zeros((*first.shape[:-1], first.shape[-1] + degree - 1))
    for power in range(degree):
        total[..., power : power + first.shape[-1]] += first * second[..., power : power + 1]
    return total


def _first_root(polynomials: FloatArray) -> float:
    """The smallest positive root of polynomials (n, 7) with value 1 at 0; infinity where there is none up to 1.

    Found as the largest root of the polynomials reversed, which are monic: their degree may be anything.
    """
    # Where the other coefficients cannot outweigh the first on [0, 1] there is no root.
    reachable = polynomials[np.minimum(polynomials[:, 1:], 0.0).sum(axis=1) <= -1.0]
    if not len(reachable):
        return np.inf
    companion = np.zeros((len(reachable), 6, 6))
    companion[:, 0] = -reachable[:, 1:]
    companion[:, np.arange(1, 6), np.arange(5)] = 1.0
    roots = np.linalg.eigvals(companion)
    real = (np.abs(roots.imag) <= _REAL * np.abs(roots)) & (roots.real > 0)
    largest = np.where(real, roots.real, 0.0).max()
    return float(1.0 / largest) if largest > 0 else np.inf


def _kept(points: FloatArray, move: FloatArray, cells: IntArray, floor: float, share: float) -> float:
    """A share of a move, shortened until the floor is kept in floating-point numbers too.

    By next to nothing for a simple root. A root of high multiplicity, as where a cell shrinks to a point, is found too
    late or not at all: then by halves.
    """
    slacks = [0.0, *10.0 ** np.arange(-12.0, 0.0), *(1.0 - 0.5 ** np.arange(1.0, 40.0))]
    parts = (share * (1.0 - slack) for slack in slacks)
    return next((part for part in parts if smallest_scaled_jacobian(points + part * move, cells) >= floor), 0.0)
