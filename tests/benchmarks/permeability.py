"""Barriers recovered by each way to search, over shapes and seeds: the table in docs/benchmarks/permeability.md.

    ./env python tests/benchmarks/permeability.py FOLDER [--arms NAME ...] [--shapes NAME ...] [--seeds N ...]
        [--exterior NAME] [--protocol NAME] [--noise NAME [--snr X]] [--cells N] [--minutes X]

Every run is `dmrifw invert` on a config of its own in FOLDER; runs that are finished there are not repeated, and
interrupted ones are resumed. A label search uses as many cores as `OMP_NUM_THREADS` says, by default all; the published
arms use one each, so start it twice with different shapes there. Arms that begin with "without" are the default less
one part: see without.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from without import PARTS

SHAPES = {
    "sphere": 'shape = "sphere", radius = 10',
    "cylinder": 'shape = "cylinder", radius = 10',
    "tilted cylinder": 'shape = "cylinder", radius = 8, axis = [0, 1, -1], length = 22',
    "torus": 'shape = "torus", major = 10, minor = 6',
    "two cylinders": 'shape = "parallel-cylinders", radius = 6.7',
    "four cylinders": 'shape = "parallel-cylinders", radius = 6, count = 4',
    "four wide cylinders": 'shape = "parallel-cylinders", radius = 7, count = 4',
    "nested spheres": 'shape = "nested-spheres", radii = [6.7, 11]',
    **{f"bent axon {seed}": f'shape = "bent-axon", radius = 6.7, length = 16, seed = {seed}' for seed in range(3)},
    **{f"bent axon {seed}": f'shape = "bent-axon", radius = 6, length = 25, seed = {seed}' for seed in range(3, 6)},
}
"""Barriers on the grid, as `[geometry] barrier`."""

SMOOTH = {
    "smooth sphere": 'kind = "spheres"\nradii = [10]\nextracellular = { kind = "hull", gap = 2.1 }',
    "smooth cylinder": 'kind = "cylinders"\nradii = [7]\nlength = 20\naxial_h = 2\nextracellular = { gap = 2.1 }',
}
"""Truths on a mesh of their own, as `[inversion.target.geometry]`, that fill about as much space as the grid."""

_GRID = """
[geometry]
kind = "grid"
cells = {cells}
size = 26.6667
{barrier}

[tissue]
diffusivity = 2.0
exterior = "{exterior}"

[protocol]
preset = "{protocol}"

[inversion]
seed = {seed}
"""

_TARGET = """
[inversion.target.geometry]
{geometry}
h = 2

[inversion.target.tissue]
permeability = 0.01
"""

_PUBLISHED = """
optimizer = "{optimizer}"
parametrization = "face-permeability"
schedule = "{schedule}"
gradient_rules = {rules}
iterations = {iterations}
priors = {priors}
"""

_WEIGHTS = {"continuity": 2.0, "soft-manifold": 2.0}
"""Of priors whose weight is not their own default."""


def _published(
    *priors: str,
    optimizer: str = "adam",
    schedule: str = "staged",
    rules: tuple[str, ...] = ("clip",),
    iterations: int = 200,
    more: str = "",
) -> str:
    tables = "".join(f"\n[inversion.{one}]\nweight = {_WEIGHTS[one]}\n" for one in priors if one in _WEIGHTS)
    words = {"optimizer": optimizer, "schedule": schedule, "rules": list(rules), "priors": list(priors)}
    return _PUBLISHED.format(iterations=iterations, **words) + more + tables


_BOTH = ("continuity", "soft-manifold")

_FINER = "coarse to fine"
"""An arm that starts from the same arm's result on a grid of half as many cubes along each axis."""

ARMS = {
    "baseline": _published(),
    "continuity": _published("continuity"),
    "manifold": _published("soft-manifold"),
    "both": _published(*_BOTH),
    "all at once": _published(*_BOTH, schedule="all-at-once"),
    "blend": _published(*_BOTH, schedule="cosine-blend"),
    "fill-in": _published(*_BOTH, rules=("fill-in", "clip")),
    "broken symmetry": _published(*_BOTH, more="face-permeability = { jitter = 0.3 }\n"),
    "log-barrier": _published(*_BOTH, "log-barrier", "binarization"),
    "l-bfgs": _published(*_BOTH, optimizer="l-bfgs", rules=(), iterations=100),
    "all at once, l-bfgs": _published(*_BOTH, optimizer="l-bfgs", schedule="all-at-once", rules=(), iterations=100),
    _FINER: _published(*_BOTH, iterations=100),
    "default": "",
    **{f"without {part}": "" for part in PARTS},
}
"""What is added to `[inversion]` for each way to search."""

NOISES = {
    "none": "",
    "rician": '\n[inversion.target]\nsnr = {snr:g}\nnoise = "rician"\n',
    "gaussian": 'magnitude = false\n\n[inversion.target]\nsnr = {snr:g}\nnoise = "gaussian"\n',
}
"""What is added to it for noise; with Gaussian noise both parts of signals are compared."""


