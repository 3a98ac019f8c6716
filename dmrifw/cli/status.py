"""Exit statuses: 0 done, 2 bad input, 130 interrupted, 1 anything else."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable
from typing import Any

import typer

from dmrifw.errors import DmrifwError, InputError

DEBUG_VARIABLE = "DMRIFW_DEBUG"
"""Set to anything but 0 to see the traceback of an error."""

_INTERRUPTED = "interrupted"

_FULL = (errno.ENOSPC, errno.EDQUOT)

_UsageError: Any = typer.BadParameter.__base__
"""Click's UsageError, which some versions of typer bring along and others import."""


class Stopped(DmrifwError):
    """Someone asked for the end, and what was done so far is kept."""


def outcome(work: Callable[[], Any]) -> tuple[int, str]:
    """The exit status of some work, and the line that says why it is not 0. Local."""
    try:
        status = int(work() or 0)
        return status, _INTERRUPTED if status == 130 else ""  # typer makes Ctrl-C a status of its own
    except (KeyboardInterrupt, Exception) as error:
        if os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0"):
            traceback.print_exception(error)
        return _told(error)


def _told(error: BaseException) -> tuple[int, str]:
    if isinstance(error, InputError):
        return 2, str(error)
    if isinstance(error, Stopped):
        return 130, str(error)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return 130, _INTERRUPTED
    if isinstance(error, _UsageError):
        return 2, f"{error.format_message() or 'no command is given'}; see dmrifw --help"
    if isinstance(error, DmrifwError):
        return 1, str(error)
    if isinstance(error, OSError) and error.errno in _FULL:
        return 1, "the disk is full, what was there is whole; make room, and go on with --resume or start again"
    return 1, f"{type(error).__name__}: {error}; --debug shows where"
