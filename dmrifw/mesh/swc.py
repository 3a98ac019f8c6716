"""Neurons in SWC files: trees of points with radii, and the tetrahedra that fill them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmrifw.errors import InputError
from dmrifw.mesh.doctor import unit_finding
from dmrifw.mesh.generators.checks import affordable_volume
from dmrifw.mesh.gmsh_session import Arrays
from dmrifw.mesh.implicit import fill_implicit, piece_count
from dmrifw.typing import FloatArray, IntArray

_PER_RADIUS = 0.5
"""Lattice spacing that is chosen by default, in smallest radii."""


@dataclass(frozen=True, eq=False)
class Neuron:
    """Trees of points.

    Attributes:
        points: (n, 3) um.
        radii: (n,) um.
        parents: (n,) row of the parent, -1 at a root.
    """

    points: FloatArray
    radii: FloatArray
    parents: IntArray


def read_swc(file: Path) -> Neuron:
    """The neuron in an SWC file: lines of id, type, x, y, z, radius, parent id (-1 at a root).

    Raises:
        InputError: The file cannot be read, a line is malformed, a parent is missing, or parents form a loop.

    Local.
    """
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error})", "give an SWC file of text", file=file) from error
    numbers = [number for number, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]
    if not numbers:
        raise InputError("there are no points", "give lines of id type x y z radius parent", file=file)
    rows = np.array([_row(lines[number - 1], number, file) for number in numbers])
    ids, parents = rows[:, 0].astype(np.int64), rows[:, 6].astype(np.int64)
    order = np.argsort(ids, kind="stable")
    double = order[1:][np.diff(ids[order]) == 0]
    if len(double):
        fault = f"id {ids[double[0]]} is there twice"
        raise InputError(fault, "give each point its own id", key=f"line {numbers[double[0]]}", file=file)
    at = np.minimum(np.searchsorted(ids[order], parents), len(ids) - 1)
    row = np.where(parents < 0, -1, order[at])
    lost = np.flatnonzero((parents >= 0) & (ids[order[at]] != parents))
    if len(lost):
        fault = f"there is no point {parents[lost[0]]}, the parent of {ids[lost[0]]}"
        raise InputError(fault, "name an id of this file, or -1 for a root", key=f"line {numbers[lost[0]]}", file=file)
    looped = np.flatnonzero(_ancestors(row) >= 0)
    if len(looped):
        fault = f"point {ids[looped[0]]} is its own ancestor: the parents form a loop"
        raise InputError(fault, "break it: a neuron is a tree", key=f"line {numbers[looped[0]]}", file=file)
    return Neuron(rows[:, 2:5], rows[:, 5], row)


def _row(line: str, number: int, file: Path) -> list[float]:
    words = line.split()
    try:
        row = [float(word) for word in words[:7]]
        sound = len(row) == 7 and np.isfinite(row).all() and all(row[i] == int(row[i]) for i in (0, 6))
    except ValueError:
        sound = False
    if not sound:
        fault = f"{line.strip()[:60]!r} is no point"
        raise InputError(fault, "write id type x y z radius parent", key=f"line {number}", file=file)
    if row[5] <= 0:
        raise InputError(f"radius {row[5]:g}", "give a positive radius in um", key=f"line {number}", file=file)
    return row


def _ancestors(parents: IntArray) -> IntArray:
    """(n,) an ancestor of each point that is further away than the tree is deep: -1, unless parents form a loop."""
    reach = np.append(parents, -1)
    for _ in range(int(np.ceil(np.log2(len(parents) + 1))) + 1):
        reach = reach[reach]
    ancestors: IntArray = reach[:-1]
    return ancestors


def fill_neuron(neuron: Neuron, h: float | None = None) -> Arrays:
    """Tetrahedra in a neuron: the union of the round cones between points and their parents.

    Args:
        neuron: The neuron.
        h: Edge length, um; half the smallest radius by default.

    Raises:
        InputError: The extent cannot be in um, or h is so coarse that thin branches break.

    Local.
    """
    finding = unit_finding(
        np.concatenate([neuron.points - neuron.radii[:, None], neuron.points + neuron.radii[:, None]])
    )
    if finding:
        raise finding.error()
    h = _PER_RADIUS * float(neuron.radii.min()) if h is None else h
    low = (neuron.points - neuron.radii[:, None]).min(axis=0) - h
    high = (neuron.points + neuron.radii[:, None]).max(axis=0) + h
    affordable_volume(float(np.prod(high - low)), h)
    mesh = fill_implicit(lambda points: _distance(neuron, points, h), low, high, h)
    pieces, trees = piece_count(mesh.cells), int((neuron.parents < 0).sum())
    if pieces > trees:
        raise InputError(f"h = {h:g} um breaks thin branches: {pieces} pieces of {trees} trees", "lower h", key="h")
    return mesh


def _distance(neuron: Neuron, points: FloatArray, h: float) -> FloatArray:
    """(n,) signed distance near the surface; 4 h where it is further outside."""
    order = np.argsort(points[:, 0], kind="stable")
    x = points[order, 0]
    distance = np.full(len(points), 4.0 * h)
    for child, parent in enumerate(np.where(neuron.parents < 0, np.arange(len(neuron.parents)), neuron.parents)):
        ends, radii = neuron.points[[parent, child]], neuron.radii[[parent, child]]
        low, high = (ends - radii[:, None]).min(axis=0) - 4 * h, (ends + radii[:, None]).max(axis=0) + 4 * h
        near = order[np.searchsorted(x, low[0]) : np.searchsorted(x, high[0], side="right")]
        near = near[((points[near] >= low) & (points[near] <= high)).all(axis=1)]
        distance[near] = np.minimum(distance[near], _round_cone(points[near], ends, radii))
    return distance


def _round_cone(points: FloatArray, ends: FloatArray, radii: FloatArray) -> FloatArray:
    """Signed distance to the convex hull of two balls."""
    axis = ends[1] - ends[0]
    length = float(np.linalg.norm(axis))
    narrowing = float(radii[0] - radii[1])
    if length <= abs(narrowing):  # one ball holds the other
        larger = int(radii[1] > radii[0])
        return np.linalg.norm(points - ends[larger], axis=1) - radii[larger]
    offset = points - ends[0]
    along = offset @ axis / length
    across = np.sqrt(np.maximum(np.einsum("ij,ij->i", offset, offset) - along**2, 0.0))
    sine = narrowing / length
    cosine = np.sqrt(1 - sine**2)
    foot = along - across * sine / cosine  # the centre of the ball that comes nearest to the point
    at = np.clip(foot, 0.0, length)
    distance: FloatArray = np.hypot(along - at, across) - (radii[0] - sine * at)
    return distance