def run(arm: str, shape: str, seed: int, given: argparse.Namespace) -> None:
    """One inversion, unless its results are there already."""
    kind = f"{given.exterior}-{given.protocol}" + (f"-{given.cells}" if given.cells != 4 else "")
    noisy = "" if given.noise == "none" else f"-{given.noise}_snr_{given.snr:g}"
    place = given.folder / f"{arm}-{shape}-{kind}{noisy}-{seed}".replace(" ", "_")
    if (place / "metrics.json").exists():
        return
    if ARMS[arm] and given.noise == "gaussian":
        raise SystemExit("give --arms default: those of the published method compare magnitudes")
    given.folder.mkdir(parents=True, exist_ok=True)
    config = place.with_suffix(".toml")
    barrier = f"barrier = {{ {SHAPES[shape]} }}" if shape in SHAPES else ""
    head = _GRID.format(cells=given.cells, barrier=barrier, exterior=given.exterior, protocol=given.protocol, seed=seed)
    noise = NOISES[given.noise].format(snr=given.snr)
    target = _TARGET.format(geometry=SMOOTH[shape]) if shape in SMOOTH else ""
    limit = f"\n[inversion.label-search]\nminutes = {given.minutes:g}\n" if given.minutes and not ARMS[arm] else ""
    extra = _coarse_start(place, head, given) if arm == _FINER else ""
    config.write_text(head + ARMS[arm] + extra + noise + target + limit)
    again = ["--resume"] if (place / "checkpoint.h5").exists() else ["--force"]
    part = arm.removeprefix("without ")
    program = ["dmrifw"] if part == arm else [sys.executable, str(Path(__file__).with_name("without.py")), part]
    words = [*program, "invert", str(config), "-o", str(place), *again]
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, env={"OPENBLAS_NUM_THREADS": "1"} | os.environ)
    print(f"{place.name}: {time.perf_counter() - start:.0f} s, exit status {done.returncode}", flush=True)
    if done.returncode:
        print(done.stdout[-500:], done.stderr[-500:], flush=True)


def _coarse_start(place: Path, head: str, given: argparse.Namespace) -> str:
    """Invert the same signals on a grid of half as many cubes along each axis; the table that starts from its walls."""
    start = given.folder / "starts" / place.name
    if not (start / "metrics.json").exists():
        start.parent.mkdir(exist_ok=True)
        truth, config = start.with_suffix(".truth.toml"), start.with_suffix(".toml")
        truth.write_text(head)
        coarse = "".join(line for line in head.splitlines(keepends=True) if not line.startswith("barrier"))
        coarse = coarse.replace(f"cells = {given.cells}", f"cells = {given.cells // 2}")
        # the truncated lattices differ in volume, so each signal counts by its own S0
        target = f'\n[inversion.target]\npath = "{start.name}.signal/signal.nc"\nunit = "arbitrary"\n'
        config.write_text(coarse + ARMS[_FINER] + target)
        signal = start.with_suffix(".signal")
        subprocess.run(
            ["dmrifw", "simulate", str(truth), "-o", str(signal), "--force"], check=True, capture_output=True
        )
        subprocess.run(["dmrifw", "invert", str(config), "-o", str(start), "--force"], check=True, capture_output=True)
    return f'\n[inversion.face-permeability]\nstart_from = "{start / "result.nc"}"\n'


def table(folder: Path) -> str:
    """What the finished runs in the folder found, one row each, and the mean of each arm, as markdown."""
    rows, means = [], {}
    for file in sorted(folder.glob("*/metrics.json")):
        metrics = json.loads(file.read_text())
        arm = next(name for name in ARMS if file.parent.name.startswith(f"{name}-".replace(" ", "_")))
        values = [metrics.get(key) for key in _COLUMNS]
        means.setdefault(arm, []).append(values)
        rows.append((file.parent.name.replace("_", " "), values))
    rows += [(f"mean of {arm}, {len(values)} runs", _mean(values)) for arm, values in means.items()]
    lines = ["| run | " + " | ".join(_COLUMNS) + " |", "|---" * (len(_COLUMNS) + 1) + "|"]
    lines += ["| " + " | ".join([name, *map(_shown, values)]) + " |" for name, values in rows]
    return "\n".join(lines)


_COLUMNS = (
    "barrier_f1",
    "barrier_f1_symmetric",
    "chamfer_um_symmetric",
    "chamfer_um",
    "bad_edge_fraction",
    "signal_relative_error",
    "iterations",
    "wall_seconds",
)


def _mean(values: list[list[float | None]]) -> list[float | None]:
    columns = [[one for one in column if one is not None] for column in zip(*values, strict=True)]
    return [sum(column) / len(column) if column else None for column in columns]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=[*SHAPES, *SMOOTH])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--exterior", default="permeable")
    parser.add_argument("--protocol", default="spinverse")
    parser.add_argument("--noise", default="none", choices=list(NOISES))
    parser.add_argument("--snr", type=float, default=50.0, help="of the signals at b = 0, where there is noise")
    parser.add_argument("--cells", type=int, default=4, help="cubes of the grid along each axis")
    parser.add_argument("--minutes", type=float, help="of a label search, at most; by default its own limit")
    given = parser.parse_args()
    for shape in given.shapes:
        for arm in given.arms:
            for seed in given.seeds:
                run(arm, shape, seed, given)
    print(table(given.folder))


if __name__ == "__main__":
    main()
