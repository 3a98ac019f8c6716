"""`dmrifw invert`: what it leaves behind, where its target comes from, and how it goes on after it was stopped."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import meshio
import numpy as np
import pytest
import torch

from dmrifw import hookspecs, plugins, report
from dmrifw.cli.app import run
from dmrifw.cli.folder import RunFolder

pytestmark = pytest.mark.usefixtures("without_pictures")  # but for `finished`, which is made before

FILES = """checkpoint.h5 config.toml fields.vtu history.csv interface.ply metrics.json recovery.png report.html
result.nc""".split()
METRICS = """loss_initial loss_final iterations wall_seconds signal_relative_error barrier_recall barrier_precision
chamfer_um open_edge_fraction branch_edge_fraction bad_edge_fraction barrier_f1 barrier_f1_symmetric
chamfer_um_symmetric signed_volume_error""".split()


@pytest.fixture(scope="module")
def finished(inversion_text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished inversion, made once."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "source.toml").write_text(inversion_text)
    assert run(["invert", str(folder / "source.toml"), "-o", str(folder / "out")]) == 0
    return folder / "out"


class _Killer:
    """A prior that costs nothing, and sends its own process a signal at the second iteration of a first run."""

    def __init__(self, setting: object, *, sent: str = "", number: int = 0) -> None:
        self.sent, self.number = Path(sent), number

    def __call__(self, fields: dict[str, torch.Tensor], iteration: int) -> torch.Tensor:
        if iteration == 1 and self.number and not self.sent.exists():
            self.sent.touch()
            os.kill(os.getpid(), self.number)
        return 0.0 * fields["permeability"].sum()


class _KillerPlugin:
    @hookspecs.hookimpl
    def dmrifw_priors(self) -> dict[str, type[_Killer]]:
        return {"killer": _Killer}


@pytest.fixture
def killer() -> Iterator[None]:
    """The plugin of a prior that kills."""
    plugins.register(_KillerPlugin(), "killer")
    yield
    plugins.unregister("killer")


def losses(folder: Path) -> list[float]:
    """The loss of every iteration."""
    with open(folder / "history.csv", newline="") as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


def test_every_result_is_there(finished: Path) -> None:
    assert sorted(file.name for file in finished.iterdir()) == sorted(FILES)
    assert (finished / "recovery.png").read_bytes().startswith(b"\x89PNG")
    assert len(meshio.read(finished / "fields.vtu").points)


def test_every_built_in_plugin_can_be_named_together(tmp_path: Path, inversion_text: str) -> None:
    """All priors, a blend in cycles with a stepped learning rate, fill-in, then clipping, on an axon in a leaky box."""
    search = """
