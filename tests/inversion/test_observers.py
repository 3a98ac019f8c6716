"""The progress bar is quiet where nobody watches; the history file is complete after every iteration."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from dmrifw.inversion import History, HistoryWriter, ProgressBar


def row(iteration: int) -> dict[str, float]:
    return {"iteration": iteration, "loss": 1 / 3 + iteration, "barrier_recall": 0.5, "barrier_precision": 0.25}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("iterations", [3, 10, 47, 400])
def test_without_a_terminal_it_prints_about_ten_lines_the_last_one_at_the_end(iterations: int) -> None:
    text = io.StringIO()
    bar = ProgressBar(Console(file=text, force_terminal=False))
    bar.on_start(iterations, History())
    for iteration in range(iterations):
        bar.on_iteration(row(iteration), {})
    bar.on_end(History())
    lines = text.getvalue().splitlines()
    assert len(lines) == min(10, iterations)
    assert lines[-1].startswith(f"iteration {iterations}/{iterations}  loss ")
    assert lines[-1].endswith("barrier recall 0.500  barrier precision 0.250")


def test_on_a_terminal_it_draws_one_live_line() -> None:
    text = io.StringIO()
    bar = ProgressBar(Console(file=text, force_terminal=True, width=140))
    bar.on_start(4, History())
    for iteration in range(4):
        bar.on_iteration(row(iteration), {})
    bar.on_end(History())
    assert "4/4" in text.getvalue()
    assert "barrier recall 0.500" in text.getvalue()
    assert text.getvalue().endswith("\n\x1b[?25h")  # a line of its own, and the cursor is back


def test_rows_are_on_disk_as_soon_as_they_are_written(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path / "history.csv")
    writer.on_start(10, History())
    for iteration in range(3):
        writer.on_iteration(row(iteration), {})
        assert [int(line["iteration"]) for line in read(writer.path)] == list(range(iteration + 1))
    assert float(read(writer.path)[1]["loss"]) == row(1)["loss"]  # every digit is kept
    writer.on_end(History())


def test_a_resumed_run_drops_the_rows_that_its_checkpoint_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    writer = HistoryWriter(path)
    writer.on_start(10, History())
    for iteration in range(5):
        writer.on_iteration(row(iteration), {})
    kept = History()
    for iteration in range(3):
        kept.append(row(iteration))
    resumed = HistoryWriter(path)
    resumed.on_start(10, kept)
    resumed.on_iteration(row(3), {})
    resumed.on_end(kept)
    assert [int(line["iteration"]) for line in read(path)] == [0, 1, 2, 3]
