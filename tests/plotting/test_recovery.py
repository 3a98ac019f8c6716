"""The picture of an inversion. What it looks like is for people; that it is drawn, and tells errors apart, is here."""

import os

import matplotlib.image
import numpy as np
import pytest

from dmrifw.errors import InputError
from dmrifw.plotting import recovery_figure

HISTORY = [
    {"iteration": i, "loss": 10.0 * 0.8**i, "barrier_recall": i / 20, "barrier_precision": None if i < 3 else i / 25}
    for i in range(20)
]


def picture(path, grid, truth, recovered, history=HISTORY, **options):
    recovery_figure(path, grid, truth, np.where(recovered, 0.01, 100.0), history, **options)
    return matplotlib.image.imread(path)[:, :, :3]


def share_of_hue(image, red, green, blue):
    """Share of the pixels with this hue, at any brightness from shading, in the panel of recovered barriers."""
    width = image.shape[1]
    panel = image[:, width // 3 : 2 * width // 3].reshape(-1, 3)
    wanted = np.array([red, green, blue]) / np.linalg.norm([red, green, blue])
    length = np.maximum(np.linalg.norm(panel, axis=1), 1e-6)
    return float(((panel @ wanted / length > 0.998) & (length > 0.3)).mean())


def test_three_panels_on_white(tmp_path, grid, sphere, monkeypatch):
    """One PNG, wide, white around the edge and inked in each third; without a display and under any name."""
    monkeypatch.delitem(os.environ, "DISPLAY", raising=False)
    image = picture(tmp_path / "out", grid, sphere, sphere, title="Sphere, r = 10 µm")
    height, width, _ = image.shape
    assert width > 2000
    assert 2 < width / height < 3
    for border in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert (border == 1.0).all()
    for third in np.array_split(image, 3, axis=1):
        assert 0.01 < (third < 0.9).any(axis=2).mean() < 0.6


@pytest.fixture(scope="module")
def perfect(tmp_path_factory, grid, sphere):
    """The picture of a perfect recovery: only the legend shows the colours of errors."""
    return picture(tmp_path_factory.mktemp("perfect") / "out.png", grid, sphere, sphere)


def test_false_faces_have_their_own_colour(tmp_path, grid, sphere, perfect):
    """Walls outside of the sphere add vermillion to the panel of recovered barriers."""
    vermillion = (0xD5, 0x5E, 0x00)
    outside = np.linalg.norm(grid.points[grid.faces].mean(axis=1), axis=1) > 12
    image = picture(tmp_path / "out.png", grid, sphere, sphere | (outside & (np.arange(len(sphere)) % 5 == 0)))
    assert share_of_hue(image, *vermillion) > 5 * share_of_hue(perfect, *vermillion) > 0


def test_missing_faces_have_their_own_colour(tmp_path, grid, sphere, perfect):
    """True faces that were not recovered add yellow."""
    yellow = (0xF4, 0xEB, 0x7A)  # 0xF0E442 at 70 % on white
    image = picture(tmp_path / "out.png", grid, sphere, np.zeros_like(sphere))
    assert share_of_hue(image, *yellow) > 5 * share_of_hue(perfect, *yellow) > 0


@pytest.mark.parametrize(
    ("truth_known", "history"),
    [(True, []), (False, HISTORY[:1]), (True, [{"iteration": 0, "loss": 1.0}])],
    ids=["no history", "no true barrier", "loss only"],
)
def test_early_runs_can_be_drawn(tmp_path, grid, sphere, truth_known, history):
    """Nothing recovered yet: a figure all the same."""
    nothing = np.zeros_like(sphere)
    assert picture(tmp_path / "out.png", grid, sphere & truth_known, nothing, history).std() > 0


def test_wrong_lengths_are_refused(tmp_path, grid, sphere):
    """One entry per face, and no file is left behind."""
    with pytest.raises(InputError, match="permeability has shape"):
        recovery_figure(tmp_path / "out.png", grid, sphere, np.ones(3), HISTORY)
    assert not list(tmp_path.iterdir())
