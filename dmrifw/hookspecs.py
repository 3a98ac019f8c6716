"""The hooks that a plugin package can implement, through pluggy.

A plugin is a Python package with an entry point in the group `dmrifw` that names a module with hook implementations:

    [project.entry-points.dmrifw]
    my_plugin = "my_plugin"

Every hook returns factories by name, the name being what a config uses. A factory is called as
`factory(setting, **table)` with a `dmrifw.parametrizations.Setting` (a trainer's with a
`dmrifw.trainers.TrainingSetting`) and the plugin's table from the config. Its keyword
arguments must be annotated: the table is validated against them, and what the user mistyped is told by name. Only a
template's factory takes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pluggy

from dmrifw.gradients import GradientRule
from dmrifw.mesh import Grid
from dmrifw.optimizers import OptimizerSettings
from dmrifw.parametrizations import Parametrization
from dmrifw.priors import Prior
from dmrifw.schedules import Schedule
from dmrifw.trainers import Trainer

PROJECT = "dmrifw"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def dmrifw_parametrizations() -> Mapping[str, Callable[..., Parametrization]]:
    """Parametrizations: what is unknown. Used by `[inversion] parametrization = "name"`."""
    raise AssertionError("a specification is never called")


@hookspec
def dmrifw_priors() -> Mapping[str, Callable[..., Prior]]:
    """Priors: what is believed. Used by `[inversion] priors = ["name", ...]`."""
    raise AssertionError("a specification is never called")


@hookspec
def dmrifw_schedules() -> Mapping[str, Callable[..., Schedule]]:
    """Schedules: in which order measurements are used. Used by `[inversion] schedule = "name"`."""
    raise AssertionError("a specification is never called")


@hookspec
def dmrifw_trainers() -> Mapping[str, Callable[..., Trainer]]:
    """Trainers: how a plugin learns what it ships. Used by `[training] trainer = "name"`.

    Their factories are called with a `dmrifw.trainers.TrainingSetting`.
    """
    raise AssertionError("a specification is never called")


@hookspec
def dmrifw_templates() -> Mapping[str, Callable[[], Grid]]:
    """Templates: grids that a plugin ships. Used by `[geometry] kind = "template", name = "name"`.

    Their factories take nothing. Collective.
    """
    raise AssertionError("a specification is never called")


@hookspec
def dmrifw_gradient_rules() -> Mapping[str, Callable[..., GradientRule]]:
    """Gradient rules: what happens to the gradient. Used by `[inversion] gradient_rules = ["name", ...]`."""
    raise AssertionError("a specification is never called")


@hookspec
def dmrifw_optimizers() -> Mapping[str, Callable[..., OptimizerSettings]]:
    """Optimizers: how to step, besides Adam, Gauss-Newton and L-BFGS. Used by `[inversion] optimizer = "name"`."""
    raise AssertionError("a specification is never called")
