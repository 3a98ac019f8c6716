"""Protocols in and out: every format gives back what was written, in the frame that it stands for, or says why not."""

import json

import numpy as np
import pytest

from dmrifw.errors import InputError
from dmrifw.sequences import (
    DDE,
    OGSE,
    PGSE,
    PGSTE,
    TRSE,
    BTensor,
    Protocol,
    Sampled,
    TrapezoidalOGSE,
    fibonacci_directions,
)
from dmrifw.units import GAMMA

VECTORS = fibonacci_directions(7)
BVALS = [0.0, 5.0, 1000.0, 1000.0, 2345.678, 3000.0, 1e4]
TABLE = Protocol.pgse(BVALS, VECTORS, 12.9, 21.8)
TIMINGS = Protocol.pgse([0.0, 1000.0], VECTORS[:2], 10.6, 43.1) + Protocol.pgse([500.0, 3000.0], VECTORS[2:4], 5, 25)
TILTED = np.array([[0.0, -2.0, 0.1, 5.0], [1.5, 0.1, 0.0, -7.0], [0.0, 0.1, 2.5, 9.0], [0.0, 0.0, 0.0, 1.0]])


def same(one, other, rtol=0.0):
    assert one.waveforms == other.waveforms
    np.testing.assert_array_equal(one.sequence, other.sequence)
    np.testing.assert_allclose(one.bvals, other.bvals, rtol=rtol, atol=0)
    np.testing.assert_allclose(one.bvecs, other.bvecs, rtol=0, atol=rtol)


@pytest.mark.parametrize("name", ["dwi.bval", "bvals", "scan.bvals", "dwi.b"])
@pytest.mark.parametrize("waveform", [PGSE(12.9, 21.8), PGSE(10.6, 43.1, 0.3)])
def test_gradient_tables_come_back(name, waveform, tmp_path):
    """FSL and MRtrix, with the timing in the sidecar: every digit."""
    protocol = Protocol.single(waveform, BVALS, VECTORS)
    protocol.write(tmp_path / name)
    same(Protocol.read(tmp_path / name), protocol)


def test_fsl_writes_what_fsl_reads(tmp_path):
    """One row of b, three rows of directions, in files named alike; three directions are three rows too."""
    protocol = Protocol.pgse([0, 1000, 1000], [[1, 0, 0], [0, 0.6, 0.8], [0, 0, 1]], 10, 20)
    protocol.write(tmp_path / "dwi.bval")
    assert (tmp_path / "dwi.bval").read_text() == "0 1000 1000\n"
    rows = np.loadtxt(tmp_path / "dwi.bvec")
    np.testing.assert_array_equal(rows, [[1, 0, 0], [0, 0.6, 0], [0, 0.8, 1]])
    same(Protocol.read(tmp_path / "dwi.bval"), protocol)


def test_b_values_may_stand_in_a_column(tmp_path):
    """A row or a column of numbers says the same; and files may have any names."""
    np.savetxt(tmp_path / "b", BVALS)
    np.savetxt(tmp_path / "v", VECTORS.T, fmt="%.17g")
    same(Protocol.read(tmp_path / "b", bvecs=tmp_path / "v", delta=12.9, Delta=21.8), TABLE)


@pytest.mark.parametrize(
    ("affine", "world"),
    [
        (np.diag([2.0, 2.0, 2.0, 1.0]), [-1, 0, 0]),  # RAS: positive determinant, x flipped
        (np.diag([-2.0, 2.0, 2.0, 1.0]), [-1, 0, 0]),  # LAS: FSL's own orientation, image x is world -x
        (np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), [0, -1, 0]),  # a quarter turn, determinant 1
    ],
)
def test_fsl_vectors_turn_into_world_axes(affine, world, tmp_path):
    """FSL's convention: image axes, the first flipped where the determinant is positive."""
    Protocol.pgse([1000], [[1, 0, 0]], 10, 20).write(tmp_path / "bvals")
    np.testing.assert_allclose(Protocol.read(tmp_path / "bvals", affine=affine).bvecs[0], world, atol=1e-15)


