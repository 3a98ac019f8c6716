"""A small config, ways to run commands on it, and what every refusal must look like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dmrifw.cli.app import run

CONFIG = """\
[geometry]
kind = "grid"
cells = 2
size = 20
barrier = { shape = "sphere", radius = 15 }

[tissue]
diffusivity = 2.0
exterior = "reflecting"

[[protocol.shell]]
b = [0, 1000]
delta = 10
Delta = 20
directions = 2

[[protocol.shell]]
b = 500
delta = 10
Delta = 60
directions = [[1, 0, 0]]

[solver]
tolerance = 1e-3
"""

INVERSION = """
[inversion]
parametrization = "face-permeability"
priors = ["continuity"]
schedule = "all-at-once"
iterations = 3
"""


@pytest.fixture(scope="session")
def text() -> str:
    """A config that is good for `simulate`: two sequences, five measurements."""
    return CONFIG


@pytest.fixture(scope="session")
def inversion_text() -> str:
    """A config that is good for `invert`, in three iterations."""
    return CONFIG.replace("b = 500", "b = [0, 500]") + INVERSION


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config that is good for `simulate`, in a file of its own folder."""
    return write(tmp_path, CONFIG)


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of inversions have no pictures in space, which take a second and more."""
    monkeypatch.setattr("dmrifw.plotting.scene", lambda *_: b"")


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command on a config's text and returns the line that refuses it: status 2, one line, nothing written."""

    def run_and_refuse(text: str, command: str = "simulate") -> str:
        path, output = write(tmp_path, text), tmp_path / "out"
        before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
        words = [command, str(path)] + ([] if command == "check" else ["-o", str(output)])
        assert run(words) == 2
        printed = capsys.readouterr()
        assert printed.err.count("\n") == 1 and printed.err.endswith("\n"), printed.err
        assert printed.out == ""
        assert not output.exists()
        assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
        return printed.err

    return run_and_refuse


def write(folder: Path, text: str) -> Path:
    """Keep a config's text in a folder."""
    path = folder / "config.toml"
    path.write_text(text)
    return path
