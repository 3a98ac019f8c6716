"""Which measurements are of one shell: those of one sequence with about the same b, as scanners scatter it."""

from __future__ import annotations

import numpy as np

from dmrifw.sequences.protocol import Protocol
from dmrifw.typing import IntArray

_SHELL, _GAP = 100.0, 50.0
"""Differences of b in one shell, and between one of its measurements and the next, at most, s/mm^2."""


def shell_numbers(protocol: Protocol) -> IntArray:
    """(n,) the shell of each measurement, counted from 0, by sequence and then by b. Local."""
    numbers = np.empty(len(protocol), dtype=np.int64)
    count = 0
    for sequence in np.unique(protocol.sequence):
        members = np.flatnonzero(protocol.sequence == sequence)
        first = last = -np.inf
        for row in members[np.argsort(protocol.bvals[members], kind="stable")]:
            b = protocol.bvals[row]
            if b - first > _SHELL or b - last > _GAP:
                first, count = b, count + 1
            numbers[row], last = count - 1, b
    return numbers
