"""Protocols: what is measured, and in which order."""

import numpy as np
import pytest

from dmrifw.errors import InputError
from dmrifw.sequences import PGSE, Protocol, fibonacci_directions

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
