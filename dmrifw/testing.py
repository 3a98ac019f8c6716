"""The conformance kit: does a plugin's object keep the contract? For the tests of plugin authors.

    import dmrifw.testing

    def test_my_prior() -> None:
        setting = dmrifw.testing.example_setting()
        dmrifw.testing.check_prior(MyPrior(setting))

Every check raises an AssertionError that says which promise is broken, and leaves the object as it was. Under mpirun
all ranks must call it: the check then also compares what they found, to the last bit. On one process it is local.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch

from dmrifw.gradients import GradientRule
from dmrifw.mesh import bcc_grid
from dmrifw.parametrizations import Parametrization, Setting
from dmrifw.priors import Prior
from dmrifw.schedules import Schedule, Stage
from dmrifw.sequences import Protocol, fibonacci_directions
from dmrifw.trainers import Trainer

STEP = 1e-5
"""Step of the central differences, whose error is of order STEP^2."""

ROUNDING = 1e-9
"""Rounding in central differences, relative to the value: 1e-16 / STEP, times 100 for sums over many faces."""

TOLERANCE = 1e-6
"""Largest difference between a gradient and central differences, relative to the gradient's length."""


def example_setting(exterior: str = "reflecting", iterations: int = 100, seed: int = 0) -> Setting:
    """A small problem to try a plugin on: a BCC grid of 48 tetrahedra, three diffusion times, b = 0 and 1000 s/mm^2.

    Args:
        exterior: "reflecting" or "permeable".
        iterations: Number of iterations planned.
        seed: Seed for anything random.

    Local; the grid's mesh is made on first use of it.
    """
    timings = ((5.0, 6.0), (10.0, 20.0), (10.0, 60.0))
    shells = [Protocol.shells([0.0, 1000.0], fibonacci_directions(3), *timing) for timing in timings]
    return Setting(bcc_grid(cells=2, size=40 / 3), shells[0] + shells[1] + shells[2], exterior, iterations, seed)


