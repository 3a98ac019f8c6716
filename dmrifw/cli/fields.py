"""Building blocks of the config models: sections that know their keys, and quantities that carry units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator, model_validator

from dmrifw.errors import InputError
from dmrifw.units import BOUNDARY_UNITS, parse


def nearest(word: str, known: Iterable[str]) -> str:
    """How to mend a name that is not known: the nearest known one, or all of them. Local."""
    names = sorted(known)
    close = get_close_matches(word, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"choose one of: {', '.join(names)}" if names else "remove it"


class Section(BaseModel):
    """A table of the config. Types are strict, and an unknown key is an error that names the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, table: Any) -> Any:
        if isinstance(table, dict):
            for key, value in table.items():
                if key not in cls.model_fields and not cls.takes_extra(value):
                    raise InputError("there is no such key", nearest(key, cls.model_fields), key=key)
        return table

    @classmethod
    def takes_extra(cls, value: Any) -> bool:
        """Whether a key that is no field may stand here with this value. Local."""
        return False


def _checker(kind: str, *, zero: bool, infinite: bool) -> Callable[[Any], float]:
    unit = BOUNDARY_UNITS[kind]
    range_ = f"{'a number of at least 0' if zero else 'a positive number'}{' or inf' if infinite else ''}"

    def check(value: Any) -> float:
        number = parse(value, kind, "")
        if number < 0 or (number == 0 and not zero) or (math.isinf(number) and not infinite):
            raise InputError(f"{value!r} is out of range", f"give {range_}, in {unit}" if unit else f"give {range_}")
        return number

    return check


def _nested(check: Callable[[Any], float]) -> Callable[[Any], Any]:
    def walk(value: Any) -> Any:
        if isinstance(value, list):
            if not value:
                raise InputError("the list is empty", "give one value for each compartment")
            return [_at_entry(walk, entry, index) for index, entry in enumerate(value)]
        return check(value)

    return walk


def _at_entry(walk: Callable[[Any], Any], entry: Any, index: int) -> Any:
    try:
        return walk(entry)
    except InputError as error:
        raise InputError(f"entry {index}: {error.fault}", error.mend) from error


def _check_diffusivity(value: Any) -> Any:
    """A scalar, a symmetric positive 3x3 matrix, or a list of either, one for each compartment."""
    if not isinstance(value, list):
        return _positive_diffusivity(value)
    if not any(isinstance(entry, list) for entry in value):
        return _nested(_positive_diffusivity)(value)
    numbers = _nested(lambda entry: parse(entry, "diffusivity", ""))(value)
    if len(numbers) == 3 and all(isinstance(row, list) and not isinstance(row[0], list) for row in numbers):
        return _checked_tensor(numbers)
    return [_checked_tensor(entry) if isinstance(entry, list) else _positive_diffusivity(entry) for entry in numbers]


def _checked_tensor(rows: list[Any]) -> list[Any]:
    mend = "give a symmetric 3x3 matrix with positive eigenvalues, in um^2/ms"
    if len(rows) != 3 or not all(isinstance(row, list) and len(row) == 3 for row in rows):
        raise InputError("a diffusivity matrix is not 3x3", mend)
    matrix = np.array(rows, dtype=float)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, rtol=1e-9, atol=0):
        raise InputError(f"the diffusivity matrix {rows} is not symmetric and finite", mend)
    if np.linalg.eigvalsh(matrix).min() <= 0:
        raise InputError(f"the diffusivity matrix {rows} is not positive definite", mend)
    return rows


def _check_directions(value: Any) -> Any:
    """How many directions, or the directions themselves."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise InputError(f"{value} directions", "give a whole number of at least 1")
        return value
    rows = value if isinstance(value, list) else []
    if not rows or not all(_is_vector(row) for row in rows):
        raise InputError(f"got {value!r}", "give how many, or a list of vectors such as [[1, 0, 0]]")
    return [[float(number) for number in row] for row in rows]


def _is_vector(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 3 and all(type(number) in (int, float) for number in row)


def _as_tuple(value: Any) -> Any:
    """TOML has lists only; a strict tuple field wants a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


_positive_diffusivity = _checker("diffusivity", zero=False, infinite=False)

Length: TypeAlias = Annotated[float, BeforeValidator(_checker("length", zero=False, infinite=False))]
Coordinate: TypeAlias = Annotated[float, BeforeValidator(lambda value: parse(value, "length", ""))]
Time: TypeAlias = Annotated[float, BeforeValidator(_checker("time", zero=False, infinite=False))]
Permeability: TypeAlias = Annotated[float, BeforeValidator(_checker("permeability", zero=True, infinite=False))]
Positive: TypeAlias = Annotated[float, BeforeValidator(_checker("dimensionless", zero=False, infinite=False))]

Point: TypeAlias = Annotated[tuple[Coordinate, Coordinate, Coordinate], BeforeValidator(_as_tuple)]
Vector: TypeAlias = Annotated[tuple[float, float, float], BeforeValidator(_as_tuple)]

Permeabilities: TypeAlias = Annotated[
    float | list[float], PlainValidator(_nested(_checker("permeability", zero=True, infinite=False)))
]
Diffusivities: TypeAlias = Annotated[float | list[Any], PlainValidator(_check_diffusivity)]
RelaxationTimes: TypeAlias = Annotated[
    float | list[float], PlainValidator(_nested(_checker("time", zero=False, infinite=True)))
]
Densities: TypeAlias = Annotated[
    float | list[float], PlainValidator(_nested(_checker("dimensionless", zero=False, infinite=False)))
]
BValues: TypeAlias = Annotated[
    float | list[float], PlainValidator(_nested(_checker("bvalue", zero=True, infinite=False)))
]
Directions: TypeAlias = Annotated[int | list[list[float]], PlainValidator(_check_directions)]

OneOrMore = BeforeValidator(_as_list)
"""A field that takes one table where a list of tables is meant."""
