"""Building blocks of the config models: sections that know their keys, and quantities that carry units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator, model_validator

from dmrifw.errors import InputError
from dmrifw.typing import Axes
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
            known = {field.alias or name for name, field in cls.model_fields.items()}
            for key, value in table.items():
                if key not in known and not cls.takes_extra(value):
                    raise InputError("there is no such key", nearest(key, known), key=key)
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


def _one_or_list(check: Callable[[Any], float]) -> Callable[[Any], Any]:
    def walk(value: Any) -> Any:
        if not isinstance(value, list):
            return check(value)
        if not value:
            raise InputError("the list is empty", "give at least one value")
        return [_at_entry(check, entry, index) for index, entry in enumerate(value)]

    return walk


def _list_of(check: Callable[[Any], float]) -> Callable[[Any], list[float]]:
    walk = _one_or_list(check)

    def listed(value: Any) -> list[float]:
        if not isinstance(value, list):
            raise InputError(f"got {value!r}", "give a list, such as [3, 5]")
        return list(walk(value))

    return listed


def _or_none_at_all(walk: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: [] if value == [] else walk(value)


def _at_entry(check: Callable[[Any], Any], entry: Any, index: int) -> Any:
    try:
        return check(entry)
    except InputError as error:
        raise InputError(f"entry {index}: {error.fault}", error.mend) from error


def _check_diffusivity(value: Any) -> Any:
    """A scalar, a symmetric positive 3x3 matrix, or a list of either, one for each compartment."""
    if not isinstance(value, list):
        return _positive_diffusivity(value)
    if is_matrix(value):
        return _check_tensor(value)
    return _one_or_list(_check_scalar_or_tensor)(value)


def _check_scalar_or_tensor(value: Any) -> Any:
    return _check_tensor(value) if isinstance(value, list) else _positive_diffusivity(value)


def _check_tensor(rows: list[Any]) -> list[list[float]]:
    mend = "give a symmetric 3x3 matrix with positive eigenvalues, in um^2/ms"
    if not is_matrix(rows):
        raise InputError(f"{rows} is no 3x3 matrix", mend)
    numbers = [[parse(entry, "diffusivity", "") for entry in row] for row in rows]
    matrix = np.array(numbers)
    if not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, rtol=1e-9, atol=0):
        raise InputError(f"the diffusivity matrix {rows} is not symmetric and finite", mend)
    if np.linalg.eigvalsh(matrix).min() <= 0:
        raise InputError(f"the diffusivity matrix {rows} is not positive definite", mend)
    return numbers


def is_matrix(value: Any) -> bool:
    """Whether a value is a list of three lists of three, which are no lists themselves. Local."""
    return _is_triple(value) and all(_is_triple(row) and not any(isinstance(x, list) for x in row) for row in value)


def _is_triple(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3


def _check_point(value: Any) -> tuple[float, ...]:
    if not _is_triple(value):
        raise InputError(f"got {value!r}", "give three lengths in um, such as [0, 0, 0]")
    numbers = tuple(parse(entry, "length", "") for entry in value)
    if not np.isfinite(numbers).all():
        raise InputError(f"{value} is not finite", "give three lengths in um")
    return numbers


def _check_vector(value: Any) -> tuple[float, ...]:
    mend = "give three numbers, not all zero, such as [1, 0, 0]"
    if not _is_triple(value) or not all(type(entry) in (int, float) for entry in value):
        raise InputError(f"got {value!r}", mend)
    if not np.isfinite(value).all() or not any(value):
        raise InputError(f"{value} is no direction", mend)
    return tuple(float(entry) for entry in value)


def _check_voxel(value: Any) -> tuple[int, ...]:
    if not _is_triple(value) or not all(type(entry) is int and entry >= 0 for entry in value):
        raise InputError(f"got {value!r}", "give three whole numbers from 0 on, such as [10, 12, 3]")
    return tuple(value)


def _check_directions(value: Any) -> Any:
    """How many directions, or the directions themselves."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise InputError(f"{value} directions", "give a whole number of at least 1")
        return value
    if not isinstance(value, list) or not value or not all(isinstance(row, list) for row in value):
        raise InputError(f"got {value!r}", "give how many, or a list of vectors such as [[1, 0, 0]]")
    return [_at_entry(_check_vector, row, index) for index, row in enumerate(value)]


def _check_axes(value: Any) -> Axes:
    """True or false for all axes, or for each."""
    axes = [value] * 3 if isinstance(value, bool) else value
    if not _is_triple(axes) or not all(isinstance(axis, bool) for axis in axes):
        raise InputError(f"got {value!r}", "give true or false, or one for each axis, such as [true, true, false]")
    return axes[0], axes[1], axes[2]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


_positive_diffusivity = _checker("diffusivity", zero=False, infinite=False)

Length: TypeAlias = Annotated[float, BeforeValidator(_checker("length", zero=False, infinite=False))]
Distance: TypeAlias = Annotated[float, BeforeValidator(_checker("length", zero=True, infinite=False))]
Lengths: TypeAlias = Annotated[list[float], PlainValidator(_list_of(_checker("length", zero=False, infinite=False)))]
Time: TypeAlias = Annotated[float, BeforeValidator(_checker("time", zero=False, infinite=False))]
Permeability: TypeAlias = Annotated[float, BeforeValidator(_checker("permeability", zero=True, infinite=False))]
BValue: TypeAlias = Annotated[float, BeforeValidator(_checker("bvalue", zero=True, infinite=False))]
Positive: TypeAlias = Annotated[float, BeforeValidator(_checker("dimensionless", zero=False, infinite=False))]

Point: TypeAlias = Annotated[tuple[float, float, float], PlainValidator(_check_point)]
Vector: TypeAlias = Annotated[tuple[float, float, float], PlainValidator(_check_vector)]

Voxel: TypeAlias = Annotated[tuple[int, int, int], PlainValidator(_check_voxel)]

PeriodicAxes: TypeAlias = Annotated[Axes, PlainValidator(_check_axes)]

Permeabilities: TypeAlias = Annotated[
    float | list[float],
    PlainValidator(_or_none_at_all(_one_or_list(_checker("permeability", zero=True, infinite=False)))),
]
Diffusivities: TypeAlias = Annotated[float | list[Any], PlainValidator(_check_diffusivity)]
RelaxationTimes: TypeAlias = Annotated[
    float | list[float], PlainValidator(_one_or_list(_checker("time", zero=False, infinite=True)))
]
Densities: TypeAlias = Annotated[
    float | list[float], PlainValidator(_one_or_list(_checker("dimensionless", zero=False, infinite=False)))
]
Relaxivities: TypeAlias = Annotated[
    float | list[float], PlainValidator(_one_or_list(_checker("permeability", zero=True, infinite=False)))
]
BValues: TypeAlias = Annotated[
    float | list[float], PlainValidator(_one_or_list(_checker("bvalue", zero=True, infinite=False)))
]
Directions: TypeAlias = Annotated[int | list[Vector], PlainValidator(_check_directions)]

OneOrMore = BeforeValidator(_as_list)
"""A field that takes one table where a list of tables is meant."""
