"""The contract of the plugin manager: names are found, faults are told by name, a table is checked key by key."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import pytest

from dmrifw import plugins
from dmrifw.errors import InputError, PluginError
from dmrifw.hookspecs import hookimpl
from dmrifw.parametrizations import Setting
from dmrifw.testing import example_setting


@pytest.fixture(autouse=True)
def fresh_manager() -> Iterator[None]:
    """A manager of its own for each test: what a test registers must not reach the next one."""
    plugins._manager.cache_clear()
    yield
    plugins._manager.cache_clear()


@pytest.fixture
def setting() -> Setting:
    return example_setting()


def module(name: str, offers: Mapping[str, Any], hook: str = "dmrifw_priors") -> ModuleType:
    made = ModuleType(name)

    def implementation() -> Mapping[str, Any]:
        return offers

    implementation.__name__ = hook
    setattr(made, hook, hookimpl(implementation))
    return made


def factory(setting: Setting, *, weight: plugins.NonNegative, steps: tuple[int, int] = (0, 1), label: str = "") -> Any:
    """Echo the options.

    Not a part of the summary.
    """
    if label == "refused":
        raise InputError("the label is refused", "choose another", key="label")
    return setting, weight, steps, label


def bare(setting: Setting, *, weight) -> None:  # type: ignore[no-untyped-def]
    """A factory whose argument says nothing about its type."""


def mistaken(setting: Setting, *, weight: NoSuchName) -> None:  # type: ignore[name-defined] # noqa: F821
    """A factory whose annotation does not resolve."""


def test_built_in_plugins_are_found_through_their_entry_points() -> None:
    assert "face-permeability" in plugins.parametrizations()
    assert {"continuity", "soft-manifold"} <= set(plugins.priors())
    assert {"staged", "all-at-once"} <= set(plugins.schedules())


def test_describe_lists_plugins_in_order_with_versions_and_first_lines() -> None:
    made = module("aaa", {"echo": factory})
    made.__version__ = "3.2"  # type: ignore[attr-defined]
    plugins.register(made)
    listing = plugins.describe()
    assert [one.name for one in listing] == sorted(one.name for one in listing)
    assert listing[0] == plugins.Plugin("aaa", "3.2", (plugins.Offer("prior", "echo", "Echo the options."),))
    installed = {one.name: one.version for one in listing}
    assert installed["face_permeability"] == importlib.metadata.version("dmrifw-face-permeability")


def test_a_name_offered_twice_names_both_plugins() -> None:
    plugins.register(module("first", {"echo": factory}))
    plugins.register(module("second", {"echo": factory}))
    with pytest.raises(PluginError, match=r"'echo'.*'first'.*'second'"):
        plugins.priors()


def test_registering_twice_is_refused_and_unregister_makes_room() -> None:
    plugins.register(module("mine", {"echo": factory}))
    with pytest.raises(PluginError, match="'mine'"):
        plugins.register(module("mine", {"echo": factory}))
    plugins.unregister("mine")
    plugins.register(module("mine", {"other": factory}))
    assert "other" in plugins.priors()
    assert "echo" not in plugins.priors()
    with pytest.raises(PluginError, match="'unknown'"):
        plugins.unregister("unknown")


def test_a_plugin_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = importlib.metadata.EntryPoint("broken", "a_module_that_is_not_there", "dmrifw")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: (broken,))
    with pytest.raises(PluginError, match=r"plugin 'broken' cannot be loaded \(ModuleNotFoundError"):
        plugins.priors()


def test_a_misspelled_hook_is_refused_and_leaves_no_trace() -> None:
    with pytest.raises(PluginError, match="dmrifw_prior"):
        plugins.register(module("typo", {}, hook="dmrifw_prior"))
    assert "typo" not in [one.name for one in plugins.describe()]


def test_a_hook_that_fails_names_its_plugin() -> None:
    plugins.register(module("odd", 5))  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="'odd'"):
        plugins.priors()


def test_find_suggests_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"^inversion\.priors: there is no 'continuty'; did you mean 'continuity'\?"):
        plugins.find(plugins.priors(), "continuty", "inversion.priors")


def test_build_passes_the_checked_table_on(setting: Setting) -> None:
    table = {"weight": 2, "steps": [3, 4], "label": "a"}
    made = plugins.build(factory, setting, table, "inversion.echo")
    assert made == (setting, 2.0, (3, 4), "a")
    assert isinstance(made[1], float)
    assert plugins.build(factory, setting, {"weight": 0.5}, "inversion.echo") == (setting, 0.5, (0, 1), "")


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (
            {"wieght": 2.0, "weight": 1.0},
            r"^inversion\.echo\.wieght: unknown key; did you mean 'weight'\? known keys: ",
        ),
        ({}, r"^inversion\.echo\.weight: the key is missing; add it$"),
        ({"weight": "2"}, r"^inversion\.echo\.weight: '2' does not fit; input should be a valid number$"),
        ({"weight": True}, r"^inversion\.echo\.weight: True does not fit"),
        ({"weight": -1.0}, r"^inversion\.echo\.weight: -1\.0 does not fit; .*greater than or equal to 0$"),
        ({"weight": float("nan")}, r"^inversion\.echo\.weight: nan does not fit; .*finite"),
        ({"weight": 1, "steps": [1, 2.5]}, r"^inversion\.echo\.steps\.1: 2\.5 does not fit"),
        ({"weight": 1, "label": "refused"}, r"^inversion\.echo\.label: the label is refused; choose another$"),
        ({"weight": object()}, r"^inversion\.echo: .*TOML"),
    ],
)
def test_build_tells_key_fault_and_mend(setting: Setting, table: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        plugins.build(factory, setting, table, "inversion.echo")


@pytest.mark.parametrize("faulty", [bare, mistaken])
def test_a_factory_that_cannot_be_checked_is_a_fault_of_the_plugin(setting: Setting, faulty: Any) -> None:
    with pytest.raises(PluginError, match=faulty.__name__):
        plugins.build(faulty, setting, {"weight": 1.0}, "inversion.echo")


class TwoRanks:
    """A communicator whose other rank reports `theirs`, or the same if None."""

    def __init__(self, theirs: Any = None) -> None:
        self.theirs = theirs

    def allgather(self, mine: Any) -> list[Any]:
        return [mine, mine if self.theirs is None else self.theirs]


def test_ranks_with_the_same_plugins_agree() -> None:
    plugins.check_same_on_all_ranks(TwoRanks())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("theirs", "line"),
    [
        (("", frozenset({("interface_priors", "99", "continuity")})), "ranks 0 and 1 .*interface_priors"),
        (("plugin 'x' cannot be loaded", frozenset()), "rank 1: plugin 'x' cannot be loaded"),
    ],
)
def test_ranks_that_differ_are_told(theirs: Any, line: str) -> None:
    with pytest.raises(PluginError, match=line):
        plugins.check_same_on_all_ranks(TwoRanks(theirs))  # type: ignore[arg-type]
