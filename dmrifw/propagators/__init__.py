"""Time evolution of the magnetization and its exact adjoint, and the homogenized ADC from the same modes."""

from dmrifw.propagators.full_order import FullOrder
from dmrifw.propagators.homogenized import homogenized_adc
from dmrifw.propagators.matrix_formalism import MatrixFormalism
from dmrifw.propagators.propagator import Propagator, Tape

__all__ = ["FullOrder", "MatrixFormalism", "Propagator", "Tape", "homogenized_adc"]
