"""Shared by all tests: one BLAS thread, since the problems are tiny and threads would only wait for each other."""

import os

from threadpoolctl import threadpool_limits

threadpool_limits(1, user_api="blas")  # a pytest plugin may have loaded numpy before this file is read
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for the programs that tests start
