"""Everything that the built-in plugins offer, each made with its defaults and put through the conformance kit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from dmrifw_spectral_latent import Template

from dmrifw import plugins, testing
from dmrifw.mesh import Grid
from dmrifw.optimizers import OptimizerSettings
from dmrifw.parametrizations import Setting
from dmrifw.trainers import TrainingSetting

SHAPES = ("family-shape", "latent-shape", "spectral-shape", "inverse-volume", "scaled-jacobian")
"""Offers that want a cell rather than a grid of faces."""

HELD = ("continuity", "edge-coherence")
"""Priors that hold part of their formula constant on purpose."""

OPTIONS: dict[str, dict[str, Any]] = {"spectral-latent": {"rounds": 2, "samples": 128, "batch": 64}}


def offers() -> list[tuple[str, str]]:
    """Kind and name of everything that is installed."""
    return [(offer.kind, offer.name) for plugin in plugins.describe() for offer in plugin.offers]


def setting_of(name: str, seed: int = 0) -> Setting:
    """What an offer is told about the problem at hand."""
    setting = testing.example_setting(seed=seed)
    return replace(setting, grid=Template.shipped().grid()) if name in SHAPES else setting


def fields_of(name: str, setting: Setting) -> dict[str, torch.Tensor]:
    """Fields that a prior can judge: permeabilities, or vertices that have moved a little."""
    if name not in SHAPES:
        return testing.example_fields(setting)
    generator = torch.Generator().manual_seed(0)
    points = torch.from_numpy(setting.grid.points)
    return {"points": points + 0.05 * torch.randn(points.shape, generator=generator, dtype=torch.float64)}


def check(kind: str, name: str) -> None:
    """Put one offer through the kit. Collective over all processes."""
    setting, options = setting_of(name), OPTIONS.get(name, {})
    if kind == "parametrization":
        testing.check_parametrization(plugins.build(plugins.parametrizations()[name], setting, options, name), setting)
    elif kind == "prior":
        prior = plugins.build(plugins.priors()[name], setting, options, name)
        testing.check_prior(prior, fields_of(name, setting), exact_gradient=name not in HELD)
    elif kind == "schedule":
        testing.check_schedule(plugins.build(plugins.schedules()[name], setting, options, name), setting)
    elif kind == "gradient rule":
        testing.check_gradient_rule(plugins.build(plugins.gradient_rules()[name], setting, options, name))
    elif kind == "trainer":
        factory = plugins.trainers()[name]
        testing.check_trainer(lambda: plugins.build(factory, TrainingSetting(), options, name))
    elif kind == "optimizer":
        made = plugins.build(plugins.optimizers()[name], setting, options, name)
        assert isinstance(made, OptimizerSettings)
    else:
        check_template(plugins.templates()[name]())


def check_template(grid: Grid) -> None:
    """A template is a sound grid of one compartment or more, its vertices in micrometres."""
    assert (grid.cell_volumes > 0).all()
    assert len(np.unique(grid.cells)) == len(grid.points)
