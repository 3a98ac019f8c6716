"""Sparse Cholesky factors that solve for blocks of columns, in either PETSc build."""

from __future__ import annotations

from typing import Any

import numpy as np
from mpi4py import MPI

from dmrifw.errors import ConvergenceError
from dmrifw.matrices import DistributedMatrix
from dmrifw.propagators.threads import blas_threads_for
from dmrifw.typing import FloatArray

_COLUMNS_AT_ONCE = 128
"""Columns that MUMPS carries through its factors together."""


_ROWS_PER_FRONT = 100
"""Unknowns over the size of the largest dense block that their elimination meets, about."""


_RESERVES = (50, 200, 800)
"""Memory that MUMPS sets aside over its estimate, in percent, one after the other: ranks that share out work as they
go may need more than it expects."""


class Factorization:
    """The factors of a symmetric positive definite matrix M + shift A.

    Args:
        mass: M.
        diffusion: A.
        shift: Its weight, at least 0.
        comm: Communicator of the matrices.

    Raises:
        ConvergenceError: There are no factors, most likely for want of memory.

    Collective; so is `solve`.
    """

    def __init__(self, mass: DistributedMatrix, diffusion: DistributedMatrix, shift: float, comm: MPI.Comm) -> None:
        from petsc4py import PETSc

        PETSc.garbage_cleanup(PETSc.Comm(comm))
        self.comm = comm
        matrix = mass.to_petsc(comm)
        if shift:
            other = diffusion.to_petsc(comm)
            matrix.axpy(shift, other, structure=PETSc.Mat.Structure.DIFFERENT_NONZERO_PATTERN)
            other.destroy()
        matrix.setOption(PETSc.Mat.Option.SPD, True)
        self._sizes = matrix.getSizes()[0]
        for reserve in _RESERVES:
            self._solver = PETSc.PC().create(comm)
            self._solver.setOperators(matrix)
            self._solver.setType(PETSc.PC.Type.CHOLESKY)
            self._solver.setFactorSolverType("mumps")
            self._solver.setFactorSetUpSolverType()
            factors = self._solver.getFactorMatrix()
            factors.setMumpsIcntl(14, reserve)
            factors.setMumpsIcntl(27, _COLUMNS_AT_ONCE)
            with blas_threads_for(mass.rows.size_global // _ROWS_PER_FRONT):
                self._solver.setUp()
            failure = int(factors.getMumpsInfog(1))  # PETSc keeps silent about it until the first solution
            if failure >= 0:
                return
            self._solver.destroy()
        raise ConvergenceError(
            f"MUMPS cannot factorize {self._sizes[1]} unknowns on {comm.size} ranks: INFOG(1) = {failure}; "
            'use fewer ranks, or method = "matrix-formalism"'
        )

    def solve(self, block: FloatArray) -> FloatArray:
        """(owned rows, n) solution for as many right-hand sides."""
        from petsc4py import PETSc

        columns = block.shape[1]
        sizes = (self._sizes, (PETSc.DECIDE, columns))
        right = PETSc.Mat().createDense(sizes, array=np.asfortranarray(block, dtype=PETSc.ScalarType), comm=self.comm)
        out = PETSc.Mat().createDense(sizes, comm=self.comm)
        out.setUp()
        with blas_threads_for(0):  # MUMPS solves front by front, with small products
            self._solver.getFactorMatrix().matSolve(right, out)
        solution: Any = out.getDenseArray().real.copy()
        right.destroy()
        out.destroy()
        return solution
