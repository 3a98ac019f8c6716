"""A checkpoint is whole or absent, gives back what it took, and is refused when damaged or another inversion's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from dmrifw.errors import InputError
from dmrifw.inversion import Checkpoint, History, fingerprint
from dmrifw.inversion.checkpoint import pack, unpack
from dmrifw.mesh import bcc_grid
from dmrifw.parametrizations import Setting
from dmrifw.sequences import Protocol
from dmrifw.testing import example_setting

MARK = {"grid": "g", "protocol": "p", "config": "c"}


class Model(torch.nn.Module):
    """Two parameters of different shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Parameter(torch.linspace(0.0, 1.0, 300, dtype=torch.float64))
        self.b = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self) -> Any:
        return {"permeability": self.a.exp() * self.b}


def trained() -> tuple[Model, torch.optim.Adam, History]:
    model = Model()
    adam = torch.optim.Adam(model.parameters(), lr=0.1)
    history = History()
    for iteration in range(3):
        adam.zero_grad()
        model()["permeability"].sum().backward()
        adam.step()
        history.append({"loss": 1 / (iteration + 3), "iteration": iteration, "gradient_norm": 1.0})
    return model, adam, history


@pytest.fixture
def written(tmp_path: Path) -> Checkpoint:
    checkpoint = Checkpoint(tmp_path / "checkpoint.h5", MARK)
    checkpoint.write(pack(*trained()))
    return checkpoint


def test_it_gives_back_what_it_took_bit_for_bit(written: Checkpoint) -> None:
    model, adam, history = trained()
    other = Model()
    other_adam = torch.optim.Adam(other.parameters(), lr=0.1)
    other_history = written.restore(written.read(), other, other_adam)
    assert other_history.rows == history.rows
    assert isinstance(other_history.rows[0]["iteration"], int)
    assert list(other_history.columns)[:2] == ["iteration", "loss"]
    for one, another in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, another)
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(adam.state[one][name], other_adam.state[another][name])


def test_nothing_but_the_file_is_left_behind(written: Checkpoint) -> None:
    assert [path.name for path in written.path.parent.iterdir()] == ["checkpoint.h5"]


def test_a_failed_write_leaves_the_old_one(written: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written.path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk is full"):
        written.write({"parameters/a": np.zeros(3)})
    assert written.path.read_bytes() == before
    assert len(list(written.path.parent.iterdir())) == 1


def test_a_write_that_finds_no_room_leaves_the_old_one(written: Checkpoint, no_room) -> None:
    before = written.path.read_bytes()
    with no_room(), pytest.raises(OSError, match="File too large"):
        written.write({"parameters/a": np.zeros(3)})
    assert written.path.read_bytes() == before
    assert len(list(written.path.parent.iterdir())) == 1


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_named(written: Checkpoint, share: float) -> None:
    content = written.path.read_bytes()
    written.path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"checkpoint\.h5: .*damaged"):
        written.read()


def test_a_flipped_bit_in_a_parameter_is_noticed(written: Checkpoint) -> None:
    content = bytearray(written.path.read_bytes())
    place = content.index(trained()[0].a.detach().numpy().tobytes())
    content[place + 5] ^= 1
    written.path.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint\.h5: .*damaged"):
        written.read()


def test_another_hdf5_file_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint.h5", MARK)
    with pytest.raises(InputError, match=r"checkpoint\.h5: there is no checkpoint"):
        checkpoint.read()
    h5py.File(checkpoint.path, "w").close()
    with pytest.raises(InputError, match=r"checkpoint\.h5: .*not a checkpoint"):
        checkpoint.read()


def test_another_inversion_s_checkpoint_is_refused(written: Checkpoint) -> None:
    other = Checkpoint(written.path, MARK | {"protocol": "q", "config": "d"})
    with pytest.raises(InputError, match=r"checkpoint\.h5: .*another protocol and another config"):
        other.read()


def test_a_state_that_does_not_fit_is_refused(written: Checkpoint) -> None:
    arrays = written.read()
    arrays["parameters/a"] = arrays["parameters/a"][1:]
    model = Model()
    with pytest.raises(InputError, match=r"checkpoint\.h5: .*does not fit"):
        written.restore(arrays, model, torch.optim.Adam(model.parameters()))


def test_a_column_that_some_rows_lack_reads_nan() -> None:
    model, adam, history = trained()
    history.append({"iteration": 3, "loss": 0.1, "extra": 2.0})
    columns = unpack(pack(model, adam, history), model, adam)
    np.testing.assert_array_equal(columns.column("extra"), [np.nan, np.nan, np.nan, 2.0])


def test_the_fingerprint_tells_grids_protocols_and_configs_apart() -> None:
    setting = example_setting()

    def mark(grid: Any = setting.grid, protocol: Any = setting.protocol, config: Any = None) -> dict[str, str]:
        return fingerprint(grid, protocol, config or {"a": 1, "b": [2.0, "c"]})

    assert mark() == mark(bcc_grid(cells=2, size=40 / 3), example_setting().protocol, {"b": [2.0, "c"], "a": 1})
    longer = Protocol.shells([0.0, 1000.0], setting.protocol.bvecs[:3], 10, 70)
    others = {"grid": mark(grid=bcc_grid(cells=2, size=13.0)), "protocol": mark(protocol=longer)}
    others["config"] = mark(config={"a": 2, "b": [2.0, "c"]})
    for part, other in others.items():
        assert [name for name, value in mark().items() if other[name] != value] == [part]


def test_a_setting_s_waveform_counts_also_where_b_is_the_same() -> None:
    """b, directions and sequence numbers agree; only Delta differs."""
    grid = example_setting().grid
    first, second = (Setting(grid, Protocol.pgse([0.0], [[0, 0, 0]], 10, Delta)).protocol for Delta in (20, 30))
    assert fingerprint(grid, first, {}) != fingerprint(grid, second, {})
