"""Protocols by name, most of them published."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add

import numpy as np

from dmrifw.sequences.directions import fibonacci_directions
from dmrifw.sequences.oscillating import OGSE
from dmrifw.sequences.protocol import Protocol
from dmrifw.sequences.pulsed import PGSE
from dmrifw.sequences.tensor import BTensor


def _spinverse() -> Protocol:
    """PGSE 5/6, 10/20 and 10/60 ms, six b-values to 5000 s/mm^2, 30 directions.

    Source: Spinverse, arXiv 2603.04638.
    """
    return _timings([(5, 6), (10, 20), (10, 60)], np.arange(6) * 1000.0)


def _remidi() -> Protocol:
    """PGSE 5/10, 5/25 and 5/50 ms, b = 0 to 10000 s/mm^2 in steps of 500, 30 directions.

    Source: ReMiDi, arXiv 2502.01988.
    """
    return _timings([(5, 10), (5, 25), (5, 50)], np.arange(21) * 500.0)


def _microimaging() -> Protocol:
    """PGSE 5/6, 5/20 and 3/60 ms to 5000, 10000 and 20000 s/mm^2, five shells each, evenly spaced in q, 64 directions.

    990 measurements, ten of them at b = 0 for each timing; gradients to 0.8 T/m, as of microimaging probes. Source:
    ours, chosen by how many cells of a tetrahedral grid it resolves; see docs/benchmarks/permeability.md.
    """
    timings = [(5.0, 6.0, 5000.0), (5.0, 20.0, 10000.0), (3.0, 60.0, 20000.0)]
    shells = np.linspace(0.2, 1.0, 5) ** 2
    parts = [_scan(PGSE(delta, Delta), 10, {largest * one: 64 for one in shells}) for delta, Delta, largest in timings]
    return reduce(add, parts)


def _hcp() -> Protocol:
    """Human Connectome Project, WU-Minn: PGSE 10.6/43.1 ms, 18 b = 0, 90 directions at 1000, 2000 and 3000 s/mm^2.

    Source: Sotiropoulos et al., NeuroImage 80:125 (2013). The directions are a golden-angle spiral, not the project's.
    """
    return _scan(PGSE(10.6, 43.1), 18, {1000.0: 90, 2000.0: 90, 3000.0: 90})


def _connectom() -> Protocol:
    """Human Connectome Project, MGH: PGSE 12.9/21.8 ms, 40 b = 0, 64/64/128/256 directions at 1/3/5/10 ms/um^2.

    Source: Fan et al., NeuroImage 124:1108 (2016). The directions are a golden-angle spiral, not the project's.
    """
    return _scan(PGSE(12.9, 21.8), 40, {1000.0: 64, 3000.0: 64, 5000.0: 128, 10000.0: 256})


def _uk_biobank() -> Protocol:
    """UK Biobank: PGSE 21.4/45.5 ms, 5 b = 0, 50 directions at 1000 and 2000 s/mm^2.

    Source: Miller et al., Nat. Neurosci. 19:1523 (2016). The directions are a golden-angle spiral, not the project's.
    """
    return _scan(PGSE(21.4, 45.5), 5, {1000.0: 50, 2000.0: 50})


def _ogse_ladder() -> Protocol:
    """Cosine OGSE trains of 40 ms, 50 ms apart, 1 to 5 periods (25 to 125 Hz), b = 0 and 500 s/mm^2, 30 directions.

    A ladder of diffusion times from 10 to 2 ms at one b-value; not a published scan. Sequence: Does, Parsons and Gore,
    Magn. Reson. Med. 49:206 (2003).
    """
    directions = fibonacci_directions(30)
    rungs = [Protocol.product(OGSE(40.0, 50.0, periods), [0.0, 500.0], directions) for periods in range(1, 6)]
    return reduce(add, rungs)


def _qti() -> Protocol:
    """Linear and spherical b-tensors, b = 0, 100, 700, 1400, 2000 s/mm^2, along 16 (LTE) and 6 (STE) directions.

    Blocks of 30 ms, 8 ms apart. b-values after Szczepankiewicz et al., Data in Brief 25:104208 (2019); the waveforms
    are those of `BTensor`, not numerically optimized ones.
    """
    bvals = [0.0, 100.0, 700.0, 1400.0, 2000.0]
    linear = Protocol.product(BTensor(30.0, 1.0, 8.0), bvals, fibonacci_directions(16))
    return linear + Protocol.product(BTensor(30.0, 0.0, 8.0), bvals, fibonacci_directions(6))


def _timings(timings: list[tuple[float, float]], bvals: np.ndarray) -> Protocol:
    directions = fibonacci_directions(30)
    return reduce(add, [Protocol.shells(bvals, directions, delta, Delta) for delta, Delta in timings])


def _scan(waveform: PGSE, unweighted: int, shells: dict[float, int]) -> Protocol:
    """So many measurements at b = 0, then so many directions at each b."""
    start = Protocol.single(waveform, np.zeros(unweighted), np.zeros((unweighted, 3)))
    parts = [Protocol.product(waveform, [b], fibonacci_directions(count)) for b, count in shells.items()]
    return reduce(add, parts, start)


PRESETS: dict[str, Callable[[], Protocol]] = {
    "spinverse": _spinverse,
    "remidi": _remidi,
    "microimaging": _microimaging,
    "hcp-wu-minn": _hcp,
    "mgh-connectom": _connectom,
    "uk-biobank": _uk_biobank,
    "ogse-ladder": _ogse_ladder,
    "qti-lte-ste": _qti,
}
"""Protocols by name, most of them published."""
