"""Axons: tubes of circular section that undulate, swell into beads, and bend."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.integrate import cumulative_simpson, simpson
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from dmrifw.errors import InputError
from dmrifw.mesh.extrude import extrude, spaced
from dmrifw.mesh.generators.checks import affordable_volume, at_least_zero, concentric, drawn_out, positive
from dmrifw.mesh.generators.cylinders import disc
from dmrifw.mesh.generators.extracellular import Extracellular, surrounded
from dmrifw.mesh.generators.sizes import DEFAULT_AXON_H, DEFAULT_LENGTH
from dmrifw.mesh.generators.walls import converged
from dmrifw.mesh.gmsh_session import Arrays, on_first_rank
from dmrifw.mesh.grid import Grid, signed_volumes
from dmrifw.typing import ArrayLike, FloatArray

if TYPE_CHECKING:
    from mpi4py import MPI

_STEPS_PER_PERIOD = 12
"""Least number of steps along a wave, a bead, or half a turn."""

_SAMPLES = 512
"""Samples of the centre line per period: Simpson's rule then errs by less than 1e-9."""


class Course(NamedTuple):
    """The centre line and the width of a tube, at n places.

    Attributes:
        along: (n,) distance along the line from its middle, um.
        line: (n, 3) the line, in the plane y = 0, um.
        angle: (n,) of its tangent with z, radians.
        curvature: (n,) 1/um.
        width: (n,) radius there, relative to the mean radius.
    """

    along: FloatArray
    line: FloatArray
    angle: FloatArray
    curvature: FloatArray
    width: FloatArray

    @property
    def volume(self) -> float:
        """Volume of the tube of unit radius, by Pappus's theorem: the integral of its section along the line."""
        return float(np.pi * simpson(self.width**2, x=self.along))

    def at(self, places: FloatArray) -> Course:
        """The same at other distances along the line. Local."""
        return Course(places, *(CubicSpline(self.along, values)(places) for values in self[1:]))


def axon(
    radii: ArrayLike,
    length: float = DEFAULT_LENGTH,
    amplitude: float = 0.0,
    wavelength: float | None = None,
    beading: float = 0.0,
    bead_spacing: float | None = None,
    bend: float = 0.0,
    h: float = DEFAULT_AXON_H,
    axial_h: float | None = None,
    extracellular: Extracellular | None = None,
    comm: MPI.Comm | None = None,
) -> Grid:
    """An axon along z, with concentric walls; compartments and interfaces are numbered inside out.

    The centre line is x = amplitude cos(2 pi z / wavelength), z from -length/2 to length/2, with an angle of `bend`
    between its ends. Sections across it are discs, whose radii vary as 1 + beading cos(2 pi s / bead_spacing), s the
    distance along the line from its middle. Volumes are exact.

    Args:
        radii: (n,) mean radii, um, ascending: that of the axon, or those of axon and myelin.
        length: Extent along z before it is bent, um. Where it is a multiple of the wavelength and of the spacing of
            beads, and `bend` is 0, the ends match (see `matching_faces`).
        amplitude: Of the undulation, um.
        wavelength: Of the undulation, um; needed where there is one.
        beading: Amplitude of the beads, relative to the mean radius, less than 1.
        bead_spacing: Distance between beads along the line, um; needed where there are any.
        bend: Angle between the two ends, degrees, with a constant curvature in the plane y = 0.
        h: Edge length of the triangles of the section, um, where it is widest.
        axial_h: Largest spacing along the line, um; `h` by default, and never too large for waves, beads and bends.
        extracellular: The space around it, ends included, if there is to be any: the last compartment.
        comm: MPI communicator; the world by default.

    Returns:
        The grid.

    Raises:
        InputError: A number is out of range, or the axon is too thick for its curvature, or touches itself.

    Collective.
    """
    radii, h = concentric(radii, h)
    length, step = drawn_out(length, h, axial_h)
    wavelength = _period(amplitude, wavelength, "amplitude", "wavelength")
    bead_spacing = _period(beading, bead_spacing, "beading", "bead_spacing")
    if beading >= 1:
        raise InputError(f"beading = {beading:g}", "give a number of at least 0 and less than 1", key="beading")
    if not np.isfinite(bend):
        raise InputError(f"bend = {bend:g}", "give an angle in degrees", key="bend")
    course = _course(length, amplitude, wavelength, beading, bead_spacing, np.radians(bend))
    sharpest = float(np.abs(course.curvature).max())
    if sharpest > 0:
        step = min(step, np.pi / _STEPS_PER_PERIOD / sharpest)
    step = min(step, wavelength / _STEPS_PER_PERIOD, bead_spacing / _STEPS_PER_PERIOD)
    affordable_volume(course.volume * radii[-1] ** 2, h, step)
    _refuse_overlap(course, float(radii[-1]))
    return on_first_rank(lambda: surrounded(_mesh(radii, course, h, step), extracellular, h), comm)


