"""However wild a start or a step is, no element turns over and no run fails."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from dmrifw_spectral_latent import FamilyShape, LatentShape, SpectralShape, Template, smallest_scaled_jacobian

from dmrifw.parametrizations import Setting
from dmrifw.sequences import PGSE, Protocol

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "random_starts.py"


def _runs(seeds: range) -> None:
    script = runpy.run_path(str(SCRIPT))
    problem = script["make_problem"]()
    for seed in seeds:
        result = script["solve"](problem, seed)
        assert len(result.history) >= 1
        assert script["worst"](problem, result) > 0, seed


def test_runs_from_random_starts_keep_every_element() -> None:
    _runs(range(2))


@pytest.mark.slow
def test_fifty_runs_from_random_starts_keep_every_element() -> None:
    _runs(range(50))


@pytest.mark.parametrize("kind", [FamilyShape, LatentShape, SpectralShape])
def test_a_perturbed_start_is_sound_however_large_the_perturbation(
    kind: type[FamilyShape | LatentShape | SpectralShape],
) -> None:
    template = Template.shipped()
    protocol = Protocol.product(PGSE(5, 25), [0, 1000], [[1.0, 0.0, 0.0]])
    for seed in range(3):
        setting = Setting(template.grid(), protocol, seed=seed)
        points = kind(setting, jitter=10.0)()["points"].detach()
        assert smallest_scaled_jacobian(points, template.cells) > 0
        assert float((points - template.rest).abs().max()) > 0.1