def test_fsl_with_an_affine_comes_back(tmp_path):
    """World to image and back, for an oblique image; lengths and mutual angles are those of the world vectors."""
    TABLE.write(tmp_path / "bvals", affine=TILTED)
    same(Protocol.read(tmp_path / "bvals", affine=TILTED), TABLE, 1e-14)
    inside = Protocol.read(tmp_path / "bvals").bvecs
    np.testing.assert_allclose(inside @ inside.T, VECTORS @ VECTORS.T, atol=1e-14)


def test_an_image_gives_the_affine(tmp_path):
    """The affine of a NIfTI file is the one that counts."""
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), TILTED), tmp_path / "dwi.nii.gz")
    TABLE.write(tmp_path / "bvals", image=tmp_path / "dwi.nii.gz")
    same(Protocol.read(tmp_path / "bvals", affine=TILTED), TABLE, 1e-6)  # NIfTI holds float32


def test_mrtrix_rows_are_world_vectors_and_b(tmp_path):
    """Each row x y z b; comments are skipped."""
    (tmp_path / "dwi.b").write_text("# command_history: none\n0 0 0 0\n0 0.6 0.8 1000\n")
    protocol = Protocol.read(tmp_path / "dwi.b", delta=10, Delta=20)
    same(protocol, Protocol.pgse([0, 1000], [[0, 0, 0], [0, 0.6, 0.8]], 10, 20))


def test_any_waveform_may_be_given_for_a_table(tmp_path):
    """A table holds b and direction only."""
    TABLE.write(tmp_path / "dwi.b")
    waveform = OGSE(20, 25, 2)
    same(Protocol.read(tmp_path / "dwi.b", waveform=waveform), Protocol.single(waveform, BVALS, VECTORS))


def test_a_bids_sidecar_gives_seconds_and_keeps_its_other_keys(tmp_path):
    """BIDS times are in seconds; writing adds to a sidecar."""
    (tmp_path / "dwi.json").write_text(json.dumps({"EchoTime": 0.089, "SmallDelta": 0.0214, "BigDelta": 0.0455}))
    (tmp_path / "dwi.bval").write_text("0 1000")
    (tmp_path / "dwi.bvec").write_text("0 1\n0 0\n0 0")
    protocol = Protocol.read(tmp_path / "dwi.bval")
    assert protocol.waveforms == (PGSE(21.4, 45.5),)
    protocol.write(tmp_path / "dwi.bval")
    table = json.loads((tmp_path / "dwi.json").read_text())
    assert table == {"EchoTime": 0.089, "SmallDelta": 0.0214, "LargeDelta": 0.0455, "RampTime": 0}


def test_camino_rows_are_in_si_units(tmp_path):
    """By hand: G = sqrt(b/(Delta - delta/3))/(gamma delta), T/m; b = 1000 s/mm^2 = 1e9 s/m^2, delta 10, Delta 20 ms."""
    Protocol.pgse([1000], [[0, 1, 0]], 10, 20).write(tmp_path / "a.scheme")
    head, row = (tmp_path / "a.scheme").read_text().splitlines()
    assert head == "VERSION: STEJSKALTANNER"
    strength = np.sqrt(1e9 / (0.02 - 0.01 / 3)) / (GAMMA * 0.01)
    np.testing.assert_allclose(np.array(row.split(), float), [0, 1, 0, strength, 0.02, 0.01, 0.03], rtol=1e-12)


@pytest.mark.parametrize("protocol", [TABLE, TIMINGS], ids=["one timing", "two timings"])
def test_camino_schemes_come_back(protocol, tmp_path):
    """A scheme holds each row's timing and gradient; b follows from them to rounding."""
    protocol.write(tmp_path / "a.scheme")
    same(Protocol.read(tmp_path / "a.scheme"), protocol, 1e-13)


