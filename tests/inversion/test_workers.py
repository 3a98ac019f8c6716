"""Parts of a task come back in their order, whoever did them, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import process
from pathlib import Path

import numpy as np
import pytest
import torch
from mpi4py import MPI

from dmrifw.errors import InputError
from dmrifw.inversion import Workers


@pytest.fixture(params=[1, 2, 3])
def threads(request) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def times(tools: np.ndarray, factor: float) -> tuple[float, int]:
    return float(factor * tools.sum()), os.getpid()


def ended(tools: np.ndarray, parent: int) -> int:
    """A process that another kills, unless it is the one that must go on."""
    if os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def refused(tools: np.ndarray, number: int) -> int:
    if number > 1:
        raise InputError(f"{number} is too much", "give less", key="number")
    return number


def deaf(tools: np.ndarray) -> bool:
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def mapped(workers: Workers[np.ndarray], *arguments: object) -> object:
    return workers.on_root(lambda: workers.map(*arguments))  # type: ignore[arg-type]


def test_parts_come_back_in_order(threads: int) -> None:
    """By forks where there are threads for them; by the process alone otherwise, and where there is one part only."""
    workers = Workers(MPI.COMM_SELF, np.arange(4.0))
    found = mapped(workers, times, [(one,) for one in range(20)])
    assert [value for value, _ in found] == [6.0 * one for one in range(20)]
    assert ({process for _, process in found} == {os.getpid()}) == (threads == 1)
    assert mapped(workers, times, [(2,)]) == [(12.0, os.getpid())]
    assert mapped(workers, times, []) == []


def test_a_part_at_fault_is_told(threads: int) -> None:
    workers = Workers(MPI.COMM_SELF, np.arange(4.0))
    with pytest.raises(InputError, match="2 is too much") as caught:
        mapped(workers, refused, [(one,) for one in range(4)])
    assert caught.value.key == "number"
    assert mapped(workers, refused, [(0,), (1,)]) == [0, 1]


def test_what_killed_forks_leave_is_done_here(threads: int) -> None:
    workers = Workers(MPI.COMM_SELF, np.arange(4.0))
    assert mapped(workers, ended, [(os.getpid(),)] * 4) == [os.getpid()] * 4
    assert [value for value, _ in mapped(workers, times, [(1,), (2,)])] == [6.0, 12.0]


def test_only_the_parent_hears_ctrl_c(threads: int) -> None:
    assert mapped(Workers(MPI.COMM_SELF, np.zeros(1)), deaf, [(), ()]) == [threads > 1] * 2


class Stuck:
    """What ends an executor, as a fork inherits it while a thread of the parent holds its lock."""

    def __init__(self) -> None:
        self.parent = os.getpid()

    def wakeup(self) -> None:
        if os.getpid() != self.parent:
            time.sleep(60)


def test_forks_end_though_another_executor_was_busy_when_they_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own clean-up, in a fork, wakes all executors of the parent, and never comes back from this one."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    thread = threading.Thread()
    monkeypatch.setitem(process._threads_wakeups, thread, Stuck())  # type: ignore[attr-defined]
    workers = Workers(MPI.COMM_SELF, np.arange(4.0))
    assert [value for value, _ in mapped(workers, times, [(1,), (2,)])] == [6.0, 12.0]
    pool = workers._pool
    assert pool is not None and pool._executor_manager_thread is not None
    forks, manager = list(pool._processes.values()), pool._executor_manager_thread
    pool.shutdown(wait=False)
    manager.join(20)  # it alone waits for the forks: of two that do, one sees no exit code for a moment
    waits = manager.is_alive()
    for fork in forks:
        fork.kill()
    assert not waits
    assert [fork.exitcode for fork in forks] == [0, 0]


SCRIPT = """
import os, time
import numpy as np, torch
from mpi4py import MPI
from dmrifw.inversion import Workers

def who(tools, number):
    time.sleep(0.2)
    return os.getpid()

torch.set_num_threads(2)
workers = Workers(MPI.COMM_SELF, np.zeros(1))
print(*set(workers.map(who, [(one,) for one in range(4)])), flush=True)
time.sleep(60)
"""


def test_forks_end_with_their_parent(tmp_path: Path) -> None:
    """After kill -9, too, of which it cannot tell them."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        forks = [int(one) for one in parent.stdout.readline().split()]
        assert len(forks) == 2 and all(map(alive, forks))
        parent.kill()
        parent.wait()
    until = time.monotonic() + 20
    while any(map(alive, forks)) and time.monotonic() < until:
        time.sleep(0.2)
    assert not any(map(alive, forks))


def alive(process: int) -> bool:
    """Whether it runs; one that has ended and waits to be noticed does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
