"""docs/configuration.md and the examples beside it keep up with the config models."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmrifw.cli.app import run
from dmrifw.cli.config import Adam, Inversion, ProtocolSection, Shell, Solver, Tissue
from dmrifw.cli.fields import Section
from dmrifw.cli.geometry import CylinderBarrier, FileGeometry, GridGeometry, SphereBarrier, TorusBarrier

DOCS = Path(__file__).parents[2] / "docs"
SECTIONS = [
    GridGeometry,
    FileGeometry,
    SphereBarrier,
    CylinderBarrier,
    TorusBarrier,
    Tissue,
    ProtocolSection,
    Shell,
    Solver,
    Inversion,
    Adam,
]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented(section: type[Section]) -> None:
    text = (DOCS / "configuration.md").read_text()
    for key in section.model_fields:
        assert f"`{key}" in text or f".{key}]" in text, key


@pytest.mark.parametrize("example", sorted((DOCS / "demos").glob("*.toml")), ids=lambda path: path.name)
def test_every_example_is_good(example: Path) -> None:
    assert run(["check", str(example)]) == 0
