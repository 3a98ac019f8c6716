"""Pydantic's faults, told as one line about a config file: key, what is wrong, how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dmrifw.errors import InputError


def first_fault(error: ValidationError, table: dict[str, Any], path: Path) -> InputError:
    """The first fault that pydantic found, in words that fit the file.

    Args:
        error: What pydantic raised.
        table: The table that it was raised for.
        path: The file that the table was read from.

    Local.
    """
    entry = error.errors(include_url=False)[0]
    kind, context = entry["type"], entry.get("ctx", {})
    location = _keys_only(entry["loc"], table, missing=kind == "missing")
    if kind == "value_error" and isinstance(context.get("error"), InputError):
        fault: InputError = context["error"]
        return InputError(
            fault.fault, fault.mend, key=_dotted([*location, *([fault.key] if fault.key else [])]), file=path
        )
    if kind == "missing":
        table_name = _dotted(location[:-1])
        mend = f"add it to [{table_name}]" if table_name else f"add a [{location[-1]}] table"
        return InputError("the key is missing", mend, key=_dotted(location), file=path)
    if kind.startswith("union_tag"):
        location.append(context["discriminator"].strip("'"))
        told = f"there is no {context['tag']!r}" if "tag" in context else "the key is missing"
        mend = "choose one of " + context.get("expected_tags", "the kinds that the documentation lists")
        return InputError(told, mend, key=_dotted(location), file=path)
    return InputError(
        f"got {_short(entry['input'])}", _mend(kind, entry["msg"], context), key=_dotted(location), file=path
    )


_MENDS = {
    "int_type": "give a whole number",
    "int_from_float": "give a whole number",
    "float_type": "give a number",
    "string_type": "give text in quotes",
    "bool_type": "give true or false",
    "list_type": "give a list",
    "tuple_type": "give a list",
    "model_type": "give a table",
    "model_attributes_type": "give a table",
    "dict_type": "give a table",
}


def _mend(kind: str, message: str, context: dict[str, Any]) -> str:
    if kind == "literal_error":
        return f"choose one of {context['expected']}"
    return _MENDS.get(kind) or message.replace("Input should", "it should")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _keys_only(location: tuple[int | str, ...], table: Any, missing: bool) -> list[int | str]:
    """The location as the user wrote it: pydantic's names of union branches, which are not in the file, left out."""
    kept: list[int | str] = []
    here = table
    for position, part in enumerate(location):
        listed = isinstance(here, list) and isinstance(part, int) and part < len(here)
        if listed or (isinstance(here, dict) and part in here):
            here = here[part]
            kept.append(part)
        elif missing and position == len(location) - 1:
            kept.append(part)
    return kept


def _dotted(location: list[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")
