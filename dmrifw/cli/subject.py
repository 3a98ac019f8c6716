"""What an inversion recovers: walls or a shape, each with its own measures, files and pictures; and which it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from dmrifw.errors import PluginError
from dmrifw.metrics import Metrics
from dmrifw.report import Figure
from dmrifw.typing import FloatArray

if TYPE_CHECKING:
    import torch

    from dmrifw.cli.case import Case
    from dmrifw.inversion import Observer, Result

Arrays = Mapping[str, FloatArray]


class Subject(Protocol):
    """One kind of thing that an inversion recovers.

    Attributes:
        facts: Metrics that stand at the top of the report: their form, and what they mean.
        table: Metrics that are told at the end of a run.
    """

    facts: ClassVar[dict[str, tuple[str, str]]]
    table: ClassVar[tuple[str, ...]]

    def diagnostics(self, fields: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """What the progress bar and the history tell of an iteration's fields. Local."""

    def observers(self, folder: Path) -> list[Observer]:
        """Who else watches the inversion, beside the progress bar and the history. Local."""

    def judge(self, fields: Arrays) -> Metrics:
        """How good the result is. Local."""

    def variables(self, fields: Arrays) -> dict[str, Any]:
        """The result as variables of an xarray dataset. Local."""

    def write(self, folder: Path, fields: Arrays, result: Result) -> list[str]:
        """Write the result's own files, and return their names. Local; call it on one rank."""

    def summary(self, fields: Arrays) -> str:
        """The result in a sentence. Local."""

    def pictures(self, folder: Path, fields: Arrays, notes: list[str]) -> Iterator[Figure]:
        """Figures in space, the first of the report; a note where this machine draws none. Local."""

    def figures(self, fields: Arrays) -> Iterator[Figure]:
        """Other figures, the last of the report. Local."""


def subject_of(case: Case, truth: Case | None, true_fields: Arrays | None, names: Sequence[str]) -> Subject:
    """What an inversion recovers, by the names of the fields that its parametrization returns.

    Args:
        case: What is inverted.
        truth: Tissue on another mesh whose signals are the target, if it is such.
        true_fields: Fields on the same mesh whose signals are the target, if they are such.
        names: Names of the fields.

    Raises:
        PluginError: No field is of a kind that results can be made of.

    Local.
    """
    from dmrifw.cli.shape import ShapeSubject
    from dmrifw.cli.walls import WallSubject

    if "points" in names:
        return ShapeSubject(case, true_fields)
    if "permeability" in names:
        return WallSubject(case, truth)
    raise PluginError(
        f"the parametrization returned {', '.join(names)}, but no permeability and no points: results are made of these"
    )
