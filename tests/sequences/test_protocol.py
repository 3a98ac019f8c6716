"""Protocols: what is measured, and in which order."""

import numpy as np
import pytest

from dmrifw.errors import InputError
from dmrifw.sequences import DDE, OGSE, PGSE, BTensor, Protocol, fibonacci_directions
from dmrifw.units import GAMMA

X = [1.0, 0.0, 0.0]


def test_spinverse_preset():
    """Spinverse (2603.04638): 5/6, 10/20, 10/60 ms, b = 0 to 5000 in steps of 1000, 30 directions: 540 in all."""
    protocol = Protocol.preset("spinverse")
    assert len(protocol) == 3 * 6 * 30 == 540
    assert protocol.waveforms == (PGSE(5, 6), PGSE(10, 20), PGSE(10, 60))
    for number in range(3):
        mine = protocol.sequence == number
        values, counts = np.unique(protocol.bvals[mine], return_counts=True)
        assert values.tolist() == [0, 1000, 2000, 3000, 4000, 5000]
        assert (counts == 30).all()
        for b in values:
            np.testing.assert_allclose(protocol.bvecs[mine & (protocol.bvals == b)], fibonacci_directions(30))


@pytest.mark.parametrize(("delta", "Delta"), [(5.0, 6.0), (10.0, 20.0), (10.0, 60.0)])
def test_q_gives_back_b(delta, Delta):
    """Holds: b = q^2 delta^2 (Delta - delta/3), with 1000 s/mm^2 = 1 ms/um^2; q points along the direction."""
    protocol = Protocol.shells([0.0, 1000.0, 3000.0], fibonacci_directions(5), delta, Delta)
    length = np.linalg.norm(protocol.q, axis=1)
    np.testing.assert_allclose(length**2 * delta**2 * (Delta - delta / 3) * 1000, protocol.bvals, rtol=1e-12)
    np.testing.assert_allclose(protocol.q, length[:, None] * protocol.bvecs, atol=1e-15)


def test_q_of_a_known_measurement():
    """By hand, for b = 1000 s/mm^2 at 10/20 ms: q = 1/sqrt(100 * 50/3) = 0.0244949 rad/(um ms)."""
    assert Protocol.pgse([1000.0], [X], 10, 20).q[0, 0] == pytest.approx(0.0244949, abs=1e-7)


def test_directions_are_normalized():
    """A direction says where, the b-value says how much; where b = 0 a direction may be missing."""
    protocol = Protocol.pgse([1000.0, 0.0], [[0.0, 3.0, 4.0], [0.0, 0.0, 0.0]], 10, 20)
    np.testing.assert_allclose(protocol.bvecs, [[0.0, 0.6, 0.8], [0.0, 0.0, 0.0]])
    assert (protocol.q[1] == 0).all()


def test_shells_run_b_by_b():
    """Measurement order is part of the contract: all directions of the first b, then of the second."""
    protocol = Protocol.shells([500.0, 2000.0], fibonacci_directions(3), 10, 30)
    assert protocol.bvals.tolist() == [500] * 3 + [2000] * 3
    np.testing.assert_array_equal(protocol.bvecs[:3], protocol.bvecs[3:])


def test_a_sum_keeps_order_and_merges_equal_waveforms():
    """Measurements of one waveform share an evolution, so equal waveforms must become one sequence."""
    first, second = Protocol.pgse([1.0], [X], 5, 6), Protocol.pgse([2.0], [X], 10, 20)
    total = first + second + Protocol.pgse([3.0], [X], 5, 6)
    assert total.waveforms == (PGSE(5, 6), PGSE(10, 20))
    assert total.sequence.tolist() == [0, 1, 0]
    assert total.bvals.tolist() == [1, 2, 3]
    assert total.delta.tolist() == [5, 10, 5]
    assert total.Delta.tolist() == [6, 20, 6]


@pytest.mark.parametrize("rows", [[2, 0], [True, False, True]])
def test_selection_keeps_sequence_numbers(rows):
    """Rows are picked by index or by mask; waveforms stay where they are."""
    protocol = Protocol.pgse([1.0, 2.0], np.eye(3)[:2], 5, 6) + Protocol.pgse([3.0], [X], 10, 20)
    part = protocol.select(np.asarray(rows))
    assert part.waveforms == protocol.waveforms
    assert sorted(part.bvals.tolist()) == [1, 3]
    assert sorted(part.sequence.tolist()) == [0, 1]
    assert part.q.shape == (2, 3)


@pytest.mark.parametrize(
    ("bvals", "bvecs", "key", "words"),
    [
        ([-1.0], [X], "bvals", "b = -1 s/mm\\^2 at measurement 0; give finite b >= 0"),
        ([0.0, np.nan], [X, X], "bvals", "measurement 1"),
        ([np.inf], [X], "bvals", "give finite b >= 0"),
        ([], np.empty((0, 3)), "bvals", "give one b-value per measurement"),
        ([[1.0, 2.0]], [X], "bvals", "give one b-value per measurement"),
        ([1.0, 2.0], [X], "bvecs", r"give shape \(2, 3\)"),
        ([1.0, 2.0], np.ones((3, 2)), "bvecs", "transpose it"),
        ([0.0, 1.0], [X, [0.0, 0.0, 0.0]], "bvecs", "direction 1"),
        ([1.0], [[np.nan, 0.0, 0.0]], "bvecs", "give a finite, non-zero vector"),
    ],
)
def test_bad_tables_are_refused(bvals, bvecs, key, words):
    """The error names the column, the row and the remedy."""
    with pytest.raises(InputError, match=words) as caught:
        Protocol.pgse(bvals, bvecs, 10, 20)
    assert caught.value.key == key


