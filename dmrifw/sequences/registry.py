"""Waveforms by name, and to and from plain tables: what configs and protocol files say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields
from typing import Any

from dmrifw.errors import InputError
from dmrifw.sequences.oscillating import OGSE, TrapezoidalOGSE
from dmrifw.sequences.pulsed import DDE, PGSE, PGSTE, TRSE, LongNarrow
from dmrifw.sequences.sampled import Sampled
from dmrifw.sequences.tensor import BTensor
from dmrifw.sequences.waveforms import Waveform
from dmrifw.units import parse

WAVEFORMS: dict[str, Any] = {
    "pgse": PGSE,
    "pgste": PGSTE,
    "trse": TRSE,
    "long-narrow": LongNarrow,
    "dde": DDE,
    "ogse": OGSE,
    "trapezoidal-ogse": TrapezoidalOGSE,
    "b-tensor": BTensor,
    "sampled": Sampled,
}
"""The waveforms that configs and protocol files can name."""

_NUMBERS = ("angle", "azimuth", "b_delta")


def parameters(name: str) -> tuple[str, ...]:
    """The parameters of a waveform, by name.

    Raises:
        InputError: There is no such waveform.

    Local.
    """
    if name not in WAVEFORMS:
        told = ", ".join(repr(known) for known in WAVEFORMS)
        raise InputError(f"there is no waveform {name!r}", f"choose one of {told}", key="waveform")
    return tuple(field.name for field in fields(WAVEFORMS[name]))


def waveform_from(name: str, table: Mapping[str, Any]) -> Waveform:
    """A waveform by name and parameters.

    Args:
        name: A key of `WAVEFORMS`.
        table: Its parameters: times in ms or text with a unit, angles in degrees.

    Returns:
        The waveform.

    Raises:
        InputError: A name is unknown, a parameter is missing, or a value makes no waveform.

    Local.
    """
    known = parameters(name)
    for key in table:
        if key not in known:
            raise InputError("there is no such key", f"{name!r} has {', '.join(known)}", key=key)
    values = {}
    for field in fields(WAVEFORMS[name]):
        if field.name in table:
            values[field.name] = _value(field, table[field.name])
        elif field.default is MISSING:
            raise InputError("the key is missing", f"add it: {name!r} needs it", key=field.name)
    return WAVEFORMS[name](**values)


def table_of(waveform: Waveform) -> dict[str, Any]:
    """Name and parameters of a waveform, with plain numbers; what `waveform_from` takes.

    Raises:
        InputError: The waveform is none of `WAVEFORMS`.

    Local.
    """
    for name, kind in WAVEFORMS.items():
        if type(waveform) is kind:
            return {"waveform": name, **asdict(waveform)}  # type: ignore[call-overload]
    raise InputError(
        f"a {type(waveform).__name__} has no name in a file", "cut it into samples first: dmrifw.sequences.sampled"
    )


def _value(field: Field[Any], value: Any) -> Any:
    key = field.name
    if field.type == "str":
        if not isinstance(value, str):
            raise InputError(f"got {value!r}", "give text in quotes", key=key)
        return value
    if field.type == "int":
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(f"got {value!r}", "give a whole number", key=key)
        return value
    if key == "samples":
        return value
    if str(field.type).startswith("tuple"):
        if not isinstance(value, list | tuple):
            raise InputError(f"got {value!r}", "give a list of times in ms", key=key)
        return tuple(parse(entry, "time", key) for entry in value)
    return parse(value, "dimensionless" if key in _NUMBERS else "time", key)
