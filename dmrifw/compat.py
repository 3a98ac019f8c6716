"""Every difference between DOLFINx 0.9, 0.10 and 0.11 that this project meets, and nothing else."""

from __future__ import annotations

from typing import Any

import basix.ufl
import dolfinx
import numpy as np
import ufl
from dolfinx import fem
from dolfinx import mesh as dmesh
from mpi4py import MPI

from dmrifw.typing import FloatArray, IntArray


def create_tetrahedral_mesh(comm: MPI.Comm, cells: IntArray, points: FloatArray) -> dmesh.Mesh:
    """An affine tetrahedral mesh whose interior facets see both of their cells on every rank.

    Args:
        comm: Communicator.
        cells: (E, 4) vertex indices, replicated; only rank 0's copy is read.
        points: (V, 3) um, replicated; only rank 0's copy is read.

    Returns:
        The mesh, with facet-cell connectivities made.

    Collective.
    """
    first = comm.rank == 0
    element = basix.ufl.element("Lagrange", "tetrahedron", 1, shape=(3,), dtype=np.float64)
    mesh = dmesh.create_mesh(
        comm,
        cells=cells if first else np.empty((0, 4), dtype=np.int64),
        x=points if first else np.empty((0, 3)),
        e=element,
        partitioner=dmesh.create_cell_partitioner(dmesh.GhostMode.shared_facet),
    )
    topology = mesh.topology
    topology.create_entities(2)
    topology.create_connectivity(2, 3)
    topology.create_connectivity(3, 2)
    return mesh


class FacetSubmesh:
    """The codimension-one mesh of all facets of a tetrahedral mesh.

    Attributes:
        parent: The tetrahedral mesh.
        mesh: The mesh of triangles.
        parent_facets: (n,) facet of the parent under each local triangle, ghosts included.
        entity_maps: What `dolfinx.fem.form` needs to mix functions of both meshes.

    Collective.
    """

    def __init__(self, parent: dmesh.Mesh) -> None:
        facet_map = parent.topology.index_map(2)
        facets = np.arange(facet_map.size_local + facet_map.num_ghosts, dtype=np.int32)
        self.parent = parent
        self.mesh, entity_map, *_ = dmesh.create_submesh(parent, 2, facets)
        self.entity_maps: Any
        if isinstance(entity_map, np.ndarray):  # DOLFINx 0.9: submesh cell -> parent facet, and forms want the inverse
            self.parent_facets = entity_map
            inverse = np.full(len(facets), -1, dtype=np.int32)
            inverse[entity_map] = np.arange(len(entity_map), dtype=np.int32)
            self.entity_maps = {self.mesh: inverse}
        else:  # DOLFINx 0.10 and later: an EntityMap object
            cell_map = self.mesh.topology.index_map(2)
            triangles = np.arange(cell_map.size_local + cell_map.num_ghosts, dtype=np.int32)
            self.parent_facets = entity_map.sub_topology_to_topology(triangles, inverse=False)
            self.entity_maps = [entity_map]


def real_form(form: ufl.Form, entity_maps: Any = None) -> fem.Form:
    """A compiled float64 form, in the real and in the complex PETSc build. Collective."""
    options = {} if entity_maps is None else {"entity_maps": entity_maps}
    return fem.form(form, dtype=np.float64, **options)


def versions() -> dict[str, str]:
    """Versions of the stack, for reports. Local."""
    from petsc4py import PETSc
    from slepc4py import SLEPc

    return {
        "dolfinx": dolfinx.__version__,
        "ufl": ufl.__version__ if hasattr(ufl, "__version__") else "unknown",
        "petsc": ".".join(map(str, PETSc.Sys.getVersion())),
        "slepc": ".".join(map(str, SLEPc.Sys.getVersion())),
        "scalar": np.dtype(PETSc.ScalarType).name,
    }
