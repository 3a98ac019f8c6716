"""The shape of a cell as the unknown: a few latent numbers, spectral coefficients, or a family's own parameters.

A template mesh of fixed connectivity is deformed; its displacements are written in the eigenvectors of the mesh's graph
Laplacian, and an autoencoder writes these in a few latent numbers.

Source: ReMiDi, arXiv 2502.01988.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dmrifw.hookspecs import hookimpl
from dmrifw.mesh import Grid
from dmrifw.parametrizations import Parametrization
from dmrifw.priors import Prior
from dmrifw.trainers import Trainer
from dmrifw_spectral_latent.dataset import Dataset, draw
from dmrifw_spectral_latent.families import FAMILIES, Family
from dmrifw_spectral_latent.network import Architecture, SpectralAutoencoder
from dmrifw_spectral_latent.parametrizations import FamilyShape, LatentShape, Shape, SpectralShape
from dmrifw_spectral_latent.priors import InverseVolume, ScaledJacobian
from dmrifw_spectral_latent.quality import (
    largest_step,
    largest_step_along,
    scaled_jacobian,
    smallest_scaled_jacobian,
    volumes,
)
from dmrifw_spectral_latent.template import Template
from dmrifw_spectral_latent.training import AutoencoderTrainer
from dmrifw_spectral_latent.weights import Model, load

__all__ = [
    "FAMILIES",
    "Architecture",
    "AutoencoderTrainer",
    "Dataset",
    "Family",
    "FamilyShape",
    "InverseVolume",
    "LatentShape",
    "Model",
    "ScaledJacobian",
    "Shape",
    "SpectralAutoencoder",
    "SpectralShape",
    "Template",
    "draw",
    "largest_step",
    "largest_step_along",
    "load",
    "scaled_jacobian",
    "smallest_scaled_jacobian",
    "volumes",
]


@hookimpl
def dmrifw_parametrizations() -> Mapping[str, Callable[..., Parametrization]]:
    """The names that `[inversion] parametrization` uses."""
    return {"family-shape": FamilyShape, "latent-shape": LatentShape, "spectral-shape": SpectralShape}


@hookimpl
def dmrifw_priors() -> Mapping[str, Callable[..., Prior]]:
    """The names that `[inversion] priors` uses."""
    return {"inverse-volume": InverseVolume, "scaled-jacobian": ScaledJacobian}


@hookimpl
def dmrifw_trainers() -> Mapping[str, Callable[..., Trainer]]:
    """The name that `[training] trainer` uses."""
    return {"spectral-latent": AutoencoderTrainer}


@hookimpl
def dmrifw_templates() -> Mapping[str, Callable[[], Grid]]:
    """The name that `[geometry] kind = "template"` uses."""
    return {"latent-cylinder": latent_cylinder}


def latent_cylinder() -> Grid:
    """A cylinder, r = 5 um, h = 20 um, of 315 vertices, which the shipped weights of `latent-shape` deform. Local."""
    return Template.shipped().grid()
