"""The one unit table: micrometre and millisecond inside, the scanner's units at the boundary.

Inside: length um, time ms, diffusivity um^2/ms, permeability um/ms (= 1e-3 m/s), b ms/um^2, q = gamma G rad/(um ms).
At the boundary (config, CLI, gradient tables): b s/mm^2, gradient strength mT/m, delta, Delta and TE ms, lengths um.
"""

from __future__ import annotations

import math
import re
from functools import cache

import pint

from dmrifw.errors import InputError

GAMMA = 2.6752218708e8
"""Gyromagnetic ratio of the proton, rad/(s T) (CODATA 2022)."""

B_INSIDE_PER_BOUNDARY = 1e-3
"""b in ms/um^2 for each s/mm^2."""

Q_PER_GRADIENT = GAMMA * 1e-3 * 1e-6 * 1e-3
"""q = gamma G in rad/(um ms) for each mT/m."""

BOUNDARY_UNITS = {
    "length": "um",
    "diffusivity": "um^2/ms",
    "permeability": "um/ms",
    "time": "ms",
    "bvalue": "s/mm^2",
    "gradient": "mT/m",
    "dimensionless": "",
}
"""What a bare number in a config means, by physical kind."""


@cache
def pint_registry() -> pint.UnitRegistry:
    """The one pint registry, made on first use. Local."""
    return pint.UnitRegistry()


def parse(value: float | int | str, kind: str, key: str) -> float:
    """A config quantity as a number in its boundary unit.

    Args:
        value: A bare number (already in the boundary unit) or text with a unit such as "2e-9 m^2/s".
        kind: A key of `BOUNDARY_UNITS`.
        key: The config key, named in the error.

    Returns:
        The magnitude in `BOUNDARY_UNITS[kind]`; infinity stays infinite.

    Raises:
        InputError: The text does not parse, or its unit is not of this kind.

    Local.
    """
    unit = BOUNDARY_UNITS[kind]
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise InputError(f"{value!r} is not a quantity", f'give a number or text such as "1 {unit}"', key=key)
    if not isinstance(value, str):
        number = float(value)
    else:
        number = _magnitude(value, unit, key)
    if math.isnan(number):
        raise InputError("the value is NaN", "give a number", key=key)
    return number


_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|\s*[-+]?inf", re.ASCII)
"""What a quantity starts with. Only what follows goes to pint, as a unit: no text is evaluated as arithmetic."""


def _magnitude(text: str, unit: str, key: str) -> float:
    mend = f'write it like "1 {unit}"' if unit else "give a plain number"
    number = _NUMBER.match(text)
    if number is None:
        raise InputError(f"{text!r} is not a quantity", mend, key=key)
    rest = text[number.end() :].strip()
    value = float(number.group())
    if not rest:
        return value
    try:
        return float(pint_registry().Quantity(value, pint_registry().parse_units(rest)).to(unit).magnitude)
    except pint.DimensionalityError as error:
        raise InputError(f"{text!r} has the wrong dimension, expected {unit or 'none'}", mend, key=key) from error
    except Exception as error:  # pint raises many kinds, from tokenizer errors to its own
        raise InputError(f"{text!r} has a unit that does not parse", mend, key=key) from error
