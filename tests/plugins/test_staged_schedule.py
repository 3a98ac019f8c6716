"""The schedules keep the contract and the published order: long diffusion times first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dmrifw_staged_schedule import AllAtOnce, CosineBlend, Staged

from dmrifw.errors import InputError
from dmrifw.parametrizations import Setting
from dmrifw.plugins import build, schedules
from dmrifw.schedules import Schedule
from dmrifw.sequences import Protocol
from dmrifw.testing import check_schedule, example_setting


@pytest.fixture
def published() -> Setting:
    """400 iterations of the published protocol; its sequences are 5/6, 10/20 and 10/60 ms."""
    return Setting(example_setting().grid, Protocol.preset("spinverse"), iterations=400)


@pytest.mark.parametrize("schedule", [Staged, AllAtOnce, CosineBlend])
@pytest.mark.parametrize("iterations", [2, 7, 100, 400])
def test_they_conform(schedule: Callable[[Setting], Schedule], iterations: int) -> None:
    setting = example_setting(iterations=iterations)
    check_schedule(schedule(setting), setting)


def test_staged_takes_the_two_longest_diffusion_times_for_half_the_run_each(published: Setting) -> None:
    staged = Staged(published)
    weights = [staged(iteration).sequence_weights for iteration in range(400)]
    assert weights == 200 * [(0.0, 0.0, 1.0)] + 200 * [(0.0, 1.0, 0.0)]


def test_staged_orders_the_sequences_it_is_given(published: Setting) -> None:
    staged = build(schedules()["staged"], published, {"sequences": [0, 1, 2]}, "inversion.staged")
    stages = [staged(iteration).sequence_weights.index(1.0) for iteration in (0, 132, 133, 266, 267, 399, 1000)]
    assert stages == [2, 2, 1, 1, 0, 0, 0]


def test_the_learning_rate_rises_for_50_iterations_decays_to_a_tenth_and_starts_anew(published: Setting) -> None:
    staged = Staged(published)
    factors = [staged(iteration).learning_rate for iteration in range(400)]
    assert factors[0] == pytest.approx(1 / 50)
    assert factors[49] == pytest.approx(1.0)
    assert factors[124] == pytest.approx(0.55)  # halfway down a half-cosine from 1 to 0.1
    assert factors[199] == pytest.approx(0.1)
    assert factors[200:] == factors[:200]


def test_all_at_once_weighs_all_sequences_alike_in_one_cycle(published: Setting) -> None:
    schedule = AllAtOnce(published)
    assert schedule(0).sequence_weights == (1.0, 1.0, 1.0)
    assert schedule(49).learning_rate == pytest.approx(1.0)
    assert schedule(399).learning_rate == pytest.approx(0.1)
    assert AllAtOnce(published, sequences=[2])(0).sequence_weights == (0.0, 0.0, 1.0)


def test_cosine_blend_goes_from_the_longest_to_the_next_and_never_silences_it(published: Setting) -> None:
    """The blend a = (1 - cos(pi s)) / 2 passes 1/2 halfway between iteration 80 and the last, 399; the floor is 0.2."""
    blend = CosineBlend(published)
    assert blend(0).sequence_weights == pytest.approx((0.0, 0.2, 0.8))
    assert blend(80).sequence_weights == pytest.approx((0.0, 0.2, 0.8))
    assert blend(239).sequence_weights[1] < 0.5 < blend(240).sequence_weights[1]
    assert blend(399).sequence_weights == pytest.approx((0.0, 1.0, 0.0))


def test_a_single_sequence_is_staged_alone_and_cannot_be_blended() -> None:
    protocol = Protocol.shells([0.0, 1000.0], example_setting().protocol.bvecs[:1], 10, 20)
    setting = Setting(example_setting().grid, protocol, iterations=10)
    check_schedule(Staged(setting), setting)
    with pytest.raises(InputError, match="sequences"):
        CosineBlend(setting)


@pytest.mark.parametrize("sequences", [[], [3], [-1], [1, 1]])
def test_a_choice_that_makes_no_sense_is_refused(published: Setting, sequences: list[int]) -> None:
    with pytest.raises(InputError, match=r"^inversion\.staged\.sequences: .*0 to 2"):
        build(schedules()["staged"], published, {"sequences": sequences}, "inversion.staged")


def test_more_stages_than_iterations_are_refused() -> None:
    with pytest.raises(InputError, match="sequences"):
        Staged(example_setting(iterations=1))
