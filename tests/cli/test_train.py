"""`dmrifw train`: what it leaves behind, how it goes on after it was stopped, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from dmrifw import hookspecs, plugins
from dmrifw.cli import train
from dmrifw.cli.app import run
from dmrifw.trainers import TrainingSetting


class _Descent:
    """Finds the root of 2 by Newton steps from the seed; one round may send its own process a signal, once."""

    def __init__(self, setting: TrainingSetting, *, rounds: int = 5, sent: str = "", number: int = 0) -> None:
        self.rounds, self.sent, self.number = rounds, Path(sent), number
        self.value = torch.tensor(float(setting.seed + 1), dtype=torch.float64)

    def train(self, number: int) -> dict[str, float]:
        if number == 2 and self.number and not self.sent.exists():
            self.value.fill_(-1e9)  # a round half done
            self.sent.touch()
            os.kill(os.getpid(), self.number)
        self.value.copy_(0.5 * (self.value + 2.0 / self.value))
        return {"loss": abs(self.value.item() ** 2 - 2.0)}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"value": self.value}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.value.copy_(state_dict["value"])

    def write(self, folder: Path) -> dict[str, float]:
        (folder / "root.txt").write_text(repr(self.value.item()))
        return {"root": self.value.item()}


class _Plugin:
    @hookspecs.hookimpl
    def dmrifw_trainers(self) -> dict[str, type[_Descent]]:
        return {"descent": _Descent}


@pytest.fixture(autouse=True)
def descent() -> Iterator[None]:
    """The plugin whose trainer is called "descent"."""
    plugins.register(_Plugin(), "descent")
    yield
    plugins.unregister("descent")


TEXT = '[training]\ntrainer = "descent"\nseed = 3\n[training.descent]\nrounds = 6\n'


def config(folder: Path, text: str = TEXT) -> str:
    path = folder / "source.toml"
    path.write_text(text)
    return str(path)


def losses(folder: Path) -> list[float]:
    with open(folder / "history.csv", newline="") as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


def test_a_training_leaves_its_result_its_history_and_its_metrics(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(["train", config(tmp_path), "-o", str(out)]) == 0
    files = ["checkpoint.h5", "config.toml", "history.csv", "metrics.json", "root.txt"]
    assert sorted(file.name for file in out.iterdir()) == files
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["root"] == pytest.approx(2**0.5)
    assert metrics["rounds"] == len(losses(out)) == 6
    assert [metrics["loss_initial"], metrics["loss_final"]] == [losses(out)[0], losses(out)[-1]]
    assert (out / "config.toml").read_text() == TEXT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_goes_on_as_if_nothing_had_been(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TEXT + f'sent = "{tmp_path / "sent"}"\nnumber = {int(number)}\n'
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert run(["train", config(tmp_path, text), "-o", str(out)]) == 130
    said = capsys.readouterr().err
    assert "after 2 rounds" in said and "--resume" in said
    assert run(["train", config(tmp_path, text), "-o", str(out), "--resume"]) == 0
    assert run(["train", config(tmp_path), "-o", str(whole)]) == 0
    assert (out / "root.txt").read_text() == (whole / "root.txt").read_text()
    assert losses(out) == losses(whole)


def test_a_checkpoint_is_written_while_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill leaves: the checkpoint of the last round that was due."""
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0.0)
    seen = []
    before = _Descent.train

    def spy(self: _Descent, number: int) -> dict[str, float]:
        seen.append((tmp_path / "out" / "checkpoint.h5").exists())
        return before(self, number)

    monkeypatch.setattr(_Descent, "train", spy)
    assert run(["train", config(tmp_path), "-o", str(tmp_path / "out")]) == 0
    assert seen == [False, True, True, True, True, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["training"]),
        ("[training]\n", ["training.trainer"]),
        (TEXT.replace('"descent"', '"descend"'), ["training.trainer", "descent"]),
        (TEXT.replace("rounds = 6", "round = 6"), ["training.descent.round", "rounds"]),
        (TEXT.replace("seed = 3", "seed = -1"), ["training.seed"]),
        (TEXT + "[training.other]\n", ["training.other", "descent"]),
        (TEXT.replace("= 6", "="), ["TOML"]),
    ],
)
def test_bad_configs_are_refused_by_key(text: str, words: list[str], refused: Callable[..., str]) -> None:
    line = refused(text, "train")
    for word in ["config.toml", *words]:
        assert word in line


def test_folders_with_results_and_checkpoints_of_others_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert run(["train", config(tmp_path), "-o", out, "--resume"]) == 2
    assert run(["train", config(tmp_path), "-o", out]) == 0
    assert run(["train", config(tmp_path), "-o", out]) == 2
    assert run(["train", config(tmp_path), "-o", out, "--force", "--resume"]) == 2
    assert run(["train", config(tmp_path, TEXT.replace("seed = 3", "seed = 4")), "-o", out, "--resume"]) == 2
    assert "another config" in capsys.readouterr().err
    assert run(["train", config(tmp_path), "-o", out, "--force"]) == 0
