"""A simulator that holds something from call to call: a resumed run is the one that nobody interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dmrifw.inversion import Checkpoint, InversionProblem, invert, memory

MARK = {"grid": "g", "protocol": "p", "config": "c"}


class Holding:
    """Signals of another simulator, but for a factor that changes with what was simulated, as in a held basis."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.grid, self.protocol = inner, inner.grid, inner.protocol
        self.held = 0.0

    def __call__(self, permeability: torch.Tensor, rows: Any = None) -> torch.Tensor:
        self.held += 1e-3 * float(permeability.detach().mean())
        return (1.0 + self.held) * self.inner(permeability, rows)

    def forget(self) -> None:
        self.held = 0.0


@pytest.mark.parametrize("done", [1, 3, 4, 6])
def test_a_resumed_run_is_the_straight_one(
    done: int, arguments: dict[str, Any], toy: Any, truth: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the simulator holds, and wherever between two times of forgetting the run was cut: bit by bit."""
    monkeypatch.setattr(memory, "PERIOD", 3)

    def run(iterations: int, **options: Any) -> tuple[list[float], torch.Tensor, float]:
        simulator = Holding(toy)
        target = simulator(truth).numpy()
        model = type(arguments["parametrization"])(len(truth))
        given = {**arguments, "problem": InversionProblem(simulator, target), "parametrization": model}
        result = invert(**{**given, "iterations": iterations}, **options)
        return list(result.history.column("loss")), result.fields["permeability"], simulator.held

    straight = run(8)
    checkpoint = Checkpoint(tmp_path / "checkpoint.h5", MARK)
    run(done, checkpoint=checkpoint)
    resumed = run(8, checkpoint=checkpoint, resume=True)
    np.testing.assert_array_equal(resumed[0], straight[0])
    assert torch.equal(resumed[1], straight[1])
    assert resumed[2] == straight[2] > 0
