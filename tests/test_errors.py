"""The error family: what a user reads when an input is wrong."""

from pathlib import Path

import pytest

from dmrifw.errors import ConvergenceError, DmrifwError, InputError, PluginError


def test_one_line_in_the_promised_order():
    """File, key, what is wrong, how to mend it."""
    error = InputError("b = -1", "give b >= 0", key="protocol.b", file=Path("run.toml"))
    assert str(error) == "run.toml: protocol.b: b = -1; give b >= 0"


def test_unknown_places_are_left_out():
    """Deep code may know neither the file nor the key."""
    assert str(InputError("b = -1", "give b >= 0")) == "b = -1; give b >= 0"


def test_line_breaks_are_folded():
    """A value that prints over several lines, such as an array, must not break the one-line promise."""
    assert str(InputError("got [[1 2]\n [3 4]]", "give one row")) == "got [[1 2] [3 4]]; give one row"


def test_callers_add_the_place_but_do_not_overwrite_it():
    """The innermost knowledge of where the fault lies is the most exact."""
    bare = InputError("b = -1", "give b >= 0")
    located = bare.located(key="bvals", file="run.toml")
    assert (located.key, located.file) == ("bvals", "run.toml")
    assert (located.fault, located.mend) == (bare.fault, bare.mend)
    assert bare.key is None
    assert located.located(key="other", file="other.toml").key == "bvals"


@pytest.mark.parametrize(
    ("kind", "builtin"), [(InputError, ValueError), (ConvergenceError, RuntimeError), (PluginError, RuntimeError)]
)
def test_family(kind, builtin):
    """One `except DmrifwError` catches all that is raised on purpose; Python's own categories work too."""
    assert issubclass(kind, DmrifwError)
    assert issubclass(kind, builtin)
