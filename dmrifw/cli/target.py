"""The signals that an inversion must explain: from a file, or simulated from the walls that the config tells."""

from __future__ import annotations

from dmrifw import report
from dmrifw.cli.case import Case
from dmrifw.cli.search import required_inversion
from dmrifw.errors import InputError
from dmrifw.typing import ComplexArray


def read_target(case: Case) -> ComplexArray | None:
    """The target that `inversion.target` names, or None where it is to be simulated.

    Args:
        case: The case.

    Returns:
        (n,) complex signals, um^3, replicated; or None.

    Raises:
        InputError: The file is missing, unsound or of other measurements; or there is no file and nothing to simulate.

    Local.
    """
    name = required_inversion(case).target
    if name is None:
        case.required_permeability()
        return None
    file = case.config.path.parent / name
    if not file.exists():
        raise InputError(
            f"there is no file {file}",
            "give the path of a signal.nc, signal.zarr or signal.csv, relative to the config",
            key="inversion.target",
            file=case.config.path,
        )
    return report.read_signal(file, case.protocol)
