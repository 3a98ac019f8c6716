"""Pictures of an inversion: one PNG for a paper, and the figures and scenes of the report."""

from dmrifw.plotting.figures import history_figure, permeability_figure, residual_figure, signal_figure
from dmrifw.plotting.recovery import recovery_figure
from dmrifw.plotting.scenes import Surface, scene

__all__ = [
    "Surface",
    "history_figure",
    "permeability_figure",
    "recovery_figure",
    "residual_figure",
    "scene",
    "signal_figure",
]
