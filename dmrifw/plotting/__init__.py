"""Pictures of an inversion: one PNG for a paper, and the figures and scenes of the report."""

from dmrifw.plotting.animation import Frame, animate
from dmrifw.plotting.figures import history_figure, permeability_figure, residual_figure, signal_figure
from dmrifw.plotting.recovery import recovery_figure
from dmrifw.plotting.scenes import Surface, scene
from dmrifw.plotting.shapes import shape_figure

__all__ = [
    "Frame",
    "Surface",
    "animate",
    "history_figure",
    "permeability_figure",
    "recovery_figure",
    "residual_figure",
    "scene",
    "shape_figure",
    "signal_figure",
]
