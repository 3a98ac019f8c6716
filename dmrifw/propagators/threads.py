"""How many BLAS threads pay: on small products a second thread gains little, and waits long where a core is busy."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

_SMALL = 500
"""Rows of a matrix below which its products are left to one thread."""


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def blas_threads_for(rows: int) -> AbstractContextManager[Any]:
    """A context in which BLAS uses one thread if matrices have few rows, and as many as it likes otherwise. Local."""
    return _controller().limit(limits=1, user_api="blas") if rows < _SMALL else nullcontext()
