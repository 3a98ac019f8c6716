"""What every waveform promises: integrals that agree with its gradient, symmetry, refocusing, and its own b formula."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmrifw.errors import InputError
from dmrifw.sequences import (
    DDE,
    OGSE,
    PGSE,
    PGSTE,
    TRSE,
    BTensor,
    LongNarrow,
    Sampled,
    TrapezoidalOGSE,
    sampled,
    table_of,
)
from dmrifw.sequences import waveform_from as from_table

SHAPES = {
    "pgse": PGSE(10, 20),
    "pgse, ramps": PGSE(10, 20, 1.5),
    "pgse, triangles that touch": PGSE(5, 10, 5),
    "pgste": PGSTE(3, 60, 0.5, 50),
    "trse": TRSE((4, 7, 7, 4), 3, 0, 0.5),
    "trse, lopsided": TRSE((4, 7, 6, 5), 3, 1, 0.5),
    "long-narrow": LongNarrow(40, 1, 3, 0.5),
    "long-narrow, alike": LongNarrow(5, 5),
    "dde, parallel": DDE(3, 12, 20),
    "dde, antiparallel": DDE(3, 12, 20, 180),
    "dde, oblique": DDE(3, 12, 20, 70, 30, 0.4),
    "cos": OGSE(20, 25, 2),
    "sin": OGSE(20, 25, 2, "sin"),
    "sin, touching": OGSE(20, 20, 1, "sin"),
    "trapezoidal cos": TrapezoidalOGSE(20, 25, 2, "cos", 0.5),
    "trapezoidal sin": TrapezoidalOGSE(20, 25, 3, "sin", 0.5),
    "lte": BTensor(20, 1, 5),
    "pte": BTensor(20, -0.5),
    "ste": BTensor(20, 0, 5),
    "prolate": BTensor(20, 0.6),
    "sampled": Sampled((0, 1, 3, 6), ((0, 0, 0), (30, -10, 5), (-18, 6, -3), (0, 0, 0))),
    "blocks": Sampled((0, 2, 3, 5), ((0, 40, 1), (0, 0, 0), (0, -40, -1)), "constant"),
}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
DIRECTIONS = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.3, -0.5, 0.2], [-0.1, 0.4, -0.7], [0.0, 0.0, -0.4]])


def integrated(shape, q, nodes=48):
    """(m, 3) wave vector at the echo and (m, 3, 3) b-tensor, by Gauss-Legendre quadrature of the gradient alone."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    wave, tensor = np.zeros_like(q), np.zeros((len(q), 3, 3))
    legendre = np.polynomial.legendre
    integrals = legendre.legint(np.eye(nodes), lbnd=-1, axis=0)  # of the Legendre polynomials
    rise = legendre.legvander(x, nodes) @ integrals @ np.linalg.inv(legendre.legvander(x, nodes - 1))
    for interval, (start, stop) in enumerate(pairwise(shape.breakpoints)):
        half = 0.5 * (stop - start)
        g = np.array([shape.gradient(q, start + half * (1 + node), interval) for node in x])
        along = wave + half * np.einsum("kl,lmi->kmi", rise, g)
        tensor += half * np.einsum("k,kmi,kmj->mij", w, along, along)
        wave = wave + half * np.einsum("k,kmi->mi", w, g)
    return wave, tensor


@every_shape
def test_b_is_the_integral_of_the_squared_wave_vector(shape):
    """By definition B = int q q^T dt with q = int g dt: the exact tensor agrees with quadrature, in any direction."""
    wave, tensor = integrated(shape, DIRECTIONS)
    scale = np.linalg.norm(DIRECTIONS, axis=1) ** 2 * shape.b_per_squared_q()
    np.testing.assert_allclose(wave, 0, atol=1e-10 * shape.echo_time)
    np.testing.assert_allclose(np.trace(tensor, axis1=1, axis2=2), scale, rtol=1e-10)
    np.testing.assert_allclose(shape.btensor(DIRECTIONS), tensor, atol=1e-10 * scale.max())


@every_shape
def test_wave_vector_is_the_integral_of_the_gradient(shape):
    """Within an interval the central difference of q(t) is g(t); q starts at 0 and ends at 0."""
    h = 1e-4
    for interval, (start, stop) in enumerate(pairwise(shape.breakpoints)):
        for time in np.linspace(start, stop, 7)[1:-1]:
            before, after = shape.wavevector(DIRECTIONS, [time - h, time + h])
            np.testing.assert_allclose(
                (after - before) / (2 * h), shape.gradient(DIRECTIONS, time, interval), atol=1e-5
            )
    np.testing.assert_allclose(shape.wavevector(DIRECTIONS, [0.0, shape.echo_time]), 0, atol=1e-9)


