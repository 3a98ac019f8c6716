"""docs/configuration.md and the examples beside it keep up with the config models."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmrifw.cli.app import run
from dmrifw.cli.barriers import CylinderBarrier, SphereBarrier, TorusBarrier
from dmrifw.cli.experiment import ProtocolSection, Shell, Solver, Tissue
from dmrifw.cli.fields import Section
from dmrifw.cli.geometry import (
    AxonGeometry,
    BoxGeometry,
    CylindersGeometry,
    EllipsoidGeometry,
    ExtracellularSpace,
    FileGeometry,
    GridGeometry,
    LayersGeometry,
    PackedCylindersGeometry,
    PackedSpheresGeometry,
    SpheresGeometry,
    TemplateGeometry,
    TorusGeometry,
)
from dmrifw.cli.inversion import Adam, GaussNewton, Inversion, Lbfgs, Restarts, Target
from dmrifw.sequences import PRESETS, WAVEFORMS, parameters

DOCS = Path(__file__).parents[2] / "docs"
SECTIONS = [
    GridGeometry,
    FileGeometry,
    LayersGeometry,
    SpheresGeometry,
    CylindersGeometry,
    AxonGeometry,
    EllipsoidGeometry,
    TorusGeometry,
    BoxGeometry,
    ExtracellularSpace,
    PackedCylindersGeometry,
    PackedSpheresGeometry,
    SphereBarrier,
    CylinderBarrier,
    TorusBarrier,
    Tissue,
    ProtocolSection,
    Shell,
    Solver,
    Inversion,
    Target,
    Adam,
    GaussNewton,
    Lbfgs,
    Restarts,
    TemplateGeometry,
]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented(section: type[Section]) -> None:
    text = (DOCS / "configuration.md").read_text()
    for name, field in section.model_fields.items():
        key = field.alias or name
        assert f"`{key}" in text or f".{key}]" in text, key


@pytest.mark.parametrize("name", WAVEFORMS)
def test_every_waveform_is_documented(name: str) -> None:
    row = next(
        line for line in (DOCS / "configuration.md").read_text().splitlines() if line.startswith(f'| `"{name}"`')
    )
    inherited = {"pgste": ("delta", "Delta", "ramp"), "trapezoidal-ogse": ("delta", "Delta", "periods", "phase")}
    for key in set(parameters(name)) - set(inherited.get(name, ())):
        assert f"`{key}`" in row, key


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_documented(name: str) -> None:
    assert f'| `"{name}"` |' in (DOCS / "configuration.md").read_text()


@pytest.mark.parametrize("example", sorted((DOCS / "demos").glob("*.toml")), ids=lambda path: path.name)
def test_every_example_is_good(example: Path) -> None:
    assert run(["check", str(example)]) == 0
