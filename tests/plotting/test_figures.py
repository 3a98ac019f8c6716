"""Figures are SVG elements that need nothing from elsewhere, for any protocol and history."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from dmrifw import plotting
from dmrifw.plotting.figures import _per_shell
from dmrifw.sequences import Protocol

ROWS = [{"iteration": i, "loss": 2.0 - i / 10, "data_loss": 1.0, "prior_x": 0.0, "seconds": 1.0} for i in range(9)]
SCORES = [row | {"barrier_recall": 0.5, "barrier_precision": float("nan")} for row in ROWS]
WAVES = Protocol.pgse([0, 1000, 1000, 2000], np.eye(3)[[0, 0, 1, 2]], 10, 20) + Protocol.pgse([0], [[0, 0, 1]], 10, 60)
SIGNAL = np.array([1.0, 0.5, 0.4, 0.2, 1.0])


@pytest.mark.parametrize(
    "figure",
    [
        lambda: plotting.signal_figure(WAVES, SIGNAL, 0.9 * SIGNAL),
        lambda: plotting.signal_figure(Protocol.preset("ogse-ladder"), np.ones(300), np.ones(300)),
        lambda: plotting.signal_figure(Protocol.preset("ogse-ladder"), np.full(300, 0.1), np.full(300, 0.7)),
        lambda: plotting.residual_figure(WAVES, SIGNAL, 0.9 * SIGNAL),
        lambda: plotting.residual_figure(WAVES, SIGNAL, SIGNAL),
        lambda: plotting.history_figure(ROWS),
        lambda: plotting.history_figure(SCORES[:1]),
        lambda: plotting.permeability_figure(np.array([0.0, 1e-9, 1.0, 1e9])),
        lambda: plotting.permeability_figure(np.ones(5), np.arange(5) < 2),
    ],
)
def test_it_is_one_svg_element_with_nothing_from_elsewhere(figure) -> None:
    text = figure()
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg")
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not name.endswith("href") or value.startswith(("#", "data:")), value


def test_a_cell_for_each_measurement_of_a_shell_in_the_order_of_the_protocol() -> None:
    """Shells are rows by sequence and b; what a shell has not is NaN."""
    table, names = _per_shell(WAVES, np.arange(5.0))
    np.testing.assert_array_equal(table, [[0.0, np.nan], [1.0, 2.0], [3.0, np.nan], [4.0, np.nan]])
    assert names == [
        "PGSE 10/20 ms, b = 0",
        "PGSE 10/20 ms, b = 1000",
        "PGSE 10/20 ms, b = 2000",
        "PGSE 10/60 ms, b = 0",
    ]


def test_a_shell_may_scatter() -> None:
    """Scanners' tables tell b to a few s/mm^2."""
    scattered = Protocol.pgse([0, 995, 1005, 1002, 1998, 2002], np.eye(3)[[0, 0, 1, 2, 0, 1]], 10, 20)
    table, names = _per_shell(scattered, np.arange(6.0))
    nothing = np.nan
    np.testing.assert_array_equal(table, [[0.0, nothing, nothing], [1.0, 2.0, 3.0], [4.0, 5.0, nothing]])
    assert names == ["PGSE 10/20 ms, b = 0", "PGSE 10/20 ms, b = 1000.7", "PGSE 10/20 ms, b = 2000"]
