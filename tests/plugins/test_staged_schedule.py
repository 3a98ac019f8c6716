"""The schedules keep the contract and the published order: long diffusion times first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from dmrifw_staged_schedule import (
    AllAtOnce,
    BlockRamp,
    Clip,
    Constant,
    Cosine,
    CosineBlend,
    LearningRate,
    LinearRamp,
    Staged,
    Steps,
    WarmRestarts,
)

from dmrifw.errors import InputError
from dmrifw.parametrizations import Setting
from dmrifw.plugins import build, gradient_rules, schedules
from dmrifw.schedules import Schedule
from dmrifw.sequences import Protocol
from dmrifw.testing import check_gradient_rule, check_schedule, example_setting


@pytest.fixture
def published() -> Setting:
    """400 iterations of the published protocol; its sequences are 5/6, 10/20 and 10/60 ms."""
    return Setting(example_setting().grid, Protocol.preset("spinverse"), iterations=400)


@pytest.mark.parametrize("schedule", [Staged, AllAtOnce, CosineBlend, LinearRamp, BlockRamp])
@pytest.mark.parametrize("learning_rate", [Constant(), Cosine(), Steps(), WarmRestarts()], ids=lambda one: one.kind)
@pytest.mark.parametrize("iterations", [2, 7, 100, 400])
def test_they_conform(schedule: Callable[..., Schedule], learning_rate: LearningRate, iterations: int) -> None:
    setting = example_setting(iterations=iterations)
    check_schedule(schedule(setting, learning_rate=learning_rate), setting)


def test_staged_takes_the_two_longest_diffusion_times_for_half_the_run_each(published: Setting) -> None:
    staged = Staged(published)
    weights = [staged(iteration).sequence_weights for iteration in range(400)]
    assert weights == 200 * [(0.0, 0.0, 1.0)] + 200 * [(0.0, 1.0, 0.0)]


def test_staged_orders_the_sequences_it_is_given(published: Setting) -> None:
    staged = build(schedules()["staged"], published, {"sequences": [0, 1, 2]}, "inversion.staged")
    stages = [staged(iteration).sequence_weights.index(1.0) for iteration in (0, 132, 133, 266, 267, 399, 1000)]
    assert stages == [2, 2, 1, 1, 0, 0, 0]


def test_oscillations_are_ordered_by_their_period_and_not_by_their_length() -> None:
    ladder = Setting(example_setting().grid, Protocol.preset("ogse-ladder"), "permeable", 100)
    staged = build(schedules()["staged"], ladder, {"sequences": [4, 2, 0, 1, 3]}, "inversion.staged")
    assert [staged(iteration).sequence_weights.index(1.0) for iteration in (0, 20, 40, 60, 80)] == [0, 1, 2, 3, 4]


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


def test_a_blend_in_cycles_drops_back_by_a_fraction_of_the_last_gain(published: Setting) -> None:
    """Two cycles over iterations 0 to 399: up to 1/2, back to 1/4 (half of the gain of 1/2), then up to 1."""
    blend = CosineBlend(published, blend_after=0, floor=0.0, cycles=2)
    a = [blend(iteration).sequence_weights[1] for iteration in range(400)]
    assert a[0] == 0.0
    assert a[199] == pytest.approx(0.5, abs=1e-4)
    assert a[200] == pytest.approx(0.25, abs=1e-4)
    assert a[399] == pytest.approx(1.0)
    assert max(a[:200]) == a[199]
    assert a[200:] == sorted(a[200:])
    assert CosineBlend(published, cycles=3, drop=1.0).lows == [0.0, 0.0, 0.0]
    assert CosineBlend(published, cycles=3, drop=0.0).lows == pytest.approx([0.0, 1 / 3, 2 / 3])


def test_ramps_rise_on_a_line_or_in_blocks(published: Setting) -> None:
    """Over iterations 99 to 399 a is (i - 99) / 300; in four blocks 0, 1/3, 2/3 and 1; the floor is 0.2."""
    line, blocks = LinearRamp(published, blend_after=99), BlockRamp(published, blend_after=99)
    assert [line(one).sequence_weights[1] for one in (0, 99, 159, 249, 399)] == pytest.approx([0.2, 0.2, 0.2, 0.5, 1.0])
    at = (0, 173, 174, 248, 249, 323, 324, 399)
    expected = [0.2, 0.2, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1.0, 1.0]
    assert [blocks(one).sequence_weights[1] for one in at] == pytest.approx(expected)
    assert all(sum(schedule(one).sequence_weights) == pytest.approx(1.0) for schedule in (line, blocks) for one in at)


def test_the_data_weight_can_ramp(published: Setting) -> None:
    """Published: 50 to 200 instead of 100, so factors from 0.5 to 2, on a line over the run."""
    for schedule in (Staged, AllAtOnce, CosineBlend):
        made = schedule(published, strength=(0.5, 2.0))
        plain = schedule(published)
        for iteration, factor in ((0, 0.5), (133, 1.0), (399, 2.0)):
            expected = [factor * weight for weight in plain(iteration).sequence_weights]
            assert made(iteration).sequence_weights == pytest.approx(expected)


def test_learning_rates_follow_their_formulas() -> None:
    """In a cycle of 400: constant 1; steps halve every 100 after the rise of 50, not below 0.1; two cosine cycles."""
    assert {Constant()(iteration, 400) for iteration in range(400)} == {1.0}
    steps = Steps()
    assert [steps(one, 400) for one in (0, 24, 49, 50, 149, 150, 250, 350)] == pytest.approx(
        [0.02, 0.5, 1.0, 1.0, 1.0, 0.5, 0.25, 0.125]
    )
    assert steps(10_000, 400) == 0.1
    restarts = [WarmRestarts()(one, 400) for one in range(400)]
    assert restarts == pytest.approx(2 * [Cosine()(one, 200) for one in range(200)])
    halved = WarmRestarts(cycles=3, decay=0.5)
    assert [halved(one, 100) for one in (8, 41, 75)] == pytest.approx([1.0, 0.5, 0.25], rel=0.05)


@pytest.mark.parametrize("cycles", [1, 3, 7, 100, 200])
def test_cycles_of_any_number_fill_a_run(cycles: int) -> None:
    """Each restarts once: after the lowest factor of a cycle comes the rise of the next."""
    factors = [WarmRestarts(cycles=cycles, warm_up=0)(one, 100) for one in range(100)]
    lowest = sum(factor == pytest.approx(0.1) for factor in factors)
    assert lowest == min(cycles, 100)


def test_a_learning_rate_is_chosen_by_a_table(published: Setting) -> None:
    table = {"learning_rate": {"kind": "step", "every": 10, "warm_up": 0}}
    made = build(schedules()["all-at-once"], published, table, "inversion.all-at-once")
    assert [made(one).learning_rate for one in (0, 9, 10)] == [1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"kind": "step", "every": 0}, r"^inversion\.staged\.learning_rate\.every: 0 does not fit; .*at least|greater"),
        ({"kind": "step", "evry": 1}, r"^inversion\.staged\.learning_rate\.evry: 1 does not fit"),
        ({"kind": "stp"}, r"^inversion\.staged\.learning_rate: .*'warm-restarts'"),
    ],
)
def test_a_learning_rate_that_makes_no_sense_is_told_by_its_key(published: Setting, table: dict, line: str) -> None:
    with pytest.raises(InputError, match=line):
        build(schedules()["staged"], published, {"learning_rate": table}, "inversion.staged")


def test_clip_scales_long_gradients_down_and_leaves_short_ones_alone(published: Setting) -> None:
    """|(3, 4)| = 5 over two parameters becomes 1; |(0.3, 0.4)| = 0.5 stays; and so does no gradient at all."""
    clip = build(gradient_rules()["clip"], published, {}, "inversion.clip")
    long = [torch.tensor([3.0], dtype=torch.float64), torch.tensor(4.0, dtype=torch.float64)]
    assert [one.item() for one in clip(long, {}, 0)] == pytest.approx([0.6, 0.8])
    short = [0.1 * one for one in long]
    assert all(map(torch.equal, clip(short, {}, 0), short))
    assert clip([torch.zeros(3, dtype=torch.float64)], {}, 0)[0].tolist() == [0.0, 0.0, 0.0]
    check_gradient_rule(clip)


def test_the_limit_is_annealed_with_the_blend(published: Setting) -> None:
    """From 1 to 0.1 by the half-cosine of the blend: 0.55 where a is 1/2, midway from iteration 79 to 399."""
    clip = Clip(published, final=0.1, anneal_after=79)
    assert [clip.limit_at(one) for one in (0, 79, 239, 399, 500)] == pytest.approx([1.0, 1.0, 0.55, 0.1, 0.1])
    check_gradient_rule(clip)


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