def _period(amplitude: float, period: float | None, what: str, key: str) -> float:
    """The period of something, um; endless where there is none of it."""
    at_least_zero(amplitude, what)
    if (amplitude > 0) != (period is not None):
        told = f"{what} is {amplitude:g}, and {key} is {'missing' if period is None else f'{period:g}'}"
        raise InputError(told, "give both, or neither", key=key)
    return np.inf if period is None else positive(period, key)


def _course(
    length: float, amplitude: float, wavelength: float, beading: float, bead_spacing: float, bend: float
) -> Course:
    periods = 1 + length / min(wavelength, bead_spacing) + abs(bend)
    affordable_volume(periods * _SAMPLES, 1.0)
    z = np.linspace(-length / 2, length / 2, 2 * int(np.ceil(periods * _SAMPLES / 2)) + 1)
    wave = 2 * np.pi / wavelength
    slope = -amplitude * wave * np.sin(wave * z)
    speed = np.hypot(1, slope)
    along = cumulative_simpson(speed, x=z, initial=0)
    along -= along[len(z) // 2]
    extent = along[-1] - along[0]
    angle = np.arctan(slope) + bend * along / extent
    curvature = -amplitude * wave**2 * np.cos(wave * z) / speed**3 + bend / extent
    x, rise = (cumulative_simpson(speed * part, x=z, initial=0) for part in (np.sin(angle), np.cos(angle)))
    middle = len(z) // 2
    line = np.column_stack([x - x[middle] + amplitude, np.zeros_like(x), rise - rise[middle]])
    return Course(along, line, angle, curvature, 1 + beading * np.cos(2 * np.pi * along / bead_spacing))


def _refuse_overlap(course: Course, radius: float) -> None:
    """Sections overlap where the line turns within its own radius, and where it comes back to itself."""
    mend = "lower radii, amplitude, beading or bend, or enlarge wavelength or length"
    turn = np.abs(course.curvature) * course.width * radius
    if turn.max() >= 1:
        worst = int(turn.argmax())
        told = (
            f"the line bends within {1 / abs(course.curvature[worst]):.3g} um, "
            f"and the axon's radius is {course.width[worst] * radius:.3g} um there"
        )
        raise InputError(told, mend, key="radii")
    reach = radius * float(course.width.max())
    places = spaced(course.along[-1] - course.along[0], reach / 4, course.along[0])
    at = course.at(places)
    first, second = cKDTree(at.line).query_pairs(2 * reach, output_type="ndarray").T
    both = radius * (at.width[first] + at.width[second])
    distance = np.linalg.norm(at.line[first] - at.line[second], axis=1)
    # Curvatures of less than 1/radius part points that lie half a circle or more apart, unless the line comes back.
    back = (distance < both) & (np.abs(places[first] - places[second]) > np.pi / 2 * both)
    if back.any():
        x, _, z = at.line[first[back][0]]
        raise InputError(f"the axon touches itself near x = {x:.3g}, z = {z:.3g} um", mend, key="radii")


def _mesh(radii: FloatArray, course: Course, h: float, step: float) -> Arrays:
    widest = float(course.width.max())
    levels = spaced(course.along[-1] - course.along[0], step, course.along[0])
    at = course.at(levels)
    straight = extrude(disc(radii, h / widest), levels)
    across = straight.points[:, :2].reshape(len(levels), -1, 2)
    distance = np.linalg.norm(across, axis=2)
    # In the plane of the line, then out of it: across the tangent (sin, 0, cos) of the line.
    axes = np.stack([np.column_stack([np.cos(at.angle), 0 * at.angle, -np.sin(at.angle)])], axis=1)
    axes = np.concatenate([axes, np.broadcast_to([0.0, 1.0, 0.0], axes.shape)], axis=1)

    def grown(mesh: Arrays, factor: FloatArray) -> Arrays:
        scale = np.interp(distance, radii, factor) * at.width[:, None]
        points = at.line[:, None] + (scale[..., None] * across) @ axes
        return mesh._replace(points=points.reshape(-1, 3))

    mesh = converged(straight, grown, course.volume * radii**2)
    if (signed_volumes(mesh.points, mesh.cells) <= 0).any():
        raise InputError("the axon bends too sharply for its elements", "lower h, axial_h, radii or bend", key="h")
    return mesh
