"""Gmsh leaves what others use as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from mpi4py import MPI

from dmrifw import mesh
from dmrifw.errors import InputError
from dmrifw.mesh.gmsh_session import session


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_torch_keeps_its_threads(threads: int) -> None:
    """Some of gmsh's algorithms tell OpenMP of their own for the whole process."""
    with session(1.0) as gmsh:
        torch.set_num_threads(1)
        assert gmsh.isInitialized()
    assert torch.get_num_threads() == threads
    with pytest.raises(InputError, match="gmsh cannot mesh"), session():
        torch.set_num_threads(1)
        raise RuntimeError("no such volume")
    assert torch.get_num_threads() == threads


def test_a_mesh_of_surfaces_leaves_them_too(threads: int) -> None:
    """Gmsh itself is what changes them here."""
    mesh.spheres([4.0], h=2.0, extracellular=mesh.Extracellular(kind="hull", gap=2.0), comm=MPI.COMM_SELF)
    assert torch.get_num_threads() == threads
