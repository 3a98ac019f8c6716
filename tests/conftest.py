"""Shared by all tests: one BLAS thread, since the problems are tiny and threads would only wait for each other."""

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
