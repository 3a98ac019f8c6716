"""`[geometry]` and `[tissue]`: which faces are walls, and what permeability each face gets."""

from __future__ import annotations

from pathlib import Path

import meshio
import numpy as np
import pytest

from dmrifw.cli.case import Case, build_case, smallest_cell_height
from dmrifw.cli.config import parse_text
from dmrifw.cli.tissue import mean_diffusivity
from dmrifw.errors import InputError
from dmrifw.mesh import BentAxon, NestedSpheres, ParallelCylinders, bcc_grid, from_arrays, shape_barrier
from dmrifw.mesh.shapes import Cylinder, Sphere, Torus

PROTOCOL = '[protocol]\npreset = "spinverse"\n'


def case(text: str, folder: Path) -> Case:
    """The case of a config that lies in a folder."""
    return build_case(parse_text(text + PROTOCOL, folder / "config.toml"))


class TestGrid:
    """An ambient grid with the walls of shapes in it."""

    @pytest.mark.parametrize(
        ("table", "shape"),
        [
            ('{ shape = "sphere", radius = 10 }', Sphere(10)),
            ('{ shape = "sphere", radius = 8, centre = [3, 0, "0.001 mm"] }', Sphere(8, (3, 0, 1))),
            ('{ shape = "cylinder", radius = 10 }', Cylinder(10)),
            ('{ shape = "cylinder", radius = 8, axis = [0, 1, -1], length = 22 }', Cylinder(8, (0, 1, -1), 22)),
            ('{ shape = "torus", major = 10, minor = 6 }', Torus(10, 6)),
            ('{ shape = "nested-spheres", radii = [7, 10] }', NestedSpheres((7, 10))),
            ('{ shape = "parallel-cylinders", radius = 8 }', ParallelCylinders(8)),
            (
                '{ shape = "parallel-cylinders", count = 4, radius = 7, distance = 10, across = [1, 0, 0] }',
                ParallelCylinders(7, 4, 10, across=(1, 0, 0)),
            ),
            ('{ shape = "bent-axon", radius = 6, length = 30, seed = 3 }', BentAxon(6, 30, 3)),
        ],
    )
    def test_walls_bound_the_cells_of_the_shape(self, table: str, shape: object, tmp_path: Path) -> None:
        found = case(f'[geometry]\nkind = "grid"\nbarrier = {table}\n', tmp_path)
        expected = shape_barrier(bcc_grid(4), shape)
        np.testing.assert_array_equal(found.true_barrier, expected)
        np.testing.assert_array_equal(found.permeability, np.where(expected, 0.01, 100.0))

    def test_each_shape_has_its_own_wall(self, tmp_path: Path) -> None:
        """A sphere within a sphere: the walls are of both, not of their union, whose wall is the outer one."""
        text = '[geometry]\nkind = "grid"\n' + "".join(
            f'[[geometry.barrier]]\nshape = "sphere"\nradius = {radius}\n' for radius in (10, 7)
        )
        found, grid = case(text, tmp_path).true_barrier, bcc_grid(4)
        assert found is not None
        np.testing.assert_array_equal(found, shape_barrier(grid, Sphere(10)) | shape_barrier(grid, Sphere(7)))
        assert (found & ~shape_barrier(grid, Sphere(10))).any()

    def test_barriers_and_open_faces_have_the_permeability_asked_for(self, tmp_path: Path) -> None:
        text = (
            '[geometry]\nkind = "grid"\nbarrier = { shape = "sphere", radius = 10 }\n'
            '[tissue]\nbarrier_permeability = "2e-6 m/s"\nopen_permeability = 50\n'
        )
        assert set(np.unique(case(text, tmp_path).permeability)) == {0.002, 50.0}

    def test_one_permeability_is_for_all_faces(self, tmp_path: Path) -> None:
        found = case('[geometry]\nkind = "grid"\n[tissue]\npermeability = 3\n', tmp_path)
        np.testing.assert_array_equal(found.permeability, np.full(1296, 3.0))

    def test_a_list_of_permeabilities_is_face_by_face(self, tmp_path: Path) -> None:
        values = np.arange(120.0)
        text = f'[geometry]\nkind = "grid"\ncells = 2\n[tissue]\npermeability = {values.tolist()}\n'
        np.testing.assert_array_equal(case(text, tmp_path).permeability, values)

    def test_without_walls_nothing_is_invented(self, tmp_path: Path) -> None:
        found = case('[geometry]\nkind = "grid"\n', tmp_path)
        assert found.true_barrier is None
        assert found.permeability is None

    def test_exterior_faces_are_judged_only_where_they_have_an_effect(self, tmp_path: Path) -> None:
        grid = bcc_grid(4)
        for exterior, judged in (("reflecting", ~grid.is_exterior), ("permeable", np.ones(1296, dtype=bool))):
            text = f'[geometry]\nkind = "grid"\n[tissue]\nexterior = "{exterior}"\n'
            np.testing.assert_array_equal(case(text, tmp_path).judged_faces, judged)


