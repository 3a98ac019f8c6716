"""What happened in an inversion, iteration by iteration."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dmrifw.typing import FloatArray

_FIRST = ("iteration", "start", "loss", "data_loss")
"""Columns that come before others."""


class History:
    """One row per finished iteration: numbers by column name.

    Every row has: iteration, start (with restarts), loss, data_loss, `prior_NAME` for each prior, learning_rate,
    damping or curvature_pairs, gradient_norm (before the gradient rules), signal_seconds and gradient_seconds (the
    data loss and all derivatives), seconds (the whole iteration), and what a diagnostics function adds. Those of
    Gauss-Newton and L-BFGS also have accepted (0 where no step was taken) and trials (the steps that were tried);
    those of plugins' optimizers have what these tell instead.

    Attributes:
        rows: The rows in order. The numbers of a row are those before its step was taken.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def __len__(self) -> int:
        return len(self.rows)

    def append(self, row: Mapping[str, float]) -> None:
        """Add the row of the next iteration. Local."""
        self.rows.append(dict(row))

    @property
    def columns(self) -> list[str]:
        """Names of all columns, in the order in which they first appeared."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def column(self, name: str) -> FloatArray:
        """(n,) one column; NaN in the rows that lack it. Local."""
        return np.array([row.get(name, np.nan) for row in self.rows], dtype=np.float64)

    @classmethod
    def from_columns(cls, columns: Mapping[str, FloatArray]) -> History:
        """The history whose columns, (n,) each, these are, in any order; the inverse of `column`. Local."""
        history = cls()
        names = [*(name for name in _FIRST if name in columns), *(name for name in columns if name not in _FIRST)]
        for values in zip(*(columns[name] for name in names), strict=True):
            row = dict(zip(names, map(float, values), strict=True))
            history.append(row | {"iteration": int(row["iteration"])})
        return history
