"""Time evolution of the magnetization, its exact adjoint, and the homogenized diffusion coefficient."""

from dmrifw.propagators.full_order import FullOrder
from dmrifw.propagators.homogenized import homogenized_adc
from dmrifw.propagators.matrix_formalism import Automatic, MatrixFormalism
from dmrifw.propagators.propagator import Propagator, Tape

__all__ = ["Automatic", "FullOrder", "MatrixFormalism", "Propagator", "Tape", "homogenized_adc"]
