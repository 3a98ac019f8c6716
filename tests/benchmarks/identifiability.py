"""How many combinations of cells a protocol resolves at the truth: the table in docs/benchmarks/permeability.md.

    ./env python tests/benchmarks/identifiability.py [--protocol PRESET] [--exterior permeable]

Singular values of the Jacobian of magnitudes over S0 by the shares of cells, in the model of the label search: those
above 1/SNR belong to combinations of cells that one scan tells from noise. Of nested spheres a cell counts twice, since
it may join either compartment.
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
    "tilted cylinder": mesh.Cylinder(8.0, (0.0, 1.0, -1.0), 22.0),
    "torus": mesh.Torus(10.0, 6.0),
    "two cylinders": mesh.ParallelCylinders(6.7),
    "four cylinders": mesh.ParallelCylinders(6.0, 4),
    "nested spheres": mesh.NestedSpheres((6.7, 11.0)),
    **{f"bent axon {seed}": mesh.BentAxon(6.7, 16.0, seed) for seed in range(3)},
    **{f"bent axon {seed}": mesh.BentAxon(6.0, 25.0, seed) for seed in range(3, 6)},
}
"""Those of tests/benchmarks/permeability.py."""

LEVELS = {"20": 0.05, "50": 0.02, "200": 0.005, "no noise": 0.001}
"""Singular values that count at an SNR; without noise, those above the simulator's own error."""

_MODES = 120
"""Of each compartment."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--protocol", default="spinverse")
    parser.add_argument("--exterior", default="permeable", choices=["permeable", "reflecting"])
    given = parser.parse_args()
    grid, protocol = mesh.bcc_grid(4), Protocol.preset(given.protocol)
    model = SignalModel(grid, protocol, exterior=given.exterior)
    walls = Walls(0.01, 100.0, given.exterior == "permeable")
    mixture = Mixture(grid, model.operators.tissue, protocol, np.arange(len(protocol)), walls)
    columns = [f"SNR {name}" if name.isdigit() else name for name in LEVELS]
    print(f"| {grid.cells.shape[0]} cells; {len(protocol)} measurements | cells at walls | {' | '.join(columns)} |")
    print("|---|---|" + "---|" * len(columns))
    for name, shape in SHAPES.items():
        labels = mesh.cell_labels(grid, shape)
        labels = labels if name == "nested spheres" else np.minimum(labels, 1)  # pores that do not touch share a label
        shares = one_hot(labels, int(labels.max()) + 1)
        signal = np.abs(mixture.signal(shares, _MODES))
        scale = np.array([signal[(protocol.sequence == one) & (protocol.bvals == 0)][0] for one in protocol.sequence])
        jacobian = mixture.jacobian(shares, _MODES, magnitude=True)
        slopes = (jacobian[:, 1:] - jacobian[:, :1]) / scale[:, None, None]
        walled = grid.face_cells[grid.boundary_faces(labels)]
        beside = np.unique(walled[walled >= 0])
        everywhere, there = (
            np.linalg.svd(one.reshape(len(one), -1), compute_uv=False) for one in (slopes, slopes[:, :, beside])
        )
        counts = [f"{(everywhere > level).sum()}, {(there > level).sum()}" for level in LEVELS.values()]
        print(f"| {name} | {len(beside)} | {' | '.join(counts)} |", flush=True)


if __name__ == "__main__":
    main()
