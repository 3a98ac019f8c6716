"""Time evolution of the magnetization and its exact adjoint, and the homogenized ADC from the same modes."""

from dmrifw.propagators.homogenized import homogenized_adc
from dmrifw.propagators.matrix_formalism import MatrixFormalism, Tape

__all__ = ["MatrixFormalism", "Tape", "homogenized_adc"]
