"""Shapes as the unknown: through a latent, through spectral coefficients, or through a family's own parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import log
from typing import Annotated

import pydantic
import torch

from dmrifw.errors import InputError
from dmrifw.parametrizations import Setting
from dmrifw.plugins import NonNegative, Positive
from dmrifw.typing import FloatArray
from dmrifw_spectral_latent.families import family_named
from dmrifw_spectral_latent.quality import largest_step_along
from dmrifw_spectral_latent.template import Template
from dmrifw_spectral_latent.weights import load

FLOOR = 0.01
"""Least scaled Jacobian that a perturbation of the start may bring about."""

OPEN = 100.0
"""Permeability that faces inside the cell read, um/ms: they are open."""


class Shape(torch.nn.Module, ABC):
    """The vertices of a cell: a shape, then an optional size, then an optional turn about its centre.

    points = size R(rotation) (shape - its mean vertex), with R the rotation about a vector's direction by its length.
    Jointly, where asked for, a permeability of the cell's wall and a diffusivity, both on a logarithmic scale.

    Args:
        setting: The problem at hand; its grid is the template.
        rotation: Whether the orientation is unknown.
        size: Whether the overall size is unknown; shapes of unit size are those of the family.
        permeability: Start of the wall's permeability, um/ms, where it is unknown too; needs a permeable exterior.
        diffusivity: Start of the diffusivity, um^2/ms, where it is unknown too.

    Raises:
        InputError: A permeability is asked for under a reflecting exterior.

    Local; the same numbers on all ranks.
    """

    wall: torch.Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        rotation: bool,
        size: bool,
        permeability: float | None,
        diffusivity: float | None,
    ) -> None:
        super().__init__()
        if permeability is not None and setting.exterior != "permeable":
            raise InputError(
                "the wall of the cell is the exterior, which reflects",
                'make it permeable ([tissue] exterior = "permeable"), or leave the permeability out',
                key="permeability",
            )
        self.template = Template.of(setting.grid)
        self.rotation = _parameter(torch.zeros(3)) if rotation else None
        self.log_size = _parameter(torch.zeros(())) if size else None
        self.log_permeability = None if permeability is None else _parameter(torch.tensor(log(permeability)))
        self.log_diffusivity = None if diffusivity is None else _parameter(torch.tensor(log(diffusivity)))
        self.register_buffer("wall", torch.from_numpy(setting.grid.is_exterior), persistent=False)

    @abstractmethod
    def shape(self) -> torch.Tensor:
        """(V, 3) um, float64, differentiable; where it lies does not matter. Local."""

    def forward(self) -> dict[str, torch.Tensor]:
        """{"points": (V, 3) um}, and "permeability", (F,) um/ms, and "diffusivity", um^2/ms, where unknown. Local."""
        points = self.shape()
        points = points - points.mean(dim=0)
        if self.log_size is not None:
            points = self.log_size.exp() * points
        if self.rotation is not None:
            points = points @ rotation_matrix(self.rotation).T
        fields = {"points": points}
        if self.log_permeability is not None:
            fields["permeability"] = torch.where(self.wall, self.log_permeability.exp(), OPEN)
        if self.log_diffusivity is not None:
            fields["diffusivity"] = self.log_diffusivity.exp()
        return fields

    def _perturb(self, parameter: torch.nn.Parameter, jitter: float, seed: int) -> None:
        """Move a parameter at random, less far where elements would come near to turning over."""
        if not jitter:
            return
        generator = torch.Generator().manual_seed(seed)
        start = parameter.detach().clone()
        change = jitter * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)

        def path(step: float) -> FloatArray:
            with torch.no_grad():
                parameter.copy_(start + step * change)
                return self.shape().numpy()

        path(largest_step_along(path, self.template.cells, FLOOR))


class LatentShape(Shape):
    """A shape in the latent of an autoencoder: latent -> decoder -> spectral coefficients -> vertices.

    With a range, latent = range tanh(unknown / range): what was learned says little about latents beyond a few units.

    Args:
        setting: The problem at hand; its grid is the template that the model was trained on.
        model: "bending", "beading", "fanning", "joint", or a file that `dmrifw train` made.
        range: What no number of the latent exceeds, in standard deviations of the training shapes; none by default.
        jitter: Standard deviation of a seeded perturbation of the start, which is the straight cylinder.
        rotation: Whether the orientation is unknown.
        size: Whether the overall size is unknown.
        permeability: Start of the wall's permeability, um/ms, where it is unknown too.
        diffusivity: Start of the diffusivity, um^2/ms, where it is unknown too.

    Raises:
        InputError: There is no such model, it belongs to another template, or the straight cylinder is out of range.

    Local; the same numbers on all ranks.

    Source: ReMiDi, arXiv 2502.01988.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        model: str = "joint",
        range: Positive | None = None,
        jitter: NonNegative = 0.0,
        rotation: bool = True,
        size: bool = False,
        permeability: Positive | None = None,
        diffusivity: Positive | None = None,
    ) -> None:
        super().__init__(setting, rotation=rotation, size=size, permeability=permeability, diffusivity=diffusivity)
        loaded = load(model, setting.folder)
        loaded.require(self.template)
        # Beside the module's own children: what was trained is not unknown here, nor part of the state.
        self._network = (loaded.network,)
        frequencies = loaded.network.architecture.frequencies
        rest = self.template.rest - self.template.rest.mean(dim=0)  # as the shapes of the training lie
        straight = loaded.network.encode(self.template.encode(rest, frequencies))
        self.range = range
        if range is not None:
            if float(straight.abs().max()) >= range:
                told = f"the straight cylinder has a latent of {float(straight.abs().max()):.3g}"
                raise InputError(told, "give a larger range", key="range")
            straight = range * torch.atanh(straight / range)
        self.unknown = _parameter(straight)
        self._perturb(self.unknown, jitter, setting.seed)

    @property
    def latent(self) -> torch.Tensor:
        """(L,) the latent of the model."""
        return self.unknown if self.range is None else self.range * torch.tanh(self.unknown / self.range)

    def shape(self) -> torch.Tensor:
        """See `Shape.shape`. Local."""
        return self.template.decode(self._network[0].decode(self.latent))


