"""How many combinations of cells a protocol resolves at the truth: the table in docs/benchmarks/permeability.md.

    ./env python tests/benchmarks/identifiability.py [--protocol PRESET] [--exterior permeable]

Singular values of the Jacobian of magnitudes over S0 by the shares of cells, in the model of the label search: those
above 1/SNR belong to combinations of cells that one scan tells from noise.
"""

from __future__ import annotations

import argparse

import numpy as np
from dmrifw_cell_labels.misfit import one_hot
from dmrifw_cell_labels.mixture import Mixture, Walls

from dmrifw import mesh
from dmrifw.sequences import Protocol
from dmrifw.simulator import SignalModel

SHAPES: dict[str, mesh.Shape] = {
    "sphere": mesh.Sphere(10.0),
    "cylinder": mesh.Cylinder(10.0),
    "torus": mesh.Torus(10.0, 6.0),
    "bent axon 0": mesh.BentAxon(6.7, 16.0, 0),
    "bent axon 3": mesh.BentAxon(6.0, 25.0, 3),
}
LEVELS = {"20": 0.05, "50": 0.02, "200": 0.005, "no noise": 0.001}
"""Singular values that count at an SNR; without noise, those above the simulator's own error."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--protocol", default="spinverse")
    parser.add_argument("--exterior", default="permeable", choices=["permeable", "reflecting"])
    given = parser.parse_args()
    grid, protocol = mesh.bcc_grid(4), Protocol.preset(given.protocol)
    model = SignalModel(grid, protocol, exterior=given.exterior)
    walls = Walls(0.01, 100.0, given.exterior == "permeable")
    mixture = Mixture(grid, model.operators.tissue, protocol, np.arange(len(protocol)), walls, modes=60)
    columns = [f"SNR {name}" if name.isdigit() else name for name in LEVELS]
    print(f"| {grid.cells.shape[0]} cells; {len(protocol)} measurements | cells at walls | {' | '.join(columns)} |")
    print("|---|---|" + "---|" * len(columns))
    for name, shape in SHAPES.items():
        labels = np.minimum(mesh.cell_labels(grid, shape), 1)
        shares = one_hot(labels, 2)
        signal = np.abs(mixture.signal(shares))
        scale = np.array([signal[(protocol.sequence == one) & (protocol.bvals == 0)][0] for one in protocol.sequence])
        jacobian = mixture.jacobian(shares, magnitude=True)
        slopes = (jacobian[:, 1] - jacobian[:, 0]) / scale[:, None]
        walled = grid.face_cells[grid.boundary_faces(labels)]
        beside = np.unique(walled[walled >= 0])
        everywhere, there = (np.linalg.svd(one, compute_uv=False) for one in (slopes, slopes[:, beside]))
        counts = [f"{(everywhere > level).sum()}, {(there > level).sum()}" for level in LEVELS.values()]
        print(f"| {name} | {len(beside)} | {' | '.join(counts)} |", flush=True)


if __name__ == "__main__":
    main()