class TestFile:
    """A mesh file whose cell tags are compartments."""

    @pytest.fixture
    def tags(self) -> np.ndarray:
        """Physical tags 5, 7 and 9: left, middle and right third along x."""
        grid = bcc_grid(4)
        x = grid.points[grid.cells].mean(axis=1)[:, 0]
        return np.array([5, 7, 9])[np.digitize(x, [-4.0, 4.0])]

    @pytest.fixture(params=["npz", "msh", "vtu", "xdmf"])
    def mesh(self, request: pytest.FixtureRequest, tags: np.ndarray, tmp_path: Path) -> str:
        """The name of a file with that grid in it."""
        grid, name = bcc_grid(4), f"mesh.{request.param}"
        if request.param == "npz":
            np.savez(tmp_path / name, points=grid.points, cells=grid.cells, cell_tags=tags)
        else:
            data = {"gmsh:physical": [tags], "gmsh:geometrical": [tags]}
            content = meshio.Mesh(grid.points, [("tetra", grid.cells)], cell_data=data)
            content.write(tmp_path / name, **({"file_format": "gmsh22"} if request.param == "msh" else {}))
        return name

    def test_is_read_with_its_compartments(self, mesh: str, tags: np.ndarray, tmp_path: Path) -> None:
        found = case(f'[geometry]\nkind = "file"\npath = "{mesh}"\n', tmp_path)
        grid = bcc_grid(4)
        np.testing.assert_allclose(found.grid.points, grid.points, atol=1e-12)
        np.testing.assert_array_equal(found.grid.cells, grid.cells)
        np.testing.assert_array_equal(found.grid.cell_tags, np.searchsorted([5, 7, 9], tags))

    def test_walls_are_where_compartments_meet(self, mesh: str, tags: np.ndarray, tmp_path: Path) -> None:
        found = case(f'[geometry]\nkind = "file"\npath = "{mesh}"\n', tmp_path)
        grid = bcc_grid(4)
        meeting = (tags[grid.face_cells[:, 0]] != tags[grid.face_cells[:, 1]]) & ~grid.is_exterior
        np.testing.assert_array_equal(found.true_barrier, meeting)

    def test_permeabilities_are_interface_by_interface(self, mesh: str, tags: np.ndarray, tmp_path: Path) -> None:
        """Left-middle, then middle-right; left and right do not touch. Other faces are open."""
        found = case(f'[geometry]\nkind = "file"\npath = "{mesh}"\n[tissue]\npermeability = [0.5, 0.25]\n', tmp_path)
        grid = bcc_grid(4)
        sides = np.sort(tags[grid.face_cells], axis=1)
        inside = ~grid.is_exterior
        assert found.permeability is not None
        assert (found.permeability[inside & (sides == [5, 7]).all(axis=1)] == 0.5).all()
        assert (found.permeability[inside & (sides == [7, 9]).all(axis=1)] == 0.25).all()
        assert (found.permeability[~inside | (sides[:, 0] == sides[:, 1])] == 100).all()

    def test_one_permeability_is_for_all_interfaces(self, mesh: str, tmp_path: Path) -> None:
        found = case(f'[geometry]\nkind = "file"\npath = "{mesh}"\n[tissue]\npermeability = 0.5\n', tmp_path)
        np.testing.assert_array_equal(found.permeability, np.where(found.true_barrier, 0.5, 100.0))

    def test_properties_are_compartment_by_compartment(self, mesh: str, tmp_path: Path) -> None:
        tissue = "[tissue]\ndiffusivity = [1, [[2, 0, 0], [0, 1, 0], [0, 0, 1]], 3]\nT2 = [50, inf, 80]\n"
        found = case(f'[geometry]\nkind = "file"\npath = "{mesh}"\n{tissue}', tmp_path)
        assert mean_diffusivity(found.config.tissue) == 3
        with pytest.raises(InputError, match="2 values for 3 compartments"):
            case(f'[geometry]\nkind = "file"\npath = "{mesh}"\n[tissue]\nT2 = [50, 80]\n', tmp_path)

    def test_made_by_gmsh_has_its_physical_volumes(self, tmp_path: Path) -> None:
        """Two boxes of 10 x 10 x 5 um that share a face; physical volume 3 is the lower one."""
        gmsh = pytest.importorskip("gmsh")
        gmsh.initialize(interruptible=False)
        try:
            gmsh.option.setNumber("General.Terminal", 0)
            lower, upper = gmsh.model.occ.addBox(0, 0, 0, 10, 10, 5), gmsh.model.occ.addBox(0, 0, 5, 10, 10, 5)
            gmsh.model.occ.fragment([(3, lower)], [(3, upper)])
            gmsh.model.occ.synchronize()
            gmsh.model.addPhysicalGroup(3, [lower], 3)
            gmsh.model.addPhysicalGroup(3, [upper], 8)
            gmsh.option.setNumber("Mesh.MeshSizeMax", 5)
            gmsh.model.mesh.generate(3)
            gmsh.write(str(tmp_path / "boxes.msh"))
        finally:
            gmsh.finalize()
        found = case('[geometry]\nkind = "file"\npath = "boxes.msh"\n', tmp_path)
        below = found.grid.points[found.grid.cells].mean(axis=1)[:, 2] < 5
        np.testing.assert_array_equal(found.grid.cell_tags, np.where(below, 0, 1))
        assert found.grid.face_areas[found.true_barrier].sum() == pytest.approx(100)

    def test_without_tetrahedra_is_refused(self, tmp_path: Path) -> None:
        grid = bcc_grid(2)
        meshio.Mesh(grid.points, [("triangle", grid.faces)]).write(tmp_path / "surface.vtu")
        with pytest.raises(InputError, match=r"surface\.vtu: no linear tetrahedra, only triangle"):
            case('[geometry]\nkind = "file"\npath = "surface.vtu"\n', tmp_path)


