"""The signals that an inversion must explain: from a file or an image, or simulated, on this mesh or on another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dmrifw import report
from dmrifw.cli.case import Case, blame, build_case
from dmrifw.cli.experiment import Solver
from dmrifw.cli.inversion import Target
from dmrifw.cli.search import build_true_parametrization, required_inversion
from dmrifw.errors import InputError
from dmrifw.typing import ComplexArray, FloatArray

_PLACE = "inversion.target"


def target_of(case: Case) -> Target:
    """What the config says about the target. Local."""
    return required_inversion(case).target


def read_target(case: Case) -> ComplexArray | None:
    """The target in the file or the image that `[inversion.target]` names, or None where it is to be simulated.

    Args:
        case: The case.

    Returns:
        (n,) complex signals, um^3 or the image's unit, replicated; or None.

    Raises:
        InputError: The file is missing, unsound or of other measurements; or there is no file and nothing to simulate.

    Local.
    """
    target, config = target_of(case), case.config.path
    if target.path is not None:
        file = config.parent / target.path
        if not file.exists():
            mend = "give the path of a signal.nc, signal.zarr or signal.csv, relative to the config"
            raise InputError(f"there is no file {file}", mend, key=_PLACE, file=config)
        signal = report.read_signal(file, case.protocol)
    elif target.image is not None:
        mask = None if target.mask is None else config.parent / target.mask
        with blame(_PLACE, config):
            signal = report.read_image(config.parent / target.image, case.protocol, target.voxel, mask)
    else:
        if target.geometry is None and target.parametrization is None:
            case.required_permeability()
        return None
    from dmrifw.inversion.noise import estimate_sigma, unweighted_signal

    settings = required_inversion(case)
    with blame("inversion", config):
        unweighted_signal(signal, case.protocol)
        if settings.likelihood != "squared" and settings.sigma is None and target.snr is None:
            estimate_sigma(signal, case.protocol, settings.magnitude)
    return signal


def build_truth(case: Case) -> Case | None:
    """The case of `[inversion.target.geometry]`: tissue on another mesh, whose signals are the target.

    Args:
        case: The case that is inverted; its measurements are shared, and its `[tissue]` where the target has none.

    Returns:
        The truth; None where there is no such table.

    Raises:
        InputError: Values do not fit together, or a file is missing or unsound. Keys begin with inversion.target.

    Collective: the first rank makes the meshes of generators.
    """
    target = target_of(case)
    if target.geometry is None:
        return None
    tissue, solver = target.tissue or case.config.tissue, Solver(tolerance=target.tolerance)
    changes = {"geometry": target.geometry, "tissue": tissue, "solver": solver}
    with _in_target(case.config.path):
        truth = build_case(case.config.model_copy(update=changes))
        truth.required_permeability()
    if getattr(case.config.geometry, "barrier", None):
        raise InputError(
            "the target has a geometry of its own: there would be two truths",
            "leave one of them out",
            key="geometry.barrier",
            file=case.config.path,
        )
    return truth


def simulate_truth(truth: Case) -> ComplexArray:
    """(n,) complex signals of a truth on a mesh of its own, um^3, replicated. Collective.

    Raises:
        InputError: The solver or a tissue property does not suit the mesh.
    """
    with _in_target(truth.config.path):
        model = truth.signal_model(truth.protocol)
        signal, _ = model.signal(truth.required_permeability(), keep=False)
    return signal


def true_fields(case: Case) -> dict[str, FloatArray] | None:
    """The fields of the parametrization that `[inversion.target]` names, at its start; None where it names none.

    Raises:
        InputError: It is not installed, or its table is at fault.

    Local.
    """
    import torch

    truth = build_true_parametrization(case)
    if truth is None:
        return None
    with torch.no_grad():
        return {name: value.numpy() for name, value in truth().items()}


def simulate_fields(case: Case, fields: Mapping[str, FloatArray]) -> ComplexArray:
    """(n,) complex signals of fields on the mesh that is inverted, um^3, replicated. Collective.

    Raises:
        InputError: The simulator refuses the fields.
    """
    wanted = target_of(case).tolerance
    solver = case.config.solver if wanted is None else case.config.solver.model_copy(update={"tolerance": wanted})
    with _in_target(case.config.path):
        model = replace(case, config=case.config.model_copy(update={"solver": solver})).signal_model(case.protocol)
        signal, _ = model.signal(keep=False, **fields)
    return signal


def describe_target(case: Case, truth: Case | None) -> str:
    """Where the target comes from, and what noise it has, in words. Local."""
    target = target_of(case)
    if target.path is not None:
        told = f"signals of {target.path}"
    elif target.image is not None:
        where = f"voxel {list(target.voxel)}" if target.voxel is not None else f"mean over {target.mask}"
        told = f"{where} of {target.image}"
    elif truth is not None:
        grid = truth.grid
        told = f"simulated on a mesh of its own, {len(grid.cells)} tetrahedra, {grid.volume:.6g} um³"
    else:
        source = f" from {target.parametrization}" if target.parametrization else ""
        told = f"simulated{source} on the mesh that is inverted"
    noise = f", {target.noise} noise at SNR {target.snr:g} (seed {target.seed})" if target.snr is not None else ""
    return f"target: {told}{noise}{', in an arbitrary unit' if target.arbitrary_unit else ''}"


@contextmanager
def _in_target(config: Path) -> Iterator[None]:
    """Tell a fault of the config as one of the target's table."""
    try:
        yield
    except InputError as error:
        if error.file != config:
            raise
        key = ".".join(filter(None, (_PLACE, error.key)))
        raise InputError(error.fault, error.mend, key=key, file=config) from error
