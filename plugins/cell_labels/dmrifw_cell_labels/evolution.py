"""The time evolution of a few modes under the gradients of a protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dmrifw.eigen import symmetric_modes
from dmrifw.sequences import Protocol, Waveform
from dmrifw.typing import ComplexArray, FloatArray, IntArray

Real: TypeAlias = npt.NDArray[np.floating[Any]]
Complex: TypeAlias = npt.NDArray[np.complexfloating[Any, Any]]

Turns: TypeAlias = Sequence[tuple[Real, Real]]
"""Places and vectors that make the position along each axis diagonal."""

_PHASE = 1.4
"""Phase at the edge of the grid, rad, that one time step may add."""

_STEPS, _STEPS_OF_FEW, _STEPS_OF_ONE = 12, 4, 24
"""Time steps of a stretch with gradient, at least, of one of 1 ms and less, and of an oscillation."""

_OF_A_PULSE = 0.6
"""Oscillations that a pulse has, at most: it rises and falls, which is half of one."""

_RASTER = 0.25
"""Length of intervals between breakpoints, ms, up to which neighbours have their steps in common."""

_SAMPLES = 128
"""Times at which the gradient of a longer interval is looked at."""

_EVEN = 1e-9
"""Differences between the gradients of steps, over the strongest, that are rounding."""


@dataclass(frozen=True, eq=False)
class Interval:
    """Time between two breakpoints of a waveform, or between several that are close together, in equal steps.

    Attributes:
        step: ms.
        gradients: Mean of each step, (n, 3) rad/(um ms); empty where there is none.
        frequency: Of the gradient, 1/ms; 0 of a pulse.
    """

    step: float
    gradients: list[FloatArray]
    frequency: float = 0.0

    def of(self, members: IntArray) -> Interval:
        """The same for some of the measurements. Local."""
        return replace(self, gradients=[one[members] for one in self.gradients])


@dataclass(frozen=True, eq=False)
class Played:
    """The measurements of one sequence.

    Attributes:
        members: (n,) where they stand among those simulated.
        q: (n, 3) rad/(um ms).
        plan: The intervals of its waveform.
        half: Those of its first half, where the waveform is antisymmetric: the state then tells the signal.
    """

    members: IntArray
    q: FloatArray
    plan: list[Interval]
    half: list[Interval] | None

    def parts(self, most: int) -> list[Played]:
        """The same, at most so many measurements in each. Local."""
        cuts = np.array_split(np.arange(len(self.members)), -(-len(self.members) // most))
        return [
            Played(
                self.members[one],
                self.q[one],
                [interval.of(one) for interval in self.plan],
                None if self.half is None else [interval.of(one) for interval in self.half],
            )
            for one in cuts
        ]


@dataclass(frozen=True, eq=False)
class Basis:
    """The lowest modes.

    Attributes:
        rates: (n,) 1/ms.
        start: (n,) the uniform magnetization.
        positions: (3) of (n, n), um.
    """

    rates: FloatArray
    start: FloatArray
    positions: list[FloatArray]


def played(protocol: Protocol, rows: IntArray, reach: float, coarser: int = 1) -> list[Played]:
    """The sequences of some measurements, in time steps.

    Args:
        protocol: The measurements.
        rows: Those that are simulated.
        reach: How far from the origin positions go, um.
        coarser: 2 for half as many steps.

    Local.
    """
    groups = []
    for number in np.unique(protocol.sequence[rows]):
        members = np.flatnonzero(protocol.sequence[rows] == number)
        q = protocol.q[rows[members]]
        waveform = protocol.waveforms[number]
        plan = _intervals(waveform, q, reach, coarser)
        groups.append(Played(members, q, plan, _first_half(plan) if waveform.is_antisymmetric else None))
    return groups


def propagated(basis: Basis, groups: list[Played]) -> ComplexArray:
    """(n,) signals of all measurements, um^3. Local."""
    return _propagated(basis.rates, basis.start, turned(basis), groups)


def _propagated(rates: Real, start: Real, turns: Turns, groups: list[Played]) -> ComplexArray:
    """The same, in the precision of what is given."""
    signal = np.empty(sum(len(one.members) for one in groups), dtype=np.complex128)
    for one in groups:
        if one.half is None:
            signal[one.members] = start @ _last(rates, start, turns, one.plan, len(one.q))
        else:  # the dual state, from the echo back, is the conjugate there
            signal[one.members] = np.sum(np.abs(_last(rates, start, turns, one.half, len(one.q))) ** 2, axis=0)
    return signal


def extrapolated(basis: Basis, fine: list[Played], coarse: list[Played]) -> ComplexArray:
    """(n,) signals of all measurements, um^3, to fourth order in the step from two plans (Richardson).

    In single precision, which takes half the time and changes them by 1e-5 of S(b=0). Local.
    """
    single = basis.rates.astype(np.float32), basis.start.astype(np.float32), in_single(turned(basis))
    return (4 * _propagated(*single, fine) - _propagated(*single, coarse)) / 3


def _last(rates: Real, start: Real, turns: Turns, plan: Sequence[Interval], count: int) -> Complex:
    """(a, n) state at the end: what `evolve` yields last, the products between steps taken once."""
    (_, first), (_, second), (_, third) = turns
    between = [second.T @ first, third.T @ second]
    state = np.repeat(start[:, None], count, axis=1).astype(np.result_type(start, np.complex64))
    for interval in plan:
        if not len(interval.gradients):
            state = np.exp(-rates * interval.step)[:, None] * state
            continue
        half = np.exp(-0.5 * interval.step * rates)
        around = (first.T * half**2) @ third
        state = _times(first.T * half, state)
        for number, phases in enumerate(_phases(turns, interval)):
            for d, phase in enumerate(phases):
                state *= phase
                if d < 2:
                    state = _times(between[d], state)
            if number + 1 < len(interval.gradients):
                state = _times(around, state)
        state = _times(half[:, None] * third, state)
    return state


def turned(basis: Basis) -> Turns:
    """What makes the position along each axis diagonal. Local."""
    return [(values, vectors) for values, vectors in map(symmetric_modes, basis.positions)]


def in_single(turns: Turns) -> Turns:
    """The same in single precision. Local."""
    return [(places.astype(np.float32), vectors.astype(np.float32)) for places, vectors in turns]


def _times(matrix: Real, state: Complex) -> Complex:
    """A real matrix times complex columns, of the same precision."""
    return (matrix @ state.view(matrix.dtype)).view(state.dtype)


def evolve(
    basis: Basis,
    turns: Turns,
    plan: Sequence[Interval],
    count: int,
    backwards: bool = False,
) -> Iterator[Complex]:
    """(a, n) states at the start and after every step: half a decay, the phase, half a decay (Strang).

    In the precision of the turns. Local.
    """
    (_, first), (_, second), (_, third) = turns
    between = [second.T @ first, third.T @ second]
    rates = basis.rates.astype(first.dtype)
    state = np.repeat(basis.start[:, None], count, axis=1).astype(np.result_type(first, np.complex64))
    yield state
    for interval in plan:
        if not len(interval.gradients):
            state = np.exp(-rates * interval.step)[:, None] * state
            yield state
            continue
        half = np.exp(-0.5 * interval.step * rates)
        into, out = first.T * half, half[:, None] * third
        for phases in _phases(turns, interval, backwards):
            state = _times(into, state)
            for d, phase in enumerate(phases):
                state *= phase
                if d < 2:
                    state = _times(between[d], state)
            state = _times(out, state)
            yield state


def _phases(turns: Turns, interval: Interval, backwards: bool = False) -> Iterator[list[Complex]]:
    """(a, n) factors along each axis, of every step; made once while the gradient stays the same."""
    before, phases = None, []
    for gradient in interval.gradients[::-1] if backwards else interval.gradients:
        if before is None or not np.array_equal(gradient, before):
            along = (-interval.step * gradient).astype(turns[0][0].dtype)
            phases = [_unit(np.outer(at, along[:, d])) for d, (at, _) in enumerate(turns)]
            before = gradient
        yield phases


def _unit(angles: Real) -> Complex:
    """exp(i angles); of single precision much faster so."""
    unit = np.empty(angles.shape, dtype=np.result_type(angles, np.complex64))
    unit.real, unit.imag = np.cos(angles), np.sin(angles)
    return unit


def _first_half(plan: list[Interval]) -> list[Interval]:
    """The intervals up to the middle of a waveform that mirrors itself."""
    whole, middle = plan[: len(plan) // 2], plan[len(plan) // 2]
    if len(plan) % 2 == 0:
        return whole
    if not len(middle.gradients):
        return [*whole, Interval(0.5 * middle.step, [])]
    return [*whole, Interval(middle.step, middle.gradients[: len(middle.gradients) // 2])]


def _intervals(waveform: Waveform, q: FloatArray, reach: float, coarser: int) -> list[Interval]:
    """The time steps of a waveform, fine enough for its strongest gradient and for how often it oscillates."""
    plan = []
    for start, end, peak, oscillations in _stretches(waveform, q):
        length = end - start
        if peak == 0:
            plan.append(Interval(length, []))
            continue
        least = max(
            _STEPS if length > 1 else _STEPS_OF_FEW,
            _STEPS_OF_ONE * oscillations,
            peak * length * reach / _PHASE,
        )
        steps = int(np.ceil(least / 4)) * 4 // coarser
        area = np.diff(waveform.wavevector(q, np.linspace(start, end, steps + 1)), axis=0)
        if np.ptp(area, axis=0).max() <= _EVEN * np.abs(area).max():
            area[:] = area[0]  # to the last bit: phases are made once then
        frequency = oscillations / length if oscillations > _OF_A_PULSE else 0.0
        plan.append(Interval(length / steps, list(area * steps / length), frequency))
    return plan


def _stretches(waveform: Waveform, q: FloatArray) -> Iterator[tuple[float, float, float, float]]:
    """Start and end, ms, strongest gradient, rad/(um ms), and number of oscillations of what has its steps in common.

    Told by the strongest measurement, as all of a sequence play one waveform.
    """
    strongest = q[[np.argmax(np.linalg.norm(q, axis=1))]]
    pieces: list[tuple[float, float, FloatArray]] = []
    for number, (start, end) in enumerate(zip(waveform.breakpoints, waveform.breakpoints[1:], strict=False)):
        if end > start:
            times = np.linspace(start, end, 3 if end - start <= _RASTER else _SAMPLES)
            found = [waveform.gradient(strongest, float(time), number) for time in times]
            pieces.append((float(start), float(end), np.concatenate(found)))
    for _, together in groupby(pieces, lambda one: (one[0] if one[1] - one[0] > _RASTER else None, one[2].any())):
        starts, ends, gradients = zip(*together, strict=True)
        path = np.concatenate(gradients)
        peak = float(np.linalg.norm(path, axis=1).max())
        swing = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
        yield starts[0], ends[-1], peak, swing / (4 * peak) if peak else 0.0
