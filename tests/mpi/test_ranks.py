"""The same signal and gradient on 1, 2 and 3 ranks and in the complex build, in the caller's numbering.

Why mpirun from inside pytest: the partition, the side of a facet that is "+", and the order of unknowns differ with the
number of ranks, and none of it may show.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dmrifw import mesh
from dmrifw.sequences import Protocol, fibonacci_directions
from dmrifw.simulator import SignalModel

SCRIPT = Path(__file__).parent / "signal_and_gradient.py"
FULL_ORDER = Path(__file__).parent / "full_order.py"
GRADIENTS = Path(__file__).parent / "gradients.py"
STEPS = Path(__file__).parent / "steps.py"
CONFORMANCE = Path(__file__).parent / "conformance.py"
SHAPES = Path(__file__).parent / "shapes.py"
WORKERS = Path(__file__).parent / "workers.py"
LABEL_SEARCH = Path(__file__).parent / "label_search.py"
SHARED = {"PYTHONPATH": str(Path(__file__).parents[1])}
COMPLEX = {"PETSC_DIR": "/usr/lib/petscdir/petsc-complex", "SLEPC_DIR": "/usr/lib/slepcdir/slepc-complex"}


def run(
    folder: Path, ranks: int, *arguments: str, environment: dict[str, str] | None = None, script: Path = SCRIPT
) -> dict[str, np.ndarray]:
    output = folder / "result.npz"
    launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, sys.executable, str(script), str(output), *arguments]
    done = subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(np.load(output))


@pytest.fixture(scope="module", params=["reflecting", "permeable", "walls"])
def serial(request, tmp_path_factory) -> tuple[str, dict[str, np.ndarray]]:
    return request.param, run(tmp_path_factory.mktemp("serial"), 1, request.param)


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """1e-7 relative: the bar of the project's contract for a tolerance of 1e-8."""
    np.testing.assert_allclose(other["signal"], one["signal"], rtol=1e-7)
    np.testing.assert_allclose(other["adc"], one["adc"], rtol=1e-7)
    scale = np.abs(one["gradient"]).max()
    assert scale > 0
    np.testing.assert_allclose(other["gradient"], one["gradient"], rtol=1e-7, atol=1e-9 * scale)


@pytest.mark.parametrize("ranks", [2, 3])
def test_number_of_ranks_does_not_show(serial, tmp_path: Path, ranks: int) -> None:
    """Parameters replicated, fields distributed: every rank returns the serial numbers."""
    exterior, expected = serial
    found = run(tmp_path, ranks, exterior)
    assert found["ranks"] == ranks
    assert_same(expected, found)


@pytest.mark.skipif(not Path(COMPLEX["PETSC_DIR"]).exists(), reason="this machine has no complex PETSc build")
def test_complex_build_does_not_show(serial, tmp_path: Path) -> None:
    """Forms are assembled in float64 in either build, and modes are made real."""
    exterior, expected = serial
    assert_same(expected, run(tmp_path, 1, exterior, environment=COMPLEX))


@pytest.fixture(scope="module")
def serial_full_order(tmp_path_factory) -> dict[str, np.ndarray]:
    return run(tmp_path_factory.mktemp("serial"), 1, script=FULL_ORDER)


def assert_all_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """1e-9 of the largest: the steps are the same, so that only rounding differs."""
    assert one.keys() == other.keys()
    for key in one.keys() - {"ranks"}:
        scale = np.abs(one[key]).max()
        assert scale > 0
        np.testing.assert_allclose(other[key], one[key], rtol=0, atol=1e-9 * scale, err_msg=key)


@pytest.mark.parametrize("ranks", [2, 3])
def test_full_order_on_ranks(serial_full_order, tmp_path: Path, ranks: int) -> None:
    """Distributed unknowns, merged across walls and periodic sides: signals, gradients, compartments and fields."""
    found = run(tmp_path, ranks, script=FULL_ORDER)
    assert found["ranks"] == ranks
    assert_all_same(serial_full_order, found)


@pytest.mark.skipif(not Path(COMPLEX["PETSC_DIR"]).exists(), reason="this machine has no complex PETSc build")
def test_full_order_in_the_complex_build(serial_full_order, tmp_path: Path) -> None:
    """Factorizations are of complex matrices there, with nothing in their imaginary parts."""
    assert_all_same(serial_full_order, run(tmp_path, 1, environment=COMPLEX, script=FULL_ORDER))


@pytest.fixture(scope="module", params=["walls", pytest.param("ambient", marks=pytest.mark.slow)])
def serial_gradients(request, tmp_path_factory) -> tuple[str, dict[str, np.ndarray]]:
    found = run(tmp_path_factory.mktemp("serial"), 1, request.param, script=GRADIENTS, environment=SHARED)
    assert_exact(found)
    return request.param, found


def assert_exact(found: dict[str, np.ndarray]) -> None:
    """Taylor remainders fall as h^2, and both directions of differentiation agree, for every input and method."""
    rates = {key: float(value) for key, value in found.items() if " rate " in key}
    products = {key: float(value) for key, value in found.items() if " products " in key}
    assert len(rates) == len(products) == 16
    assert min(rates.values()) >= 1.95, rates
    assert max(products.values()) <= 1e-10, products


