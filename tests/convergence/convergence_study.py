"""Errors of simulated signals against analytic.json as the mesh is refined, and the order at which they fall."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dmrifw.cli.case import build_case
from dmrifw.cli.config import parse_text

_CASES = json.loads((Path(__file__).parent / "analytic.json").read_text())["cases"]


@dataclass(frozen=True)
class Study:
    """A substrate of analytic.json, some of its measurements, and the sizes to mesh it with.

    Attributes:
        kind: Of the geometry.
        radii: um.
        permeability: um/ms, of the wall between two compartments.
        sizes: Edge lengths h, um, each about sqrt(2) times the next.
        options: Further keys of the geometry.
    """

    kind: str
    radii: tuple[float, ...]
    permeability: float | None
    sizes: tuple[float, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """In words."""
        walls = "" if self.permeability is None else f", permeability {self.permeability:g} um/ms"
        return f"{self.kind} {' and '.join(format(radius, 'g') for radius in self.radii)} um{walls}"

    def cases(self) -> list[dict[str, Any]]:
        """Its measurements of 1000 and 3000 s/mm^2 at 5/10 and 10/30 ms."""
        chosen = []
        for case in _CASES:
            pulse, tissue = case["protocol"], case["tissue"]
            if (
                (case["geometry"]["kind"], case["geometry"].get("radii")) == (self.kind, list(self.radii))
                and tissue.get("permeability") == (None if self.permeability is None else [self.permeability])
                and pulse["b"] in (1000, 3000)
                and (pulse["delta"], pulse["Delta"]) in ((5, 10), (10, 30))
            ):
                chosen.append(case)
        return chosen

    def error(self, h: float, tolerance: float = 1e-6) -> tuple[float, int]:
        """Root mean square of attenuation minus exact at a size, and the tetrahedra that it takes."""
        cases = self.cases()
        geometry = {**cases[0]["geometry"], "h": h, **self.options}
        lines = ["[geometry]", *(f"{key} = {json.dumps(value)}" for key, value in geometry.items())]
        lines += ["[tissue]", *(f"{key} = {json.dumps(value)}" for key, value in cases[0]["tissue"].items())]
        lines += ["[solver]", f"tolerance = {tolerance}"]
        for case in cases:
            pulse = case["protocol"]
            lines += ["[[protocol.shell]]", 'waveform = "pgse"', f"b = [0, {pulse['b']}]", f"delta = {pulse['delta']}"]
            lines += [f"Delta = {pulse['Delta']}", f"directions = [{pulse['direction']}]"]
        built = build_case(parse_text("\n".join(lines), Path("config.toml")))
        signal, _ = built.signal_model(built.protocol).signal(built.required_permeability(), keep=False)
        error = np.abs(signal[1::2] / signal[::2]) - [case["attenuation"] for case in cases]
        return float(np.sqrt(np.mean(error**2))), len(built.grid.cells)


def observed_order(sizes: tuple[float, ...], errors: list[float]) -> float:
    """The slope of a straight line through log(error) over log(h), by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


THIN = {"length": 1.0}
"""Along their axis cylinders are the same everywhere: a short one is as good."""

STUDIES = (
    Study("spheres", (5.0,), None, (1.2, 0.85, 0.6)),
    Study("cylinders", (5.0,), None, (0.85, 0.6, 0.42), THIN),
    Study("spheres", (3.0, 5.0), 0.1, (2.0, 1.4, 1.0, 0.7)),
    Study("cylinders", (3.0, 5.0), 0.1, (0.85, 0.6, 0.42), THIN),
)
"""One for each curved geometry."""
