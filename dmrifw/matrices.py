"""Real sparse matrices distributed by rows, that multiply blocks of columns and restrict each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from dolfinx import fem, la
from dolfinx.common import IndexMap
from mpi4py import MPI

from dmrifw.typing import FloatArray, IntArray


class DistributedMatrix:
    """A real sparse matrix distributed by rows, that multiplies blocks of columns.

    Attributes:
        local: (owned rows, local columns with ghosts) as scipy CSR.
        rows: Index map of the rows.
        columns: Index map of the columns.
    """

    def __init__(self, local: sp.csr_matrix, rows: Any, columns: Any) -> None:
        self.local, self.rows, self.columns = local, rows, columns

    @classmethod
    def assemble(cls, form: fem.Form) -> DistributedMatrix:
        """Assemble a bilinear form in float64, whatever the PETSc build. Collective."""
        matrix = fem.assemble_matrix(form)
        matrix.scatter_reverse()
        local = matrix.to_scipy()[: matrix.index_map(0).size_local]
        return cls(sp.csr_matrix(local), matrix.index_map(0), matrix.index_map(1))

    def __matmul__(self, block: FloatArray) -> FloatArray:
        """(owned rows, n) product with an (owned columns, n) block. Collective."""
        return self.local @ with_ghosts(self.columns, block)

    def transposed(self, block: FloatArray) -> FloatArray:
        """(owned columns, n) product of the transpose with an (owned rows, n) block. Collective."""
        width = block.shape[1]
        vector = la.vector(self.columns, bs=width, dtype=np.float64)
        vector.array[:] = np.asarray(self.local.T @ block).reshape(-1)
        vector.scatter_reverse(la.InsertMode.add)
        return vector.array.reshape(-1, width)[: self.columns.size_local].copy()

    def to_petsc(self, comm: MPI.Comm) -> Any:
        """The same matrix as PETSc AIJ in the scalar type of the build, to be destroyed by the caller. Collective."""
        from petsc4py import PETSc

        columns = self.columns.local_to_global(self.local.indices.astype(np.int32)).astype(PETSc.IntType)
        sizes = ((self.rows.size_local, self.rows.size_global), (self.columns.size_local, self.columns.size_global))
        csr = (self.local.indptr.astype(PETSc.IntType), columns, self.local.data.astype(PETSc.ScalarType))
        return PETSc.Mat().createAIJ(sizes, csr=csr, comm=comm)

    @classmethod
    def from_petsc(cls, matrix: Any) -> DistributedMatrix:
        """Take the values of a PETSc AIJ matrix. Collective."""
        pointers, columns, values = matrix.getValuesCSR()
        first, last = matrix.getOwnershipRangeColumn()
        ghosts = np.unique(columns[(columns < first) | (columns >= last)]).astype(np.int64)
        owners = np.searchsorted(matrix.getOwnershipRangesColumn(), ghosts, side="right") - 1
        rows = IndexMap(matrix.comm.tompi4py(), matrix.getLocalSize()[0])
        column_map = IndexMap(matrix.comm.tompi4py(), last - first, ghosts, owners.astype(np.int32))
        inside = (columns >= first) & (columns < last)
        local = np.where(inside, columns - first, (last - first) + np.searchsorted(ghosts, columns))
        shape = (len(pointers) - 1, last - first + len(ghosts))
        return cls(sp.csr_matrix((values.real.astype(np.float64), local, pointers), shape=shape), rows, column_map)

    def restricted(self, comm: MPI.Comm, right: DistributedMatrix, left: bool) -> DistributedMatrix:
        """P^T A P, or A P without `left`, for a matrix P distributed by the columns of A. Collective."""
        ours, theirs = self.to_petsc(comm), right.to_petsc(comm)
        product = ours.PtAP(theirs) if left else ours.matMult(theirs)
        result = DistributedMatrix.from_petsc(product)
        for used in (ours, theirs, product):
            used.destroy()
        return result

    def to_dense(self, comm: MPI.Comm) -> FloatArray:
        """The whole matrix on every rank, rows and columns in global order. Collective."""
        columns = self.columns.local_to_global(np.arange(self.local.shape[1], dtype=np.int32))
        owned = self.local.tocoo()
        mine = (owned.row + self.rows.local_range[0], columns[owned.col], owned.data)
        dense = np.zeros((self.rows.size_global, self.columns.size_global))
        for row, column, value in comm.allgather(mine):
            np.add.at(dense, (row, column), value)
        return dense


def with_ghosts(index_map: Any, block: FloatArray) -> FloatArray:
    """(local rows with ghosts, n) from an (owned rows, n) block. Collective."""
    if index_map.size_global == index_map.size_local:
        return block
    width = block.shape[1]
    vector = la.vector(index_map, bs=width, dtype=np.float64)
    vector.array[: block.size] = block.reshape(-1)
    vector.scatter_forward()
    return vector.array.reshape(-1, width)


def merging(comm: MPI.Comm, row_map: Any, labels: IntArray, label_count: int) -> DistributedMatrix:
    """The 0/1 matrix P that gives every row the value of its label.

    A label belongs to the lowest rank that has a row of it; labels are numbered rank by rank.

    Args:
        comm: Communicator.
        row_map: Index map of the rows.
        labels: (owned rows,) label of each row, 0 to `label_count` - 1.
        label_count: Number of labels, each used by some row of some rank.

    Returns:
        (rows, labels), distributed in both.

    Collective.
    """
    owner = np.full(label_count, comm.size, dtype=np.int32)
    owner[labels] = comm.rank
    comm.Allreduce(MPI.IN_PLACE, owner, op=MPI.MIN)
    number = np.empty(label_count, dtype=np.int64)
    number[np.argsort(owner, kind="stable")] = np.arange(label_count)
    mine = int((owner == comm.rank).sum())
    first = int((owner < comm.rank).sum())
    columns = number[labels]
    ghost = owner[labels] != comm.rank
    ghosts, which = np.unique(columns[ghost], return_inverse=True)
    ghost_owners = np.empty(len(ghosts), dtype=np.int32)
    ghost_owners[which] = owner[labels][ghost]
    local = columns - first
    local[ghost] = mine + which
    rows = row_map.size_local
    matrix = sp.csr_matrix((np.ones(rows), local, np.arange(rows + 1)), shape=(rows, mine + len(ghosts)))
    return DistributedMatrix(matrix, row_map, IndexMap(comm, mine, ghosts, ghost_owners))
