"""The conformance kit lets good plugins pass and names the promise that a bad one breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from dmrifw.schedules import Stage
from dmrifw.testing import (
    check_gradient_rule,
    check_parametrization,
    check_prior,
    check_schedule,
    example_fields,
    example_setting,
)

Fields = Mapping[str, torch.Tensor]
SETTING = example_setting()
FACES = len(SETTING.grid.faces)


class Good(torch.nn.Module):
    """The least that a parametrization must be."""

    def __init__(self) -> None:
        super().__init__()
        self.v = torch.nn.Parameter(torch.linspace(-1.0, 1.0, FACES, dtype=torch.float64))

    def forward(self) -> Any:
        return {"permeability": self.v.exp()}


class NothingToLearn(Good):
    def parameters(self, recurse: bool = True) -> Any:
        return iter(())


class SinglePrecision(Good):
    def forward(self) -> Any:
        return {"permeability": self.v.exp().float()}


class NotFinite(Good):
    def forward(self) -> Any:
        return {"permeability": self.v / 0.0}


class Negative(Good):
    def forward(self) -> Any:
        return {"permeability": self.v}


class WrongLength(Good):
    def forward(self) -> Any:
        return {"permeability": self.v[1:].exp()}


class NotAMapping(Good):
    def forward(self) -> Any:
        return self.v.exp()


class Restless(Good):
    def forward(self) -> Any:
        return {"permeability": self.v.exp() * (1 + torch.rand(1, dtype=torch.float64))}


class Detached(Good):
    def forward(self) -> Any:
        return {"permeability": self.v.detach().exp()}


class WrongGradient(Good):
    def forward(self) -> Any:
        return {"permeability": self.v.exp() + self.v.detach().exp()}


class Forgetful(Good):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {}

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return None


def test_a_good_parametrization_passes_and_is_left_as_it_was() -> None:
    good = Good()
    before = good.v.detach().clone()
    check_parametrization(good, SETTING)
    assert torch.equal(good.v, before)
    assert good.v.grad is None


@pytest.mark.parametrize(
    ("bad", "promise"),
    [
        (NothingToLearn, "nothing to learn"),
        (SinglePrecision, "float32, not float64"),
        (NotFinite, "not finite"),
        (Negative, "negative"),
        (WrongLength, f"has shape .* the grid has {FACES} faces"),
        (NotAMapping, "mapping"),
        (Restless, "two calls give different fields"),
        (Detached, "no gradient"),
        (WrongGradient, "central differences"),
        (Forgetful, "state is missing"),
    ],
)
def test_a_broken_parametrization_is_told_what_it_breaks(bad: Callable[[], Any], promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_parametrization(bad(), SETTING)


def squared(fields: Fields, iteration: int) -> torch.Tensor:
    return iteration * fields["permeability"].log().square().mean()


def changing(fields: Fields, iteration: int) -> torch.Tensor:
    value = squared(fields, iteration)
    with torch.no_grad():
        fields["permeability"][0] = 1.0
    return value


def held_constant(fields: Fields, iteration: int) -> torch.Tensor:
    kappa = fields["permeability"]
    return (kappa.detach() * kappa).mean()


def test_a_good_prior_passes_also_one_whose_ramp_starts_at_zero() -> None:
    check_prior(squared)
    check_prior(squared, example_fields(SETTING, seed=3), iterations=(5,))


def test_a_prior_may_declare_that_it_holds_a_part_constant() -> None:
    with pytest.raises(AssertionError, match="central differences"):
        check_prior(held_constant)
    check_prior(held_constant, exact_gradient=False)


@pytest.mark.parametrize(
    ("bad", "promise"),
    [
        (lambda fields, iteration: fields["permeability"], "not that of a scalar"),
        (lambda fields, iteration: fields["permeability"].sum().float(), "float32"),
        (lambda fields, iteration: fields["permeability"].sum() / 0.0, "is inf"),
        (lambda fields, iteration: torch.rand((), dtype=torch.float64), "two calls"),
        (lambda fields, iteration: fields["permeability"].detach().sum(), "no gradient"),
        (lambda fields, iteration: 0.0 * fields["permeability"].sum(), "no effect"),
        (changing, "changed the fields"),
    ],
)
def test_a_broken_prior_is_told_what_it_breaks(bad: Any, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_prior(bad)


def test_a_good_schedule_passes() -> None:
    check_schedule(lambda iteration: Stage((1.0, 0.0, 0.5), 0.1), SETTING)


@pytest.mark.parametrize(
    ("bad", "promise"),
    [
        (lambda iteration: (1.0, 1.0, 1.0), "not a Stage"),
        (lambda iteration: Stage((1.0,)), "1 weights for 3 sequences"),
        (lambda iteration: Stage((1.0, -1.0, 0.0)), "at least 0"),
        (lambda iteration: Stage((0.0, 0.0, 0.0)), "no sequence"),
        (lambda iteration: Stage((1.0, 0.0, 0.0), 0.0), "learning-rate"),
    ],
)
def test_a_broken_schedule_is_told_what_it_breaks(bad: Any, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_schedule(bad, SETTING)


def test_a_schedule_must_not_count_its_calls() -> None:
    calls: list[int] = []

    def counting(iteration: int) -> Stage:
        calls.append(iteration)
        return Stage((1.0, 1.0, 1.0), 1.0 / len(calls))

    with pytest.raises(AssertionError, match="answers differently"):
        check_schedule(counting, SETTING)


def test_a_good_gradient_rule_passes() -> None:
    check_gradient_rule(lambda gradients, fields, iteration: [2.0 * one for one in gradients])


def in_place(gradients: Sequence[torch.Tensor], fields: Fields, iteration: int) -> Sequence[torch.Tensor]:
    return [one.mul_(2.0) for one in gradients]


@pytest.mark.parametrize(
    ("bad", "promise"),
    [
        (lambda gradients, fields, iteration: [one[:-1] for one in gradients], "shape"),
        (lambda gradients, fields, iteration: [one.float() for one in gradients], "float64"),
        (lambda gradients, fields, iteration: [one / 0.0 for one in gradients], "not finite"),
        (lambda gradients, fields, iteration: [-one for one in gradients], "uphill"),
        (lambda gradients, fields, iteration: [one * torch.rand(()) for one in gradients], "two calls"),
        (in_place, "in place"),
    ],
)
def test_a_broken_gradient_rule_is_told_what_it_breaks(bad: Any, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_gradient_rule(bad)
