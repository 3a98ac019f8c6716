"""The spectral latent plugin: template, families, element quality, autoencoders, parametrizations, metrics."""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from dmrifw_spectral_latent import (
    FAMILIES,
    Architecture,
    AutoencoderTrainer,
    FamilyShape,
    InverseVolume,
    LatentShape,
    ScaledJacobian,
    Shape,
    SpectralAutoencoder,
    SpectralShape,
    Template,
    draw,
    largest_step,
    largest_step_along,
    load,
    scaled_jacobian,
    smallest_scaled_jacobian,
    volumes,
)
from dmrifw_spectral_latent.families import ARC
from dmrifw_spectral_latent.parametrizations import rotation_matrix
from scipy.spatial.transform import Rotation

from dmrifw.errors import InputError
from dmrifw.parametrizations import Setting
from dmrifw.plugins import build, parametrizations, priors, trainers
from dmrifw.shape_metrics import vertex_rmsd, volume
from dmrifw.testing import check_parametrization, check_prior, check_trainer, example_setting
from dmrifw.trainers import TrainingSetting

TEMPLATE = Template.shipped()

REGULAR = np.array([[1.0, 1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, -1.0], [-1.0, -1.0, 1.0]])
"""A regular tetrahedron, right-handed."""

CELL = np.array([[0, 1, 2, 3]])

SHAPES: dict[str, dict[str, object]] = {"latent-shape": {"model": "bending"}, "spectral-shape": {}, "family-shape": {}}


@cache
def cylinder_setting(exterior: str = "reflecting", seed: int = 0) -> Setting:
    return Setting(TEMPLATE.grid(), example_setting().protocol, exterior, 100, seed)


def made(name: str, setting: Setting, **options: object) -> Shape:
    shape = build(parametrizations()[name], setting, SHAPES[name] | options, f"inversion.{name}")
    assert isinstance(shape, Shape)
    return shape


def shape_of(family: str, *values: float, template: Template = TEMPLATE) -> torch.Tensor:
    return FAMILIES[family].shape(template, torch.tensor(values, dtype=torch.float64))


def drawn(family: str, count: int, seed: int) -> torch.Tensor:
    return draw(FAMILIES[family], TEMPLATE, count, seed).points


# --- template and basis


def test_the_template_is_the_cylinder_of_the_method() -> None:
    """Radius 5 um, height 20 um, about 300 vertices; its volume is that of the round cylinder, pi r^2 h."""
    assert 280 <= len(TEMPLATE.points) <= 340
    assert TEMPLATE.height == pytest.approx(20.0)
    assert TEMPLATE.width == pytest.approx(10.0)
    assert TEMPLATE.volume == pytest.approx(math.pi * 25.0 * 20.0, rel=1e-9)
    assert smallest_scaled_jacobian(TEMPLATE.points, TEMPLATE.cells) > 0.3
    np.testing.assert_allclose(TEMPLATE.points[TEMPLATE.exterior].max(axis=0)[2], 10.0)


def test_a_finer_template_is_the_same_cylinder() -> None:
    finer = Template.cylinder(h=1.8, axial_h=1.2)
    assert len(finer.points) > 1.5 * len(TEMPLATE.points)
    assert finer.volume == pytest.approx(TEMPLATE.volume, rel=1e-9)
    assert finer.digest != TEMPLATE.digest


def test_the_basis_is_orthonormal_and_goes_from_smooth_to_rough() -> None:
    """The lowest eigenvector of a connected graph's Laplacian is constant; u^T L u sums squared steps along edges."""
    basis, edges = TEMPLATE.basis, TEMPLATE.grid().edges
    torch.testing.assert_close(basis.T @ basis, torch.eye(len(TEMPLATE.points), dtype=torch.float64))
    torch.testing.assert_close(basis[:, 0], torch.full_like(basis[:, 0], len(TEMPLATE.points) ** -0.5))
    roughness = (basis[edges[:, 0]] - basis[edges[:, 1]]).square().sum(dim=0)
    assert (roughness.diff() > 0).all()
    assert (basis.pow(3).sum(dim=0) >= 0).all()


