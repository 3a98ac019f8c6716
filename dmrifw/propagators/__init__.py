"""Time evolution of the magnetization, its exact adjoint, and the homogenized diffusion coefficient."""

from dmrifw.propagators.experiment import Experiment
from dmrifw.propagators.full_order import FullOrder
from dmrifw.propagators.homogenized import homogenized_adc
from dmrifw.propagators.matrix_formalism import Automatic, MatrixFormalism
from dmrifw.propagators.propagator import Propagator, Record, Truncation

__all__ = [
    "Automatic",
    "Experiment",
    "FullOrder",
    "MatrixFormalism",
    "Propagator",
    "Record",
    "Truncation",
    "homogenized_adc",
]
