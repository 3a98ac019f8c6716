"""Shared by all tests: the published grid and its sphere, one BLAS thread, and a Ctrl-C that interrupts.

The problems are tiny, and threads would only wait for each other. What a shell starts in the background ignores Ctrl-C,
which tests of interruptions raise.
"""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from threadpoolctl import threadpool_limits

threadpool_limits(1, user_api="blas")  # a pytest plugin may have loaded numpy before this file is read
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for the programs that tests start
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def grid():
    """The published ambient grid: 576 tetrahedra, 1296 faces."""
    from dmrifw.mesh import bcc_grid

    return bcc_grid()


@pytest.fixture(scope="session")
def sphere(grid):
    """(1296,) True on the 48 faces around the published sphere of radius 10 um."""
    from dmrifw.mesh import Sphere, shape_barrier

    return shape_barrier(grid, Sphere(10.0))


@pytest.fixture(scope="session")
def no_room() -> Callable[[], AbstractContextManager[None]]:
    """A context in which files end at 100 bytes: writes fail as on a full disk, where HDF5 takes the process down."""

    @contextmanager
    def limited() -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