def test_the_smallest_cell_height_is_that_above_the_largest_face() -> None:
    """A corner tetrahedron with legs 1, 2 and 3: its largest face is the oblique one, 3.5 um^2, its volume 1 um^3."""
    grid = from_arrays([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], [[0, 1, 2, 3]])
    assert smallest_cell_height(grid) == pytest.approx(3 * 1 / 3.5)


def test_the_diffusion_length_follows_the_mean_of_a_tensor() -> None:
    text = '[geometry]\nkind = "grid"\n[tissue]\ndiffusivity = [[3, 0, 0], [0, 2, 0], [0, 0, 1]]\n'
    assert mean_diffusivity(parse_text(text + PROTOCOL, Path("config.toml")).tissue) == pytest.approx(2)


class TestCompartments:
    """Generators: compartments and interfaces in order, and a space that is broken between compartments only."""

    def test_layers_have_permeabilities_from_left_to_right(self, tmp_path: Path) -> None:
        text = (
            '[geometry]\nkind = "layers"\nwidths = [2, "0.003 mm", 5]\nh = 0.5\n[tissue]\npermeability = [0.25, 0.5]\n'
            "diffusivity = [1, 2, 3]\n"
        )
        found = case(text, tmp_path)
        x = found.grid.points[found.grid.faces].mean(axis=1)[:, 0]
        assert found.permeability is not None and found.interfaces is not None
        np.testing.assert_array_equal(found.interfaces, found.grid.is_interface)
        np.testing.assert_allclose(x[found.interfaces & (found.permeability == 0.25)], 2)
        np.testing.assert_allclose(x[found.interfaces & (found.permeability == 0.5)], 5)
        assert np.isin(found.permeability[found.interfaces], (0.25, 0.5)).all()

    @pytest.mark.parametrize("kind", ["spheres", "cylinders"])
    def test_radii_are_inside_out(self, kind: str, tmp_path: Path) -> None:
        text = f'[geometry]\nkind = "{kind}"\nradii = [2, 3, 4]\nh = 1\n[tissue]\npermeability = [0.25, 0.5]\n'
        found = case(text, tmp_path)
        assert found.permeability is not None and found.interfaces is not None
        corners = found.grid.points[found.grid.faces][..., : 2 if kind == "cylinders" else 3]
        radius = np.linalg.norm(corners, axis=-1).max(axis=1)
        np.testing.assert_allclose(radius[found.interfaces & (found.permeability == 0.25)], 2, rtol=0.05)
        np.testing.assert_allclose(radius[found.interfaces & (found.permeability == 0.5)], 3, rtol=0.05)

    def test_one_compartment_has_no_interface(self, tmp_path: Path) -> None:
        found = case('[geometry]\nkind = "layers"\nwidths = [5]\nh = 1\n[tissue]\npermeability = []\n', tmp_path)
        assert found.interfaces is not None and not found.interfaces.any()
        assert found.permeability is not None

    @pytest.mark.parametrize("value", ["0.1", "[0.1]"])
    def test_permeability_without_an_interface_is_refused(self, value: str, tmp_path: Path) -> None:
        text = f'[geometry]\nkind = "spheres"\nradii = [3]\nh = 1\n[tissue]\npermeability = {value}\n'
        with pytest.raises(
            InputError, match=r"tissue\.permeability: the mesh has one compartment and no wall in it; remove it"
        ):
            case(text, tmp_path)

    def test_a_permeability_too_many_is_refused(self, tmp_path: Path) -> None:
        text = '[geometry]\nkind = "layers"\nwidths = [2, 3]\nh = 1\n[tissue]\npermeability = [1, 2]\n'
        with pytest.raises(InputError, match="2 values for 1 interfaces between compartments"):
            case(text, tmp_path)

    def test_radii_that_shrink_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"geometry\.radii: \[5.0, 3.0\] do not grow"):
            case('[geometry]\nkind = "spheres"\nradii = [5, 3]\n', tmp_path)

    def test_on_an_ambient_grid_every_face_may_be_a_wall(self, tmp_path: Path) -> None:
        assert case('[geometry]\nkind = "grid"\n', tmp_path).interfaces is None

    @pytest.mark.parametrize(
        ("keys", "compartments", "interfaces"),
        [
            ('kind = "axon"\nradii = [0.7, 1]\nlength = "0.006 mm"\nh = 0.5', 2, 1),
            ('kind = "axon"\nradii = [1]\nlength = 6\namplitude = 0.5\nwavelength = 6\nextracellular = {}', 2, 1),
            ('kind = "axon"\nradii = [1]\nlength = 6\nbeading = 0.2\nbead_spacing = 3\nbend = 45\nh = 0.6', 1, 0),
            ('kind = "ellipsoid"\nsemi_axes = [1, 2, 3]\nextracellular = { kind = "hull", gap = "0.5 um" }', 2, 1),
            ('kind = "torus"\nmajor = 3\nminor = 1\nextracellular = { kind = "box" }', 2, 1),
            ('kind = "spheres"\nradii = [2, 3]\nh = 1\nextracellular = { gap = 2 }', 3, 2),
            ('kind = "cylinders"\nradii = [2]\nlength = 4\nh = 1\nextracellular = {}', 2, 1),
            ('kind = "box"\nsize = [3, 4, "5 um"]', 1, 0),
        ],
    )
    def test_cells_are_what_the_keys_say(self, keys: str, compartments: int, interfaces: int, tmp_path: Path) -> None:
        """Permeabilities in order: the outer wall, to the space around, has the last."""
        values = [0.25, 0.5, 0.75][-interfaces:] if interfaces else []
        found = case(f"[geometry]\n{keys}\n[tissue]\npermeability = {values}\n", tmp_path)
        grid = found.grid
        assert (grid.compartment_count, grid.interface_count) == (compartments, interfaces)
        assert found.permeability is not None
        for number, value in enumerate(values):
            assert (found.permeability[grid.interface_of_face == number] == value).all()
        assert (found.permeability[~grid.is_interface] == 100).all()


