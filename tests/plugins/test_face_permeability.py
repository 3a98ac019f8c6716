"""The face-permeability plugin keeps the contract, its bounds and its start."""

from __future__ import annotations

import pytest
import torch
from dmrifw_face_permeability import FacePermeability

from dmrifw.errors import InputError
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
