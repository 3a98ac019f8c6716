"""Where the signals to explain come from: images, other meshes, noise; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dmrifw import report
from dmrifw.cli.app import run
from dmrifw.cli.case import build_case
from dmrifw.cli.config import parse_text
from dmrifw.cli.target import build_truth, simulate_truth
from dmrifw.inversion import add_noise

nibabel = pytest.importorskip("nibabel")
Refusal = Callable[..., str]

SHAPE = (3, 4, 2)


@pytest.fixture
def with_target(inversion_text: str) -> Callable[[str], str]:
    """A config whose target is a table."""
    return lambda table: inversion_text + f"[inversion.target]\n{table}\n"


@pytest.fixture
def image(inversion_text: str, tmp_path: Path) -> np.ndarray:
    """A scan of the config's six measurements, in which each voxel decays at a rate of its own, and a mask."""
    protocol = build_case(parse_text(inversion_text, tmp_path / "config.toml")).protocol
    rate = np.linspace(0.3, 1.5, np.prod(SHAPE)).reshape(SHAPE)[..., None]
    values = 700.0 * np.exp(-rate * protocol.bvals * 1e-3)
    save(tmp_path / "dwi.nii.gz", values)
    mask = np.full(SHAPE, np.nan)  # as some tools write what is outside
    mask[0, 0, 0], mask[1, 2, 0], mask[2, 3, 1] = 0, 1, 1
    save(tmp_path / "mask.nii.gz", mask)
    return values


