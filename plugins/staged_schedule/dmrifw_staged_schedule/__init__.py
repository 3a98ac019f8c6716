"""Diffusion times that enter an inversion in stages, and how large a step may be.

A long diffusion time shows outlines, a short one details; the schedules differ in how the second joins the first.

Source: Spinverse, arXiv 2603.04638 (measurement schedule and optimizer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dmrifw.gradients import GradientRule
from dmrifw.hookspecs import hookimpl
from dmrifw.schedules import Schedule
from dmrifw_staged_schedule.blends import Blend, BlockRamp, CosineBlend, LinearRamp
from dmrifw_staged_schedule.clip import Clip
from dmrifw_staged_schedule.learning_rates import Constant, Cosine, LearningRate, Steps, WarmRestarts
from dmrifw_staged_schedule.stages import AllAtOnce, Staged

__all__ = [
    "AllAtOnce",
    "Blend",
    "BlockRamp",
    "Clip",
    "Constant",
    "Cosine",
    "CosineBlend",
    "LearningRate",
    "LinearRamp",
    "Staged",
    "Steps",
    "WarmRestarts",
]


@hookimpl
def dmrifw_schedules() -> Mapping[str, Callable[..., Schedule]]:
    """The names that `[inversion] schedule` uses."""
    return {
        "all-at-once": AllAtOnce,
        "block-ramp": BlockRamp,
        "cosine-blend": CosineBlend,
        "linear-ramp": LinearRamp,
        "staged": Staged,
    }


@hookimpl
def dmrifw_gradient_rules() -> Mapping[str, Callable[..., GradientRule]]:
    """The name that `[inversion] gradient_rules` uses."""
    return {"clip": Clip}