def test_all_frequencies_give_every_shape_back_and_the_straight_cylinder_needs_none() -> None:
    points = drawn("joint", 3, seed=1)
    torch.testing.assert_close(TEMPLATE.decode(TEMPLATE.encode(points)), points)
    assert TEMPLATE.encode(points, 64).shape == (3, 64, 3)
    assert (TEMPLATE.encode(TEMPLATE.rest) == 0).all()
    with pytest.raises(InputError, match="frequencies"):
        TEMPLATE.encode(points, 1000)


# --- families


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_starts_at_the_straight_cylinder(name: str) -> None:
    straight = shape_of(name, *(one.start for one in FAMILIES[name].parameters))
    torch.testing.assert_close(straight, TEMPLATE.rest - TEMPLATE.rest.mean(dim=0), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_differentiable(name: str) -> None:
    middle = [0.4 * one.low + 0.6 * one.high for one in FAMILIES[name].parameters]
    values = torch.tensor(middle, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(TEMPLATE.rest.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: (FAMILIES[name].shape(TEMPLATE, v) * weights).sum(), values)


def test_bending_is_the_parabola_of_the_method() -> None:
    """The shift is bend 30 w (z/h)^2 with w = 10 um and h = 20 um: 7.5 um at the ends for bend = 0.1, less the mean."""
    moved = (shape_of("bending", 0.1, 0.0) - TEMPLATE.rest).numpy()
    z = TEMPLATE.points[:, 2]
    np.testing.assert_allclose(np.ptp(moved[:, 0]), 0.1 * 30 * 10 * (np.max(z**2) - np.min(z**2)) / 400)
    assert moved[z.argmax(), 0] - moved[np.abs(z).argmin(), 0] == pytest.approx(7.5)
    np.testing.assert_allclose(moved[:, 1:], np.tile(moved[0, 1:], (len(moved), 1)), atol=1e-12)


def test_twisting_turns_each_layer_by_its_share_of_the_angle() -> None:
    """The top layer, at z/h = 1/2, by half of it."""
    top = TEMPLATE.points[:, 2] == TEMPLATE.points[:, 2].max()
    before, after = (points[top] - points[top].mean(axis=0) for points in (TEMPLATE.points, _twisted(0.4)))
    np.testing.assert_allclose(after, Rotation.from_rotvec([0.0, 0.0, 0.2]).apply(before), atol=1e-12)


def _twisted(angle: float) -> np.ndarray:
    return shape_of("bending", 0.0, angle).numpy()


def test_bead_in_the_middle_swells_by_the_amplitude_and_the_ends_stay() -> None:
    beaded, rest = shape_of("beading", 0.3, 3.0), TEMPLATE.rest
    beaded = beaded - (beaded - rest)[rest[:, 2] == rest[:, 2].max()].mean(dim=0)
    radius, before = (points[:, :2].norm(dim=1) for points in (beaded, rest))
    outside = before > 4.0
    factor = radius[outside] / before[outside]
    z = rest[outside, 2]
    torch.testing.assert_close(factor[z.abs() < 0.1], torch.full_like(factor[z.abs() < 0.1], 1.3))
    torch.testing.assert_close(factor[z.abs() > 9.9], torch.ones_like(factor[z.abs() > 9.9]))


def test_a_fan_of_45_degrees_turns_what_lies_beyond_its_arc_as_a_rigid_body() -> None:
    """What lies before the bend point is only shifted; the volume stays, as the axis keeps its length (Pappus)."""
    fanned, rest = shape_of("fanning", math.radians(45.0), 0.25, 0.0), TEMPLATE.rest
    share = rest[:, 2] / 20.0 + 0.5
    before, after = share <= 0.25, share >= 0.25 + ARC
    shift = (fanned - rest)[before]
    torch.testing.assert_close(shift, shift[:1].expand_as(shift))
    turn = torch.from_numpy(Rotation.from_euler("y", 45, degrees=True).as_matrix())
    moved = fanned[after] - rest[after] @ turn.T
    torch.testing.assert_close(moved, moved[:1].expand_as(moved))
    assert volume(fanned, TEMPLATE.cells) == pytest.approx(TEMPLATE.volume, rel=0.02)


def test_widening_scales_the_far_cross_section() -> None:
    widened = shape_of("fanning", 0.0, 0.25, 0.5)
    top = TEMPLATE.points[:, 2] == TEMPLATE.points[:, 2].max()
    extent, before = (np.ptp(points[top], axis=0)[:2] for points in (widened.numpy(), TEMPLATE.points))
    np.testing.assert_allclose(extent, 1.5 * before)


# --- data sets and element quality


@pytest.mark.parametrize("name", FAMILIES)
def test_data_sets_follow_the_seed_and_keep_every_element_sound(name: str) -> None:
    first, again = (draw(FAMILIES[name], TEMPLATE, count, seed=5) for count in (40, 20))
    assert torch.equal(first.points[:20], again.points)
    assert not torch.equal(first.points, draw(FAMILIES[name], TEMPLATE, 40, seed=6).points)
    assert (scaled_jacobian(first.points, TEMPLATE.cells) > 0.03).all()
    torch.testing.assert_close(FAMILIES[name].shape(TEMPLATE, first.values), first.points)
    low, high = (torch.tensor([getattr(one, end) for one in FAMILIES[name].parameters]) for end in ("low", "high"))
    zero = torch.tensor([one.strength for one in FAMILIES[name].parameters]) & (first.values == 0)
    assert (zero | ((first.values >= low) & (first.values <= high))).all()


def test_draws_that_are_thrown_away_are_counted() -> None:
    assert draw(FAMILIES["bending"], TEMPLATE, 50, seed=0).rejected == 0
    strict = draw(FAMILIES["bending"], TEMPLATE, 50, seed=0, floor=0.15)
    assert strict.rejected > 0
    assert (scaled_jacobian(strict.points, TEMPLATE.cells) > 0.15).all()
    with pytest.raises(InputError, match="floor"):
        draw(FAMILIES["fanning"], TEMPLATE, 50, seed=0, floor=0.5)


def test_scaled_jacobian_of_known_tetrahedra() -> None:
    """1 for the regular one. Corner of a cube: J = 1, the largest product is 1 sqrt(2) sqrt(2), so sqrt(2)/2."""
    corner = np.vstack([np.zeros(3), np.eye(3)])
    assert smallest_scaled_jacobian(REGULAR, CELL) == pytest.approx(1.0)
    assert smallest_scaled_jacobian(REGULAR[[1, 0, 2, 3]], CELL) == pytest.approx(-1.0)
    assert smallest_scaled_jacobian(corner, CELL) == pytest.approx(math.sqrt(2) / 2)
    assert smallest_scaled_jacobian(-corner, CELL) == pytest.approx(-math.sqrt(2) / 2)
    assert volumes(torch.from_numpy(corner), CELL).item() == pytest.approx(1 / 6)


def test_the_largest_step_of_one_tetrahedron_has_a_closed_form() -> None:
    """The apex of a cube's corner sinks to height a: J = a, the largest product sqrt(2) sqrt(1 + a^2) 1."""
    corner = np.vstack([np.zeros(3), np.eye(3)])
    sinking = np.zeros((4, 3))
    sinking[3, 2] = -1.0
    floor = 0.2
    height = floor / math.sqrt(1 - floor**2)
    assert largest_step(corner, sinking, CELL, floor, limit=5.0) == pytest.approx(1 - height, rel=1e-6)
    assert largest_step(corner, sinking, CELL, floor, limit=0.1) == 0.1
    assert largest_step(corner, np.ones((4, 3)), CELL, floor, limit=5.0) == 5.0
    assert largest_step(-corner, sinking, CELL, floor) == 0.0
    with pytest.raises(InputError, match="floor"):
        largest_step(corner, sinking, CELL, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_step_is_the_first_time_an_element_meets_the_floor(seed: int) -> None:
    floor, points = 0.02, drawn("joint", 5, seed=2)[seed].numpy()
    direction = np.random.default_rng(seed).normal(size=points.shape)
    step = largest_step(points, direction, TEMPLATE.cells, floor, limit=10.0)
    assert 0.0 < step < 10.0
    assert smallest_scaled_jacobian(points + step * direction, TEMPLATE.cells) == pytest.approx(floor, rel=1e-4)
    for share in np.linspace(0.0, 1.0, 40):
        assert smallest_scaled_jacobian(points + share * step * direction, TEMPLATE.cells) >= floor
    assert smallest_scaled_jacobian(points + 1.0001 * step * direction, TEMPLATE.cells) < floor


def test_a_cell_that_shrinks_stops_before_it_is_a_point() -> None:
    """Its shape, and so every scaled Jacobian, stays until then: six roots in one place."""
    assert 0.4 <= largest_step(TEMPLATE.points, -TEMPLATE.points, TEMPLATE.cells, limit=5.0) < 1.0


def test_a_curved_path_is_followed_as_far_as_elements_stay_sound() -> None:
    def path(step: float) -> np.ndarray:
        return shape_of("bending", step, 0.0).numpy()

    assert largest_step_along(path, TEMPLATE.cells, floor=0.03, limit=0.1) == 0.1
    step = largest_step_along(path, TEMPLATE.cells, floor=0.03, limit=1.0)
    assert 0.0 < step < 1.0
    assert smallest_scaled_jacobian(path(step), TEMPLATE.cells) >= 0.03


# --- autoencoder, weights, trainer


def test_an_untrained_autoencoder_is_the_principal_components() -> None:
    """The error of L components is the rest of the singular values (Eckart and Young)."""
    coefficients = TEMPLATE.encode(drawn("joint", 64, seed=3))
    network = SpectralAutoencoder(Architecture(len(TEMPLATE.points), 5)).double()
    network.fit_linear_path(coefficients)
    latent = network.encode(coefficients)
    error = (network.decode(latent) - coefficients).square().sum()
    singular = torch.linalg.svdvals((coefficients - coefficients.mean(dim=0)).flatten(1))
    torch.testing.assert_close(error, singular[5:].square().sum())
    torch.testing.assert_close(latent.square().mean(dim=0), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(
        network.decode(latent[:4].reshape(2, 2, 5)).reshape(4, -1, 3), network.decode(latent[:4])
    )


@pytest.mark.parametrize(("name", "bar"), [("bending", 0.15), ("beading", 0.15), ("fanning", 0.15), ("joint", 0.25)])
def test_shipped_weights_give_held_out_shapes_back(name: str, bar: float) -> None:
    """The bars of the issue, on shapes of a seed that no training used; the weights are about 1 MB, no more."""
    model = load(name)
    model.require(TEMPLATE)
    points = drawn(name, 100, seed=987)
    decoded = TEMPLATE.decode(model.network.decode(model.network.encode(TEMPLATE.encode(points))))
    assert np.mean([vertex_rmsd(*pair) for pair in zip(decoded, points, strict=True)]) <= bar
    assert (scaled_jacobian(decoded, TEMPLATE.cells) > 0).all()
    assert files("dmrifw_spectral_latent").joinpath(f"weights/{name}.safetensors").stat().st_size < 1.5e6  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_documentation_tells_what_the_weights_say(name: str) -> None:
    """The page's table against the facts that the training wrote into the file."""
    page = (Path(__file__).parents[2] / "docs/shapes.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` | ") and line.count("|") == 9)
    told = [float(cell) for cell in row.split("|")[2:8]]
    model = load(name)
    keys = ("held_out_rmsd_um", "held_out_rmsd_largest_um", "linear_path_rmsd_um")
    sizes = [model.network.architecture.latent, model.facts["samples"], model.facts["rejected"]]
    assert told == [*sizes, *(float(f"{model.facts[key]:.2g}") for key in keys)]


def test_the_joint_model_knows_the_shapes_of_every_family() -> None:
    network = load("joint").network
    for name in ("bending", "beading", "fanning"):
        coefficients = TEMPLATE.encode(drawn(name, 50, seed=986))
        squares = (network.decode(network.encode(coefficients)) - coefficients).square().sum(dim=(1, 2))
        assert (squares / len(TEMPLATE.points)).sqrt().mean() <= 0.25


def test_a_model_refuses_other_templates_and_other_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="template"):
        LatentShape(example_setting(), model="bending")
    with pytest.raises(InputError, match="joint"):
        load("bendng")
    with pytest.raises(InputError, match="no such file"):
        load(str(tmp_path / "none.safetensors"))
    (tmp_path / "bad.safetensors").write_bytes(b"not a model")
    with pytest.raises(InputError, match="not a model"):
        load(str(tmp_path / "bad.safetensors"))


@pytest.mark.parametrize("variational", [0.0, 1e-3])
def test_the_trainer_conforms(variational: float) -> None:
    table = {"family": "beading", "latent": 2, "samples": 64, "held_out": 8, "rounds": 2, "variational": variational}
    check_trainer(lambda: build(trainers()["spectral-latent"], TrainingSetting(3), table, "training.spectral-latent"))


def test_training_lowers_the_error_below_that_of_the_principal_components(tmp_path: Path) -> None:
    trainer = AutoencoderTrainer(
        TrainingSetting(), family="fanning", latent=2, samples=256, held_out=64, rounds=12, batch=16, learning_rate=1e-2
    )
    for number in range(trainer.rounds):
        trainer.train(number)
    figures = trainer.write(tmp_path)
    assert figures["held_out_rmsd_um"] < 0.9 * figures["linear_path_rmsd_um"]
    assert load(str(tmp_path / "fanning.safetensors")).facts["samples"] == 256


def test_a_model_of_another_template_comes_with_it(tmp_path: Path) -> None:
    trainer = AutoencoderTrainer(
        TrainingSetting(), family="bending", latent=2, samples=64, held_out=4, rounds=1, h=4.0, axial_h=2.5
    )
    trainer.train(0)
    trainer.write(tmp_path)
    with np.load(tmp_path / "template.npz") as kept:
        template = Template(kept["points"], kept["cells"])
    setting = Setting(template.grid(), example_setting().protocol)
    LatentShape(setting, model=str(tmp_path / "bending.safetensors"))


# --- parametrizations and priors


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("everything", [False, True])
def test_parametrizations_conform(name: str, everything: bool) -> None:
    setting = cylinder_setting("permeable" if everything else "reflecting", seed=4)
    options = {"size": True, "permeability": 0.05, "diffusivity": 2.0, "jitter": 0.05} if everything else {}
    shape = made(name, setting, **options)
    check_parametrization(shape, setting)
    assert set(shape()) == ({"points", "permeability", "diffusivity"} if everything else {"points"})


@pytest.mark.parametrize("name", SHAPES)
def test_parametrizations_start_at_the_straight_cylinder_around_the_origin(name: str) -> None:
    points = made(name, cylinder_setting())()["points"]
    assert vertex_rmsd(points.detach(), TEMPLATE.points - TEMPLATE.points.mean(axis=0)) < 0.02
    torch.testing.assert_close(points.mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", SHAPES)
def test_jitter_follows_the_seed_alone(name: str) -> None:
    first, again, other = (made(name, cylinder_setting(seed=seed), jitter=0.1)()["points"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_rotation_and_size_act_on_the_shape_about_its_centre() -> None:
    shape = FamilyShape(cylinder_setting(), start=[0.1, 0.2], size=True)
    before = shape()["points"].detach().numpy()
    assert shape.rotation is not None and shape.log_size is not None
    with torch.no_grad():
        shape.rotation.copy_(torch.tensor([0.3, -1.0, 0.5]))
        shape.log_size.fill_(math.log(1.5))
    turn = Rotation.from_rotvec([0.3, -1.0, 0.5])
    np.testing.assert_allclose(shape()["points"].detach().numpy(), 1.5 * turn.apply(before), atol=1e-6)


def test_a_rotation_matrix_is_that_of_its_vector() -> None:
    vector = torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotation_matrix, vector)
    expected = Rotation.from_rotvec([2.0, 1.0, -2.0]).as_matrix()
    np.testing.assert_allclose(rotation_matrix(torch.tensor([2.0, 1.0, -2.0], dtype=torch.float64)), expected)


def test_family_shapes_are_told_in_physical_parameters() -> None:
    shape = FamilyShape(cylinder_setting(), family="beading", start=[0.3, 3.0], rotation=False)
    torch.testing.assert_close(shape.values, torch.tensor([0.3, 3.0], dtype=torch.float64))
    torch.testing.assert_close(shape()["points"], shape_of("beading", 0.3, 3.0))
    for options, word in (({"start": [1.0]}, "amplitude, periods"), ({"family": "bed"}, "beading")):
        with pytest.raises(InputError, match=word):
            FamilyShape(cylinder_setting(), **({"family": "beading"} | options))  # type: ignore[arg-type]


def test_spectral_shapes_move_by_their_modes() -> None:
    shape = SpectralShape(cylinder_setting(), frequencies=10)
    with torch.no_grad():
        shape.coefficients[2, 0] = 3.0
    moved = shape()["points"] - SpectralShape(cylinder_setting(), frequencies=10)()["points"]
    torch.testing.assert_close(moved[:, 0], 3.0 * TEMPLATE.basis[:, 3])


def test_the_wall_is_the_exterior_and_must_leak_to_be_learned() -> None:
    setting = cylinder_setting("permeable")
    kappa = FamilyShape(setting, permeability=0.05)()["permeability"]
    wall = torch.from_numpy(setting.grid.is_exterior)
    torch.testing.assert_close(kappa[wall], torch.full_like(kappa[wall], 0.05))
    assert (kappa[~wall] == 100.0).all()
    with pytest.raises(InputError, match="permeability"):
        FamilyShape(cylinder_setting("reflecting"), permeability=0.05)


@pytest.mark.parametrize("name", ["inverse-volume", "scaled-jacobian"])
def test_barriers_conform_and_grow_without_bound(name: str) -> None:
    setting = cylinder_setting()
    prior = build(priors()[name], setting, {"weight": 1.0}, f"inversion.{name}")
    bent = shape_of("bending", 0.1, 0.2)
    check_prior(prior, {"points": bent})
    near = [float(prior({"points": shape_of("bending", bend, 0.0)}, 0)) for bend in (0.05, 0.1, 0.15, 0.2)]
    assert near == sorted(near)
    inverted = bent.clone().requires_grad_()
    penalty = prior({"points": inverted * torch.tensor([1.0, 1.0, -1.0])}, 0)
    assert math.isinf(penalty.item())


def test_barriers_at_rest_are_one_and_zero() -> None:
    rest = {"points": TEMPLATE.rest}
    assert InverseVolume(cylinder_setting(), weight=2.0)(rest, 0).item() == pytest.approx(2.0)
    assert ScaledJacobian(cylinder_setting(), weight=2.0)(rest, 0).item() == pytest.approx(0.0)
    with pytest.raises(InputError, match="floor"):
        ScaledJacobian(cylinder_setting(), floor=0.9)


def test_a_range_bounds_the_latent_and_leaves_the_start_where_it_is() -> None:
    free, bounded = made("latent-shape", cylinder_setting()), made("latent-shape", cylinder_setting(), range=3.0)
    torch.testing.assert_close(bounded()["points"], free()["points"])
    assert isinstance(bounded, LatentShape)
    with torch.no_grad():
        bounded.unknown += 100.0
    torch.testing.assert_close(bounded.latent, torch.full_like(bounded.latent, 3.0))
    with pytest.raises(InputError, match="range"):
        made("latent-shape", cylinder_setting(), range=0.5)
