"""`[protocol]`: every waveform and every kind of file, as a config names them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from dmrifw.cli.app import run
from dmrifw.cli.experiment import ProtocolSection
from dmrifw.cli.measurements import build_protocol
from dmrifw.errors import InputError
from dmrifw.sequences import (
    DDE,
    OGSE,
    PGSE,
    PGSTE,
    TRSE,
    BTensor,
    LongNarrow,
    Protocol,
    Sampled,
    TrapezoidalOGSE,
    Waveform,
    fibonacci_directions,
)

SHELL = "[[shell]]\nb = [0, 1000]\ndirections = 3\n"
RAMPED = Sampled((0, 1, 3, 4), ((0, 0, 0), (0, 30, 0), (0, -30, 0), (0, 0, 0)))


def built(text: str, folder: Path = Path()) -> Protocol:
    return build_protocol(ProtocolSection.model_validate(tomllib.loads(text)), folder)


@pytest.mark.parametrize(
    ("keys", "waveform"),
    [
        ("delta = 10\nDelta = '0.02 s'\nramp = '500 us'", PGSE(10, 20, 0.5)),
        ("waveform = 'pgste'\ndelta = 3\nDelta = 60\nmixing = 50", PGSTE(3, 60, 0, 50)),
        ("waveform = 'trse'\ndurations = [4, 7, 6, '5 ms']\npause = 3", TRSE((4, 7, 6, 5), 3)),
        ("waveform = 'long-narrow'\nlong = 40\nnarrow = 1\nramp = 0.2", LongNarrow(40, 1, 0, 0.2)),
        ("waveform = 'dde'\ndelta = 3\nDelta = 12\nmixing = 20\nangle = 90", DDE(3, 12, 20, 90)),
        ("waveform = 'ogse'\ndelta = 20\nDelta = 25\nperiods = 2\nphase = 'sin'", OGSE(20, 25, 2, "sin")),
        (
            "waveform = 'trapezoidal-ogse'\ndelta = 20\nDelta = 25\nperiods = 2\nramp = 0.3",
            TrapezoidalOGSE(20, 25, 2, "cos", 0.3),
        ),
        ("waveform = 'b-tensor'\nduration = 20\nb_delta = -0.5", BTensor(20, -0.5)),
        (
            "waveform = 'sampled'\ntimes = [0, 1, 3, 4]\nsamples = [[0, 0, 0], [0, 30, 0], [0, -30, 0], [0, 0, 0]]",
            RAMPED,
        ),
        ("waveform = 'sampled'\nfile = 'wave.txt'", RAMPED),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_every_waveform_can_be_a_shell(keys: str, waveform: Waveform, tmp_path: Path) -> None:
    """Quantities with and without units; every b along every direction."""
    (tmp_path / "wave.txt").write_text("# t gx gy gz\n0 0 0 0\n1 0 30 0\n3 0 -30 0\n4 0 0 0\n")
    protocol = built(SHELL + keys, tmp_path)
    assert protocol.waveforms == (waveform,)
    assert protocol.bvals.tolist() == [0, 0, 0, 1000, 1000, 1000]
    np.testing.assert_array_equal(protocol.bvecs[3:], fibonacci_directions(3))


@pytest.mark.parametrize(
    ("rows", "extra", "words"),
    [
        ("0 1\n1 1", "", "file: .*|samples"),
        ("0 1 2", "", "at least two rows"),
        ("0 1\n1 -1", "interpolation = 'constant'", "row of zeros"),
        ("0 0\n1 1\n2 0", "", "does not refocus"),
    ],
)
def test_a_bad_waveform_file_is_told(rows: str, extra: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "wave.txt").write_text(rows)
    with pytest.raises(InputError, match=words):
        built(f"{SHELL}waveform = 'sampled'\nfile = 'wave.txt'\n{extra}", tmp_path)


@pytest.mark.parametrize("name", ["dwi.bval", "dwi.b", "dwi.scheme", "dwi.json"])
def test_every_kind_of_file_can_be_the_protocol(name: str, tmp_path: Path) -> None:
    """Timing comes from the file or from the sidecar beside it."""
    protocol = Protocol.pgse([0, 1000, 2000, 3000], fibonacci_directions(4), 10.6, 43.1)
    protocol.write(tmp_path / name)
    back = built(f"path = '{name}'", tmp_path)
    assert back.waveforms == protocol.waveforms
    np.testing.assert_allclose(back.bvals, protocol.bvals, rtol=1e-12)
    np.testing.assert_allclose(back.bvecs, protocol.bvecs, atol=1e-15)


def test_b_tensors_are_simulated_and_written(tmp_path: Path, text: str) -> None:
    """S = S0 at b = 0 and below it above; a waveform without pulses has no delta."""
    shell = "waveform = 'b-tensor'\nduration = 8\nb_delta = 0\nb = [0, 500]\ndirections = [[1, 0, 0], [0, 0, -1]]\n"
    head, tail = text.split("[[protocol.shell]]")[0], text.split("[solver]")[1]
    (tmp_path / "config.toml").write_text(f"{head}[[protocol.shell]]\n{shell}[solver]{tail}")
    assert run(["simulate", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]) == 0
    table = np.genfromtxt(tmp_path / "out" / "signal.csv", delimiter=",", names=True)
    assert np.isnan(table["delta"]).all()
    np.testing.assert_allclose(table["attenuation"][:2], 1, atol=1e-9)
    assert (table["attenuation"][2:] < 1).all()
