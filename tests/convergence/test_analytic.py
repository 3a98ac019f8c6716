"""Signals against semi-analytic solutions in layers, cylinders and spheres, from a config like a user's.

analytic.json holds 92 attenuations, exact to about 1e-7, of the continuous problem: the analytical matrix formalism
(Grebenkov 2007) for single pores, and Legendre-Galerkin expansions with jump terms for permeable layers and shells.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from dmrifw.cli.case import build_case
from dmrifw.cli.config import parse_text

CASES = json.loads((Path(__file__).parent / "analytic.json").read_text())["cases"]
BARS = {"layers": 2e-5, "cylinders": 1e-3, "spheres": 1e-3}


def substrates(kind: str) -> dict[str, list[dict]]:
    """The cases of one kind, grouped by geometry and tissue."""
    groups: dict[str, list[dict]] = {}
    for case in CASES:
        if case["geometry"]["kind"] == kind:
            groups.setdefault(json.dumps([case["geometry"], case["tissue"]]), []).append(case)
    return groups


def largest_error(substrate: str, cases: list[dict], solver: dict | None = None, **geometry: float) -> float:
    """Largest |attenuation - exact| over the cases of one substrate."""
    shape, tissue = json.loads(substrate)
    lines = ["[geometry]", *(f"{key} = {json.dumps(value)}" for key, value in (shape | geometry).items())]
    lines += ["[tissue]", *(f"{key} = {json.dumps(value)}" for key, value in tissue.items())]
    lines += ["[solver]", *(f"{key} = {json.dumps(value)}" for key, value in (solver or {}).items())]
    for case in cases:
        pulse = case["protocol"]
        lines += ["[[protocol.shell]]", 'waveform = "pgse"', f"b = [0, {pulse['b']}]", f"delta = {pulse['delta']}"]
        lines += [f"Delta = {pulse['Delta']}", f"directions = [{pulse['direction']}]"]
    built = build_case(parse_text("\n".join(lines), Path("config.toml")))
    signal, _ = built.signal_model(built.protocol).signal(built.required_permeability(), keep=False)
    attenuation = np.abs(signal[1::2] / signal[::2])
    return float(np.abs(attenuation - [case["attenuation"] for case in cases]).max())


@pytest.mark.parametrize("substrate", substrates("layers"))
def test_layers(substrate: str) -> None:
    """Permeable slabs, 36 cases, to 2e-5."""
    assert largest_error(substrate, substrates("layers")[substrate]) < BARS["layers"]


@pytest.mark.parametrize("kind", ["cylinders", "spheres"])
def test_single_pore(kind: str) -> None:
    """The impermeable cylinder and sphere of 5 um, 12 cases each, to 1e-3."""
    substrate, cases = next(iter(substrates(kind).items()))
    assert largest_error(substrate, cases) < BARS[kind]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "substrate"), [(kind, name) for kind in ("cylinders", "spheres") for name in list(substrates(kind))[1:]]
)
def test_permeable_shells(kind: str, substrate: str) -> None:
    """Concentric permeable cylinders and spheres, to 1e-3 at the default resolution."""
    assert largest_error(substrate, substrates(kind)[substrate]) < BARS[kind]


@pytest.mark.parametrize(("degree", "order", "sizes"), [(1, 2, (0.4, 0.2)), (2, 4, (2.5, 1.25))])
def test_layers_converge_at_twice_the_degree(degree: int, order: int, sizes: tuple[float, float]) -> None:
    """Signals are quadratic in the field: halving the resolution across divides the error by 4, or by 16."""
    substrate, cases = next(item for item in substrates("layers").items() if '"permeability": [0.1]}' in item[0])
    coarse, fine = (largest_error(substrate, cases, {"degree": degree}, h=h) for h in sizes)
    assert np.log2(coarse / fine) > order - 0.2


OBLIQUE = 0.337828758
"""Four slabs of 5 um, 20 x 20 um across, D 2, kappa 0.1; PGSE 2/6 ms along (1, 1, 1), b = 1000."""


def test_oblique_gradients_part_along_the_axes() -> None:
    """The number is a product: along each axis the slabs see a third of b."""
    pulse = {"b": 1000 / 3, "delta": 2, "Delta": 6, "direction": [1, 0, 0]}
    parts = []
    for widths, tissue in (([5, 5, 5, 5], {"diffusivity": 2, "permeability": 0.1}), ([20], {"diffusivity": 2})):
        substrate = json.dumps([{"kind": "layers", "widths": widths}, tissue])
        case = {"protocol": pulse, "attenuation": 0.0}
        parts.append(largest_error(substrate, [case], {"tolerance": 1e-7}, h=0.25))
    assert parts[0] * parts[1] ** 2 == pytest.approx(OBLIQUE, abs=2e-7)


@pytest.mark.slow
def test_oblique_gradient_in_four_wide_layers() -> None:
    """`OBLIQUE` in three dimensions, to 5e-5 at the default resolution."""
    shape = {"kind": "layers", "widths": [5, 5, 5, 5], "transverse": [20, 20]}
    pulse = {"b": 1000, "delta": 2, "Delta": 6, "direction": [1, 1, 1]}
    substrate = json.dumps([shape, {"diffusivity": 2, "permeability": 0.1}])
    assert largest_error(substrate, [{"protocol": pulse, "attenuation": OBLIQUE}]) < 5e-5