def test_camino_rows_without_gradient_need_no_timing(tmp_path):
    """Camino writes b = 0 as zeros."""
    (tmp_path / "a.scheme").write_text("VERSION: STEJSKALTANNER\n0 0 0 0 0 0 0.08\n1 0 0 0.04 0.04 0.01 0.08\n")
    protocol = Protocol.read(tmp_path / "a.scheme")
    assert protocol.waveforms == (PGSE(10, 40),)
    expected = (GAMMA * 0.04 * 0.01) ** 2 * (0.04 - 0.01 / 3) * 1e-6
    np.testing.assert_allclose(protocol.bvals, [0, expected], rtol=1e-12)


def test_camino_waveforms_come_back(tmp_path):
    """Blocks along a line keep their direction; blocks that leave one are kept as they lie, here along z."""
    line_ = Sampled((0, 5, 10, 15), (1.0, 0, -1), "constant")
    free = Sampled((0, 1, 2, 3, 4), ((1, 0, 0), (0, 0.5, 0.2), (0, -0.5, -0.2), (-1, 0, 0)), "constant")
    protocol = Protocol.single(line_, [0.0, 700.0, 2000.0], VECTORS[:3]).select([1, 2])
    protocol += Protocol.single(free, [800.0], [[0, 0, 1]])
    protocol.write(tmp_path / "a.scheme", format="camino-waveform")
    back = Protocol.read(tmp_path / "a.scheme")
    np.testing.assert_allclose(back.bvals, protocol.bvals, rtol=1e-12)
    np.testing.assert_allclose(back.bvecs, protocol.bvecs, atol=1e-12)
    np.testing.assert_array_equal(back.sequence, protocol.sequence)
    np.testing.assert_allclose(back.btensors, protocol.btensors, atol=1e-12)


@pytest.mark.parametrize("waveform", [PGSE(5, 10), OGSE(20, 25, 2), BTensor(20, 0.0), DDE(3, 6, 5, 90)])
def test_camino_waveforms_of_anything_in_small_steps(waveform, tmp_path):
    """Cut into blocks whose areas are exact, a waveform keeps its b-tensor to the square of the step."""
    protocol = Protocol.single(waveform, [0.0, 1000.0, 1000.0], VECTORS[:3])
    protocol.write(tmp_path / "a.scheme", format="camino-waveform", step=0.1)
    back = Protocol.read(tmp_path / "a.scheme")
    np.testing.assert_allclose(back.btensors, protocol.btensors, atol=5e-3)
    assert back.echo_times[1] == pytest.approx(waveform.echo_time)


def test_our_own_form_loses_nothing(tmp_path):
    """Every waveform, every digit, every order."""
    kinds = [
        PGSE(10, 20, 0.1),
        PGSTE(3, 60, 0.5, 50),
        TRSE((4, 7, 6, 5), 3),
        DDE(3, 12, 20, 70, 30),
        OGSE(20, 25, 2, "sin"),
        TrapezoidalOGSE(20, 25, 2, "cos", 0.5),
    ]
    kinds += [BTensor(20, -0.5, 3.3), Sampled((0, 1, 2), ((1.1, 0, 0), (0, 0, 0), (-1.1, 0, 0)))]
    protocol = TIMINGS
    for waveform in kinds:
        protocol += Protocol.single(waveform, BVALS, VECTORS)
    protocol.write(tmp_path / "all.json")
    same(Protocol.read(tmp_path / "all.json"), protocol)


@pytest.mark.parametrize("protocol", [TABLE, TIMINGS, Protocol.preset("hcp-wu-minn")], ids=["one", "two", "hcp"])
def test_dipy_tables_come_back(protocol):
    """Issue: a DIPY gradient table made from ours has the same b and vectors; and it knows its timing, in seconds."""
    pytest.importorskip("dipy")
    table = protocol.to_dipy()
    np.testing.assert_array_equal(table.bvals, protocol.bvals)
    np.testing.assert_array_equal(table.bvecs, protocol.bvecs)
    np.testing.assert_allclose(table.big_delta * np.ones(len(protocol)), protocol.Delta * 1e-3)
    weighted = protocol.bvals > 0
    q = np.linalg.norm(protocol.q, axis=1) * protocol.delta * 1e3 / (2 * np.pi)  # 1/mm
    np.testing.assert_allclose(np.broadcast_to(table.qvals, len(q))[weighted], q[weighted], rtol=1e-9)
    same(Protocol.from_dipy(table), protocol)