def test_overlapping_pulses_are_refused():
    """Delta < delta."""
    with pytest.raises(InputError, match="pulses would overlap"):
        Protocol.pgse([1.0], [X], 10, 5)


def test_an_unknown_preset_is_refused():
    """The error lists what there is."""
    with pytest.raises(InputError, match="spinvers'; choose one of: spinverse"):
        Protocol.preset("spinvers")


@pytest.mark.parametrize("waveform", [PGSE(10, 20, 1), OGSE(20, 25, 2), BTensor(20, 0.0, 3), DDE(3, 12, 20, 60)])
def test_b_tensors_have_the_b_values_for_traces(waveform):
    """B:I = b, in ms/um^2; along a line B = b n n^T."""
    protocol = Protocol.product(waveform, [0.0, 700.0, 2000.0], fibonacci_directions(4))
    np.testing.assert_allclose(np.trace(protocol.btensors, axis1=1, axis2=2) * 1000, protocol.bvals, atol=1e-9)
    if waveform.is_linear:
        outer = np.einsum("mi,mj->mij", protocol.bvecs, protocol.bvecs)
        np.testing.assert_allclose(protocol.btensors, protocol.bvals[:, None, None] * 1e-3 * outer, atol=1e-12)
    assert (protocol.echo_times == waveform.echo_time).all()


def test_b_follows_from_gradients():
    """By hand, b = (gamma G delta)^2 (Delta - delta/3): 40 mT/m, 10/20 ms, in SI; and back."""
    protocol = Protocol.from_gradients(PGSE(10, 20), [0.0, 40.0], [X, X])
    expected = (GAMMA * 0.04 * 0.01) ** 2 * (0.02 - 0.01 / 3) * 1e-6
    np.testing.assert_allclose(protocol.bvals, [0, expected], rtol=1e-12)
    np.testing.assert_allclose(protocol.amplitudes, [0, 40], rtol=1e-12)
    with pytest.raises(InputError, match="negative or not finite"):
        Protocol.from_gradients(PGSE(10, 20), [-1.0], [X])


def test_timing_is_not_a_number_where_there_is_none():
    """A b-tensor waveform has no pair of pulses; reports say NaN."""
    protocol = Protocol.single(BTensor(20, 0.0), [1.0], [X]) + Protocol.pgse([1.0], [X], 5, 6)
    assert np.isnan(protocol.delta[0]) and np.isnan(protocol.Delta[0])
    assert (protocol.delta[1], protocol.Delta[1]) == (5, 6)


def test_pairs_of_directions_become_double_encoding():
    """B = b/2 (n1 n1^T + n2 n2^T), so long as the blocks are apart in q; parallel pairs share one sequence."""
    first = fibonacci_directions(5)
    second = np.array([first[0], -first[1], first[3], [0.0, 0.0, 1.0], first[4]])
    protocol = Protocol.dde(np.full(5, 1000.0), first, second, 3, 12, 20)
    outer = 0.5 * (np.einsum("mi,mj->mij", first, first) + np.einsum("mi,mj->mij", second, second))
    np.testing.assert_allclose(protocol.btensors, outer, atol=1e-9)
    assert protocol.sequence[0] == protocol.sequence[4]
    assert protocol.waveforms[protocol.sequence[0]] == DDE(3, 12, 20)
    assert protocol.waveforms[protocol.sequence[1]] == DDE(3, 12, 20, 180)


@pytest.mark.parametrize(
    ("name", "waveforms", "counts"),
    [
        ("remidi", [PGSE(5, 10), PGSE(5, 25), PGSE(5, 50)], {b: 90 for b in range(0, 10001, 500)}),
        ("hcp-wu-minn", [PGSE(10.6, 43.1)], {0: 18, 1000: 90, 2000: 90, 3000: 90}),
        ("mgh-connectom", [PGSE(12.9, 21.8)], {0: 40, 1000: 64, 3000: 64, 5000: 128, 10000: 256}),
        ("uk-biobank", [PGSE(21.4, 45.5)], {0: 5, 1000: 50, 2000: 50}),
        ("ogse-ladder", [OGSE(40, 50, n) for n in range(1, 6)], {0: 150, 500: 150}),
        ("qti-lte-ste", [BTensor(30, 1, 8), BTensor(30, 0, 8)], {b: 22 for b in (0, 100, 700, 1400, 2000)}),
    ],
)
def test_presets(name, waveforms, counts):
    """Timing and shells of the published protocols; every sequence has a measurement at b = 0."""
    protocol = Protocol.preset(name)
    assert list(protocol.waveforms) == waveforms
    values, numbers = np.unique(protocol.bvals, return_counts=True)
    assert dict(zip(values.tolist(), numbers.tolist(), strict=True)) == counts
    assert set(protocol.sequence[protocol.bvals == 0]) == set(range(len(waveforms)))


def test_the_preset_for_microimaging_is_within_what_a_probe_plays():
    """At most 1000 measurements, shells evenly spaced in q, gradients to 0.8 T/m."""
    protocol = Protocol.preset("microimaging")
    assert len(protocol) == 990
    for number, (waveform, largest) in enumerate(zip(protocol.waveforms, (5000, 10000, 20000), strict=True)):
        members = protocol.sequence == number
        strengths = np.linalg.norm(protocol.q[members], axis=1) / 267.52  # rad/(um ms) over rad/(ms mT), in T/m
        levels, counts = np.unique(np.round(strengths / strengths.max(), 6), return_counts=True)
        np.testing.assert_allclose(levels, np.linspace(0, 1, 6), atol=1e-6)
        assert counts.tolist() == [10] + [64] * 5
        q = strengths.max() * 267.52 * waveform.delta
        np.testing.assert_allclose(q**2 * (waveform.Delta - waveform.delta / 3) * 1000, largest, rtol=1e-9)
        assert strengths.max() < 0.81
