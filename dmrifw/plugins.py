"""The plugin manager: who is installed, what they offer, and how a config's table becomes an object."""

from __future__ import annotations

import difflib
import importlib.metadata
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, Required, TypeAlias, TypeVar

import pluggy
import pydantic
import pydantic_core
from typing_extensions import TypedDict

from dmrifw import hookspecs
from dmrifw.errors import InputError, PluginError
from dmrifw.gradients import GradientRule
from dmrifw.mesh import Grid
from dmrifw.optimizers import OptimizerSettings
from dmrifw.parametrizations import Parametrization, Setting
from dmrifw.priors import Prior
from dmrifw.schedules import Schedule
from dmrifw.trainers import Trainer, TrainingSetting

if TYPE_CHECKING:
    from mpi4py import MPI

T = TypeVar("T")
Factories: TypeAlias = dict[str, Callable[..., T]]

Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
"""Annotation for a plugin's option: a finite number above 0."""

NonNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
"""Annotation for a plugin's option: a finite number of at least 0."""

Count = Annotated[int, pydantic.Field(ge=0)]
"""Annotation for a plugin's option: a whole number of at least 0."""

_HOOKS = {
    "parametrization": "dmrifw_parametrizations",
    "prior": "dmrifw_priors",
    "schedule": "dmrifw_schedules",
    "trainer": "dmrifw_trainers",
    "gradient rule": "dmrifw_gradient_rules",
    "template": "dmrifw_templates",
    "optimizer": "dmrifw_optimizers",
}


@dataclass(frozen=True)
class Offer:
    """One thing that a plugin offers.

    Attributes:
        kind: "parametrization", "prior", "schedule", "gradient rule", "optimizer", "trainer" or "template".
        name: The name that a config uses.
        summary: First line of the factory's docstring.
    """

    kind: str
    name: str
    summary: str


@dataclass(frozen=True)
class Plugin:
    """An installed or registered plugin: its name, its version ("" if it has none), and what it offers."""

    name: str
    version: str
    offers: tuple[Offer, ...]


def register(module: ModuleType | object, name: str | None = None) -> None:
    """Add a plugin that is not installed: for tests and notebooks.

    Args:
        module: A module or object with hook implementations.
        name: The plugin's name; the module's own by default.

    Raises:
        PluginError: A plugin of that name is present, or a hook implementation fits no specification.

    Local: call it on every rank.
    """
    _add(_manager(), name or str(getattr(module, "__name__", type(module).__name__)), lambda: module)


def unregister(name: str) -> None:
    """Forget a plugin, so that a notebook cell can register it again.

    Raises:
        PluginError: There is no plugin of that name.

    Local: call it on every rank.
    """
    if not _manager().has_plugin(name):
        raise PluginError(f"there is no plugin {name!r}; `dmrifw plugins` lists those present")
    _manager().unregister(name=name)


def parametrizations() -> Factories[Parametrization]:
    """Factories of parametrizations by name. Raises PluginError for a broken plugin or a name offered twice. Local."""
    return {name: factory for name, (_, factory) in _offered("parametrization").items()}


def priors() -> Factories[Prior]:
    """Factories of priors by name. Raises PluginError for a broken plugin or a name offered twice. Local."""
    return {name: factory for name, (_, factory) in _offered("prior").items()}


def schedules() -> Factories[Schedule]:
    """Factories of schedules by name. Raises PluginError for a broken plugin or a name offered twice. Local."""
    return {name: factory for name, (_, factory) in _offered("schedule").items()}


def trainers() -> Factories[Trainer]:
    """Factories of trainers by name. Raises PluginError for a broken plugin or a name offered twice. Local."""
    return {name: factory for name, (_, factory) in _offered("trainer").items()}


def gradient_rules() -> Factories[GradientRule]:
    """Factories of gradient rules by name. Raises PluginError for a broken plugin or a name offered twice. Local."""
    return {name: factory for name, (_, factory) in _offered("gradient rule").items()}