def test_dipy_tables_carry_b_tensors():
    """DIPY's btens are s/mm^2; a table does not hold the waveform, which must be given and must fit."""
    pytest.importorskip("dipy")
    waveform = BTensor(30, 0.0)
    protocol = Protocol.single(waveform, [0.0, 1000.0], VECTORS[:2])
    table = protocol.to_dipy()
    np.testing.assert_allclose(table.btens[1], 1000 / 3 * np.eye(3), atol=1e-9)
    same(Protocol.from_dipy(table, waveform=waveform), protocol)
    with pytest.raises(InputError, match="b-tensor that BTensor does not give"):
        Protocol.from_dipy(table, waveform=BTensor(30, 1.0))


def test_a_low_b_may_count_as_0(tmp_path):
    """Scanners tell a few s/mm^2 where they mean 0, with a direction or without."""
    (tmp_path / "dwi.bval").write_text("5 995 5 1000")
    (tmp_path / "dwi.bvec").write_text("0 1 0 0\n0 0 1 0\n0 0 0 1")
    (tmp_path / "dwi.b").write_text("0 0 0 5\n1 0 0 995\n0 1 0 5\n0 0 1 1000")
    for name in ("dwi.bval", "dwi.b"):
        protocol = Protocol.read(tmp_path / name, **TIMES, b0_threshold=50)
        assert protocol.bvals.tolist() == pytest.approx([0, 995, 0, 1000])
        assert (protocol.bvals[[0, 2]] == 0).all()
        with pytest.raises(InputError, match=r"measurement 0 has b = 5 and no direction; .* b0_threshold = 5"):
            Protocol.read(tmp_path / name, **TIMES)