def assert_same_gradients(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """1e-9 of the largest at full order; 1e-8 in a basis, which a resolution cuts, so that rounding moves it a bit."""
    compared = [key for key in one if "gradient" in key or "signal" in key]
    assert len(compared) == 18
    for key in compared:
        scale = np.abs(one[key]).max()
        assert scale > 0
        atol = (1e-9 if key.startswith("full-order") else 1e-8) * scale
        np.testing.assert_allclose(other[key], one[key], rtol=0, atol=atol, err_msg=key)


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_gradients_by_all_inputs_on_ranks(serial_gradients, tmp_path: Path, ranks: int) -> None:
    """Exact on any number of ranks, and the same gradients by vertices, cells, faces, q and samples."""
    space, expected = serial_gradients
    found = run(tmp_path, ranks, space, script=GRADIENTS, environment=SHARED)
    assert found["ranks"] == ranks
    assert_exact(found)
    assert_same_gradients(expected, found)


@pytest.mark.slow
@pytest.mark.skipif(not Path(COMPLEX["PETSC_DIR"]).exists(), reason="this machine has no complex PETSc build")
def test_gradients_by_all_inputs_in_the_complex_build(serial_gradients, tmp_path: Path) -> None:
    """Derivative forms too are compiled in float64."""
    space, expected = serial_gradients
    found = run(tmp_path, 1, space, script=GRADIENTS, environment={**SHARED, **COMPLEX})
    assert_exact(found)
    assert_same_gradients(expected, found)


def test_gauss_newton_and_l_bfgs_step_on_ranks(tmp_path: Path) -> None:
    """All ranks take the same steps, bit for bit, and those of one rank up to what the steps make of rounding."""
    expected = run(tmp_path, 1, script=STEPS)
    found = run(tmp_path, 2, script=STEPS)
    assert (expected["ranks"], found["ranks"]) == (1, 2)
    for case in ("few", "many", "l-bfgs"):
        losses = expected[f"loss {case}"]
        assert losses[-1] < 0.1 * losses[0]
        np.testing.assert_allclose(found[f"loss {case}"], losses, rtol=1e-3)
        for name in ("diffusivity", "permeability"):
            np.testing.assert_allclose(found[f"{name} {case}"], expected[f"{name} {case}"], rtol=1e-4)


def test_plugins_do_not_see_the_number_of_ranks(tmp_path: Path) -> None:
    """The conformance kit finds the same numbers on both ranks, bit for bit, for everything that is built in."""
    found = run(tmp_path, 2, script=CONFORMANCE, environment=SHARED)
    assert found["ranks"] == 2
    assert {"face-permeability", "latent-shape", "scaled-jacobian", "staged", "clip"} <= set(found["names"].tolist())


def test_a_shape_with_restarts_on_ranks(tmp_path: Path) -> None:
    """The same starts, the same best one, and the same shape as on one rank, but for rounding."""
    expected, found = run(tmp_path, 1, script=SHAPES), run(tmp_path, 2, script=SHAPES)
    assert (expected["ranks"], found["ranks"]) == (1, 2)
    assert expected["start"] == found["start"]
    np.testing.assert_array_equal(found["starts"], expected["starts"])
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-3)
    np.testing.assert_allclose(found["points"], expected["points"], atol=1e-3)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_the_parts_of_a_task(tmp_path: Path, ranks: int) -> None:
    """Each does some, and an error in one of them is raised on all."""
    found = run(tmp_path, ranks, script=WORKERS)
    np.testing.assert_array_equal(found["values"], 3.0 * np.arange(7))
    np.testing.assert_array_equal(found["ranks"], np.arange(7) % ranks)
    np.testing.assert_array_equal(found["again"], 3.0 * np.arange(3))
    assert len(found["told"]) == ranks and found["told"].all()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """The signals of a ball, and what a search makes of them on one rank."""
    folder = tmp_path_factory.mktemp("searched")
    grid = mesh.bcc_grid(2, 13.4)
    protocol = Protocol.shells([0.0, 2000.0, 5000.0], fibonacci_directions(9), 10.0, 20.0)
    walls = grid.boundary_faces(mesh.cell_labels(grid, mesh.Sphere(6.8)))
    signal, _ = SignalModel(grid, protocol, exterior="permeable").signal(np.where(walls, 0.01, 100.0), keep=False)
    np.savez(folder / "target.npz", target=signal)
    return folder / "target.npz", run(folder, 1, str(folder / "target.npz"), script=LABEL_SEARCH)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_search_as_one_does(searched, tmp_path: Path, ranks: int) -> None:
    target, expected = searched
    found = run(tmp_path, ranks, str(target), script=LABEL_SEARCH)
    assert found["alike"]
    np.testing.assert_array_equal(found["best"], expected["best"])
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-9)
    np.testing.assert_allclose(found["error"], expected["error"], rtol=1e-3, atol=1e-6)
    assert expected["best"].any()