@every_shape
def test_symmetry_is_declared_exactly(shape):
    """g(TE - t) = -g(t) where declared, and only there: the simulator halves the evolution by it."""
    times, last = shape.breakpoints, len(shape.breakpoints) - 2
    worst = 0.0
    for interval, (start, stop) in enumerate(pairwise(times)):
        for time in np.linspace(start, stop, 9)[1:-1]:
            mirror = shape.echo_time - time
            other = int(np.clip(np.searchsorted(times, mirror) - 1, 0, last))
            sum_ = shape.gradient(DIRECTIONS, time, interval) + shape.gradient(DIRECTIONS, mirror, other)
            worst = max(worst, float(np.abs(sum_).max()))
    assert (worst < 1e-12) == shape.is_antisymmetric


@every_shape
def test_the_largest_gradient_is_one(shape):
    """So |q| is gamma times the largest gradient, and amplitudes in mT/m mean what a scanner shows."""
    largest = 0.0
    for interval, (start, stop) in enumerate(pairwise(shape.breakpoints)):
        for time in np.linspace(start, stop, 401):
            largest = max(largest, float(np.linalg.norm(shape.gradient(DIRECTIONS[:1], time, interval))))
    assert largest == pytest.approx(1, abs=1e-4)


@every_shape
def test_gradients_turn_rigidly_with_the_direction(shape):
    """Along any direction the waveform is rotated and scaled: lengths and the angle to the direction stay."""
    interval = 0
    time = 0.37 * shape.breakpoints[1]
    along_z = shape.gradient(DIRECTIONS[:1], time, interval)[0]
    turned = shape.gradient(DIRECTIONS, time, interval)
    length = np.linalg.norm(DIRECTIONS, axis=1)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), length * np.linalg.norm(along_z), rtol=1e-12)
    np.testing.assert_allclose((turned * DIRECTIONS).sum(axis=1), length**2 * along_z[2], atol=1e-14)
    assert (shape.gradient(np.zeros((1, 3)), time, interval) == 0).all()


@every_shape
def test_a_table_of_plain_values_gives_the_waveform_back(shape):
    """What a file says is what was written: nothing of a waveform is lost."""
    table = table_of(shape)
    assert from_table(table.pop("waveform"), table) == shape


