"""`dmrifw invert` for shapes: results, what is compared with what, and how it goes on after it was stopped."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import meshio
import numpy as np
import pytest
import torch
from PIL import Image

from dmrifw import hookspecs, plugins, report
from dmrifw.cli.app import run

CONFIG = """\
[geometry]
kind = "template"
name = "latent-cylinder"

[[protocol.shell]]
b = [0, 2000, 6000]
delta = 5
Delta = 25
directions = 6

[solver]
method = "matrix-formalism"
tolerance = 1e-2

[inversion]
parametrization = "family-shape"
priors = ["scaled-jacobian"]
schedule = "all-at-once"
optimizer = "gauss-newton"
iterations = 3
restarts = { count = 1, enough = 1e-9, jitter = 0.3 }

[inversion.family-shape]
family = "bending"
rotation = false

[inversion.target]
parametrization = "family-shape"
tolerance = 1e-3

[inversion.target.family-shape]
family = "bending"
start = [0.1, 0.2]
"""
FILES = """checkpoint.h5 config.toml history.csv metrics.json recovery.png report.html result.nc shape.vtu shapes
shapes.gif shapes.pvd""".split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished inversion, made once."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "source.toml").write_text(CONFIG)
    assert run(["invert", str(folder / "source.toml"), "-o", str(folder / "out")]) == 0
    return folder / "out"


def rows(folder: Path) -> list[dict[str, float]]:
    with open(folder / "history.csv", newline="") as stream:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]


def test_every_result_is_there(finished: Path) -> None:
    assert sorted(file.name for file in finished.iterdir()) == sorted(FILES)
    page = (finished / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 3
    assert page.count("data:image/gif;base64,") == 1
    assert "inversion.target.parametrization" in page


def test_the_result_is_told_in_numbers_that_belong_together(finished: Path) -> None:
    """The recovered cell is the mesh in shape.vtu; its distance and volume are those of the metrics."""
    metrics, found = json.loads((finished / "metrics.json").read_text()), meshio.read(finished / "shape.vtu")
    result = report.read_signals(finished / "result.nc")
    np.testing.assert_allclose(found.points, result["points"], atol=1e-12)
    difference = found.points - result["true_points"].values
    difference -= difference.mean(axis=0)
    assert metrics["vertex_rmsd_um"] <= np.sqrt((difference**2).sum(axis=1).mean()) + 1e-9
    assert metrics["vertex_rmsd_um"] == pytest.approx(np.sqrt((found.point_data["distance"] ** 2).mean()))
    assert metrics["volume_um3"] == pytest.approx(np.pi * 25 * 20, rel=0.05)  # bending by shear keeps the volume
    assert metrics["starts"] == 2
    assert metrics["loss_final"] < 0.5 * metrics["loss_initial"]


def test_the_history_follows_the_shape(finished: Path) -> None:
    history = rows(finished)
    assert {"vertex_rmsd_um", "chamfer_um", "volume_um3", "surface_um2", "start"} <= set(history[0])
    assert {row["start"] for row in history} == {0.0, 1.0}
    assert history[0]["volume_um3"] == pytest.approx(np.pi * 25 * 20, rel=1e-6)


def sequence(folder: Path) -> list[tuple[float, np.ndarray]]:
    """Time and vertices of each shape that shapes.pvd names."""
    sets = ElementTree.parse(folder / "shapes.pvd").getroot().iter("DataSet")
    return [(float(one.attrib["timestep"]), meshio.read(folder / one.attrib["file"]).points) for one in sets]


def test_the_sequence_holds_the_shape_of_every_iteration(finished: Path) -> None:
    shapes = sequence(finished)
    assert [time for time, _ in shapes] == [row["iteration"] for row in rows(finished)]
    assert np.abs(shapes[1][1] - shapes[0][1]).max() > 0.1


def test_the_animation_shows_the_best_start_and_its_end(finished: Path) -> None:
    best = json.loads((finished / "metrics.json").read_text())["best_start"]
    with Image.open(finished / "shapes.gif") as animation:
        assert animation.n_frames == 1 + sum(row["start"] == best for row in rows(finished))
        assert animation.size[0] > 1.5 * animation.size[1]  # the truth beside it


class _Killer:
    """A prior that costs nothing, and sends its own process a signal at an iteration of a first run."""

    def __init__(self, setting: object, *, sent: str = "", calls: int = 0) -> None:
        self.sent, self.left = Path(sent), calls

    def __call__(self, fields: dict[str, torch.Tensor], iteration: int) -> torch.Tensor:
        self.left -= 1
        if self.left == 0 and not self.sent.exists():
            self.sent.touch()
            os.kill(os.getpid(), signal.SIGTERM)
        return 0.0 * fields["points"].sum()


class _KillerPlugin:
    @hookspecs.hookimpl
    def dmrifw_priors(self) -> dict[str, type[_Killer]]:
        return {"killer": _Killer}


@pytest.fixture
def killer() -> Iterator[None]:
    plugins.register(_KillerPlugin(), "killer")
    yield
    plugins.unregister("killer")


@pytest.mark.usefixtures("killer", "without_pictures")
@pytest.mark.parametrize("calls", [3, 16])
def test_it_goes_on_where_it_was_stopped_in_any_start(tmp_path: Path, finished: Path, calls: int) -> None:
    """The same losses, shapes and sequence as of a run that nobody stopped."""
    text = CONFIG.replace('["scaled-jacobian"]', '["scaled-jacobian", "killer"]')
    text += f'\n[inversion.killer]\nsent = "{tmp_path / "sent"}"\ncalls = {calls}\n'
    (tmp_path / "config.toml").write_text(text)
    words = ["invert", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]
    assert run(words) == 130
    stopped = len(sequence(tmp_path / "out"))
    assert 0 < stopped < len(rows(finished))
    assert run([*words, "--resume"]) == 0
    for name in ("loss", "start", "vertex_rmsd_um"):
        np.testing.assert_allclose(
            [row[name] for row in rows(tmp_path / "out")], [row[name] for row in rows(finished)], rtol=1e-9
        )
    for (time, points), (other_time, other) in zip(sequence(tmp_path / "out"), sequence(finished), strict=True):
        assert time == other_time
        np.testing.assert_allclose(points, other, atol=1e-9)


@pytest.mark.usefixtures("without_pictures")
def test_a_signal_file_may_be_the_target_and_then_there_is_no_truth(tmp_path: Path, finished: Path) -> None:
    """Size and diffusivity, where they are unknown too, are told among the metrics."""
    head = CONFIG[: CONFIG.index("[inversion.target]")].replace("iterations = 3", "iterations = 1")
    text = head.replace("rotation = false", "rotation = false\ndiffusivity = 1.5").replace(
        'restarts = { count = 1, enough = 1e-9, jitter = 0.3 }', f'target = "{finished / "result.nc"}"'
    )  # fmt: skip
    (tmp_path / "config.toml").write_text(text)
    assert run(["invert", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert "vertex_rmsd_um" not in metrics and metrics["volume_um3"] > 0
    assert metrics["diffusivity"] != 1.5


def test_faults_of_a_truth_and_of_restarts_are_told_in_one_line(refused: Callable[..., str]) -> None:
    for old, new, told in (
        ("start = [0.1, 0.2]", "start = [0.1]", "inversion.target.family-shape.start"),
        ("start = [0.1, 0.2]", "stat = [0.1]", "inversion.target.family-shape.stat"),
        ('[inversion.target]\nparametrization = "family-shape"', "[inversion.target]", "inversion.target"),
        (
            '[inversion.target]\nparametrization = "family-shape"',
            '[inversion.target]\nparametrization = "x"',
            "target.family-shape",
        ),
        ("jitter = 0.3", "jitter = 0", "inversion.restarts.jitter"),
        ("count = 1", "cuont = 1", "inversion.restarts.cuont"),
        ('name = "latent-cylinder"', 'name = "cylinder"', "geometry.name"),
    ):
        assert told in refused(CONFIG.replace(old, new), "invert")