def save(path: Path, values: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize(
    ("where", "voxels"), [("voxel = [1, 2, 0]", [(1, 2, 0)]), ('mask = "mask.nii.gz"', [(1, 2, 0), (2, 3, 1)])]
)
def test_an_image_is_inverted_whatever_its_unit(
    where: str, voxels: list[tuple[int, ...]], image: np.ndarray, with_target: Callable[[str], str], tmp_path: Path
) -> None:
    """The signals kept beside the result are those of the voxel, or the mean over the mask; S0 of 700 means nothing."""
    (tmp_path / "config.toml").write_text(with_target(f'image = "dwi.nii.gz"\n{where}'))
    assert run(["invert", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]) == 0
    result = report.read_signals(tmp_path / "out" / "result.nc")
    np.testing.assert_allclose(result["target"], np.mean([image[voxel] for voxel in voxels], axis=0), rtol=1e-12)
    assert result["target"].units == "arbitrary"
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert 0 < metrics["signal_relative_error"] < 0.5  # of attenuations: in um^3 it would be thousands


FAULTS = {
    "voxel outside": ('image = "dwi.nii.gz"\nvoxel = [1, 4, 0]', "voxel", "no voxel [1, 4, 0]", "3 x 4 x 2"),
    "voxel below 0": ('image = "dwi.nii.gz"\nvoxel = [-1, 0, 0]', "voxel", "[-1, 0, 0]", "from 0 on"),
    "no place": ('image = "dwi.nii.gz"', "voxel", "either voxel or mask", "give one"),
    "voxel and mask": ('image = "dwi.nii.gz"\nvoxel = [0, 0, 0]\nmask = "mask.nii.gz"', "voxel", "either", "one"),
    "three dimensions": ('image = "mask.nii.gz"\nvoxel = [0, 0, 0]', "image", "3 dimensions", "a volume for each"),
    "volumes missing": ('image = "short.nii.gz"\nvoxel = [0, 0, 0]', "image", "5 volumes", "same scan"),
    "no such image": ('image = "none.nii.gz"\nvoxel = [0, 0, 0]', "image", "no file", "give the path"),
    "no image at all": ('image = "text.nii"\nvoxel = [0, 0, 0]', "image", "no NIfTI image", ".nii.gz"),
    "half an image": ('image = "half.nii"\nvoxel = [2, 3, 1]', "image", "half.nii is damaged", "whole file"),
    "NaN": ('image = "nan.nii.gz"\nvoxel = [0, 0, 0]', "voxel", "volume 3 of", "other voxels"),
    "background": ('image = "zero.nii.gz"\nvoxel = [0, 0, 0]', "", "b = 0 signal of sequence 0 is zero", "positive"),
    "mask of another size": ('image = "dwi.nii.gz"\nmask = "dwi.nii.gz"', "mask", "3 x 4 x 2 x 6", "image's grid"),
    "empty mask": ('image = "dwi.nii.gz"\nmask = "empty.nii.gz"', "mask", "no voxel that is not 0", "voxels in it"),
    "NaN for a mask": (
        'image = "dwi.nii.gz"\nmask = "nowhere.nii.gz"',
        "mask",
        "no voxel that is not 0",
        "voxels in it",
    ),
    "mask elsewhere": ('image = "dwi.nii.gz"\nmask = "moved.nii.gz"', "mask", "lies elsewhere", "resample"),
    "negative": ('image = "negative.nii.gz"\nvoxel = [0, 0, 0]', "voxel", "b = 0 is negative", "give magnitudes"),
    "two sources": ('image = "dwi.nii.gz"\nvoxel = [0, 0, 0]\npath = "a.nc"', "image", "path and image", "give one"),
    "voxel of nothing": ("voxel = [0, 0, 0]", "voxel", "belongs to image", "give image"),
    "tissue of nothing": ("tissue = { T2 = 50 }", "tissue", "belongs to geometry", "give geometry"),
    "seed of nothing": ("seed = 3", "seed", "no noise without snr", "give snr"),
    "noise on an image": ('image = "dwi.nii.gz"\nvoxel = [0, 0, 0]\nsnr = 50', "snr", "noise of its own", "remove"),
    "no such noise": ('snr = 50\nnoise = "pink"', "noise", "'pink'", "'rician'"),
    "a bad mesh": ('geometry = { kind = "spheres", radii = [5, 3] }', "geometry.radii", "", ""),
    "a mesh without walls": ('geometry = { kind = "box", size = [5, 5, 5] }', "tissue", "", ""),
    "a misspelt key": ("voxl = [0, 0, 0]", "voxl", "no such key", "'voxel'"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_what_makes_no_target_is_told_with_its_key(
    fault: tuple[str, str, str, str],
    image: np.ndarray,
    with_target: Callable[[str], str],
    tmp_path: Path,
    refused: Refusal,
) -> None:
    table, key, told, mend = fault
    save(tmp_path / "short.nii.gz", image[..., :-1])
    save(tmp_path / "zero.nii.gz", 0.0 * image)
    save(tmp_path / "negative.nii.gz", -image)
    save(tmp_path / "nowhere.nii.gz", np.full(SHAPE, np.nan))
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE), np.diag([1.0, 1.0, 2.0, 1.0])), tmp_path / "moved.nii.gz")
    save(tmp_path / "empty.nii.gz", np.zeros(SHAPE, dtype=np.uint8))
    save(tmp_path / "nan.nii.gz", np.where(np.arange(image.shape[3]) == 3, np.nan, image))
    save(tmp_path / "half.nii", image)
    (tmp_path / "half.nii").write_bytes((tmp_path / "half.nii").read_bytes()[:900])
    (tmp_path / "text.nii").write_text("no image")
    text = with_target(table).replace("permeability = 0.01", "")
    if "walls" in table or "box" in table:
        text = text.replace("[tissue]", "[tissue]\npermeability = 0.1")
    line = refused(text, "invert")
    place = ".".join(filter(None, ("inversion.target", key)))
    assert f"config.toml: {place}" in line
    assert told in line
    assert mend in line


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('likelihood = "rician"\nmagnitude = false', "likelihood"),
        ("sigma = 0.1", "sigma"),
        ('likelihood = "poisson"', "likelihood"),
        ('likelihood = "rician"\nsigma = 0', "sigma"),
        ('likelihood = "rician"', "sigma"),
    ],
)
def test_a_likelihood_that_cannot_be_is_told(table: str, key: str, inversion_text: str, refused: Refusal) -> None:
    assert f"config.toml: inversion.{key}: " in refused(inversion_text + table, "invert")


def test_a_target_without_noise_tells_none(
    inversion_text: str, image: np.ndarray, with_target: Callable[[str], str], refused: Refusal
) -> None:
    """Neither a simulated one nor an image with one measurement at b = 0 for each direction, all alike."""
    line = refused(inversion_text + 'likelihood = "rician"', "invert")
    assert "config.toml: inversion.sigma: the target is simulated without noise" in line
    text = with_target('image = "dwi.nii.gz"\nvoxel = [0, 0, 0]')
    line = refused(text.replace("iterations = 3", 'likelihood = "gaussian"'), "invert")
    assert "config.toml: inversion.sigma: the signals at b = 0 do not differ" in line


@pytest.mark.usefixtures("without_pictures")
def test_noise_is_part_of_the_target_and_the_likelihood_is_told_of_it(
    with_target: Callable[[str], str], tmp_path: Path
) -> None:
    """Rician magnitudes at SNR 20 and a seed, on the signals of the config's own walls."""
    text = with_target('snr = 20\nnoise = "rician"\nseed = 1')
    text = text.replace("iterations = 3", 'iterations = 1\nlikelihood = "rician"\nsigma = 0.05')
    (tmp_path / "config.toml").write_text(text)
    assert run(["invert", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]) == 0
    case = build_case(parse_text(text, tmp_path / "config.toml"))
    clean, _ = case.signal_model(case.protocol).signal(case.required_permeability(), keep=False)
    target = report.read_signals(tmp_path / "out" / "result.nc")["target"].values
    np.testing.assert_allclose(target, add_noise(clean, case.protocol, 20.0, 1, "rician"), rtol=1e-9)
    assert (target != add_noise(clean, case.protocol, 20.0, 2, "rician")).all()
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["noise_sigma"] == 0.05
    assert metrics["signal_error_over_noise"] == pytest.approx(metrics["signal_relative_error"] / 0.05)