def optimizers() -> Factories[OptimizerSettings]:
    """Factories of optimizers by name. Raises PluginError for a broken plugin or a name offered twice. Local."""
    return {name: factory for name, (_, factory) in _offered("optimizer").items()}


def templates() -> dict[str, Callable[[], Grid]]:
    """Factories of grids by name. Raises PluginError for a broken plugin or a name offered twice. Local."""
    return {name: factory for name, (_, factory) in _offered("template").items()}


def describe() -> list[Plugin]:
    """Every plugin in alphabetical order, with what it offers.

    Raises:
        PluginError: A plugin is broken, or two offer the same name.

    Local.
    """
    offers: dict[str, list[Offer]] = {name: [] for name, _ in _manager().list_name_plugin()}
    for kind in _HOOKS:
        for name, (plugin, factory) in _offered(kind).items():
            summary = (inspect.getdoc(factory) or "").partition("\n")[0]
            offers[plugin].append(Offer(kind, name, summary))
    return [Plugin(name, _version(name), tuple(found)) for name, found in sorted(offers.items())]


def check_same_on_all_ranks(comm: MPI.Comm) -> None:
    """Make sure that every rank sees the same plugins in the same versions.

    Raises:
        PluginError: On every rank, when a plugin is broken on one of them or the lists differ.

    Collective.
    """
    fault, mine = "", frozenset[tuple[str, str, str]]()
    try:
        mine = frozenset((one.name, one.version, offer.name) for one in describe() for offer in one.offers)
    except PluginError as error:  # kept until all ranks have met: one that raised here would leave the others waiting
        fault = str(error)
    everyone = comm.allgather((fault, mine))
    for rank, (fault, theirs) in enumerate(everyone):
        if fault:
            raise PluginError(f"rank {rank}: {fault}")
        if theirs != everyone[0][1]:
            names = sorted({name for name, _, _ in theirs ^ everyone[0][1]})
            raise PluginError(
                f"ranks 0 and {rank} have different plugins or versions of {', '.join(names)}; "
                "install the same packages on every node"
            )


def find(factories: Mapping[str, Callable[..., T]], name: str, key: str) -> Callable[..., T]:
    """The factory of a name that a user wrote.

    Args:
        factories: What `parametrizations`, `priors`, `schedules`, `gradient_rules`, `optimizers`, `trainers` or
            `templates` returned.
        name: The name to look up.
        key: The config key that holds it, named in the error.

    Raises:
        InputError: There is no such name; tells the nearest one.

    Local.
    """
    if name not in factories:
        raise InputError(f"there is no {name!r}", _suggestion(name, factories, "installed"), key=key)
    return factories[name]


def build(factory: Callable[..., T], setting: Setting | TrainingSetting, table: Mapping[str, Any], key: str) -> T:
    """Make what a factory makes, with a config's table as its keyword arguments.

    The table is checked against the annotations of the factory's arguments as strictly as TOML is typed: an integer
    may stand for a float and a list for a tuple, but neither text nor a truth value for a number.

    Args:
        factory: Called as `factory(setting, **table)`.
        setting: The problem at hand.
        table: The plugin's table from the config.
        key: The table's key in the config, for example "inversion.continuity".

    Returns:
        The plugin's object.

    Raises:
        InputError: A key is unknown or missing, or a value has the wrong type or is out of range. Names the key.
        PluginError: An argument of the factory has no annotation, or one that does not resolve.

    Local.
    """
    options = _annotated_options(factory)
    table_type = TypedDict("table", options)  # type: ignore[misc]
    table_type.__pydantic_config__ = pydantic.ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]
    try:
        text = pydantic_core.to_json(dict(table), inf_nan_mode="constants")
        arguments = pydantic.TypeAdapter(table_type).validate_json(text)
    except pydantic.ValidationError as error:
        raise _input_error(error.errors()[0], options, table, key) from error
    except pydantic_core.PydanticSerializationError as error:
        raise InputError(f"{error}", "use what a TOML file can hold: numbers, text, lists", key=key) from error
    try:
        return factory(setting, **arguments)
    except InputError as error:  # a factory knows its own arguments only; we know where their table stands
        place = f"{key}.{error.key}" if error.key else key
        raise InputError(error.fault, error.mend, key=place, file=error.file) from error


