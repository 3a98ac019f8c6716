"""Barriers recovered by each way to search, over shapes and seeds: the table in docs/benchmarks/permeability.md.

    ./env python tests/benchmarks/permeability.py FOLDER [--arms NAME ...] [--shapes NAME ...] [--seeds N ...]
        [--exterior NAME] [--protocol NAME] [--noise NAME [--snr X]]

Every run is `dmrifw invert` on a config of its own in FOLDER; runs that are finished there are not repeated, and
interrupted ones are resumed. One core serves one run at a time: start it twice with different shapes to use two.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

SHAPES = {
    "sphere": 'shape = "sphere", radius = 10',
    "cylinder": 'shape = "cylinder", radius = 10',
    "tilted cylinder": 'shape = "cylinder", radius = 8, axis = [0, 1, -1], length = 22',
    "torus": 'shape = "torus", major = 10, minor = 6',
    "two cylinders": 'shape = "parallel-cylinders", radius = 6.7',
    "four cylinders": 'shape = "parallel-cylinders", radius = 6, count = 4',
    "nested spheres": 'shape = "nested-spheres", radii = [6.7, 11]',
    **{f"bent axon {seed}": f'shape = "bent-axon", radius = 6.7, length = 16, seed = {seed}' for seed in range(3)},
    **{f"bent axon {seed}": f'shape = "bent-axon", radius = 6, length = 25, seed = {seed}' for seed in range(3, 6)},
}
"""Barriers on the grid of 576 tetrahedra, as `[geometry] barrier`."""

_GRID = """
[geometry]
kind = "grid"
cells = 4
size = 26.6667
barrier = {{ {barrier} }}

[tissue]
diffusivity = 2.0
exterior = "{exterior}"

[protocol]
preset = "{protocol}"

[inversion]
seed = {seed}
"""

_PUBLISHED = """
optimizer = "adam"
parametrization = "face-permeability"
schedule = "staged"
iterations = 200
priors = {priors}
"""

_CONTINUITY = "\n[inversion.continuity]\nweight = 2.0\n"
_MANIFOLD = "\n[inversion.soft-manifold]\nweight = 2.0\n"

ARMS = {
    "baseline": _PUBLISHED.format(priors=[]),
    "continuity": _PUBLISHED.format(priors=["continuity"]) + _CONTINUITY,
    "manifold": _PUBLISHED.format(priors=["soft-manifold"]) + _MANIFOLD,
    "both": _PUBLISHED.format(priors=["continuity", "soft-manifold"]) + _CONTINUITY + _MANIFOLD,
    "default": "",
}
"""What is added to `[inversion]` for each way to search."""

NOISES = {
    "none": "",
    "rician": '\n[inversion.target]\nsnr = {snr:g}\nnoise = "rician"\n',
    "gaussian": 'magnitude = false\n\n[inversion.target]\nsnr = {snr:g}\nnoise = "gaussian"\n',
}
"""What is added to it for noise; with Gaussian noise both parts of signals are compared."""


def run(folder: Path, arm: str, shape: str, seed: int, exterior: str, protocol: str, noise: str, snr: float) -> None:
    """One inversion, unless its results are there already."""
    noisy = "" if noise == "none" else f"-{noise}_snr_{snr:g}"
    place = folder / f"{arm}-{shape}-{exterior}-{protocol}{noisy}-{seed}".replace(" ", "_")
    if (place / "metrics.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = place.with_suffix(".toml")
    head = _GRID.format(barrier=SHAPES[shape], exterior=exterior, protocol=protocol, seed=seed)
    if ARMS[arm] and noise == "gaussian":
        raise SystemExit("give --arms default: those of the published method compare magnitudes")
    config.write_text(head + ARMS[arm] + NOISES[noise].format(snr=snr))
    again = ["--resume"] if (place / "checkpoint.h5").exists() else ["--force"]
    words = ["dmrifw", "invert", str(config), "-o", str(place), *again]
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    print(f"{place.name}: {time.perf_counter() - start:.0f} s, exit status {done.returncode}", flush=True)
    if done.returncode:
        print(done.stdout[-500:], done.stderr[-500:], flush=True)


def table(folder: Path) -> str:
    """What the finished runs in the folder found, one row each, and the mean of each arm, as markdown."""
    rows, means = [], {}
    for file in sorted(folder.glob("*/metrics.json")):
        metrics = json.loads(file.read_text())
        arm = next(name for name in ARMS if file.parent.name.startswith(f"{name}-"))
        values = [metrics[key] for key in _COLUMNS]
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
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--exterior", default="permeable")
    parser.add_argument("--protocol", default="spinverse")
    parser.add_argument("--noise", default="none", choices=list(NOISES))
    parser.add_argument("--snr", type=float, default=50.0, help="of the signals at b = 0, where there is noise")
    given = parser.parse_args()
    for shape in given.shapes:
        for arm in given.arms:
            for seed in given.seeds:
                run(given.folder, arm, shape, seed, given.exterior, given.protocol, given.noise, given.snr)
    print(table(given.folder))


if __name__ == "__main__":
    main()
