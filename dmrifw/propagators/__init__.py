"""Time evolution of the magnetization and its exact adjoint."""

from dmrifw.propagators.full_order import FullOrder
from dmrifw.propagators.matrix_formalism import MatrixFormalism
from dmrifw.propagators.propagator import Propagator, Tape

__all__ = ["FullOrder", "MatrixFormalism", "Propagator", "Tape"]