@cache
def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    for entry in sorted(importlib.metadata.entry_points(group=hookspecs.PROJECT), key=lambda one: one.name):
        _add(manager, entry.name, entry.load)
    return manager


def _add(manager: pluggy.PluginManager, name: str, load: Callable[[], object]) -> None:
    if manager.has_plugin(name):
        raise PluginError(f"there are two plugins of the name {name!r}; uninstall or unregister one of them")
    try:
        manager.register(load(), name)
        manager.check_pending()
    except Exception as error:  # whatever a stranger's module raises while it is imported
        if manager.has_plugin(name):
            manager.unregister(name=name)
        raise PluginError(
            f"plugin {name!r} cannot be loaded ({type(error).__name__}: {error}); mend its package or uninstall it"
        ) from error


def _offered(kind: str) -> dict[str, tuple[str, Callable[..., Any]]]:
    """Plugin and factory of every name of a kind. Asks plugin by plugin, so that a fault can name its plugin."""
    found: dict[str, tuple[str, Callable[..., Any]]] = {}
    implementations = getattr(_manager().hook, _HOOKS[kind]).get_hookimpls()
    for implementation in sorted(implementations, key=lambda one: one.plugin_name):
        plugin = implementation.plugin_name
        try:
            offers = dict(implementation.function())
        except Exception as error:  # see `_add`
            raise PluginError(
                f"plugin {plugin!r} fails in {_HOOKS[kind]} ({type(error).__name__}: {error}); "
                "mend its package or uninstall it"
            ) from error
        for name, factory in sorted(offers.items()):
            if name in found:
                raise PluginError(
                    f"{kind} {name!r} is offered by two plugins, {found[name][0]!r} and {plugin!r}; "
                    "uninstall one of them"
                )
            found[name] = plugin, factory
    return found


def _version(plugin: str) -> str:
    for entry in importlib.metadata.entry_points(group=hookspecs.PROJECT, name=plugin):
        if entry.dist is not None:
            return entry.dist.version
    return str(getattr(_manager().get_plugin(plugin), "__version__", ""))


def _annotated_options(factory: Callable[..., Any]) -> dict[str, Any]:
    title = f"{factory.__module__}.{getattr(factory, '__qualname__', factory)}"
    try:
        _, *parameters = inspect.signature(factory, eval_str=True).parameters.values()
    except Exception as error:  # evaluating a stranger's annotations can raise anything
        raise PluginError(f"{title}: its signature cannot be read ({error}); it is (setting, **options)") from error
    options = {}
    for one in parameters:
        if one.annotation is one.empty:
            raise PluginError(f"{title}: argument {one.name!r} has no annotation; annotate it")
        options[one.name] = (Required if one.default is one.empty else NotRequired)[one.annotation]
    return options


def _input_error(fault: Any, known: Mapping[str, Any], table: Any, key: str) -> InputError:
    location, last = [], fault["loc"][-1]
    for part in fault["loc"]:  # pydantic's names of union branches, which are not in the table, are left out
        if part == last or not isinstance(table, Mapping) or part in table:
            location.append(str(part))
            table = None if part == last else table[part]
    place = ".".join([key, *location])
    if fault["type"] == "extra_forbidden":
        return InputError("unknown key", _suggestion(location[-1], known, "known keys"), key=place)
    if fault["type"] == "missing":
        return InputError("the key is missing", "add it", key=place)
    return InputError(f"{fault['input']!r} does not fit", fault["msg"][0].lower() + fault["msg"][1:], key=place)


def _suggestion(name: str, known: Mapping[str, Any], title: str) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    listing = f"{title}: {', '.join(sorted(known)) or 'none'}"
    return f"did you mean {near[0]!r}? {listing}" if near else listing