FSL = {"dwi.bval": "0 1000 1000 1000", "dwi.bvec": "1 0 0 0\n0 1 0 0\n0 0 1 1"}
TIMES = {"delta": 10, "Delta": 20}


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        (FSL | {"dwi.bvec": "1 0\n0 1\n0 0"}, TIMES, "dwi.bvec holds a table of 3 rows x 2 columns, .* 4 b-values"),
        (FSL | {"dwi.bvec": "1 0 0\n0 1 0\n0 0 1\n0 0 1"}, TIMES, "dwi.bvec is transposed: 4 rows x 3 columns for 4 b"),
        (FSL | {"dwi.bvec": "0 1000 1000 1000"}, TIMES, "is this the bvals file"),
        (FSL | {"dwi.bval": FSL["dwi.bvec"]}, TIMES, "is this the bvecs file"),
        (FSL | {"dwi.bval": "0 1e3 x 1"}, TIMES, "not a table of numbers"),
        (FSL, {}, "does not say delta; give delta and Delta"),
        (FSL, TIMES | {"b0_threshold": -1}, "b0_threshold = -1; give 0 or more"),
        ({"a.json": "[]"}, {"b0_threshold": 50}, "takes no b0_threshold"),
        (FSL, {"delta": 10}, "does not say Delta"),
        (FSL, TIMES | {"waveform": PGSE(1, 2)}, "given twice"),
        (FSL, TIMES | {"affine": np.zeros((4, 4))}, "singular"),
        (FSL, TIMES | {"affine": np.eye(2)}, "shape \\(2, 2\\)"),
        (FSL | {"dwi.json": '{"SmallDelta": 10, "LargeDelta": 20}'}, {}, "SmallDelta = 10; give a time in seconds"),
        (FSL | {"dwi.json": '{"SmallDelta": 0.01}'}, {}, "no LargeDelta or BigDelta"),
        (FSL | {"dwi.json": "{"}, {}, "not JSON"),
        (FSL | {"dwi.json": '{"SmallDelta": 0.01, "LargeDelta": 0.02, "EchoTime": 0.02}'}, {}, "longer than EchoTime"),
        ({"dwi.b": "1 0 0\n0 1 0"}, TIMES, "3 columns"),
        ({"dwi.b": "0.5 0 0 1000"}, TIMES, "length 0.5, by which MRtrix may scale b"),
        ({"dwi.b": "1 0 0 1000"}, TIMES | {"affine": np.eye(4)}, "takes no bvecs, affine"),
        ({"a.scheme": "VERSION: BVECTOR\n1 0 0 1000"}, {}, "version BVECTOR; give STEJSKALTANNER"),
        ({"a.scheme": "1 0 0 1000"}, {}, "VERSION: line"),
        ({"a.scheme": "VERSION: STEJSKALTANNER\n1 0 0 1"}, {}, "4 columns; give x y z"),
        ({"a.scheme": "VERSION: STEJSKALTANNER\n1 0 0 0.04 0.01 0.02 0.1"}, {}, "measurement 0: Delta = 10 ms"),
        ({"a.scheme": "VERSION: STEJSKALTANNER\n1 0 0 0.04 0.04 0.01 0.03"}, {}, "before the end of the pulses"),
        ({"a.scheme": "VERSION: STEJSKALTANNER\n0 0 0 0 0 0 0.03"}, {}, "plays no gradient"),
        ({"a.scheme": "VERSION: STEJSKALTANNER\n1 0 0 0.04 0.04 0.01 0.08"}, TIMES, "holds its timing"),
        ({"a.scheme": "VERSION: GRADIENT_WAVEFORM\n2 0.01 1 0 0 1 0 0"}, {}, "does not refocus"),
        ({"a.scheme": "VERSION: GRADIENT_WAVEFORM\n3 0.01 1 0 0 1 0 0"}, {}, "says K = 3"),
        ({"a.json": "[]"}, {}, '"format"'),
        ({"a.json": '{"format": "dmrifw protocol"}'}, {}, "incomplete"),
        ({"a.txt": "1"}, {}, "tells no format"),
        ({"a.b": "1 0 0 1000"}, TIMES | {"format": "bruker"}, "no format 'bruker'"),
        ({"a.b": "", "b": ""}, TIMES, "no numbers"),
    ],
)
def test_unsound_files_are_told_in_one_line(files, options, words, tmp_path):
    """The fault, the file and the cure."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        Protocol.read(tmp_path / next(iter(files)), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("protocol", "name", "options", "words"),
    [
        (TIMINGS, "dwi.bval", {}, "one timing, the protocol has 2 sequences"),
        (TIMINGS, "dwi.b", {}, "one timing, the protocol has 2 sequences"),
        (Protocol.single(OGSE(20, 25, 2), [1.0], [[1, 0, 0]]), "dwi.b", {}, "holds PGSE, the protocol is OGSE"),
        (Protocol.single(PGSTE(5, 60), [1.0], [[1, 0, 0]]), "dwi.b", {}, "holds PGSE, the protocol is PGSTE"),
        (Protocol.single(PGSE(5, 60, 1), [1.0], [[1, 0, 0]]), "a.scheme", {}, "rectangular PGSE.*PGSE with ramps"),
        (TABLE, "a.scheme", {"format": "camino-waveform"}, "equal blocks, not a PGSE; give a step"),
        (TABLE, "a.scheme", {"affine": np.eye(4)}, "takes no bvecs, affine"),
        (TABLE, "a.dat", {}, "tells no format"),
        (TABLE, "no/such/folder/a.json", {}, "cannot write"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(protocol, name, options, words, tmp_path):
    """Nothing is then written."""
    with pytest.raises(InputError, match=words):
        protocol.write(tmp_path / name, **options)
    assert not list(tmp_path.iterdir())
