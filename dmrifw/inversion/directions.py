"""Shells of a protocol, and what changes within one as a polynomial of the direction."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np

from dmrifw.sequences import Protocol, shell_numbers
from dmrifw.typing import ComplexArray, FloatArray, IntArray


def shells(protocol: Protocol) -> list[tuple[IntArray, FloatArray]]:
    """(m,) measurements of one sequence with about the same b, and their (m, 3) directions, 0 at b = 0. Local."""
    numbers = shell_numbers(protocol)
    members = (np.flatnonzero(numbers == one) for one in range(numbers.max() + 1))
    return [(rows, _directions(protocol.q[rows])) for rows in members]


def sequences(protocol: Protocol) -> list[tuple[IntArray, FloatArray, FloatArray]]:
    """(m,) measurements of one sequence, their (m, 3) directions, 0 at b = 0, and (m,) b over the largest. Local."""
    members = (np.flatnonzero(protocol.sequence == one) for one in np.unique(protocol.sequence))
    found = ((rows, protocol.bvals[rows]) for rows in members)
    return [(rows, _directions(protocol.q[rows]), bvals / max(bvals.max(), 1e-300)) for rows, bvals in found]


def even_and_odd(values: FloatArray | ComplexArray) -> list[tuple[FloatArray, int]]:
    """(n,) parts of signals, and 1 for those that are odd in the direction: imaginary ones. Local."""
    return [(values.real, 0), (values.imag, 1)] if np.iscomplexobj(values) else [(values.real, 0)]


def polynomials(directions: FloatArray, degree: int) -> FloatArray:
    """(m, r) an orthonormal basis of the polynomials in (m, 3) directions that are as even or odd as their degree.

    Local.
    """
    monomials = [np.prod(one, axis=0) for one in combinations_with_replacement(directions.T, degree)]
    constant = [np.ones(len(directions))] if degree % 2 == 0 else []  # for b = 0, which has no direction
    return orthonormal(np.stack([*constant, *monomials], axis=1))


def orthonormal(columns: FloatArray) -> FloatArray:
    """(m, r) an orthonormal basis of what (m, k) columns span. Local."""
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > 1e-9 * max(1.0, sizes.max(initial=0.0))])


def _directions(q: FloatArray) -> FloatArray:
    length = np.linalg.norm(q, axis=1, keepdims=True)
    return np.divide(q, length, out=np.zeros_like(q), where=length > 0)
