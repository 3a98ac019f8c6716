"""The face-permeability plugin keeps the contract, its bounds and its start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dmrifw_face_permeability import FacePermeability

from dmrifw import report
from dmrifw.errors import InputError
from dmrifw.mesh import Sphere, bcc_grid, from_arrays, shape_barrier
from dmrifw.plugins import build, parametrizations
from dmrifw.testing import check_parametrization, example_setting


@pytest.mark.parametrize("exterior", ["reflecting", "permeable"])
@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_it_conforms(exterior: str, jitter: float) -> None:
    setting = example_setting(exterior)
    check_parametrization(FacePermeability(setting, jitter=jitter), setting)


def test_it_is_registered_and_built_from_a_table() -> None:
    made = build(
        parametrizations()["face-permeability"], example_setting(), {"start": 2}, "inversion.face-permeability"
    )
    assert isinstance(made, FacePermeability)


def test_it_starts_uniform_at_the_value_asked_for() -> None:
    kappa = FacePermeability(example_setting("permeable"), start=3.0, temperature=0.5)()["permeability"]
    torch.testing.assert_close(kappa, torch.full_like(kappa, 3.0))


def test_it_stays_between_its_bounds_and_reaches_them() -> None:
    """sigmoid(v) goes from 0 to 1, so kappa goes from minimum to maximum."""
    model = FacePermeability(example_setting("permeable"), minimum=0.5, maximum=8.0, start=2.0)
    with torch.no_grad():
        model.v[:] = torch.linspace(-40.0, 40.0, len(model.v), dtype=torch.float64)
    kappa = model()["permeability"]
    assert kappa.min().item() == pytest.approx(0.5)
    assert kappa.max().item() == pytest.approx(8.0)
    assert (kappa.diff() >= 0).all()


def test_half_the_sigmoid_is_the_geometric_mean_of_the_bounds() -> None:
    model = FacePermeability(example_setting("permeable"))
    with torch.no_grad():
        model.v[:] = 0.0
    torch.testing.assert_close(model()["permeability"], torch.ones(len(model.v), dtype=torch.float64))


def test_reflecting_exterior_faces_are_open_and_pass_no_gradient() -> None:
    setting = example_setting("reflecting")
    model = FacePermeability(setting, jitter=0.5)
    kappa = model()["permeability"]
    kappa.sum().backward()
    exterior = torch.from_numpy(setting.grid.is_exterior)
    assert model.v.grad is not None
    assert (kappa[exterior] == 100.0).all()
    assert (model.v.grad[exterior] == 0).all()
    assert (model.v.grad[~exterior] != 0).all()


def test_jitter_follows_the_seed_alone() -> None:
    def start(seed: int) -> torch.Tensor:
        return FacePermeability(example_setting(seed=seed), jitter=0.3).v.detach()

    torch.manual_seed(1)
    first = start(7)
    torch.manual_seed(2)
    assert torch.equal(first, start(7))
    assert not torch.equal(first, start(8))
    assert first.std().item() == pytest.approx(0.3, rel=0.3)


@pytest.mark.parametrize("options", [{"start": 200.0}, {"start": 0.01}, {"minimum": 2.0}])
def test_a_start_outside_the_bounds_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="start"):
        FacePermeability(example_setting(), **options)


class TestStartFrom:
    """An earlier result to start from."""

    @pytest.fixture
    def result(self, tmp_path: Path) -> Path:
        """A ball of walls on a coarse grid, written as an inversion writes it."""
        grid, protocol = bcc_grid(2, 20.0), example_setting().protocol
        signal = np.ones(len(protocol), dtype=complex)
        dataset = report.signal_dataset(protocol, signal, np.ones(len(protocol.waveforms)), grid=grid).assign(
            cells=(("cell", "cell_vertex"), grid.cells),
            points=(("point", "axis"), grid.points),
            permeability=("face", np.where(shape_barrier(grid, Sphere(15.0)), 1e-5, 100.0)),
        )
        report.write_dataset(tmp_path / "result.nc", dataset)
        return tmp_path / "result.nc"

    def test_its_walls_are_those_of_the_start(self, result: Path) -> None:
        """Here and on a refined grid, 5 % away from the bounds: 0.01 (100 / 0.01)^0.05 = 10^-1.8 um/ms."""
        for cells in (2, 4):
            setting = replace(example_setting("permeable"), grid=bcc_grid(cells, 20.0))
            kappa = FacePermeability(setting, start_from=str(result))()["permeability"].detach()
            grid, coarse = setting.grid, bcc_grid(2, 20.0)
            assert kappa.unique().numpy() == pytest.approx([10**-1.8, 10**1.8])
            area = coarse.face_areas[shape_barrier(coarse, Sphere(15.0))].sum()
            assert grid.face_areas[kappa.numpy() < 1.0].sum() == pytest.approx(area)
            check_parametrization(FacePermeability(setting, start_from=str(result)), setting)
        beside = replace(example_setting("permeable"), grid=bcc_grid(2, 20.0), folder=result.parent)
        narrow = FacePermeability(beside, start_from=result.name, maximum=0.5)()["permeability"].detach()  # no `start`
        assert narrow.unique().numpy() == pytest.approx([0.01 * 50**0.05, 0.01 * 50**0.95])

    def test_a_result_of_elsewhere_or_of_something_else_is_refused(self, result: Path, tmp_path: Path) -> None:
        grid = bcc_grid(2, 20.0)
        elsewhere = replace(example_setting(), grid=from_arrays(grid.points + 1000.0, grid.cells))
        table = {"start_from": str(result)}
        with pytest.raises(InputError, match=r"face-permeability\.start_from: its grid lies elsewhere"):
            build(parametrizations()["face-permeability"], elsewhere, table, "inversion.face-permeability")
        protocol = example_setting().protocol
        signals = report.signal_dataset(protocol, np.ones(len(protocol)), np.ones(len(protocol.waveforms)))
        report.write_dataset(tmp_path / "signal.nc", signals)
        with pytest.raises(InputError, match="an inversion that recovered walls"):
            FacePermeability(example_setting(), start_from=str(tmp_path / "signal.nc"))
        with pytest.raises(InputError, match=r"gone\.nc: start_from: there is no such file; give the result\.nc"):
            FacePermeability(example_setting(), start_from=str(tmp_path / "gone.nc"))
        (tmp_path / "broken.nc").write_bytes(result.read_bytes()[:1000])
        with pytest.raises(InputError, match=r"broken\.nc"):
            FacePermeability(example_setting(), start_from=str(tmp_path / "broken.nc"))