@given(delta=st.floats(0.5, 40), gap=st.floats(0, 60), share=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_trapezoids_have_the_closed_form(delta, gap, share):
    """Issue: b = w^2 [d^2 (D - d/3) + e^3/30 - d e^2/6] with d the plateau and one ramp e; by quadrature."""
    ramp = share * delta
    waveform = PGSE(delta, delta + ramp + gap, ramp)
    expected = delta**2 * (waveform.Delta - delta / 3) + ramp**3 / 30 - delta * ramp**2 / 6
    assert waveform.b_per_squared_q() == pytest.approx(expected, rel=1e-14)
    assert np.trace(waveform.local_btensor()) == pytest.approx(expected, rel=1e-10)


@given(delta=st.floats(1, 60), gap=st.floats(0, 30), periods=st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_oscillations_have_the_closed_form(delta, gap, periods):
    """Issue: cos w^2 d^3/(4 pi^2 n^2), sin three times that; trapezoids without ramps are square waves of known b."""
    cos, sin = (OGSE(delta, delta + gap, periods, phase) for phase in ("cos", "sin"))
    assert cos.b_per_squared_q() == pytest.approx(delta**3 / (4 * np.pi**2 * periods**2))
    assert sin.b_per_squared_q() == pytest.approx(3 * cos.b_per_squared_q())
    x, w = np.polynomial.legendre.leggauss(40)
    for wave in (cos, sin):
        b = 0.0
        for part in range(4 * periods):
            h = delta / (8 * periods)
            q = wave.local_wavevector(h * (2 * part + 1 + x))[:, 2]
            b += 2 * h * w @ q**2
        assert wave.b_per_squared_q() == pytest.approx(b, rel=1e-10)
    # a square wave's moment is a triangle wave: mean square h^2/3 about 0 (cos), and about h (sin): 4 h^2/3
    reach = delta / (4 * periods)
    square_cos, square_sin = (TrapezoidalOGSE(delta, delta + gap, periods, phase) for phase in ("cos", "sin"))
    assert square_cos.b_per_squared_q() == pytest.approx(2 * delta * reach**2 / 3, rel=1e-9)
    assert square_sin.b_per_squared_q() == pytest.approx(2 * delta * 4 * reach**2 / 3, rel=1e-9)


@given(duration=st.floats(1, 80), b_delta=st.floats(-0.5, 1), pause=st.floats(0, 20))
@settings(max_examples=40, deadline=None)
def test_b_tensors_have_the_shape_asked_for(duration, b_delta, pause):
    """Axial symmetry about the direction, and b_delta = (B_par - B_perp)/b (Eriksson et al. 2015), B:I = b."""
    direction = np.array([[0.36, -0.48, 0.8]])
    shape = BTensor(duration, b_delta, pause)
    tensor = shape.btensor(direction)[0]
    b = np.trace(tensor)
    assert b == pytest.approx(shape.b_per_squared_q())
    axis = direction[0]
    expected = b / 3 * (1 - b_delta) * np.eye(3) + b * b_delta * np.outer(axis, axis)
    np.testing.assert_allclose(tensor, expected, atol=1e-12 * b)


def test_linear_spherical_and_planar_tensors():
    """With n the axis: LTE n n^T, STE I/3, PTE (I - n n^T)/2; B:D of an isotropic medium is b D for each."""
    n = np.array([[0.6, 0.0, 0.8]])
    outer = np.outer(n, n)
    for b_delta, expected in ((1.0, outer), (0.0, np.eye(3) / 3), (-0.5, (np.eye(3) - outer) / 2)):
        shape = BTensor(30, b_delta)
        tensor = shape.btensor(n)[0] / shape.b_per_squared_q()
        np.testing.assert_allclose(tensor, expected, atol=1e-12)
        assert (tensor * 2.0 * np.eye(3)).sum() == pytest.approx(2.0)


def test_dde_b_tensor_of_perpendicular_blocks():
    """Two equal blocks along n1 and n2 share b: B = b/2 (n1 n1^T + n2 n2^T)."""
    shape = DDE(3, 12, 20, 90)
    tensor = shape.btensor(np.array([[0.0, 0.0, 1.0]]))[0]
    np.testing.assert_allclose(tensor, shape.b_per_squared_q() / 2 * np.diag([1.0, 0.0, 1.0]), atol=1e-9)
    assert shape.b_per_squared_q() == 2 * PGSE(3, 12).b_per_squared_q()


@every_shape
def test_samples_keep_the_wave_vector_at_their_ticks(shape):
    """Cutting into blocks of the same area leaves q exact at every tick; b converges as the square of the step."""
    coarse, fine = sampled(shape, 0.5), sampled(shape, 0.02)
    times = np.array(coarse.times)
    peak = np.linalg.norm(np.array(coarse.samples), axis=1).max()
    np.testing.assert_allclose(
        coarse.wavevector(DIRECTIONS, times) * peak, shape.wavevector(DIRECTIONS, times), atol=1e-9
    )
    assert fine.b_per_squared_q() * fine.peak**2 == pytest.approx(shape.b_per_squared_q(), rel=2e-4)


@pytest.mark.parametrize(
    ("build", "key", "words"),
    [
        (lambda: PGSE(10, 20, 11), "ramp", "longer than delta"),
        (lambda: PGSE(10, 20, -1), "ramp", "at least 0 ms"),
        (lambda: PGSE(10, 11, 2), "Delta", "shorter than delta \\+ ramp = 12 ms"),
        (lambda: PGSTE(10, 60, 0, 51), "mixing", "does not fit in the 50 ms"),
        (lambda: TRSE((4, 7, 7, 5)), "durations", "does not refocus"),
        (lambda: TRSE((4, 7, 7)), "durations", "3 durations"),
        (lambda: LongNarrow(1, 40), "long", "shorter than narrow"),
        (lambda: DDE(3, 12, 2), "mixing", "start of the second pulse"),
        (lambda: DDE(3, 12, 20, 190), "angle", "0 to 180"),
        (lambda: OGSE(20, 19, 2), "Delta", "trains would overlap"),
        (lambda: OGSE(20, 25, 1.5), "periods", "whole number"),
        (lambda: OGSE(20, 25, 2, "tan"), "phase", "'cos' or 'sin'"),
        (lambda: TrapezoidalOGSE(20, 25, 2, "cos", 3), "ramp", "longer than"),
        (lambda: BTensor(20, 1.1), "b_delta", "linear"),
        (lambda: BTensor(0, 1), "duration", "positive"),
        (lambda: Sampled((0, 1, 2), (0, 1, 0)), "samples", "does not refocus: 100 %"),
        (lambda: Sampled((0, 1, 2), (0, 0, 0)), "samples", "all samples are zero"),
        (lambda: Sampled((0, 2, 1), (1, 0, -1)), "times", "ascend from 0"),
        (lambda: Sampled((0, 1, 2), (1, -1)), "samples", r"give shape \(3, 3\)"),
        (lambda: Sampled((0, 1, 2), (1, float("nan"), -1)), "samples", "finite"),
        (lambda: Sampled((0, 1, 2), (1, 0, -1), "cubic"), "interpolation", "'linear' or 'constant'"),
        (lambda: from_table("pgs", {}), "waveform", "'pgse'"),
        (lambda: from_table("pgse", {"delta": 3}), "Delta", "missing"),
        (lambda: from_table("pgse", {"delta": "3 um", "Delta": 5}), "delta", "dimension"),
        (lambda: from_table("pgse", {"delta": 3, "Delta": 5, "angle": 3}), "angle", "no such key"),
        (lambda: from_table("ogse", {"delta": 3, "Delta": 5, "periods": 2.5}), "periods", "whole number"),
        (lambda: from_table("trse", {"durations": 3}), "durations", "list of times"),
        (lambda: sampled(PGSE(1, 2), 0), "step", "positive"),
    ],
)
def test_impossible_waveforms_are_refused(build, key, words):
    """Each with the parameter at fault and its cure."""
    with pytest.raises(InputError, match=words) as caught:
        build()
    assert caught.value.key == key
