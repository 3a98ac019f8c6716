"""`[inversion]`: the plugins that a config names, built and checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dmrifw.cli.case import Case, blame
from dmrifw.cli.inversion import Inversion
from dmrifw.errors import InputError

if TYPE_CHECKING:
    from dmrifw.gradients import GradientRule
    from dmrifw.inversion import OptimizerSettings, Restarts
    from dmrifw.parametrizations import Parametrization, Setting
    from dmrifw.priors import Prior
    from dmrifw.schedules import Schedule

T = TypeVar("T")


@dataclass(frozen=True)
class Search:
    """What a config says about an inversion, as objects.

    Attributes:
        settings: The `[inversion]` table.
        parametrization: What is unknown.
        priors: What is believed, by name.
        schedule: In which order measurements are used.
        gradient_rules: What happens to the gradient, by name, in the order of the config.
        optimizer: How to step.
        restarts: How many further starts, and where.
        options: Every option of these plugins, by plugin name, defaults included.
    """

    settings: Inversion
    parametrization: Parametrization
    priors: dict[str, Prior]
    schedule: Schedule
    gradient_rules: dict[str, GradientRule]
    optimizer: OptimizerSettings
    restarts: Restarts
    options: dict[str, dict[str, Any]]


def build_search(case: Case) -> Search:
    """Build the plugins that `[inversion]` names.

    Args:
        case: The grid and the measurements that they are told about.

    Raises:
        InputError: There is no `[inversion]`, a plugin is not installed, or its table is at fault.
        PluginError: A plugin is broken.

    Local.
    """
    from dmrifw import plugins
    from dmrifw.inversion import Restarts
    from dmrifw.inversion.optimizer import check_together

    file = case.config.path
    settings = required_inversion(case)
    setting = _setting(case)
    _refuse_unscaled_sequences(case)
    with blame("inversion", file):
        parametrization = _build(
            plugins.parametrizations(), settings.parametrization, "parametrization", settings, setting
        )
        priors = _build_each(plugins.priors(), "priors", settings, setting)
        schedule = _build(plugins.schedules(), settings.schedule, "schedule", settings, setting)
        gradient_rules = _build_each(plugins.gradient_rules(), "gradient_rules", settings, setting)
    _refuse_idle_tables(settings, file)
    factories = {
        settings.parametrization: plugins.parametrizations()[settings.parametrization],
        **{name: plugins.priors()[name] for name in settings.priors},
        **{name: plugins.gradient_rules()[name] for name in settings.gradient_rules},
        settings.schedule: plugins.schedules()[settings.schedule],
    }
    if settings.optimizer in plugins.optimizers():
        factories[settings.optimizer] = plugins.optimizers()[settings.optimizer]
    options = {name: _options(factory) | settings.tables.get(name, {}) for name, factory in factories.items()}
    optimizer = _optimizer(settings, setting, file)
    restarts = Restarts(**settings.restarts.model_dump(), seed=settings.seed)
    with blame("inversion", file):
        check_together(optimizer, parametrization, priors, list(gradient_rules.values()), schedule, restarts.count)
        _check_priors(settings, parametrization, priors)
    return Search(settings, parametrization, priors, schedule, gradient_rules, optimizer, restarts, options)


def build_true_parametrization(case: Case) -> Parametrization | None:
    """The parametrization that `[inversion.target]` names, whose start is the truth; None where it names none.

    Raises:
        InputError: It is not installed, or its table is at fault.

    Local.
    """
    from dmrifw import plugins

    target = required_inversion(case).target
    if target.parametrization is None:
        return None
    place, name = "inversion.target", target.parametrization
    with blame(place, case.config.path):
        factory = plugins.find(plugins.parametrizations(), name, f"{place}.parametrization")
        return plugins.build(factory, _setting(case), target.tables.get(name, {}), f"{place}.{name}")


def _setting(case: Case) -> Setting:
    from dmrifw.parametrizations import Setting

    settings, tissue = required_inversion(case), case.config.tissue
    return Setting(
        case.grid,
        case.protocol,
        tissue.exterior,
        settings.iterations,
        settings.seed,
        tissue.barrier_permeability,
        tissue.open_permeability,
        case.config.path.parent,
    )


def required_inversion(case: Case) -> Inversion:
    """The `[inversion]` table, or InputError where there is none. Local."""
    if case.config.inversion is None:
        raise InputError(
            "the table is missing", "add [inversion]; it may be empty", key="inversion", file=case.config.path
        )
    return case.config.inversion


def _optimizer(settings: Inversion, setting: Setting, file: Path) -> OptimizerSettings:
    from dmrifw import plugins
    from dmrifw.inversion import AdamSettings, GaussNewtonSettings, LbfgsSettings

    built_in: dict[str, Callable[[], OptimizerSettings]] = {
        "adam": lambda: AdamSettings(**settings.adam.model_dump()),
        "gauss-newton": lambda: GaussNewtonSettings(**settings.gauss_newton.model_dump()),
        "l-bfgs": lambda: LbfgsSettings(**settings.l_bfgs.model_dump()),
    }
    name = settings.optimizer
    with blame("inversion", file):
        plugins.find({**plugins.optimizers(), **built_in}, name, "inversion.optimizer")
        if name not in built_in:
            return _build(plugins.optimizers(), name, "optimizer", settings, setting)
    try:
        return built_in[name]()
    except InputError as error:
        raise InputError(error.fault, error.mend, key=f"inversion.{name}.{error.key}", file=file) from error


def _check_priors(settings: Inversion, parametrization: Parametrization, priors: Mapping[str, Prior]) -> None:
    """Refuse a prior on fields that the unknown does not have."""
    import torch

    with torch.no_grad():
        fields = parametrization()
        for index, (name, prior) in enumerate(priors.items()):
            try:
                prior(fields, 0)
            except KeyError as error:
                raise InputError(
                    f"{name!r} is about {error}, and {settings.parametrization!r} gives {', '.join(fields)}",
                    "name a prior that suits",
                    key=f"priors[{index}]",
                ) from error


def _build_each(
    factories: Mapping[str, Callable[..., T]], key: str, settings: Inversion, setting: Setting
) -> dict[str, T]:
    """What the list of names under a key makes, in its order."""
    names: list[str] = getattr(settings, key)
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InputError(f"{name!r} is named twice", "name it once", key=f"inversion.{key}[{index}]")
    return {name: _build(factories, name, f"{key}[{index}]", settings, setting) for index, name in enumerate(names)}


def _build(factories: Mapping[str, Callable[..., T]], name: str, key: str, settings: Inversion, setting: Setting) -> T:
    from dmrifw import plugins

    factory = plugins.find(factories, name, f"inversion.{key}")
    return plugins.build(factory, setting, settings.tables.get(name, {}), f"inversion.{name}")


def _options(factory: Callable[..., Any]) -> dict[str, Any]:
    """The options that a factory takes, with their defaults."""
    parameters = inspect.signature(factory).parameters
    return {name: one.default for name, one in parameters.items() if one.default is not one.empty}


def _refuse_idle_tables(settings: Inversion, file: Path) -> None:
    used = {settings.parametrization, settings.schedule, settings.optimizer, *settings.priors, *settings.gradient_rules}
    for name in settings.tables:
        if name not in used:
            raise InputError(
                "the table belongs to no plugin in use",
                f"name that plugin in another key of [inversion]; in use are {', '.join(sorted(used))}",
                key=f"inversion.{name}",
                file=file,
            )


def _refuse_unscaled_sequences(case: Case) -> None:
    """The loss divides a sequence's signals by its signal at b = 0; told here, before a target is simulated."""
    protocol = case.protocol
    for number in np.setdiff1d(protocol.sequence, protocol.sequence[protocol.bvals == 0]):
        row = int(np.argmax(protocol.sequence == number))
        name = f"the sequence delta/Delta = {protocol.delta[row]:g}/{protocol.Delta[row]:g} ms"
        lowest = protocol.bvals[protocol.sequence == number].min()
        raise InputError(
            f"{name} has no measurement at b = 0, by which an inversion divides its signals; the lowest is {lowest:g}",
            "add b = 0 to it, or if a table tells a low b where 0 is meant, set b0_threshold",
            key="protocol",
            file=case.config.path,
        )
