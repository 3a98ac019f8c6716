"""A cheap analytic stand-in for the simulator, and what an inversion of it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from dmrifw.inversion import AdamSettings, InversionProblem
from dmrifw.parametrizations import Setting
from dmrifw.schedules import Stage
from dmrifw.sequences import Protocol
from dmrifw.testing import example_setting


class ToySimulator:
    """A signal with a closed form: S = V exp(-b D(kappa)) e^{i b}, D a direction's own mean of log10 kappa.

    It has the simulator's signature, is differentiable in the permeability, and has a phase, which magnitude data
    must not see.
    """

    def __init__(self, setting: Setting) -> None:
        self.grid, self.protocol = setting.grid, setting.protocol
        generator = np.random.default_rng(0)
        mixing = generator.dirichlet(np.full(len(self.grid.faces), 0.05), size=len(self.protocol))
        self.mixing = torch.from_numpy(mixing)
        self.b = torch.from_numpy(self.protocol.bvals * 1e-3)
        self.simulated: list[list[int]] = []

    def __call__(self, permeability: torch.Tensor, rows: Any = None) -> torch.Tensor:
        rows = np.arange(len(self.protocol)) if rows is None else rows
        self.simulated.append(list(rows))
        diffusivity = 1.0 + 0.3 * self.mixing[rows] @ torch.log10(permeability)
        magnitude = self.grid.volume * torch.exp(-self.b[rows] * diffusivity)
        return torch.polar(magnitude, self.b[rows])


class Model(torch.nn.Module):
    """Log-permeabilities of the faces, two parameters of different shapes."""

    def __init__(self, faces: int) -> None:
        super().__init__()
        self.v = torch.nn.Parameter(torch.zeros(faces, dtype=torch.float64))
        self.mean = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self) -> dict[str, torch.Tensor]:
        return {"permeability": 10.0 ** (self.v + self.mean)}


def alternating(iteration: int) -> Stage:
    """Two sequences, then the third, with a learning rate that is never the same."""
    weights = (1.0, 0.5, 0.0) if iteration % 2 == 0 else (0.0, 0.0, 1.0)
    return Stage(weights, 0.2 / (1.0 + 0.1 * iteration))


def smooth(fields: dict[str, torch.Tensor], iteration: int) -> torch.Tensor:
    return (0.01 * iteration) * fields["permeability"].log10().square().mean()


@pytest.fixture
def toy() -> ToySimulator:
    return ToySimulator(example_setting())


@pytest.fixture
def truth(toy: ToySimulator) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return 10.0 ** torch.randn(len(toy.grid.faces), generator=generator, dtype=torch.float64)


@pytest.fixture
def problem(toy: ToySimulator, truth: torch.Tensor) -> Iterator[InversionProblem]:
    target = toy(truth).numpy()
    toy.simulated.clear()
    yield InversionProblem(toy, target)


@pytest.fixture
def arguments(problem: InversionProblem) -> dict[str, Any]:
    """Everything that `invert` needs, with a fresh model."""
    return {
        "problem": problem,
        "parametrization": Model(len(problem.simulator.grid.faces)),
        "priors": {"smooth": smooth},
        "schedule": alternating,
        "optimizer": AdamSettings(),
        "iterations": 12,
    }


@pytest.fixture
def table() -> Protocol:
    """Two sequences: b = 0 twice and 1000 once, then b = 0 and 1000 once each."""
    vectors = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    long = Protocol.pgse([0, 0, 1000], vectors, 10, 60)
    return long + Protocol.pgse([0, 1000], vectors[1:], 10, 20)
