"""Oscillating gradients in a sphere, from a config like a user's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dmrifw.cli.case import build_case
from dmrifw.cli.config import parse_text

CONFIG = """
[geometry]
kind = "spheres"
radii = [5]

[tissue]
diffusivity = 2.0

[[protocol.shell]]
waveform = "ogse"
phase = "cos"
periods = 2
b = [0, 500]
delta = 20
Delta = 25
directions = [[1, 0, 0]]

[[protocol.shell]]
waveform = "ogse"
phase = "sin"
periods = 2
b = [0, 500]
delta = 20
Delta = 25
directions = [[1, 0, 0]]
"""


@pytest.mark.slow
def test_cosines_and_sines_in_a_sphere() -> None:
    """The issue's values: R = 5 um, D = 2 um^2/ms, two periods in 20 ms, b = 500 s/mm^2, to 1e-3 at the default h."""
    case = build_case(parse_text(CONFIG, Path("config.toml")))
    signal, _ = case.signal_model(case.protocol).signal(case.required_permeability(), keep=False)
    np.testing.assert_allclose(np.abs(signal[1::2] / signal[::2]), [0.541109, 0.760634], atol=1e-3)
