"""Processes that do the parts of a task of rank 0: the other ranks, or forks of a rank that is alone."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import torch
from mpi4py import MPI

from dmrifw.inversion.collective import on_root

T = TypeVar("T")
W = TypeVar("W")
P = ParamSpec("P")

_WATCH_SECONDS = 1.0
"""How often a fork looks whether its parent still lives: one that was killed cannot tell it to end."""

_tools: Any = None
"""Of this process, if it is a fork."""


class Workers(Generic[W]):
    """Processes that work on the parts of a task side by side, each with tools of its own.

    What comes of it does not depend on their number. On several ranks it is they who work. A rank that is alone has as
    many forks as torch has threads (`OMP_NUM_THREADS`); with one thread it works by itself. Forks are made when they
    are first needed; they end with the process that made them, and should they be killed before, it does their work.

    Args:
        comm: The ranks.
        tools: What parts are done with, the same on all ranks. Parts may remember things in it, each process its own,
            but must return the same whatever was done before.

    Local.
    """

    def __init__(self, comm: MPI.Comm, tools: W) -> None:
        self._comm, self._tools = comm, tools
        self._pool: ProcessPoolExecutor | None = None

    def on_root(self, task: Callable[[], T]) -> T:
        """Do a task on rank 0 while the other ranks help, and share what came of it; see `collective.on_root`.

        Collective.
        """

        def led() -> T:
            try:
                return task()
            finally:
                self._comm.bcast(None)

        if self._comm.rank:
            while (parts := self._comm.bcast(None)) is not None:
                self._comm.gather(self._share(*parts))
        return on_root(self._comm, led)

    def map(self, part: Callable[Concatenate[W, P], T], arguments: Sequence[tuple[Any, ...]]) -> list[T]:
        """What a function returns for the tools and each of some arguments, in their order.

        Args:
            part: A function of a module; what it takes and returns must pickle.
            arguments: Those after the tools, once for each call.

        Raises:
            Exception: The first that a call raised.

        For rank 0, in a task of `on_root`.
        """
        if self._comm.size > 1:
            return self._by_ranks(part, arguments)
        if torch.get_num_threads() > 1 and len(arguments) > 1:
            try:
                return list(self._forks().map(_part, [part] * len(arguments), arguments))
            except BrokenProcessPool:
                self._pool = None
        return [part(self._tools, *one) for one in arguments]  # type: ignore[call-arg]

    def _by_ranks(self, part: Callable[..., T], arguments: Sequence[tuple[Any, ...]]) -> list[T]:
        self._comm.bcast((part, arguments))
        shares = [pickle.loads(one) for one in self._comm.gather(self._share(part, arguments)) or []]
        found: list[T] = [shares[number % len(shares)][number // len(shares)] for number in range(len(arguments))]
        for one in found:
            if isinstance(one, Exception):
                raise one
        return found

    def _share(self, part: Callable[..., T], arguments: Sequence[tuple[Any, ...]]) -> bytes:
        """What this rank's calls return, or raise, pickled: where that fails the others must not wait for it."""
        found: list[T | Exception] = []
        for one in arguments[self._comm.rank :: self._comm.size]:
            try:
                found.append(part(self._tools, *one))
            except Exception as error:
                found.append(error)
        try:
            return pickle.dumps(found)
        except Exception as error:
            return pickle.dumps([TypeError(f"what a part returns does not pickle ({error})")] * len(found))

    def _forks(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                torch.get_num_threads(),
                _Context(),  # forks: tools hold matrices of PETSc, which do not pickle
                initializer=_begin,
                initargs=(self._tools, os.getpid()),
            )
            with warnings.catch_warnings():
                # Python warns of locks that other threads may hold: those of progress bars, which forks have none of.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._pool.submit(_part, _nothing, ()).result()
        return self._pool


class _Fork(ForkProcess):
    """A fork that is gone as soon as its work is done.

    Python's own clean-up would wait for locks of older executors, which a thread of the parent may have held when it
    forked.
    """

    def run(self) -> None:
        super().run()
        os._exit(0)


class _Context(ForkContext):
    Process = _Fork


def _begin(tools: Any, parent: int) -> None:
    """Make a fork ready."""
    global _tools
    _tools = tools
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent finishes what it does
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(0)


def _part(part: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    return part(_tools, *arguments)


def _nothing(tools: object) -> None:
    """What forks are begun with."""