SPHERE = """
unit = "arbitrary"
[inversion.target.geometry]
kind = "spheres"
radii = [6]
h = 3
extracellular = { gap = 4 }
[inversion.target.tissue]
permeability = 0.01
"""


def test_a_truth_may_live_on_a_mesh_of_its_own(with_target: Callable[[str], str], tmp_path: Path) -> None:
    """A smooth sphere, meshed by Gmsh: its signals are the target, and its wall is what the result is compared with."""
    from dmrifw.simulator import SignalModel

    text = with_target(SPHERE).replace('barrier = { shape = "sphere", radius = 15 }', "")
    case = build_case(parse_text(text, tmp_path / "config.toml"))
    truth = build_truth(case)
    assert truth is not None
    assert truth.grid.compartment_count == 2
    signal = simulate_truth(truth)
    model = SignalModel(truth.grid, case.protocol, interfaces=truth.grid.is_interface, tolerance=1e-5)
    expected, _ = model.signal(np.where(truth.grid.is_interface, 0.01, 100.0), keep=False)
    np.testing.assert_allclose(signal, expected, rtol=1e-4)
    (tmp_path / "config.toml").write_text(text.replace("iterations = 3", "iterations = 1"))
    assert run(["check", str(tmp_path / "config.toml")]) == 0
    assert run(["invert", str(tmp_path / "config.toml"), "-o", str(tmp_path / "out")]) == 0
    np.testing.assert_allclose(report.read_signals(tmp_path / "out" / "result.nc")["target"], signal, rtol=1e-6)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"chamfer_um", "chamfer_um_symmetric", "signed_volume_error", "bad_edge_fraction"} <= metrics.keys()
    assert "barrier_recall" not in metrics
    page = (tmp_path / "out" / "report.html").read_text()
    assert "mesh of its own" in page
    assert page.count("data:image/png;base64,") >= 2


def test_two_truths_are_refused(with_target: Callable[[str], str], refused: Refusal) -> None:
    line = refused(with_target(SPHERE), "invert")
    assert "config.toml: geometry.barrier: the target has a geometry of its own" in line


def test_the_distance_to_a_truth_on_another_mesh_is_that_of_the_surfaces(tmp_path: Path, text: str) -> None:
    """One grid, and a copy of it 3 um away: at most 3 um as they lie, and 0 when centred."""
    from dmrifw.cli.walls import distance_to_truth
    from dmrifw.mesh import from_arrays

    case = build_case(parse_text(text, tmp_path / "config.toml"))
    moved = from_arrays(case.grid.points + np.array([3.0, 0.0, 0.0]), case.grid.cells)
    truth = replace(case, substrate=replace(case.substrate, grid=moved))
    inside = ~case.grid.is_exterior
    permeability = np.where(inside, 0.01, 100.0)
    found = distance_to_truth(case, replace(truth, permeability=permeability), permeability)
    assert found["chamfer_um"] == pytest.approx(0.0, abs=1e-9)
    assert found["chamfer_plain_um"] is not None
    assert 0 < found["chamfer_plain_um"] <= 3.0
    assert found["signed_volume_error"] == pytest.approx(0.0, abs=1e-9)


def test_the_point_reflection_of_a_truth_counts_where_it_is_nearer(tmp_path: Path, text: str) -> None:
    """The walls of one cell, found at the opposite side of the grid."""
    from dmrifw.cli.walls import distance_to_truth

    case = build_case(parse_text(text, tmp_path / "config.toml"))
    grid = case.grid
    middle = grid.points[grid.cells].mean(axis=1)
    one = int(np.argmax(np.linalg.norm(middle, axis=1)))
    other = int(np.argmin(np.linalg.norm(middle + middle[one], axis=1)))
    true, walls = (np.where((grid.face_cells == cell).any(axis=1), 0.01, 100.0) for cell in (one, other))
    found = distance_to_truth(case, replace(case, permeability=true), walls)
    assert found["chamfer_plain_um_symmetric"] == pytest.approx(0.0, abs=1e-9)
    assert found["chamfer_um_symmetric"] == pytest.approx(0.0, abs=1e-9)
    assert found["chamfer_plain_um"] is not None and found["chamfer_plain_um"] > 3.0