[inversion]
parametrization = "face-permeability"
priors = ["continuity", "edge-coherence", "soft-manifold", "hard-manifold", "binarization"]
schedule = "cosine-blend"
gradient_rules = ["fill-in", "clip"]
iterations = 6
edge-coherence = { commitment = true }
binarization = { blocks = 3 }
cosine-blend = { blend_after = 1, cycles = 2, strength = [0.5, 2], learning_rate = { kind = "step", every = 2 } }
fill-in = { boost = 2, warm_up = 2 }
clip = { limit = 1, final = 0.5, anneal_after = 1 }
"""
    start = inversion_text.index("[inversion]")
    text = inversion_text[:start].replace('"reflecting"', '"permeable"') + search
    text = text.replace('shape = "sphere", radius = 15', 'shape = "bent-axon", radius = 9, length = 12')
    (tmp_path / "config.toml").write_text(text)
    assert run(["invert", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]) == 0
    with open(tmp_path / "out" / "history.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(float(rows[-1][f"prior_{name}"]) >= 0 for name in ("edge-coherence", "hard-manifold", "binarization"))
    rates = [float(row["learning_rate"]) / 0.6 for row in rows]
    assert rates == pytest.approx([1.0, 1.0, 1.0, 0.5, 0.5, 0.25])  # a rise of one, then half every second iteration


def test_metrics_hold_what_other_tools_read(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    assert set(METRICS) <= set(metrics)
    assert metrics["iterations"] == 3
    assert metrics["loss_initial"] == losses(finished)[0]
    assert metrics["loss_final"] == losses(finished)[-1]


def test_the_history_has_a_row_for_each_iteration(finished: Path) -> None:
    assert len(losses(finished)) == 3
    header = (finished / "history.csv").read_text().splitlines()[0].split(",")
    assert {"iteration", "loss", "data_loss", "prior_continuity", "barrier_recall", "barrier_precision"} <= set(header)


def test_gauss_newton_lowers_the_loss_at_every_step(inversion_text: str, tmp_path: Path) -> None:
    """From a config, for as many unknowns as faces: the Jacobian through products. The damping is told."""
    text = inversion_text.replace("iterations = 3", 'iterations = 3\noptimizer = "gauss-newton"')
    (tmp_path / "config.toml").write_text(text + "\n[inversion.gauss-newton]\ndamping = 0.5\n")
    assert run(["invert", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "history.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert rows[0]["damping"] == 0.5
    assert [row["accepted"] for row in rows] == [1.0, 1.0, 1.0]
    losses = [row["loss"] for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.5 * losses[0]
    assert "inversion.gauss-newton.damping" in (tmp_path / "out" / "report.html").read_text()


def test_l_bfgs_starts_from_an_earlier_result_which_a_checkpoint_knows_again(
    inversion_text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the config, wherever the command is run; another result there is another inversion."""
    coarse, fine, start = tmp_path / "coarse.toml", tmp_path / "fine.toml", tmp_path / "coarse"
    coarse.write_text(inversion_text)
    assert run(["invert", str(coarse), "-o", str(start)]) == 0
    more = 'iterations = 3\noptimizer = "l-bfgs"\nface-permeability = { start_from = "coarse/result.nc" }'
    fine.write_text(inversion_text.replace("iterations = 3", more).replace("cells = 2", "cells = 4"))
    words = ["invert", str(fine), "-o", str(tmp_path / "out")]
    assert run(words) == 0
    with (tmp_path / "out" / "history.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert [row["curvature_pairs"] for row in rows] == [0.0, 1.0, 2.0]
    assert rows[2]["loss"] < rows[1]["loss"] < rows[0]["loss"]
    assert run([*words, "--resume"]) == 0
    coarse.write_text(inversion_text.replace("iterations = 3", "iterations = 1"))
    assert run(["invert", str(coarse), "-o", str(start), "--force"]) == 0
    capsys.readouterr()
    assert run([*words, "--resume"]) == 2
    assert "made with another config" in capsys.readouterr().err


def test_the_recovered_permeability_gives_the_signals_beside_it(finished: Path) -> None:
    """result.nc holds the grid, the permeability and its signals: they must belong together."""
    from dmrifw import Protocol, report
    from dmrifw.mesh import from_arrays
    from dmrifw.simulator import SignalModel

    result = report.read_signals(finished / "result.nc")
    grid = from_arrays(result["points"].values, result["cells"].values)
    np.testing.assert_array_equal(grid.faces, result["faces"])
    assert result["permeability"].units == "um/ms"
    first = result.isel(measurement=result["sequence"].values == 0)
    protocol = Protocol.pgse(first["b"].values, first["direction"].values, 10, 20)
    signal, _ = SignalModel(grid, protocol).signal(result["permeability"].values, keep=False)
    np.testing.assert_allclose(np.abs(signal), np.abs(first["signal"]), rtol=2e-3)
    assert result["true_barrier"].sum() == 48  # all 48 cells lie in the shape, which have 48 exterior faces


@pytest.mark.parametrize("name", ["signal.nc", "signal.csv"])
def test_a_target_file_means_the_same_as_the_truth_it_was_made_from(
    name: str, finished: Path, inversion_text: str, tmp_path: Path
) -> None:
    source = tmp_path / "config.toml"
    source.write_text(inversion_text + f'target = "signals/{name}"\n')
    shutil.copy(finished / "config.toml", tmp_path / "simulate.toml")
    assert run(["simulate", str(tmp_path / "simulate.toml"), "-o", str(tmp_path / "signals")]) == 0
    assert run(["invert", str(source), "-o", str(tmp_path / "out")]) == 0
    np.testing.assert_allclose(losses(tmp_path / "out"), losses(finished), rtol=1e-6)


def test_a_target_needs_no_truth(finished: Path, inversion_text: str, tmp_path: Path) -> None:
    """Without a barrier in the config there is nothing to compare with, and no metric pretends otherwise."""
    shutil.copy(finished / "result.nc", tmp_path / "measured.nc")
    text = inversion_text.replace('barrier = { shape = "sphere", radius = 15 }', "") + 'target = "measured.nc"\n'
    (tmp_path / "config.toml").write_text(text)
    assert run(["invert", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert "signal_relative_error" in metrics
    assert not any(name.startswith(("barrier", "chamfer")) for name in metrics)
    assert not (tmp_path / "out" / "recovery.png").exists()


def test_results_are_refused_unless_forced_and_then_leave_nothing_old(
    finished: Path, inversion_text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished, tmp_path / "out")
    (folder / "notes.txt").write_text("mine")
    source = tmp_path / "config.toml"
    source.write_text(inversion_text.replace("iterations = 3", "iterations = 2"))
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert run(["invert", str(source), "-o", str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert run(["invert", str(source), "-o", str(folder), "--force"]) == 0
    assert json.loads((folder / "metrics.json").read_text())["iterations"] == 2
    assert (folder / "notes.txt").read_text() == "mine"


def test_what_an_inversion_starts_from_is_not_removed_for_its_results(
    finished: Path, inversion_text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    source = tmp_path / "config.toml"
    table = 'face-permeability = { start_from = "out/../out/result.nc" }\niterations = 3'
    source.write_text(inversion_text.replace("iterations = 3", table))
    assert run(["invert", str(source), "-o", str(folder), "--force"]) == 2
    line = capsys.readouterr().err
    assert f"{source}: inversion.face-permeability.start_from: out/../out/result.nc is read, but lies where" in line
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert run(["invert", str(source), "-o", str(tmp_path / "elsewhere")]) == 0


@pytest.mark.parametrize("late", [False, True])
def test_results_outlive_a_config_that_is_refused(
    late: bool, finished: Path, inversion_text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --force, too, and where the simulator must be made to tell; and `check` tells what can be told before."""
    folder, source = shutil.copytree(finished, tmp_path / "out"), tmp_path / "config.toml"
    labels = inversion_text.replace("face-permeability", "cell-labels")
    refused = labels.replace("diffusivity", "density = 2.0\ndiffusivity").replace('["continuity"]', "[]")
    source.write_text(refused if late else labels)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert run(["invert", str(source), "-o", str(folder), "--force"]) == 2
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert run(["invert", str(source), "-o", str(tmp_path / "new")]) == 2
    assert not (tmp_path / "new").exists()
    assert ("density" if late else "inversion.priors: ") in capsys.readouterr().err
    if not late:
        assert run(["check", str(source)]) == 2


def test_a_prior_that_does_not_suit_the_unknown_is_told(
    inversion_text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text(inversion_text.replace("continuity", "scaled-jacobian"))
    assert run(["invert", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert (
        "inversion.priors[0]: 'scaled-jacobian' is about 'points', and 'face-permeability' gives permeability" in told
    )
    assert told.count("\n") == 1


def test_a_target_that_was_simulated_is_kept_to_the_last_digit(
    finished: Path, inversion_text: str, tmp_path: Path
) -> None:
    with h5py.File(finished / "checkpoint.h5") as file:
        kept = file["target"][()]
    np.testing.assert_array_equal(kept, report.read_signals(finished / "result.nc")["target"])


def test_a_search_that_ran_out_of_time_goes_on_with_more(
    inversion_text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And tells why it ended."""
    text = inversion_text.partition("[inversion]")[0].replace("directions = 2", "directions = 9")
    source, folder = tmp_path / "config.toml", tmp_path / "out"
    arguments = ["invert", str(source), "-o", str(folder)]
    source.write_text(text.replace("reflecting", "permeable") + SHORT.format(minutes=1e-6))
    assert run(arguments) == 0
    assert "minutes are over" in capsys.readouterr().out
    assert json.loads((folder / "metrics.json").read_text())["iterations"] == 1
    source.write_text(text.replace("reflecting", "permeable") + SHORT.format(minutes=5))
    assert run([*arguments, "--resume"]) == 0
    assert "ended because all 3 iterations are done" in capsys.readouterr().out.replace("\n", " ")
    assert json.loads((folder / "metrics.json").read_text())["iterations"] == 3
    source.write_text(text.replace("reflecting", "permeable") + SHORT.partition("[inversion.label-search]")[0])
    assert run([*arguments, "--resume"]) == 0  # without the table it is the same search, too
    source.write_text(source.read_text().replace("iterations = 3", "iterations = 4"))
    assert run([*arguments, "--resume"]) == 0
    assert json.loads((folder / "metrics.json").read_text())["iterations"] == 4
    source.write_text(text.replace("reflecting", "permeable") + SHORT.format(minutes=5) + "descent = 3\n")
    assert run([*arguments, "--resume"]) == 2


SHORT = """
[inversion]
iterations = 3

[inversion.label-search]
minutes = {minutes}
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_inversion_goes_on_where_it_stood(
    number: int, killer: None, inversion_text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 130 with a checkpoint; resumed, the losses are those of a run that nobody interrupted."""
    source, folder = tmp_path / "config.toml", tmp_path / "out"
    text = inversion_text.replace('["continuity"]', '["continuity", "killer"]')
    source.write_text(text + f'[inversion.killer]\nsent = "{tmp_path / "sent"}"\nnumber = {int(number)}\n')
    assert run(["invert", str(source), "-o", str(folder)]) == 130
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "--resume" in printed
    assert (folder / "checkpoint.h5").exists()
    assert not (folder / "metrics.json").exists()
    assert len(losses(folder)) == 2

    assert run(["invert", str(source), "-o", str(folder)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(["invert", str(source), "-o", str(folder), "--resume"]) == 0
    assert run(["invert", str(source), "-o", str(tmp_path / "whole")]) == 0
    np.testing.assert_allclose(losses(folder), losses(tmp_path / "whole"), rtol=1e-8)
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)


def test_a_resumed_run_that_goes_on_is_unfinished_until_its_new_end(
    tmp_path: Path, inversion_text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder = tmp_path / "config.toml", tmp_path / "out"
    text = (
        inversion_text.partition("[inversion]")[0]
        .replace("directions = 2", "directions = 9")
        .replace("reflecting", "permeable")
    )
    source.write_text(text.replace("reflecting", "permeable") + SHORT.format(minutes=5))
    arguments = ["invert", str(source), "-o", str(folder)]
    assert run(arguments) == 0
    source.write_text(source.read_text().replace("iterations = 3", "iterations = 5"))
    monkeypatch.setattr(RunFolder, "reopen", stopping(RunFolder.reopen))
    assert run([*arguments, "--resume"]) == 130
    assert sorted(file.name for file in folder.iterdir()) == ["checkpoint.h5", "config.toml", "history.csv"]
    capsys.readouterr()
    assert run(arguments) == 2
    assert "continue with --resume" in capsys.readouterr().err


def stopping(method: Callable[[RunFolder], None]) -> Callable[[RunFolder], None]:
    """The method, which also sends the process a SIGTERM."""

    def sent(folder: RunFolder) -> None:
        method(folder)
        signal.raise_signal(signal.SIGTERM)

    return sent


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="no mpirun")
@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_ranks_that_are_asked_to_stop_in_a_long_iteration_have_written_a_checkpoint(
    number: int, inversion_text: str, tmp_path: Path
) -> None:
    """The launcher ends them soon, whatever they do."""
    source, folder = tmp_path / "config.toml", tmp_path / "out"
    source.write_text(inversion_text)
    program = (
        "import sys, time\nfrom dmrifw.cli.app import run\nfrom dmrifw.inversion import loop\n"
        "look = loop._Run._look\n"
        "def slow(run, iteration):\n"
        "    if iteration == 2:\n        print('busy', flush=True)\n        time.sleep(60)\n"
        "    return look(run, iteration)\n"
        "loop._Run._look = slow\nsys.exit(run())"
    )
    command = ["mpirun", "-n", "2", sys.executable, "-c", program, "invert", str(source), "-o", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as job:
        assert job.stdout is not None
        assert any("busy" in line for line in job.stdout)
        os.killpg(job.pid, number)
        job.communicate(timeout=30)
    assert job.returncode != 0
    assert (folder / "checkpoint.h5").exists()
    assert not (folder / "metrics.json").exists()
    assert run(["invert", str(source), "-o", str(folder), "--resume"]) == 0


@pytest.mark.slow
def test_a_killed_inversion_goes_on_from_its_last_checkpoint(
    inversion_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL leaves no time for anything: the checkpoint of the iteration before is all there is."""
    source, folder = tmp_path / "config.toml", tmp_path / "out"
    text = inversion_text.replace('["continuity"]', '["continuity", "killer"]')
    source.write_text(text + f'[inversion.killer]\nsent = "{tmp_path / "sent"}"\nnumber = {int(signal.SIGKILL)}\n')
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import test_invert as here; "
        "from dmrifw.cli import invert; invert.CHECKPOINT_SECONDS = 0.0; invert.RENEWAL_ITERATIONS = 1; "
        "here.plugins.register(here._KillerPlugin(), 'killer'); sys.exit(here.run())"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), "invert", str(source), "-o", str(folder)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    monkeypatch.setattr("dmrifw.cli.invert.RENEWAL_ITERATIONS", 1)
    assert run(["invert", str(_without_killer(source)), "-o", str(tmp_path / "whole")]) == 0
    np.testing.assert_allclose(losses(folder), losses(tmp_path / "whole"), rtol=1e-8)


def _without_killer(source: Path) -> Path:
    calm = source.with_name("calm.toml")
    calm.write_text(source.read_text().replace(', "killer"', "").split("[inversion.killer]")[0])
    return calm


def test_a_checkpoint_of_another_config_is_refused(
    finished: Path, inversion_text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished, tmp_path / "out")
    source = tmp_path / "config.toml"
    source.write_text(inversion_text.replace("iterations = 3", "iterations = 4"))
    assert run(["invert", str(source), "-o", str(folder), "--resume"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "checkpoint.h5: this checkpoint was made with another config" in line


def test_a_damaged_checkpoint_is_refused(
    finished: Path, inversion_text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished, tmp_path / "out")
    (folder / "checkpoint.h5").write_bytes((folder / "checkpoint.h5").read_bytes()[:-100])
    (tmp_path / "config.toml").write_text(inversion_text)
    assert run(["invert", str(tmp_path / "config.toml"), "-o", str(folder), "--resume"]) == 2
    assert "checkpoint.h5: the checkpoint is damaged" in capsys.readouterr().err


def test_the_report_stands_alone_and_tells_everything(finished: Path) -> None:
    """One file, without scripts and without anything from elsewhere; every number, key and version is in it."""
    text = (finished / "report.html").read_text()
    assert not re.search(r"<script|<link|@import|url\((?!#)|src=\"(?!data:)|href=\"(?!#|data:)", text)
    assert text.count("data:image/png;base64,") >= 2  # the truth and what was recovered
    assert text.count("<svg") == 4
    for name in json.loads((finished / "metrics.json").read_text()):
        assert name in text
    for key in ("tissue.open_permeability", "inversion.continuity.weight", "inversion.data_weight", "solver.degree"):
        assert f"<th>{key}</th>" in text
    for words in ("dmrifw", "petsc", "iterations: gradients", "interface", "in all"):
        assert words in text


@pytest.mark.parametrize("permeability", [0.01, 0.1])
def test_an_empty_table_finds_the_walls_of_a_small_ball(tmp_path: Path, permeability: float) -> None:
    """The default, with nothing to tune: exactly the ball's walls, and signals to the simulator's own error."""
    (tmp_path / "config.toml").write_text(f"""
[geometry]
kind = "grid"
cells = 2
size = 13.4
barrier = {{ shape = "sphere", radius = 6.8 }}

[tissue]
exterior = "permeable"
barrier_permeability = {permeability}

[[protocol.shell]]
b = [0, 2000, 5000]
delta = 10
Delta = 20
directions = 9

[[protocol.shell]]
b = [0, 2000, 5000]
delta = 10
Delta = 40
directions = 9

[inversion]
""")
    assert run(["invert", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["barrier_f1"] == 1.0
    assert metrics["bad_edge_fraction"] == 0.0
    assert metrics["signal_relative_error"] < 1e-3
    assert metrics["iterations"] < 300  # it knows when it is done
    assert "iterations: search" in (tmp_path / "out" / "report.html").read_text()