def example_fields(setting: Setting | None = None, seed: int = 0) -> dict[str, torch.Tensor]:
    """{"permeability": (F,)} spread log-uniformly over 0.01 to 100 um/ms on a setting's grid. Local."""
    faces = len((setting or example_setting()).grid.faces)
    share = torch.rand(faces, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {"permeability": 10.0 ** (4.0 * share - 2.0)}


def check_parametrization(obj: Parametrization, setting: Setting | None = None) -> None:
    """Check that an object is a parametrization.

    Its fields are finite float64, the same at every call, and differentiable in its parameters; the gradient agrees
    with central differences; `state_dict` holds tensors and all that the fields depend on.

    Args:
        obj: The object.
        setting: The setting it was made with, if its fields are to be checked for their length.

    Raises:
        AssertionError: A promise is broken.

    Local.
    """
    parameters = list(obj.parameters())
    _require(bool(parameters), "parameters() is empty: there is nothing to learn")
    for parameter in parameters:
        _require(parameter.dtype == torch.float64, f"a parameter has type {parameter.dtype}, not float64")
    fields = obj()
    _check_fields(fields, setting)
    _require_same(fields, obj(), "two calls give different fields")
    _check_state(obj, parameters, fields)
    _check_gradient(lambda: _probe(obj()), parameters, "the fields")
    _require_same_on_ranks([*parameters, *fields.values()], "the fields")


def check_prior(
    obj: Prior,
    fields: Mapping[str, torch.Tensor] | None = None,
    iterations: Iterable[int] = (0, 1, 50, 1000),
    exact_gradient: bool = True,
) -> None:
    """Check that an object is a prior.

    It gives a finite float64 scalar, the same at every call, leaves the fields alone, and has a gradient that agrees
    with central differences; at one iteration at least the gradient is not zero.

    Args:
        obj: The object.
        fields: Fields to call it with; `example_fields` by default, which fits a prior made with `example_setting`.
        iterations: Iterations to call it at.
        exact_gradient: False for a prior that holds part of its formula constant on purpose (`detach`), whose
            gradient is therefore not the derivative of its value.

    Raises:
        AssertionError: A promise is broken.

    Local.
    """
    given = {name: value.detach().clone() for name, value in (fields or example_fields()).items()}
    lengths = []
    for iteration in iterations:
        inputs = {name: value.clone().requires_grad_() for name, value in given.items()}
        penalty = obj(inputs, iteration)
        where = f"at iteration {iteration} the penalty"
        _require(penalty.shape == (), f"{where} has shape {tuple(penalty.shape)}, not that of a scalar")
        _require(penalty.dtype == torch.float64, f"{where} has type {penalty.dtype}, not float64")
        _require(bool(torch.isfinite(penalty)), f"{where} is {penalty.item()}")
        _require(torch.equal(penalty, obj(inputs, iteration)), f"{where} differs between two calls")
        _require_same(given, inputs, f"{where} changed the fields it was given")
        _require(penalty.requires_grad, f"{where} has no gradient: it was detached, or uses no field")
        gradients = torch.autograd.grad(penalty, list(inputs.values()), allow_unused=True)
        lengths.append(_length([one for one in gradients if one is not None], where))
        if exact_gradient:
            _check_gradient(lambda: obj(inputs, iteration), list(inputs.values()), where)
        _require_same_on_ranks([penalty, *(one for one in gradients if one is not None)], where)
    _require(max(lengths) > 0, "the gradient is zero at every iteration: the prior has no effect")


def check_schedule(obj: Schedule, setting: Setting | None = None) -> None:
    """Check that an object is a schedule.

    Every iteration has a `Stage` with one finite weight of at least 0 per sequence, one of them above 0, and a
    learning-rate factor above 0; asked again in another order, it answers the same.

    Args:
        obj: The object.
        setting: The setting it was made with; `example_setting` by default.

    Raises:
        AssertionError: A promise is broken.

    Local.
    """
    setting = setting or example_setting()
    count = len(setting.protocol.waveforms)
    stages = [obj(iteration) for iteration in range(setting.iterations)]
    for iteration, stage in enumerate(stages):
        where = f"at iteration {iteration}"
        _require(isinstance(stage, Stage), f"{where} it returned {type(stage).__name__}, not a Stage")
        weights, factor = stage.sequence_weights, stage.learning_rate
        _require(len(weights) == count, f"{where} there are {len(weights)} weights for {count} sequences")
        good = all(math.isfinite(weight) and weight >= 0 for weight in weights)
        _require(good, f"{where} the weights are {weights}, not finite and at least 0")
        _require(any(weight > 0 for weight in weights), f"{where} no sequence has a weight above 0")
        _require(math.isfinite(factor) and factor > 0, f"{where} the learning-rate factor is {factor}, not above 0")
    for iteration in reversed(range(setting.iterations)):
        _require(obj(iteration) == stages[iteration], f"asked twice for iteration {iteration} it answers differently")
    table = torch.tensor([[*stage.sequence_weights, stage.learning_rate] for stage in stages], dtype=torch.float64)
    _require_same_on_ranks([table], "the stages")


def check_trainer(make: Callable[[], Trainer]) -> None:
    """Check that what a function makes is a trainer.

    Its rounds report a finite loss, two of the same make learn the same bit by bit, and one that takes over another's
    state goes on as the other would have.

    Args:
        make: Makes a new trainer with at least two rounds, always the same.

    Raises:
        AssertionError: A promise is broken.

    Local.
    """
    first, second = make(), make()
    _require(first.rounds >= 2, f"{first.rounds} rounds are too few to check: make one with two")
    figures = first.train(0)
    _require("loss" in figures, f"a round reports {', '.join(figures)}, and no loss")
    _require(all(math.isfinite(value) for value in figures.values()), f"a round reports {dict(figures)}")
    state = _state(first)
    _require(second.train(0) == figures, "two trainers of the same make report different figures")
    _require_same(state, _state(second), "two trainers of the same make learn different things")
    later, resumed = first.train(1), make()
    resumed.load_state_dict(state)
    _require_same(state, _state(resumed), "the state differs after load_state_dict(state_dict())")
    _require(resumed.train(1) == later, "a trainer that takes over a state goes on with other figures")
    _require_same(_state(first), _state(resumed), "a trainer that takes over a state learns other things")


def check_gradient_rule(
    obj: GradientRule,
    gradients: Sequence[torch.Tensor] | None = None,
    fields: Mapping[str, torch.Tensor] | None = None,
    iterations: Iterable[int] = (0, 1, 50, 1000),
) -> None:
    """Check that an object is a gradient rule.

    It gives finite float64 gradients of the shapes it was given, the same at every call, which point uphill as theirs
    did, and leaves its arguments alone.

    Args:
        obj: The object.
        gradients: Gradients to call it with; one number per face of `example_setting`'s grid by default.
        fields: Fields to call it with; `example_fields` by default.
        iterations: Iterations to call it at.

    Raises:
        AssertionError: A promise is broken.

    Local.
    """
    fields = fields or example_fields()
    given = list(gradients or _directions([fields["permeability"]]))
    kept = [gradient.clone() for gradient in given], {name: value.clone() for name, value in fields.items()}
    for iteration in iterations:
        where = f"at iteration {iteration} the gradient"
        changed = obj(given, fields, iteration)
        _require([one.shape for one in changed] == [one.shape for one in given], f"{where} changed its shape")
        _require(all(one.dtype == torch.float64 for one in changed), f"{where} is not float64")
        _length(changed, where)
        uphill = sum(torch.sum(one * other).item() for one, other in zip(changed, given, strict=True))
        _require(uphill > 0, f"{where} no longer points uphill")
        again = zip(changed, obj(given, fields, iteration), strict=True)
        _require(all(torch.equal(one, other) for one, other in again), f"{where} differs between two calls")
        same = all(torch.equal(one, other) for one, other in zip(given, kept[0], strict=True))
        _require(same, f"{where} that was given was changed in place")
        _require_same(fields, kept[1], f"at iteration {iteration} the fields were changed")
        _require_same_on_ranks(changed, where)


def _state(obj: Parametrization | Trainer) -> dict[str, torch.Tensor]:
    """A copy of the state, made of tensors."""
    state = {}
    for name, value in obj.state_dict().items():
        _require(isinstance(value, torch.Tensor), f"state_dict holds {name!r}, a {type(value).__name__}, not a tensor")
        state[name] = value.detach().clone()
    return state


def _check_fields(fields: Mapping[str, torch.Tensor], setting: Setting | None) -> None:
    _require(isinstance(fields, Mapping) and bool(fields), "a call does not return a mapping with a field in it")
    for name, value in fields.items():
        _require(isinstance(value, torch.Tensor), f"field {name!r} is a {type(value).__name__}, not a tensor")
        _require(value.dtype == torch.float64, f"field {name!r} has type {value.dtype}, not float64")
        _require(bool(torch.isfinite(value).all()), f"field {name!r} is not finite everywhere")
    if "permeability" in fields:
        _require(bool((fields["permeability"] >= 0).all()), "the permeability is negative somewhere")
        if setting is not None:
            shape, faces = tuple(fields["permeability"].shape), len(setting.grid.faces)
            _require(shape == (faces,), f"the permeability has shape {shape}; the grid has {faces} faces")
    if "points" in fields and setting is not None:
        shape, points = tuple(fields["points"].shape), len(setting.grid.points)
        _require(shape == (points, 3), f"the points have shape {shape}; the grid has {points} points")


def _check_state(obj: Parametrization, parameters: Sequence[torch.Tensor], fields: Mapping[str, torch.Tensor]) -> None:
    """State taken, parameters changed, state put back: the fields must be those of before."""
    state = _state(obj)
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        _shift(parameters, _directions(parameters), 0.1)
        obj.load_state_dict(state)
        _require_same(fields, obj(), "the fields differ after load_state_dict(state_dict()): some state is missing")
    finally:
        _assign(parameters, before)


def _check_gradient(function: Callable[[], torch.Tensor], inputs: Sequence[torch.Tensor], what: str) -> None:
    """Compare d function / d inputs along a random direction with central differences."""
    value = function()
    _require(value.requires_grad, f"{what}: no gradient flows to the inputs")
    gradients = torch.autograd.grad(value, inputs, allow_unused=True)
    used = [(tensor, gradient) for tensor, gradient in zip(inputs, gradients, strict=True) if gradient is not None]
    length = _length([gradient for _, gradient in used], what)
    tensors = [tensor for tensor, _ in used]
    directions = _directions(tensors)
    slope = sum(
        torch.sum(gradient * direction).item() for (_, gradient), direction in zip(used, directions, strict=True)
    )
    before = [tensor.detach().clone() for tensor in tensors]
    ends = []
    try:
        for sign in (1.0, -1.0):
            _shift(tensors, directions, sign * STEP)
            with torch.no_grad():
                ends.append(function().item())
            _assign(tensors, before)
    finally:
        _assign(tensors, before)
    difference = (ends[0] - ends[1]) / (2.0 * STEP)
    _require(
        abs(slope - difference) <= TOLERANCE * length + ROUNDING * abs(value.item()),
        f"{what}: the gradient gives a slope of {slope:.10g}, central differences {difference:.10g}",
    )


def _probe(fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A scalar on which every entry of every field has a say of its own."""
    values = list(fields.values())
    return torch.stack([torch.sum(w * v) for w, v in zip(_directions(values), values, strict=True)]).sum()


def _length(gradients: Sequence[torch.Tensor], what: str) -> float:
    for gradient in gradients:
        _require(bool(torch.isfinite(gradient).all()), f"{what}: the gradient is not finite")
    return math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))


def _directions(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """A random unit vector in the product of the tensors' spaces, always the same."""
    generator = torch.Generator().manual_seed(1)
    parts = [torch.randn(tensor.shape, generator=generator, dtype=torch.float64) for tensor in tensors]
    length = math.sqrt(sum(part.square().sum().item() for part in parts))
    return [part / length for part in parts]


def _shift(tensors: Sequence[torch.Tensor], directions: Sequence[torch.Tensor], step: float) -> None:
    with torch.no_grad():
        for tensor, direction in zip(tensors, directions, strict=True):
            tensor.add_(direction, alpha=step)


def _assign(tensors: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    with torch.no_grad():
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value)


def _require_same(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor], fault: str) -> None:
    same = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    _require(same, fault)


def _require_same_on_ranks(values: Iterable[torch.Tensor], what: str) -> None:
    """Compare numbers with those of rank 0. Collective over all processes."""
    from mpi4py import MPI

    mine = [value.detach().cpu().numpy() for value in values]
    firsts = MPI.COMM_WORLD.bcast(mine, root=0)
    same = all(np.array_equal(one, other) for one, other in zip(mine, firsts, strict=True))
    _require(bool(MPI.COMM_WORLD.allreduce(same, op=MPI.LAND)), f"{what} differ between ranks")


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise AssertionError(fault)
