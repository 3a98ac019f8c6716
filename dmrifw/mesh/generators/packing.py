"""Discs and balls of random size that do not overlap, in a box with mirrors or with opposite sides joined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from dmrifw.errors import InputError
from dmrifw.mesh.generators.checks import positive
from dmrifw.typing import FloatArray

_SWEEPS = 3_000


@dataclass(frozen=True, eq=False)
class Packing:
    """Discs (d = 2) or balls (d = 3) in the box [0, side]^d.

    Attributes:
        centres: (n, d) um.
        radii: (n,) um.
        side: Edge of the box, um.
        periodic: Whether what leaves the box on one side comes in on the other.
    """

    centres: FloatArray
    radii: FloatArray
    side: float
    periodic: bool


def gamma_radii(count: int, mean: float, spread: float, seed: int) -> FloatArray:
    """(n,) radii drawn from a gamma distribution, um, of a given mean and standard deviation; equal if `spread` is 0.

    Raises:
        InputError: A number is out of range.

    Local.
    """
    if int(count) != count or count < 1:
        raise InputError(f"count = {count}", "give a whole number of at least 1", key="count")
    positive(mean, "mean_radius")
    if spread == 0:
        return np.full(int(count), float(mean))
    positive(spread, "spread")
    rng = np.random.default_rng(seed)
    return np.sort(rng.gamma((mean / spread) ** 2, spread**2 / mean, int(count)))[::-1].copy()


def radii_to_pack(count: int, mean_radius: float, spread: float, fraction: float, gap: float, seed: int) -> FloatArray:
    """The radii of `gamma_radii`, once all that a packing is told has been checked.

    Raises:
        InputError: A number is out of range.

    Local.
    """
    positive(gap, "gap")
    if not 0 < fraction < 1:
        raise InputError(f"fraction = {fraction:g}", "give a number between 0 and 1", key="fraction")
    if int(seed) != seed or seed < 0:
        raise InputError(f"seed = {seed}", "give a whole number of at least 0", key="seed")
    return gamma_radii(count, mean_radius, spread, seed)


def box_side(radii: FloatArray, fraction: float, dimension: int) -> float:
    """Edge in um of the box of which discs (d = 2) or balls (d = 3) of radii (n,) fill a fraction. Local."""
    content = np.pi * radii**2 if dimension == 2 else 4 / 3 * np.pi * radii**3
    return float((content.sum() / fraction) ** (1 / dimension))


def pack(
    radii: FloatArray, fraction: float, dimension: int, gap: float, periodic: bool, seed: int, attempts: int = 3
) -> Packing:
    """Place discs or balls at random and push them apart until none are closer than a gap.

    Args:
        radii: (n,) um.
        fraction: Part of the box that they fill, between 0 and 1.
        dimension: 2 or 3.
        gap: Least distance between two of them, and to the walls of a box with mirrors, um.
        periodic: Whether opposite sides of the box are joined.
        seed: Of the places at the start.
        attempts: How often to begin anew.

    Raises:
        InputError: They do not fit.

    Local.
    """
    side = box_side(radii, fraction, dimension)
    if 2 * radii.max() + gap > side:
        raise InputError("the largest does not fit into the box", "lower fraction or raise count", key="fraction")
    rng = np.random.default_rng([seed, 1])
    for _ in range(attempts):
        centres = _apart(rng.random((len(radii), dimension)) * side, radii + gap / 2, side, periodic)
        if centres is not None:
            if periodic:
                centres = _cut_well(centres, radii, side)
            return Packing(centres, radii, side, periodic)
    told = f"{len(radii)} of these radii do not fit at {fraction:g}, with gaps of {gap:g} um"
    raise InputError(told, "lower fraction or gap, or try another seed", key="fraction")


def _apart(centres: FloatArray, reach: FloatArray, side: float, periodic: bool) -> FloatArray | None:
    """Half of each overlap is undone by each partner, again and again; None if that does not end."""
    low, high = reach[:, None], side - reach[:, None]
    aim = 1 + 1e-6  # a little further than asked for, so that it ends
    for _ in range(_SWEEPS):
        centres = centres % side if periodic else np.clip(centres, low, high)
        tree = cKDTree(centres, boxsize=side if periodic else None)
        first, second = tree.query_pairs(2 * reach.max() * aim, output_type="ndarray").T
        away = centres[first] - centres[second]
        if periodic:
            away -= side * np.round(away / side)
        distance = np.maximum(np.linalg.norm(away, axis=1), 1e-12)
        overlap = reach[first] + reach[second] - distance
        if not (overlap > 0).any():
            return centres
        push = np.where(overlap > 0, 0.5 * (overlap + (aim - 1) * side) / distance, 0.0)[:, None] * away
        centres = centres.copy()
        np.add.at(centres, first, push)
        np.subtract.at(centres, second, push)
    return None


def _cut_well(centres: FloatArray, radii: FloatArray, side: float) -> FloatArray:
    """Shift a periodic packing so that no side of the box only just cuts or misses one: slivers would come of it."""
    shifted = np.empty_like(centres)
    for axis, x in enumerate(centres.T):
        ends = np.sort(np.concatenate([x - radii, x + radii]) % side)
        gaps = np.diff(ends, append=ends[0] + side)
        shifted[:, axis] = (x - ends[gaps.argmax()] - gaps.max() / 2) % side
    return shifted


def images(packing: Packing) -> tuple[FloatArray, FloatArray, np.ndarray]:
    """Centres (m, d) and radii (m,) of all that reach into the box, and which each is an image of (m,). Local."""
    count, dimension = packing.centres.shape
    if not packing.periodic:
        return packing.centres, packing.radii, np.arange(count)
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    centres = (packing.centres[None] + packing.side * shifts[:, None]).reshape(-1, dimension)
    radii, which = np.tile(packing.radii, len(shifts)), np.tile(np.arange(count), len(shifts))
    nearest = np.clip(centres, 0, packing.side)
    reaches = np.linalg.norm(centres - nearest, axis=1) < radii
    return centres[reaches], radii[reaches], which[reaches]
