"""How well shapes are found from their signals: python tests/benchmarks/shapes.py [targets] [noise] [baseline] [NAME].

Every inversion is `dmrifw invert` with a config of docs/demos, in which the target is exchanged. Rows of the table in
docs/benchmarks/shapes.md are printed as they are ready. A network that goes from signals to the latent at once is the
baseline: it learns from shapes of the training set of the autoencoder. NAME is that of a target, such as "bending,
seed 3".
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from dmrifw_spectral_latent import FAMILIES, Template, draw, load

from dmrifw.cli.app import run
from dmrifw.cli.case import build_case
from dmrifw.cli.config import parse_text
from dmrifw.inversion import InversionProblem, add_noise
from dmrifw.shape_metrics import Equivalents
from dmrifw.typing import ComplexArray, FloatArray

DEMOS = Path(__file__).parents[2] / "docs" / "demos"
NAMED = {"bending": [0.1, 0.2], "beading": [0.3, 3.0], "fanning": [math.radians(45.0), 0.25, 0.0]}
DRAWN = 5
SNR = 50.0
LEARNED = 300
TRAINING_SEED = 0
"""Of the autoencoders' training sets."""

Target = tuple[str, str, list[float]]


def targets() -> Iterator[Target]:
    """Name, family and parameters: the three named ones, then five by seed, uniform over the ranges of the training."""
    for family, values in NAMED.items():
        yield f"{family}, named", family, values
    for seed in range(1, DRAWN + 1):
        family = list(NAMED)[seed % len(NAMED)]
        shares = np.random.default_rng(seed).random(len(FAMILIES[family].parameters))
        ranges = zip(shares, FAMILIES[family].parameters, strict=True)
        yield f"{family}, seed {seed}", family, [float(one.low + share * (one.high - one.low)) for share, one in ranges]


def config(family: str, values: list[float], target: str = "", restarts: int = 4) -> str:
    """The demo of a family with another target."""
    text = (DEMOS / f"shapes_{family}.toml").read_text()
    start = text.index("start = ", text.index("[inversion.target.family-shape]"))
    text = text[:start] + f"start = {values}\n"
    text = text.replace("restarts = 4", f"restarts = {restarts}")
    return text.replace("[inversion.target]\n", f"[inversion.target]\n{target}\n")


def recover(family: str, values: list[float], target: str = "", restarts: int = 4) -> dict[str, float]:
    """What `dmrifw invert` makes of a target: its metrics, and `seconds` of the whole command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.toml").write_text(config(family, values, target, restarts))
        begun = time.perf_counter()
        status = run(["invert", str(folder / "config.toml"), "-o", str(folder / "out")])
        seconds = time.perf_counter() - begun
        assert status == 0, status
        metrics: dict[str, float] = json.loads((folder / "out" / "metrics.json").read_text())
    return metrics | {"seconds": seconds}


def tell(name: str, values: list[float], found: dict[str, float]) -> None:
    """A row of the table."""
    cells = [
        name,
        ", ".join(f"{value:.3g}" for value in values),
        f"{found['loss_final'] / found['loss_initial']:.1e}",
        f"{found['signal_relative_error']:.1e}",
        f"{found['vertex_rmsd_um']:.4f}",
        f"{found['vertex_rmsd_plain_um']:.4f}",
        f"{found['chamfer_um']:.4f}",
        f"{found['starts']:.0f}",
        f"{found['iterations']:.0f}",
        f"{found['seconds']:.0f}",
    ]
    print(f"ROW | {' | '.join(cells)} |", flush=True)


class Baseline:
    """A network from signals to the latent of a family's autoencoder.

    Args:
        family: The family.
        count: Shapes that it learns from, the first of the autoencoder's training set.
    """

    def __init__(self, family: str, count: int) -> None:
        self.family, self.template = family, Template.shipped()
        self.case = build_case(parse_text(config(family, NAMED[family]), Path("config.toml")))
        self.simulator = self.case.signal_model(self.case.protocol)
        self.problem = InversionProblem(self.case.simulator(), self.signal(self.template.points))
        self.network = load(family).network
        shapes = draw(FAMILIES[family], self.template, count, TRAINING_SEED).points
        self.inputs = torch.from_numpy(np.array([self.relative(self.signal(one.numpy())) for one in shapes]))
        self.latents = self.network.encode(self.template.encode(shapes))

    def signal(self, points: FloatArray) -> ComplexArray:
        """(n,) signals of a shape, um^3."""
        return self.simulator.signal(keep=False, points=points)[0]

    def relative(self, signal: ComplexArray) -> FloatArray:
        """(n,) magnitudes over S0."""
        return np.abs(self.problem.relative(torch.from_numpy(signal)))

    def learn(self, snr: float | None, rounds: int = 3000, seed: int = 0) -> torch.nn.Module:
        """Train on signals with noise, drawn anew in each round, or without."""
        torch.manual_seed(seed)
        sizes = [self.inputs.shape[1], 128, 128]
        layers: list[torch.nn.Module] = [torch.nn.BatchNorm1d(sizes[0], affine=False)]
        for before, after in pairwise(sizes):
            layers += [torch.nn.Linear(before, after), torch.nn.ELU()]
        model = torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], self.latents.shape[1])).double()
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
        plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, rounds)
        for _ in range(rounds):
            noisy = self.inputs + (torch.randn_like(self.inputs) / snr if snr else 0.0)
            loss = (model(noisy) - self.latents).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            plan.step()
        return model.eval()

    def distance(self, model: torch.nn.Module, values: list[float], snr: float | None, seed: int = 0) -> float:
        """RMSD of what the network makes of a target's signals, um, up to what a signal cannot see."""
        truth = FAMILIES[self.family].shape(self.template, torch.tensor(values, dtype=torch.float64)).numpy()
        signal = self.signal(truth)
        if snr is not None:
            signal = add_noise(signal, self.case.protocol, snr, seed)
        with torch.no_grad():
            latent = model(torch.from_numpy(self.relative(signal))[None])[0]
            points = self.template.decode(self.network.decode(latent)).numpy()
        return Equivalents(self.case.grid, truth).nearest(points)[1]


def main(parts: list[str]) -> None:
    """Measure some of the parts, or all."""
    chosen = parts or ["targets", "noise", "baseline"]
    for name, family, values in targets():
        if "targets" in chosen or name in chosen:
            tell(name, values, recover(family, values))
    if "noise" in chosen:
        for family, values in NAMED.items():
            found = recover(family, values, f'snr = {SNR}\nnoise = "gaussian"\nseed = 1', restarts=2)
            tell(f"{family}, SNR {SNR:g}", values, found)
    if "baseline" in chosen:
        for family in NAMED:
            begun = time.perf_counter()
            baseline = Baseline(family, LEARNED)
            made = time.perf_counter() - begun
            for snr in (None, SNR):
                model = baseline.learn(snr)
                for name, its, values in targets():
                    if its == family:
                        distance = baseline.distance(model, values, snr, seed=1)
                        print(f"BASELINE | {name} | SNR {snr} | {distance:.4f} |", flush=True)
            print(f"{family}: {LEARNED} shapes simulated in {made:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
