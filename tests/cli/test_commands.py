"""The commands as a shell sees them: statuses, lazy imports, the demo, and one voice under mpirun."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import dmrifw
from dmrifw.cli import demo
from dmrifw.cli.app import run
from dmrifw.cli.case import build_case
from dmrifw.cli.config import parse_text


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    printed = capsys.readouterr().out
    for command in ("simulate", "invert", "demo", "check", "plugins"):
        assert command in printed


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    printed = capsys.readouterr()
    assert "simulate" in printed.out
    assert printed.err == "dmrifw: no command is given; see dmrifw --help\n"


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"dmrifw {dmrifw.__version__}\n"


def test_plugins_lists_what_the_built_in_packages_offer(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plugins"]) == 0
    printed = capsys.readouterr().out
    for name in ("face-permeability", "continuity", "soft-manifold", "staged"):
        assert name in printed


def test_check_says_what_a_config_is_good_for(
    inversion_text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text(inversion_text)
    assert run(["check", str(tmp_path / "config.toml")]) == 0
    assert "dmrifw simulate and dmrifw invert" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["config.toml"]


def test_an_error_in_the_config_does_not_wait_for_torch(tmp_path: Path) -> None:
    """What a user has to mend is told at once: neither torch nor DOLFINx is imported for it."""
    (tmp_path / "config.toml").write_text("[geometry]\nknd = 1\n")
    program = (
        "import sys\nfrom dmrifw.cli.app import run\n"
        "status = run(sys.argv[1:])\n"
        "assert not {'torch', 'dolfinx', 'matplotlib'} & set(sys.modules)\nsys.exit(status)"
    )
    command = [sys.executable, "-c", program, "invert", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 2, finished.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_before_anything_is_kept_is_told(
    number: int, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmrifw.cli.check.build_case", lambda _: os.kill(os.getpid(), number))
    assert run(["check", str(config)]) == 130
    assert capsys.readouterr().err == "dmrifw: interrupted\n"


def test_anything_else_is_status_1_in_one_line(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(case: object, model: object) -> None:
        raise RuntimeError("something\nnobody foresaw")

    monkeypatch.setattr("dmrifw.cli.simulate.signals", broken)
    words = ["simulate", str(config), "-o", str(tmp_path / "out")]
    assert run(words) == 1
    line = capsys.readouterr().err
    assert line == "dmrifw: RuntimeError: something nobody foresaw; --debug shows where\n"
    monkeypatch.setenv("DMRIFW_DEBUG", "1")
    assert run(words) == 1
    assert "Traceback" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_told(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(case: object, model: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dmrifw.cli.simulate.signals", full)
    assert run(["simulate", str(config), "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("dmrifw: the disk is full")


class TestDemo:
    """The demo: its own config is sound, and it finds a folder without touching an old one."""

    def test_is_the_published_sphere(self) -> None:
        """576 tetrahedra, 1296 faces, 48 barrier faces, 3 x 6 x 30 measurements (arXiv 2603.04638)."""
        case = build_case(parse_text(demo.CONFIG, Path("demo.toml")))
        assert (len(case.grid.cells), len(case.grid.faces), len(case.protocol)) == (576, 1296, 540)
        assert case.true_barrier is not None
        assert case.true_barrier.sum() == 48

    def test_twice_makes_two_folders(
        self, inversion_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(demo, "CONFIG", inversion_text)
        assert run(["demo"]) == 0
        assert "dmrifw-demo/report.html" in capsys.readouterr().out
        first = (tmp_path / "dmrifw-demo" / "metrics.json").read_bytes()
        assert run(["demo"]) == 0
        assert json.loads((tmp_path / "dmrifw-demo-2" / "metrics.json").read_text())["iterations"] == 3
        assert (tmp_path / "dmrifw-demo" / "metrics.json").read_bytes() == first
        assert (tmp_path / "dmrifw-demo" / "config.toml").read_text() == inversion_text
        assert run(["demo", "-o", "dmrifw-demo"]) == 2


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="no mpirun")
class TestRanks:
    """Under mpirun one rank speaks, and all end alike."""

    def test_tell_bad_input_once(self, config: Path, text: str, tmp_path: Path) -> None:
        config.write_text(text.replace("cells = 2", "cells = 1"))
        command = ["mpirun", "-n", "2", "dmrifw", "simulate", str(config), "-o", str(tmp_path / "out")]
        finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        told = [line for line in (finished.stdout + finished.stderr).splitlines() if line.startswith("dmrifw:")]
        assert told == [f"dmrifw: {config}: geometry.cells: cells = 1; give a whole number of at least 2"]
        assert finished.returncode == 2
        assert not (tmp_path / "out").exists()

    def test_do_not_wait_for_one_that_failed(self, config: Path, tmp_path: Path) -> None:
        """Rank 1 fails while rank 0 is in a collective call that rank 1 will never join."""
        program = (
            "import sys\nfrom mpi4py import MPI\nfrom dmrifw.cli import parallel, simulate\n"
            "from dmrifw.cli.app import run\n"
            "def broken(case, model):\n"
            "    assert MPI.COMM_WORLD.rank == 0, 'only rank 1 fails'\n"
            "    MPI.COMM_WORLD.barrier()\n"
            "parallel.PATIENCE_SECONDS = 0.2\nsimulate.signals = broken\nsys.exit(run())"
        )
        words = [sys.executable, "-c", program, "simulate", str(config), "-o", str(tmp_path / "out")]
        finished = subprocess.run(
            ["mpirun", "-n", "2", *words], capture_output=True, text=True, check=False, timeout=60
        )
        assert finished.returncode == 1
        assert "dmrifw: rank 1: AssertionError: only rank 1 fails" in finished.stderr + finished.stdout
