"""Families of deformations of a straight cylinder: bending with twist, beading, fanning, and their compositions.

Every family is a differentiable function of the template's vertices and of a few physical parameters, and takes
leading batch dimensions.

Source: ReMiDi, arXiv 2502.01988 (families and ranges); the profiles of beads and of the turn are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dmrifw.errors import InputError
from dmrifw_spectral_latent.template import Template

ARC = 0.4
"""Share of the height over which a fan's axis turns, on a circular arc, and its cross section widens."""


@dataclass(frozen=True)
class Parameter:
    """A physical parameter of a family.

    Attributes:
        name: Its name.
        low: Least value that data sets draw.
        high: Greatest value that data sets draw.
        strength: Whether the deformation vanishes with it: it is then 0 at the start, else in the middle.
    """

    name: str
    low: float
    high: float
    strength: bool = True

    @property
    def start(self) -> float:
        """Its value for the straight cylinder."""
        return 0.0 if self.strength else 0.5 * (self.low + self.high)


@dataclass(frozen=True)
class Family:
    """A family of shapes.

    Attributes:
        name: The name that configs use.
        parameters: Its parameters, in the order of the values that `deform` takes.
        groups: For a composition, the number of parameters of each family that it is made of.
        deform: (template, points (..., V, 3) um, values (..., P)) -> (..., V, 3) um.
    """

    name: str
    parameters: tuple[Parameter, ...]
    groups: tuple[int, ...]
    deform: Callable[[Template, torch.Tensor, torch.Tensor], torch.Tensor]

    def shape(self, template: Template, values: torch.Tensor) -> torch.Tensor:
        """The vertices of a shape, their mean at the origin.

        Args:
            template: The straight cylinder.
            values: (..., P) the parameters.

        Returns:
            (..., V, 3) um, differentiable in the values.

        Local.
        """
        rest = template.rest.expand(*values.shape[:-1], *template.rest.shape)
        points = self.deform(template, rest, values)
        return points - points.mean(dim=-2, keepdim=True)


def bend(template: Template, points: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Bend along x on a parabola, then twist about z: values are bend (no unit) and twist (radians).

    x += bend 30 w (z/h)^2, recentred; then a rotation about z by (z/h) twist. Local.
    """
    strength, twist = _columns(values)
    x, y, z = points.unbind(dim=-1)
    share = z / template.height
    shift = 30.0 * template.width * strength * share**2
    x = x + shift - shift.mean(dim=-1, keepdim=True)
    cosine, sine = torch.cos(share * twist), torch.sin(share * twist)
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y, z], dim=-1)


def bead(template: Template, points: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Swell and shrink the radius along the axis: values are amplitude (share of the radius) and periods (number).

    The radius is multiplied by 1 + amplitude (1 - (2z/h)^4) cos(2 pi periods z/h). Local.
    """
    amplitude, periods = _columns(values)
    share = points[..., 2] / template.height
    factor = 1.0 + amplitude * (1.0 - (2.0 * share) ** 4) * torch.cos(2.0 * math.pi * periods * share)
    return _scaled_across(points, factor)


def fan(template: Template, points: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Turn the axis beyond a point, and widen the cross section: values are angle (radians), at, and widening.

    The axis is straight up to `at` (share of the height from the bottom), turns towards x by `angle` on a circular arc
    that is `ARC` of the height long, and is straight again. Along the arc the radius grows by the share `widening`.

    Local.
    """
    angle, at, widening = _columns(values)
    length = ARC * template.height
    beyond = points[..., 2] - (at - 0.5) * template.height
    on_arc = beyond.clamp(0.0, length)
    share = on_arc / length
    x, y, _ = _scaled_across(points, 1.0 + widening * share**2 * (3.0 - 2.0 * share)).unbind(dim=-1)
    turned = angle * share
    sine, cosine = torch.sin(turned), torch.cos(turned)
    # The chord of the arc, in a form that holds for angle = 0 too.
    chord = on_arc * torch.sinc(0.5 * turned / math.pi)
    after = torch.relu(beyond - length)
    axis_x = chord * torch.sin(0.5 * turned) + after * sine
    axis_z = torch.clamp(beyond, max=0.0) + chord * torch.cos(0.5 * turned) + after * cosine
    bottom = (at - 0.5) * template.height
    return torch.stack([axis_x + cosine * x, y, bottom + axis_z - sine * x], dim=-1)


def compose(template: Template, points: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Beads on a fan that is bent: the values of `bead`, `fan` and `bend` in this order. Local."""
    beads, fans, bends = values.split([len(one.parameters) for one in (BEADING, FANNING, BENDING)], dim=-1)
    return bend(template, fan(template, bead(template, points, beads), fans), bends)


def _columns(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The parameters one by one, each (..., 1) beside the vertices."""
    return tuple(one.unsqueeze(-1) for one in values.unbind(dim=-1))


def _scaled_across(points: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Points whose distance from the axis is multiplied by a factor, (..., V)."""
    x, y, z = points.unbind(dim=-1)
    return torch.stack([factor * x, factor * y, z], dim=-1)


BENDING = Family("bending", (Parameter("bend", 0.0, 0.25), Parameter("twist", 0.0, 0.5)), (2,), bend)
BEADING = Family(
    "beading", (Parameter("amplitude", 0.0, 0.4), Parameter("periods", 2.75, 4.25, strength=False)), (2,), bead
)
FANNING = Family(
    "fanning",
    (
        Parameter("angle", 0.0, math.radians(50.0)),
        Parameter("at", 0.15, 0.5, strength=False),
        Parameter("widening", 0.0, 0.5),
    ),
    (3,),
    fan,
)
JOINT = Family(
    "joint",
    BEADING.parameters + FANNING.parameters + BENDING.parameters,
    (len(BEADING.parameters), len(FANNING.parameters), len(BENDING.parameters)),
    compose,
)
FAMILIES = {family.name: family for family in (BENDING, BEADING, FANNING, JOINT)}
"""The families by the name that configs use; "joint" is their composition."""


def family_named(name: str) -> Family:
    """A family by its name; InputError where there is none. Local."""
    if name not in FAMILIES:
        raise InputError(f"there is no family {name!r}", f"choose one of {', '.join(FAMILIES)}", key="family")
    return FAMILIES[name]