class TestOneCompartment:
    """A permeability needs a wall: without one it is an error, and no silent nothing."""

    CELLS = (
        'kind = "box"\nsize = [2, 2, 2]',
        'kind = "ellipsoid"\nsemi_axes = [1, 1, 2]',
        'kind = "torus"\nmajor = 3\nminor = 1',
        'kind = "axon"\nradii = [1]',
        'kind = "cylinders"\nradii = [2]',
        'kind = "file"\npath = "mesh.npz"',
    )

    @pytest.fixture(autouse=True)
    def mesh(self, tmp_path: Path) -> None:
        """A file of one compartment."""
        grid = bcc_grid(2, 20)
        np.savez(tmp_path / "mesh.npz", points=grid.points, cells=grid.cells)

    @pytest.mark.parametrize("keys", CELLS)
    @pytest.mark.parametrize("tissue", ["permeability = 0.1", "permeability = [0.1]", "barrier_permeability = 0.1"])
    def test_has_no_permeability(self, keys: str, tissue: str, tmp_path: Path) -> None:
        with pytest.raises(InputError) as refusal:
            case(f"[geometry]\n{keys}\n[tissue]\n{tissue}\n", tmp_path)
        key = tissue.split()[0]
        line = f"config.toml: tissue.{key}: the mesh has one compartment and no wall in it; "
        assert line in str(refusal.value)
        if "file" in keys:
            mend = "give barrier, or ambient = true under [geometry] to let every face be a wall"
            assert str(refusal.value).endswith(mend)

    @pytest.mark.parametrize("keys", CELLS)
    def test_needs_none(self, keys: str, tmp_path: Path) -> None:
        found = case(f"[geometry]\n{keys}\n", tmp_path)
        assert found.interfaces is not None and not found.interfaces.any()
        assert len(found.required_permeability()) == len(found.grid.faces)

    def test_may_have_a_wall_anywhere_on_demand(self, tmp_path: Path) -> None:
        text = '[geometry]\nkind = "file"\npath = "mesh.npz"\nambient = true\n[tissue]\npermeability = 0.1\n'
        found = case(text, tmp_path)
        assert found.interfaces is None and found.true_barrier is None
        np.testing.assert_array_equal(found.permeability, np.full(len(found.grid.faces), 0.1))

    def test_may_have_walls_of_shapes(self, tmp_path: Path) -> None:
        """A number is for all walls; a list has one for each interface, and there is none."""
        text = '[geometry]\nkind = "file"\npath = "mesh.npz"\nbarrier = { shape = "sphere", radius = 15 }\n'
        found = case(text + "[tissue]\npermeability = 0.1\n", tmp_path)
        wall = shape_barrier(bcc_grid(2, 20), Sphere(15))
        np.testing.assert_array_equal(found.interfaces, wall)
        np.testing.assert_array_equal(found.permeability, np.where(wall, 0.1, 100.0))
        with pytest.raises(InputError, match="1 values for 0 interfaces between compartments; give one number"):
            case(text + "[tissue]\npermeability = [0.1]\n", tmp_path)

    @pytest.mark.parametrize(("key", "ambient"), [("", True), ("ambient = true", True), ("ambient = false", False)])
    def test_is_searched_everywhere_by_an_inversion(self, key: str, ambient: bool, tmp_path: Path) -> None:
        found = case(f'[geometry]\nkind = "file"\npath = "mesh.npz"\n{key}\n[inversion]\n', tmp_path)
        assert found.substrate.ambient == ambient
        assert (found.interfaces is None) == ambient


def test_walls_of_shapes_keep_their_permeability_beside_a_list(tmp_path: Path) -> None:
    """Two halves and a ball in them: the list is for the interface, and the ball's wall has `barrier_permeability`."""
    grid = bcc_grid(4)
    tags = (grid.points[grid.cells].mean(axis=1)[:, 0] > 0).astype(int)
    np.savez(tmp_path / "mesh.npz", points=grid.points, cells=grid.cells, cell_tags=tags)
    text = '[geometry]\nkind = "file"\npath = "mesh.npz"\nbarrier = { shape = "sphere", radius = 10 }\n'
    found = case(text + "[tissue]\npermeability = [0.5]\nbarrier_permeability = 0.2\n", tmp_path)
    wall = shape_barrier(grid, Sphere(10))
    expected = np.where(found.grid.is_interface, 0.5, np.where(wall, 0.2, 100.0))
    np.testing.assert_array_equal(found.permeability, expected)