class SpectralShape(Shape):
    """A shape as the lowest spectral coefficients of its displacement from the grid's own shape.

    Args:
        setting: The problem at hand; its grid, of any shape, is the template.
        frequencies: Number of coefficients of each coordinate; the constant one, which only moves the cell, included.
        jitter: Standard deviation of a seeded perturbation of the coefficients at the start, um.
        rotation: Whether the orientation is a number of its own; the coefficients can turn the cell too.
        size: Whether the overall size is.
        permeability: Start of the wall's permeability, um/ms, where it is unknown too.
        diffusivity: Start of the diffusivity, um^2/ms, where it is unknown too.

    Raises:
        InputError: There are fewer vertices than frequencies.

    Local; the same numbers on all ranks.
    """

    modes: torch.Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        frequencies: Annotated[int, pydantic.Field(ge=2)] = 64,
        jitter: NonNegative = 0.0,
        rotation: bool = False,
        size: bool = False,
        permeability: Positive | None = None,
        diffusivity: Positive | None = None,
    ) -> None:
        super().__init__(setting, rotation=rotation, size=size, permeability=permeability, diffusivity=diffusivity)
        self.register_buffer("modes", self.template.modes(frequencies)[:, 1:], persistent=False)
        self.coefficients = _parameter(torch.zeros(frequencies - 1, 3))
        self._perturb(self.coefficients, jitter, setting.seed)

    def shape(self) -> torch.Tensor:
        """See `Shape.shape`. Local."""
        return self.template.rest + self.modes @ self.coefficients


class FamilyShape(Shape):
    """A shape by a family's own parameters, each in units of its range: value = start + (high - low) unknown.

    Args:
        setting: The problem at hand; its grid, a straight cylinder along z, is the template.
        family: "bending", "beading", "fanning" or "joint".
        start: Values to start at, in the order of `Family.parameters`; the straight cylinder by default.
        jitter: Standard deviation of a seeded perturbation of the start, as a share of the ranges.
        rotation: Whether the orientation is unknown.
        size: Whether the overall size is unknown.
        permeability: Start of the wall's permeability, um/ms, where it is unknown too.
        diffusivity: Start of the diffusivity, um^2/ms, where it is unknown too.

    Raises:
        InputError: There is no such family, or `start` has the wrong length.

    Local; the same numbers on all ranks.
    """

    start: torch.Tensor
    span: torch.Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        family: str = "bending",
        start: list[float] | None = None,
        jitter: NonNegative = 0.0,
        rotation: bool = True,
        size: bool = False,
        permeability: Positive | None = None,
        diffusivity: Positive | None = None,
    ) -> None:
        super().__init__(setting, rotation=rotation, size=size, permeability=permeability, diffusivity=diffusivity)
        self.family = family_named(family)
        parameters = self.family.parameters
        if start is not None and len(start) != len(parameters):
            names = ", ".join(one.name for one in parameters)
            raise InputError(f"{len(start)} values", f"give {len(parameters)}: {names}", key="start")
        first = start if start is not None else [one.start for one in parameters]
        self.register_buffer("start", torch.tensor(first, dtype=torch.float64), persistent=False)
        span = torch.tensor([one.high - one.low for one in parameters], dtype=torch.float64)
        self.register_buffer("span", span, persistent=False)
        self.unknown = _parameter(torch.zeros(span.shape))
        self._perturb(self.unknown, jitter, setting.seed)

    @property
    def values(self) -> torch.Tensor:
        """(P,) the family's parameters, in the order of `Family.parameters`."""
        return self.start + self.span * self.unknown

    def shape(self) -> torch.Tensor:
        """See `Shape.shape`. Local."""
        return self.family.shape(self.template, self.values)


def rotation_matrix(vector: torch.Tensor) -> torch.Tensor:
    """(3, 3) rotation about the direction of a vector, (3,), by its length in radians; differentiable. Local."""
    x, y, z = vector
    zero = torch.zeros_like(x)
    skew = torch.stack([torch.stack([zero, -z, y]), torch.stack([z, zero, -x]), torch.stack([-y, x, zero])])
    return torch.linalg.matrix_exp(skew)


def _parameter(value: torch.Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(value.detach().clone().to(torch.float64))
