"""The waveform of a gradient table, which holds none itself: given, or from a BIDS sidecar."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmrifw.errors import InputError
from dmrifw.sequences.files.text import read_text
from dmrifw.sequences.pulsed import PGSE

if TYPE_CHECKING:
    from dmrifw.sequences.protocol import Protocol
    from dmrifw.sequences.waveforms import Waveform

SMALL, LARGE, RAMP = ("SmallDelta",), ("LargeDelta", "BigDelta"), ("RampTime",)
"""The keys of a sidecar, in seconds."""


@dataclass(frozen=True)
class Timing:
    """What a caller says about the waveform of a table: `delta` and `Delta`, ms, or a waveform, or a sidecar."""

    delta: float | None = None
    Delta: float | None = None
    waveform: Waveform | None = None
    sidecar: Path | None = None

    @property
    def is_given(self) -> bool:
        """Whether the caller says anything."""
        return any(value is not None for value in (self.delta, self.Delta, self.waveform, self.sidecar))

    def resolve(self, beside: Path) -> Waveform:
        """The waveform.

        Args:
            beside: The table's file; the .json of the same name is its sidecar, where nothing else is given.

        Returns:
            The waveform.

        Raises:
            InputError: Too much is given, or too little, or it makes no waveform.

        Local.
        """
        pair = self.delta is not None or self.Delta is not None
        if pair + (self.waveform is not None) + (self.sidecar is not None) > 1:
            raise InputError(
                "the timing is given twice", "give delta and Delta, or a waveform, or a sidecar", key="delta"
            )
        if self.waveform is not None:
            return self.waveform
        if self.delta is not None and self.Delta is not None:
            return PGSE(float(self.delta), float(self.Delta))
        default = beside.with_suffix(".json")
        if not pair and (self.sidecar is not None or default.is_file()):
            return _from_sidecar(self.sidecar or default)
        missing = "delta" if self.delta is None else "Delta"
        raise InputError(
            f"the table does not say {missing}",
            f"give delta and Delta in ms, or a sidecar with {SMALL[0]} and {LARGE[0]} in seconds",
            key=missing,
        )


def only_pgse(protocol: Protocol, format: str) -> PGSE:
    """The one PGSE waveform of a protocol.

    Raises:
        InputError: It plays several waveforms, or another one, which the format cannot hold.

    Local.
    """
    played = [protocol.waveforms[number] for number in np.unique(protocol.sequence)]
    mend = "write a .json, which holds everything"
    if len(played) > 1:
        raise InputError(f"a {format} table holds one timing, the protocol has {len(played)} sequences", mend)
    if type(played[0]) is not PGSE:
        raise InputError(f"a {format} table holds PGSE, the protocol is {type(played[0]).__name__}", mend)
    return played[0]


def sidecar_text(waveform: PGSE, file: Path) -> str:
    """The sidecar `file` with the timing in it; what else it holds stays. Local."""
    table = _table(file) if file.is_file() else {}
    for key in LARGE:
        table.pop(key, None)
    times = {SMALL[0]: waveform.delta, LARGE[0]: waveform.Delta, RAMP[0]: waveform.ramp}
    return json.dumps(table | {key: round(time * 1e-3, 12) for key, time in times.items()}, indent=2) + "\n"


def milliseconds(seconds: float) -> float:
    """Seconds as ms, without the last digits of the conversion. Local."""
    return round(seconds * 1e3, 9)


def _table(file: Path) -> dict[str, Any]:
    try:
        table = json.loads(read_text(file, "sidecar"))
    except json.JSONDecodeError as error:
        raise InputError(f"{file} is not JSON ({error})", "give a BIDS sidecar", key="sidecar") from error
    if not isinstance(table, dict):
        raise InputError(f"{file} holds no table", "give a BIDS sidecar", key="sidecar")
    return table


def _from_sidecar(file: Path) -> PGSE:
    table = _table(file)
    delta, Delta = _seconds(table, SMALL, file), _seconds(table, LARGE, file)
    ramp = _seconds(table, RAMP, file) if RAMP[0] in table else 0.0
    waveform = PGSE(delta, Delta, ramp)
    if "EchoTime" in table and _seconds(table, ("EchoTime",), file) < waveform.echo_time - 1e-6:
        raise InputError(
            f"{file}: the pulses last {waveform.echo_time:g} ms, longer than EchoTime", "mend the times", key="sidecar"
        )
    return waveform


def _seconds(table: dict[str, Any], names: tuple[str, ...], file: Path) -> float:
    found = [name for name in names if name in table]
    if not found:
        raise InputError(
            f"{file} has no {' or '.join(names)}", "add it, in seconds, or give delta and Delta", key="sidecar"
        )
    value = table[found[0]]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise InputError(f"{file}: {found[0]} = {value}", "give a time in seconds, below 1 s", key="sidecar")
    return milliseconds(value)
