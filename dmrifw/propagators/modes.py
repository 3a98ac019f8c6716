"""The lowest modes of the diffusion operator: M-orthonormal, real, in either PETSc build."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from mpi4py import MPI

from dmrifw.eigen import symmetric_modes
from dmrifw.errors import ConvergenceError
from dmrifw.matrices import DistributedMatrix
from dmrifw.operators import Operators
from dmrifw.propagators.threads import blas_threads_for
from dmrifw.typing import FloatArray

_SHIFT = -0.05
"""Shift of the spectrum, 1/ms: the operator without relaxation or loss is singular, shifted it is positive definite."""

_DENSE_SHARE = 0.25
"""Share of all modes above which LAPACK on the whole matrix is faster than shift-and-invert Lanczos."""

_DENSE_LIMIT = 4_000
"""Unknowns above which LAPACK on the whole matrix takes minutes: no more than the above share is then computed."""


@dataclass(frozen=True, eq=False)
class Modes:
    """Eigenpairs A v = rate M v.

    Attributes:
        rates: (r,) 1/ms, ascending, replicated.
        vectors: (owned dofs, r) with V^T M V = I, distributed.
        complete: True where the modes span the whole space.
    """

    rates: FloatArray
    vectors: FloatArray
    complete: bool

    @classmethod
    def spanned(cls, operators: Operators, diffusion: DistributedMatrix, fields: FloatArray) -> Modes:
        """The Ritz modes in the span of (owned dofs, n) fields. Collective."""
        return cls(*_ritz(diffusion, operators.mass, fields, operators.comm), complete=False)

    def carried(self, operators: Operators, diffusion: DistributedMatrix) -> Modes:
        """The Ritz modes of other operators in the span of these. Collective."""
        return Modes(*_ritz(diffusion, operators.mass, self.vectors, operators.comm), self.complete)

    def enriched(
        self, states: FloatArray, operators: Operators, diffusion: DistributedMatrix, resolution: float
    ) -> Modes:
        """The Ritz modes of these modes and of what some states have outside their span; itself if that is nothing.

        Args:
            states: (owned dofs, n) any states, distributed.
            operators: For the mass matrix.
            diffusion: The operator A.
            resolution: What may be left out of a state, relative to the state w = 1: the principal components of
                what is new are kept down to this size.

        Collective.
        """
        comm, mass = operators.comm, operators.mass
        new = states
        for _ in range(2):  # twice is enough against rounding (Kahan and Parlett)
            new = new - self.vectors @ comm.allreduce(self.vectors.T @ (mass @ new))
        squares, rotation = symmetric_modes(comm.allreduce(new.T @ (mass @ new)))
        unit = comm.allreduce(float(operators.total.sum()))
        kept = squares > max(resolution**2 * unit, 1e-14 * squares[-1])
        if not kept.any():
            return self
        components = new @ (rotation[:, kept] / np.sqrt(squares[kept]))
        return Modes(*_ritz(diffusion, mass, np.hstack([self.vectors, components]), comm), complete=False)


class ModeSource:
    """Modes of one operator, in any number: Lanczos for few, and for many LAPACK once, then slices.

    Args:
        diffusion: The symmetric positive semi-definite operator A.
        mass: The mass matrix M.
        comm: Communicator of the matrices.
    """

    def __init__(self, diffusion: DistributedMatrix, mass: DistributedMatrix, comm: MPI.Comm) -> None:
        self.diffusion, self.mass, self.comm = diffusion, mass, comm

    def lowest(self, count: int) -> Modes:
        """About `count` lowest modes, cut in a gap of the spectrum: they do not depend on how they were computed.

        Args:
            count: Modes wanted, at least 1; all of them if there are no more, a quarter of all at most where they are
                many.

        Returns:
            The modes.

        Raises:
            ConvergenceError: The eigensolver did not converge.

        Collective.
        """
        size = self.diffusion.rows.size_global
        if size > _DENSE_LIMIT:
            count = min(count, int(_DENSE_SHARE * size))
        if count <= _DENSE_SHARE * size:
            with blas_threads_for(0):  # Lanczos works vector by vector
                rates, vectors = _lanczos(self.diffusion, self.mass, count, self.comm)
        else:
            rates, vectors = self._all
        keep = len(rates) if count >= len(rates) else _cut_in_gap(rates, count)
        complete = keep == self.diffusion.rows.size_global
        return Modes(np.maximum(rates[:keep], 0.0), np.ascontiguousarray(vectors[:, :keep]), complete)

    @cached_property
    def _all(self) -> tuple[FloatArray, FloatArray]:
        rates, vectors = symmetric_modes(self.diffusion.to_dense(self.comm), self.mass.to_dense(self.comm))
        first, last = self.diffusion.rows.local_range
        return rates, vectors[first:last]


def _lanczos(
    diffusion: DistributedMatrix, mass: DistributedMatrix, count: int, comm: MPI.Comm
) -> tuple[FloatArray, FloatArray]:
    from petsc4py import PETSc
    from slepc4py import SLEPc

    matrix, weight = diffusion.to_petsc(comm), mass.to_petsc(comm)
    solver = SLEPc.EPS().create(comm)
    try:
        solver.setOperators(matrix, weight)
        solver.setProblemType(SLEPc.EPS.ProblemType.GHEP)
        solver.setTarget(_SHIFT)
        solver.setWhichEigenpairs(SLEPc.EPS.Which.TARGET_MAGNITUDE)
        solver.setDimensions(count, count + max(count // 2, 20))
        solver.setTolerances(1e-10, 200)
        transform = solver.getST()
        transform.setType(SLEPc.ST.Type.SINVERT)
        transform.setShift(_SHIFT)
        linear = transform.getKSP()
        linear.setType(PETSc.KSP.Type.PREONLY)
        linear.getPC().setType(PETSc.PC.Type.CHOLESKY)
        linear.getPC().setFactorSolverType("mumps")
        start = matrix.createVecRight()
        first, last = matrix.getOwnershipRange()
        start.array[:] = np.random.default_rng(0).standard_normal(matrix.size[0])[first:last]
        solver.setInitialSpace(start)
        solver.solve()
        found = solver.getConverged()
        if found < count:
            raise ConvergenceError(f"the eigensolver converged {found} of {count} modes; refine or repair the grid")
        vectors = np.column_stack([vector.array for vector in solver.getInvariantSubspace()])
        start.destroy()
    finally:
        for owned in (solver, matrix, weight):
            owned.destroy()
    return _ritz(diffusion, mass, vectors, comm)


def _cut_in_gap(rates: FloatArray, count: int) -> int:
    """Mode count near `count` with the widest relative gap behind it, so that no cluster is cut in two."""
    last = min(count, len(rates) - 1)
    first = max(1, int(0.9 * last))
    gaps = rates[first : last + 1] - rates[first - 1 : last]
    return first + int(np.argmax(gaps / np.maximum(rates[first : last + 1], 1e-12)))


def _ritz(
    diffusion: DistributedMatrix, mass: DistributedMatrix, vectors: FloatArray, comm: MPI.Comm
) -> tuple[FloatArray, FloatArray]:
    """Real, M-orthonormal, A-diagonal modes of the span of converged ones (Rayleigh-Ritz).

    A and M are real, so the real and imaginary parts that the complex build returns span the same modes.
    """
    parts = np.hstack([vectors.real, vectors.imag]) if np.iscomplexobj(vectors) else vectors
    values, rotation = symmetric_modes(comm.allreduce(parts.T @ (mass @ parts)))
    kept = values > 1e-8 * values[-1]
    basis = parts @ (rotation[:, kept] / np.sqrt(values[kept]))
    rates, rotation = symmetric_modes(comm.allreduce(basis.T @ (diffusion @ basis)))
    return rates, basis @ rotation
