"""Every fault of a user is told in one line that names file, key, fault and cure, and nothing is written."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable, Iterator
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmrifw.cli.app import run
from dmrifw.cli.case import build_case
from dmrifw.cli.config import validated
from dmrifw.errors import InputError
from dmrifw.mesh import bcc_grid
from dmrifw.mesh.files import write_surface
from dmrifw.mesh.surfaces import TriangleSurface

VALUES = [3, -1, 0, 1.5, nan, inf, True, "", "2 um", [], [1], [1, 2, 3], [[1]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]], {}]

Refusal = Callable[..., str]


def _paths(table: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and index in a nested table."""
    for part, value in table.items() if isinstance(table, dict) else enumerate(table):
        yield (*before, part)
        if isinstance(value, dict | list):
            yield from _paths(value, (*before, part))


FAULTS = {
    "unknown key": ("diffusivity = 2.0", "diffusivty = 2.0", "tissue.diffusivty", "'diffusivity'"),
    "unknown table": ("[solver]", "[sovler]", "sovler", "'solver'"),
    "unknown key in a shape": ("radius = 15", "radus = 15", "geometry.barrier.radus", "'radius'"),
    "unknown key in a shell": ("directions = 2", "direction = 2", "protocol.shell[0].direction", "'directions'"),
    "unknown kind": ('kind = "grid"', 'kind = "gird"', "geometry.kind", "'grid'"),
    "unknown shape": ('shape = "sphere"', 'shape = "cube"', "geometry.barrier.shape", "'sphere'"),
    "text for a whole number": ("cells = 2", 'cells = "two"', "geometry.cells", "whole number"),
    "fraction for a whole number": ("cells = 2", "cells = 2.5", "geometry.cells", "whole number"),
    "truth value for a number": ("size = 20", "size = true", "geometry.size", "number"),
    "no such exterior": ('"reflecting"', '"leaky"', "tissue.exterior", "'permeable'"),
    "grid too coarse": ("cells = 2", "cells = 1", "geometry.cells", "at least 2"),
    "shape without cells": ("radius = 15", "radius = 1", "geometry.barrier", "enlarge"),
    "second shape without cells": (
        'barrier = { shape = "sphere", radius = 15 }',
        'barrier = [{ shape = "sphere", radius = 15 }, { shape = "sphere", radius = 1 }]',
        "geometry.barrier[1]",
        "enlarge",
    ),
    "torus without a hole": (
        'shape = "sphere", radius = 15',
        'shape = "torus", major = 5, minor = 5',
        "geometry.barrier.minor",
        "less than major",
    ),
    "spheres not nested": (
        'shape = "sphere", radius = 15',
        'shape = "nested-spheres", radii = [15, 10]',
        "geometry.barrier.radii",
        "ascending",
    ),
    "inner sphere without cells": (
        'shape = "sphere", radius = 15',
        'shape = "nested-spheres", radii = [1, 15]',
        "geometry.barrier",
        "enlarge",
    ),
    "three cylinders": (
        'shape = "sphere", radius',
        'shape = "parallel-cylinders", count = 3, radius',
        "geometry.barrier.count",
        "choose one of 2 or 4",
    ),
    "cylinders side by side along their axis": (
        'shape = "sphere", radius',
        'shape = "parallel-cylinders", across = [0, 0, 2], radius',
        "geometry.barrier.across",
        "another direction",
    ),
    "axon longer than the grid allows": (
        'shape = "sphere", radius',
        'shape = "bent-axon", length = 500, radius',
        "geometry.barrier.length",
        "smaller length",
    ),
    "axon without length": (
        'shape = "sphere", radius',
        'shape = "bent-axon", radius',
        "geometry.barrier.length",
        "add it",
    ),
    "negative seed": (
        'shape = "sphere", radius',
        'shape = "bent-axon", length = 9, seed = -1, radius',
        "geometry.barrier.seed",
        "greater than or equal to 0",
    ),
    "negative size": ("size = 20", "size = -20", "geometry.size", "positive"),
    "missing delta": ("delta = 10\nDelta = 20", "Delta = 20", "protocol.shell[0].delta", "add it"),
    "b below 0": ("b = [0, 1000]", "b = [0, -1000]", "protocol.shell[0].b", "at least 0"),
    "b is NaN": ("b = [0, 1000]", "b = [0, nan]", "protocol.shell[0].b", "number"),
    "empty b": ("b = [0, 1000]", "b = []", "protocol.shell[0].b", "empty"),
    "pulses overlap": ("Delta = 60", "Delta = 6", "protocol.shell[1].Delta", "at least delta"),
    "no directions": ("directions = 2", "directions = 0", "protocol.shell[0].directions", "at least 1"),
    "zero direction": ("[[1, 0, 0]]", "[[0, 0, 0]]", "protocol.shell[1].directions", "not all zero"),
    "flat direction": ("[[1, 0, 0]]", "[[1, 0]]", "protocol.shell[1].directions", "three numbers"),
    "unknown waveform": ("b = 500", 'b = 500\nwaveform = "pgs"', "protocol.shell[1].waveform", "'pgse'"),
    "another waveform's key": ("b = 500", "b = 500\nperiods = 2", "protocol.shell[1].periods", "choose one of"),
    "no periods": ("b = 500", 'b = 500\nwaveform = "ogse"', "protocol.shell[1].periods", "add it"),
    "half a period": (
        "b = 500",
        'b = 500\nwaveform = "ogse"\nperiods = 0.5',
        "protocol.shell[1].periods",
        "whole number",
    ),
    "angle with a unit": (
        "b = 500",
        'b = 500\nwaveform = "dde"\nmixing = 20\nangle = "3 m"',
        "protocol.shell[1].angle",
        "plain",
    ),
    "wrong dimension": ("diffusivity = 2.0", 'diffusivity = "2 um/ms"', "tissue.diffusivity", "um^2/ms"),
    "no such unit": ("diffusivity = 2.0", 'diffusivity = "2 parsec^2/fortnght"', "tissue.diffusivity", "um^2/ms"),
    "negative diffusivity": ("diffusivity = 2.0", "diffusivity = -2.0", "tissue.diffusivity", "positive"),
    "asymmetric tensor": (
        "diffusivity = 2.0",
        "diffusivity = [[2, 1, 0], [0, 2, 0], [0, 0, 2]]",
        "tissue.diffusivity",
        "symmetric",
    ),
    "too many compartments": ("diffusivity = 2.0", "diffusivity = [2.0, 1.0]", "tissue.diffusivity", "compartment"),
    "zero T2": ("diffusivity = 2.0", "T2 = 0", "tissue.T2", "positive"),
    "permeability below 0": ("diffusivity = 2.0", "permeability = -1", "tissue.permeability", "at least 0"),
    "permeability is NaN": ("diffusivity = 2.0", "permeability = nan", "tissue.permeability", "number"),
    "permeability of wrong length": ("diffusivity = 2.0", "permeability = [1, 2]", "tissue.permeability", "120"),
    "no tolerance": ("tolerance = 1e-3", "tolerance = 0", "solver.tolerance", "positive"),
    "nothing says where walls are": ('barrier = { shape = "sphere", radius = 15 }', "", "geometry.barrier", "add a"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_bad_value_is_told_with_its_key_and_its_cure(
    fault: tuple[str, str, str, str], text: str, refused: Refusal
) -> None:
    good, bad, key, cure = fault
    assert good in text
    line = refused(text.replace(good, bad, 1))
    assert f"config.toml: {key}: " in line
    assert cure in line


@pytest.mark.parametrize(
    ("protocol", "key", "cure"),
    [
        ('preset = "spinvers"', "protocol.preset", "spinverse"),
        ('preset = "spinverse"\ndelta = 3', "protocol", "one of"),
        ("", "protocol", "one of"),
        ('bvals = "a"\nbvecs = "b"\ndelta = 3', "protocol.Delta", "needs"),
        ('bvals = "a"\nsidecar = "c"', "protocol.bvecs", "needs"),
        ('path = "a.b"\nbvals = "c"', "protocol", "one of"),
        ('path = "a.b"', "protocol.path", "relative to the config"),
        ('path = "a"\ndelta = 3', "protocol.path", "relative to the config"),
        ('path = "a.scheme"\ndelta = 3', "protocol.delta", "holds its timing"),
        ('bvals = "a"\nbvecs = "b"\ndelta = 3\nDelta = 10', "protocol.bvals", "relative to the config"),
    ],
)
def test_a_protocol_needs_one_source(protocol: str, key: str, cure: str, refused: Refusal) -> None:
    line = refused('[geometry]\nkind = "grid"\n[protocol]\n' + protocol)
    assert f"config.toml: {key}: " in line
    assert cure in line


@pytest.mark.parametrize(
    ("bvals", "bvecs", "key", "cure"),
    [
        ("0 1000 1000 1000", "1 0\n0 1\n0 0", "protocol.bvecs", "4 b-values"),
        ("0 1000 1000 1000", "1 0 0\n0 1 0\n0 0 1\n0 0 1", "protocol.bvecs", "is transposed"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0", "0 1000 1000 1000", "protocol.bvals", "bvecs"),
        ("0 1000 x 1000", "1 0 0 0\n0 1 0 0\n0 0 1 1", "protocol.bvals", "numbers only"),
        ("0 1000 1000 1000", "1 0 0 0\n0 1 0\n0 0 1 1", "protocol.bvecs", "equally long"),
        ("", "1 0 0 0\n0 1 0 0\n0 0 1 1", "protocol.bvals", "no numbers"),
        ("0 -1000 1000 1000", "1 0 0 0\n0 1 0 0\n0 0 1 1", "protocol.bvals", "b >= 0"),
        ("0 1000 1000 1000", "1 0 0 0\n0 0 0 0\n0 0 1 1", "protocol.bvecs", "non-zero"),
    ],
    ids=["lengths", "transposed", "swapped", "not numbers", "ragged", "empty", "negative", "no direction"],
)
def test_a_gradient_table_must_fit(
    bvals: str, bvecs: str, key: str, cure: str, tmp_path: Path, refused: Refusal
) -> None:
    (tmp_path / "bvals").write_text(bvals)
    (tmp_path / "bvecs").write_text(bvecs)
    protocol = '[protocol]\nbvals = "bvals"\nbvecs = "bvecs"\ndelta = 3\nDelta = 10\n'
    line = refused('[geometry]\nkind = "grid"\n' + protocol)
    assert f"config.toml: {key}: " in line
    assert cure in line


def test_a_syntax_error_is_told_with_its_line(text: str, refused: Refusal) -> None:
    line = refused(text.replace("cells = 2", "cells = = 2"))
    assert "config.toml: not TOML" in line
    assert "line 3" in line


@pytest.mark.parametrize("table", ["geometry", "protocol"])
def test_a_missing_table_is_told(table: str, refused: Refusal) -> None:
    text = {"geometry": '[protocol]\npreset = "spinverse"', "protocol": '[geometry]\nkind = "grid"'}[table]
    assert f"config.toml: {table}: the key is missing; add a [{table}] table" in refused(text)


def test_no_value_of_any_key_is_worse_than_bad_input(text: str) -> None:
    """Whatever stands where a value should: it is taken, or told as a fault of that table; nothing else is raised."""
    table = tomllib.loads(text)
    table["geometry"]["barrier"] = {"shape": "cylinder", "radius": 15, "axis": [0, 0, 1], "centre": [0, 0, 0]}
    table["tissue"] |= {"T2": 50, "density": 1, "permeability": 1, "open_permeability": 1}
    taken = 0
    for path in _paths(table):
        for value in VALUES:
            changed = copy.deepcopy(table)
            here = changed
            for part in path[:-1]:
                here = here[part]
            here[path[-1]] = value
            try:
                build_case(validated(changed, "", Path("config.toml")))
                taken += 1
            except InputError as error:
                assert str(error.key).startswith(path[0])
                assert str(error).count("\n") == 0
    assert taken


def test_a_missing_config_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", str(tmp_path / "none.toml"), "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(f"dmrifw: {tmp_path / 'none.toml'}: there is no such file; ")


def test_a_folder_is_no_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_an_unknown_option_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "config.toml", "--outptu", "x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


class TestMeshFile:
    """A mesh is judged before anything is made of it."""

    TEXT = (
        '[geometry]\nkind = "file"\npath = "mesh.npz"\n[tissue]\npermeability = 1\n[protocol]\npreset = "spinverse"\n'
    )

    def test_that_is_missing(self, refused: Refusal) -> None:
        line = refused(self.TEXT)
        assert "config.toml: geometry.path: " in line
        assert "mesh.npz" in line

    def test_with_an_inverted_tetrahedron(self, tmp_path: Path, refused: Refusal) -> None:
        grid = bcc_grid(2)
        cells = grid.cells.copy()
        cells[7] = cells[7][[1, 0, 2, 3]]
        np.savez(tmp_path / "mesh.npz", points=grid.points, cells=cells)
        line = refused(self.TEXT)
        assert "mesh.npz: cells: tetrahedron 7" in line
        assert "inverted" in line

    def test_with_a_tetrahedron_twice(self, tmp_path: Path, refused: Refusal) -> None:
        grid = bcc_grid(2)
        np.savez(tmp_path / "mesh.npz", points=grid.points, cells=np.vstack([grid.cells, grid.cells[3]]))
        line = refused(self.TEXT)
        assert "mesh.npz: cells: tetrahedron 48 duplicates tetrahedron 3" in line

    def test_without_cells(self, tmp_path: Path, refused: Refusal) -> None:
        np.savez(tmp_path / "mesh.npz", points=np.zeros((4, 3)))
        assert "mesh.npz: cells: the array is missing" in refused(self.TEXT)

    def test_that_holds_pickled_objects(self, tmp_path: Path, refused: Refusal) -> None:
        """Reading a file must never execute code."""
        np.savez(tmp_path / "mesh.npz", points=np.array([print], dtype=object), cells=np.zeros((1, 4), dtype=int))
        assert "mesh.npz: not an .npz of plain arrays" in refused(self.TEXT)

    @pytest.mark.parametrize("suffix", ["msh", "vtu", "txt"])
    def test_that_is_not_a_mesh(self, suffix: str, tmp_path: Path, refused: Refusal) -> None:
        (tmp_path / f"mesh.{suffix}").write_text("no mesh at all")
        assert f"mesh.{suffix}: cannot be read as a mesh" in refused(self.TEXT.replace("npz", suffix))


class TestSurfaceFile:
    """Surfaces and neurons are refused by their own name, before anything is meshed."""

    TETRAHEDRON = np.array([[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]])
    CORNERS = np.array([[0.0, 0, 0], [5, 0, 0], [0, 5, 0], [0, 0, 5]])

    def refused_surface(self, triangles: np.ndarray, points: np.ndarray, folder: Path, refused: Refusal) -> str:
        write_surface(folder / "cell.ply", TriangleSurface(points, triangles))
        return refused('[geometry]\nkind = "file"\npath = "cell.ply"\n[protocol]\npreset = "spinverse"\n')

    @pytest.mark.parametrize(
        ("triangles", "fault"),
        [
            (TETRAHEDRON[1:], "holes: 3 edges have one triangle only"),
            (TETRAHEDRON[:, ::-1], "inverted normals: they point inwards"),
            (np.vstack([TETRAHEDRON[:1, ::-1], TETRAHEDRON[1:]]), "neighbouring triangles face opposite ways"),
        ],
        ids=["hole", "inverted", "one turned over"],
    )
    def test_with_triangles_at_fault(self, triangles: np.ndarray, fault: str, tmp_path: Path, refused: Refusal) -> None:
        assert f"cell.ply: {fault}" in self.refused_surface(triangles, self.CORNERS, tmp_path, refused)

    @pytest.mark.parametrize("step", [[1, 0, 0], [1, 1, 0], [0.5, 0.7, 0.9], [1, 1, -5]])
    def test_that_overlaps_itself(self, step: list[float], tmp_path: Path, refused: Refusal) -> None:
        """Two tetrahedra: with faces in one plane, cutting each other, or with a corner on the other's base."""
        triangles = np.vstack([self.TETRAHEDRON, self.TETRAHEDRON + 4])
        points = np.vstack([self.CORNERS, self.CORNERS + step])
        line = self.refused_surface(triangles, points, tmp_path, refused)
        assert "cell.ply: self-intersection" in line

    def test_a_neuron_with_a_loop(self, tmp_path: Path, refused: Refusal) -> None:
        (tmp_path / "cell.swc").write_text("1 1 0 0 0 1 3\n2 3 3 0 0 1 1\n3 3 6 0 0 1 2\n")
        line = refused('[geometry]\nkind = "file"\npath = "cell.swc"\n[protocol]\npreset = "spinverse"\n')
        assert "cell.swc: line 1: point 1 is its own ancestor: the parents form a loop" in line


CELLS = {
    "wave without length": ('kind = "axon"\nradii = [1]\namplitude = 1', "wavelength", "give both"),
    "bead without spacing": ('kind = "axon"\nradii = [1]\nbeading = 0.2', "bead_spacing", "give both"),
    "bead too deep": ('kind = "axon"\nradii = [1]\nbeading = 1\nbead_spacing = 3', "beading", "less than 1"),
    "bend too sharp": ('kind = "axon"\nradii = [1]\nlength = 3\nbend = 180', "radii", "lower radii"),
    "bend with a unit": ('kind = "axon"\nradii = [1]\nbend = "30 deg"', "bend", "give a number"),
    "length in seconds": ('kind = "axon"\nradii = ["1 s"]', "radii", "wrong dimension"),
    "negative amplitude": ('kind = "axon"\nradii = [1]\namplitude = -1', "amplitude", "at least 0"),
    "two semi-axes": ('kind = "ellipsoid"\nsemi_axes = [1, 2]', "semi_axes", "give 3 lengths"),
    "no hole": ('kind = "torus"\nmajor = 1\nminor = 2', "minor", "give less than major"),
    "flat box": ('kind = "box"\nsize = [1, 2, 0]', "size", "positive"),
    "box around a box": ('kind = "box"\nsize = [1, 2, 3]\nextracellular = {}', "extracellular", "no such key"),
    "ball around": (
        'kind = "torus"\nmajor = 3\nminor = 1\nextracellular = { kind = "ball" }',
        "extracellular.kind",
        "'hull'",
    ),
    "no gap": ('kind = "spheres"\nradii = [2]\nextracellular = { gap = 0 }', "extracellular.gap", "positive"),
}


@pytest.mark.parametrize("fault", CELLS.values(), ids=CELLS.keys())
def test_a_cell_that_cannot_be_is_told_with_its_key(fault: tuple[str, str, str], refused: Refusal) -> None:
    keys, key, cure = fault
    line = refused(f'[geometry]\n{keys}\n[protocol]\npreset = "spinverse"\n')
    assert f"config.toml: geometry.{key}: " in line
    assert cure in line


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("2 um^^2/ms", "has a unit that does not parse"),
        ("2 parsec^2/fortnght", "has a unit that does not parse"),
        ("2 um", "has the wrong dimension"),
        ("two", "is not a quantity"),
    ],
)
def test_units_that_do_not_parse_are_told(value: str, fault: str, text: str, refused: Refusal) -> None:
    line = refused(text.replace("diffusivity = 2.0", f'diffusivity = "{value}"'))
    assert f"config.toml: tissue.diffusivity: '{value}' {fault}" in line


GAUSS_NEWTON = 'optimizer = "gauss-newton"'
L_BFGS = 'optimizer = "l-bfgs"'


class TestInversion:
    """`[inversion]` and the plugins that it names."""

    @pytest.mark.parametrize(
        ("good", "bad", "key", "cure"),
        [
            ("[inversion]", "[inversoin]", "inversoin", "'inversion'"),
            ("iterations = 3", "iterations = 0", "inversion.iterations", "greater than or equal to 1"),
            ("iterations = 3", "itertions = 3", "inversion.itertions", "'iterations'"),
            ("iterations = 3", 'optimizer = "adm"', "inversion.optimizer", "'adam'"),
            ("iterations = 3", "gauss_newton = 3", "inversion.gauss_newton", "'gauss-newton'"),
            ("iterations = 3", "[inversion.gauss-newton]", "inversion.gauss-newton", 'optimizer = "gauss-newton"'),
            ("iterations = 3", f"{GAUSS_NEWTON}\n[inversion.adam]", "inversion.adam", 'optimizer = "adam"'),
            ("iterations = 3", f'{GAUSS_NEWTON}\ngradient_rules = ["clip"]', "inversion.gradient_rules", "leave"),
            (
                "iterations = 3",
                f"{GAUSS_NEWTON}\n[inversion.gauss-newton]\ndampin = 1",
                "inversion.gauss-newton.dampin",
                "'damping'",
            ),
            (
                "iterations = 3",
                f"{GAUSS_NEWTON}\n[inversion.gauss-newton]\ndamping = 1e9",
                "inversion.gauss-newton.damping",
                "limits",
            ),
            ("iterations = 3", "[inversion.l-bfgs]", "inversion.l-bfgs", 'optimizer = "l-bfgs"'),
            ("iterations = 3", f"{L_BFGS}\n[inversion.l-bfgs]\nmemory = 0", "inversion.l-bfgs.memory", "greater"),
            ("iterations = 3", f'{L_BFGS}\ngradient_rules = ["clip"]', "inversion.gradient_rules", "leave"),
            ('"face-permeability"', '"face"', "inversion.parametrization", "face-permeability"),
            ('"all-at-once"', '"stagd"', "inversion.schedule", "'staged'"),
            ('["continuity"]', '["continuty"]', "inversion.priors[0]", "'continuity'"),
            ('["continuity"]', '["continuity", "continuity"]', "inversion.priors[1]", "once"),
            ("iterations = 3", "[inversion.continuity]\nwieght = 2", "inversion.continuity.wieght", "'weight'"),
            ("iterations = 3", '[inversion.continuity]\nweight = "2"', "inversion.continuity.weight", "number"),
            ("iterations = 3", "[inversion.staged]\nsequences = [0]", "inversion.staged", "in use are"),
            ("iterations = 3", 'gradient_rules = ["clp"]', "inversion.gradient_rules[0]", "'clip'"),
            ("iterations = 3", 'gradient_rules = ["clip", "clip"]', "inversion.gradient_rules[1]", "once"),
            ("iterations = 3", "[inversion.clip]\nlimit = 0", "inversion.clip.limit", "greater than 0"),
            (
                "iterations = 3",
                '[inversion.all-at-once.learning_rate]\nkind = "step"\nevery = 0',
                "inversion.all-at-once.learning_rate.every",
                "greater than or equal to 1",
            ),
            ("iterations = 3", 'target = "none.nc"', "inversion.target", "relative to the config"),
        ],
    )
    def test_is_checked_to_the_last_key(
        self, good: str, bad: str, key: str, cure: str, inversion_text: str, refused: Refusal
    ) -> None:
        assert good in inversion_text
        line = refused(inversion_text.replace(good, bad), "invert")
        assert f"config.toml: {key}: " in line
        assert cure in line

    def test_is_needed(self, text: str, refused: Refusal) -> None:
        assert "config.toml: inversion: the table is missing" in refused(text, "invert")

    def test_needs_something_to_divide_signals_by(self, inversion_text: str, refused: Refusal) -> None:
        """Signals are compared after division by their sequence's b = 0 signal."""
        line = refused(inversion_text.replace("[0, 500]", "500"), "invert")
        assert "config.toml: protocol: " in line
        assert "b = 0" in line

    def test_cannot_resume_from_nothing(self, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["invert", str(config), "-o", str(tmp_path / "out"), "--resume"]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert "no checkpoint" in line
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("command", ["check", "invert"])
    @pytest.mark.parametrize(
        ("good", "bad", "name"),
        [
            ("diffusivity = 2.0", "diffusivity = 2.0\ndensity = 0.8", "a density other than 1"),
            ("tolerance = 1e-3", "tolerance = 1e-3\ndegree = 2", "elements of another degree"),
        ],
    )
    def test_an_optimizer_refuses_a_tissue_that_it_does_not_know(
        self, good: str, bad: str, name: str, command: str, refused: Refusal, inversion_text: str
    ) -> None:
        text = inversion_text[: inversion_text.index("[inversion]")].replace(good, bad) + "[inversion]\n"
        line = refused(text, command)
        assert f"config.toml: inversion.optimizer: a label search does not know {name}" in line
        assert 'optimizer = "adam"' in line
